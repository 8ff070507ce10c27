from math import pi, sqrt

import numpy as np
import pytest

from nabladft.chemistry.harmonics import gaunt_coefficients, solid_harmonics, sphere_quadrature


@pytest.mark.parametrize("l", range(7))
def test_harmonics_are_orthonormal_and_homogeneous(l, rng):
    points, weights = sphere_quadrature(2 * l)

    values = solid_harmonics(l, points)

    np.testing.assert_allclose(
        values.T @ (weights[:, None] * values), np.eye(2 * l + 1), atol=1e-13
    )
    vector = rng.normal(size=3)
    np.testing.assert_allclose(
        solid_harmonics(l, 2.5 * vector), 2.5**l * solid_harmonics(l, vector), rtol=1e-12
    )


def test_d_and_f_harmonics_are_the_polynomials_of_the_textbook(rng):
    x, y, z = vector = rng.normal(size=3)
    r2 = vector @ vector
    d = [sqrt(3) * x * y, sqrt(3) * y * z, z * z - (r2 - z * z) / 2, sqrt(3) * x * z]
    d += [sqrt(3) / 2 * (x * x - y * y)]
    f3, f_minus3 = sqrt(5 / 8) * x * (x * x - 3 * y * y), sqrt(5 / 8) * y * (3 * x * x - y * y)

    np.testing.assert_allclose(solid_harmonics(2, vector), np.array(d) * sqrt(5 / (4 * pi)))
    f = solid_harmonics(3, vector) / sqrt(7 / (4 * pi))
    np.testing.assert_allclose(f[[0, 6]], [f_minus3, f3])


def test_gaunt_coefficients_expand_products(rng):
    vector = rng.normal(size=3)
    product = np.multiply.outer(solid_harmonics(2, vector), solid_harmonics(3, vector))

    expanded = sum(
        (vector @ vector) ** ((5 - l) // 2)
        * gaunt_coefficients(2, 3, l)
        @ solid_harmonics(l, vector)
        for l in (1, 3, 5)
    )

    np.testing.assert_allclose(expanded, product, atol=1e-12)
