import numpy as np
import pytest

from nabladft.errors import UnsupportedElementError
from nabladft.labels.dispersion import PARAMETERS, dispersion


@pytest.fixture
def molecule(rng):
    """Every element with parameters, at distances inside and outside the damped range."""
    numbers = np.array(list(PARAMETERS))
    return numbers, 4.0 * np.arange(len(numbers))[:, None] ** 0.7 + rng.normal(
        size=(len(numbers), 3)
    )


def test_two_hydrogens_ten_bohr_apart_by_hand():
    # C6 = 0.14 J nm^6/mol = 2.42833569 Eh a0^6; radii 2 * 1.001 A = 3.7832316 bohr, so that the
    # damping 6 (R0/R)^12 is 6 * 0.37832316^12 = 5.158e-5.
    expected = -2.42833569e-6 / (1 + 5.158e-5)

    energy, gradient = dispersion(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 10]]))

    assert energy == pytest.approx(expected, rel=1e-7)
    # Attraction: the first atom is pulled towards +z, so its energy falls that way.
    assert gradient[0, 2] < 0 < gradient[1, 2]


def test_gradient_is_the_slope_of_the_energy(molecule):
    numbers, positions = molecule
    _, gradient = dispersion(numbers, positions)
    step = 1e-4

    for atom, axis in np.ndindex(positions.shape):
        shift = np.zeros_like(positions)
        shift[atom, axis] = step
        rise = dispersion(numbers, positions + shift)[0] - dispersion(numbers, positions - shift)[0]
        assert gradient[atom, axis] == pytest.approx(rise / (2 * step), abs=1e-9)


def test_moving_or_reordering_the_molecule_changes_nothing(molecule, rng):
    numbers, positions = molecule
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(numbers))
    energy, gradient = dispersion(numbers, positions)

    moved, moved_gradient = dispersion(numbers[order], (positions @ rotation.T + 3.0)[order])

    assert moved == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(moved_gradient, (gradient @ rotation.T)[order], atol=1e-14)
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-14)


def test_two_far_molecules_do_not_feel_each_other(molecule):
    numbers, positions = molecule
    alone, _ = dispersion(numbers, positions)

    both, _ = dispersion(np.tile(numbers, 2), np.concatenate([positions, positions + 1e4]))

    assert both == pytest.approx(2 * alone, rel=1e-9)


def test_one_atom_has_none():
    energy, gradient = dispersion(np.array([6]), np.zeros((1, 3)))

    assert energy == 0
    assert not gradient.any()


def test_an_element_without_parameters_is_named():
    with pytest.raises(UnsupportedElementError, match="Ne has no dispersion parameters"):
        dispersion(np.array([6, 10]), np.eye(2, 3))
