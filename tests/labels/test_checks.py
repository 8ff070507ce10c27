import numpy as np
import pytest

from nabladft.errors import LabelError, UnsupportedElementError
from nabladft.labels.checks import (
    check_electron_count,
    check_forces,
    check_hamiltonian,
    check_input,
    check_slope,
)

WATER = np.array([8, 1, 1])
POSITIONS = np.array([[0, 0, 0.2], [0, 1.43, -0.9], [0, -1.43, -0.9]])
SPRING = 0.4


def spring_energy(positions):
    return 0.5 * SPRING * float(np.sum((positions - POSITIONS - 0.3) ** 2))


def spring_forces(positions):
    return -SPRING * (positions - POSITIONS - 0.3)


def test_a_sensible_molecule_passes():
    check_input(WATER, POSITIONS)


@pytest.mark.parametrize(
    ("numbers", "positions", "charge", "message"),
    [
        (WATER, POSITIONS[:2], 0, r"shape \(3, 3\).*got \(2, 3\)"),
        (WATER[:0], POSITIONS[:0], 0, "with atoms"),
        (WATER, POSITIONS * [1, np.nan, 1], 0, "Atom 0 has no finite position"),
        (WATER, POSITIONS / 3, 0, r"0 and 1 are .* bohr apart. Are the positions in bohr\?"),
        (WATER[:2], POSITIONS[:2], 0, r"HO with charge \+0 has 9 electrons"),
        (WATER, POSITIONS, 1, r"H2O with charge \+1 has 9 electrons"),
        (WATER, POSITIONS, 12, "has -2 electrons"),
    ],
)
def test_input_that_cannot_be_labelled_is_refused(numbers, positions, charge, message):
    with pytest.raises(LabelError, match=message):
        check_input(numbers, positions, charge=charge)


def test_an_element_outside_the_basis_set_is_named():
    with pytest.raises(UnsupportedElementError, match=r"^I has no shells"):
        check_input(np.array([53, 1]), np.array([[0.0, 0, 0], [0, 0, 3]]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: h[:9, :9], "9, 9.*10 orbitals"),
        (lambda h: h + np.triu(np.full_like(h, 1e-6), 1), "transpose by 1.0e-06"),
        (lambda h: h * np.nan, "transpose by nan"),
    ],
)
def test_a_spoilt_hamiltonian_is_refused(spoil, message):
    check_hamiltonian(np.eye(10), n_orbitals=10)

    with pytest.raises(LabelError, match=message):
        check_hamiltonian(spoil(np.eye(10)), n_orbitals=10)


@pytest.mark.parametrize("integrated", [9.99, float("nan")])
def test_missing_electrons_are_noticed(integrated):
    check_electron_count(10.0005, expected=10)

    with pytest.raises(LabelError, match="electrons instead of 10"):
        check_electron_count(integrated, expected=10)


@pytest.mark.parametrize(
    ("size", "message"), [(1e7, "beyond"), (float("nan"), "beyond"), (0.1, "add up to")]
)
def test_impossible_forces_are_refused(size, message):
    with pytest.raises(LabelError, match=message):
        check_forces(np.array([[size, 0, 0], [0, 0, 0]]))


def test_large_but_possible_forces_are_flagged():
    assert not check_forces(np.array([[0.1, 0, 0], [-0.1, 0, 0]]))
    assert check_forces(np.array([[1.0, 0, 0], [-1.0, 0, 0]]))
    assert check_forces(np.array([[0.1, 0, 0], [-0.11, 0, 0]]))


def test_forces_that_are_the_slope_of_the_energy_pass():
    assert abs(check_slope(spring_energy, POSITIONS, spring_forces(POSITIONS))) < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_forces_that_contradict_the_energy_are_refused(seed):
    # One wrong component, unseen by size and sum, shows along nearly any direction.
    wrong = spring_forces(POSITIONS) + np.array([[0, 0, 3], [0, 0, 0], [0, 0, -3]])

    with pytest.raises(LabelError, match="One of them is wrong"):
        check_slope(spring_energy, POSITIONS, wrong, seed=seed)
