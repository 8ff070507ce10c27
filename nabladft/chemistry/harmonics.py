"""Real solid harmonics: the angular part of every orbital.

The harmonics are orthonormal on the unit sphere, listed by m from -l to l, and signed as in
:mod:`nabladft.chemistry.orbitals`: l = 1 is (y, z, x), l = 2 is (xy, yz, z², xz, x²-y²), each times
a positive number.

Example:
    >>> import numpy as np
    >>> solid_harmonics(1, np.array([0.1, 0.2, 0.3])) / np.sqrt(3 / (4 * np.pi))
    array([0.2, 0.3, 0.1])
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial, pi
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]


def solid_harmonics(l: int, vectors: ArrayLike) -> FloatArray:
    """Evaluate the real solid harmonics r^l Y_lm of one degree.

    They are homogeneous polynomials, so that nothing is divided by a distance and the origin is a
    point like any other.

    Args:
        l: Degree, 0 or more.
        vectors: Shape (..., 3); x, y, z.

    Returns:
        Shape (..., 2l+1), m from -l to l, in the unit of ``vectors`` to the power l.

    Source:
        T. Helgaker, P. Jorgensen, J. Olsen, Molecular Electronic-Structure Theory, section 6.4;
        here with the normalisation of the spherical harmonics.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    squared = x * x + y * y + z * z
    values = np.empty((*vectors.shape[:-1], 2 * l + 1))
    cosine, sine = np.ones_like(x), np.zeros_like(x)  # Re and Im of (x + iy)^m
    double_factorial = 1.0  # (2m - 1)!!
    for m in range(l + 1):
        if m:
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine
            double_factorial *= 2 * m - 1
        # r^(l-m) times the m-th derivative of the Legendre polynomial, by recursion in the degree.
        below, legendre = np.zeros_like(x), np.full_like(x, double_factorial)
        for n in range(m + 1, l + 1):
            above = ((2 * n - 1) * z * legendre - (n + m - 1) * squared * below) / (n - m)
            below, legendre = legendre, above
        doubled = 2 if m else 1
        norm = np.sqrt(doubled * (2 * l + 1) / (4 * pi) * factorial(l - m) / factorial(l + m))
        values[..., l + m] = norm * legendre * cosine
        if m:
            values[..., l - m] = norm * legendre * sine
    return values


@lru_cache(maxsize=32)
def sphere_quadrature(degree: int) -> tuple[FloatArray, FloatArray]:
    """Give points and weights that integrate polynomials over the unit sphere exactly.

    Args:
        degree: Largest total degree of the polynomials.

    Returns:
        Points, shape (n, 3), and weights, shape (n,), which sum to 4π.
    """
    heights, height_weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    n_angles = degree + 1
    angles = 2 * pi * np.arange(n_angles) / n_angles
    radii = np.sqrt(1 - heights**2)
    points = np.stack(
        [
            np.multiply.outer(radii, np.cos(angles)),
            np.multiply.outer(radii, np.sin(angles)),
            np.multiply.outer(heights, np.ones(n_angles)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    weights = np.repeat(height_weights * (2 * pi / n_angles), n_angles)
    return points, weights


@lru_cache(maxsize=256)
def gaunt_coefficients(l1: int, l2: int, l3: int) -> FloatArray:
    """Integrate products of three real spherical harmonics over the unit sphere.

    They expand a product of solid harmonics, Y_l1 Y_l2 = Σ_l3 G r^(l1+l2-l3) Y_l3, with l3 from
    the difference to the sum of l1 and l2 in steps of two.

    Returns:
        Shape (2 l1+1, 2 l2+1, 2 l3+1).
    """
    points, weights = sphere_quadrature(l1 + l2 + l3)
    first, second, third = (solid_harmonics(l, points) for l in (l1, l2, l3))
    integrals: FloatArray = np.einsum(
        "q,qa,qb,qc->abc", weights, first, second, third, optimize=True
    )
    return integrals
