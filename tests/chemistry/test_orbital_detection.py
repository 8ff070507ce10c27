import numpy as np
import pytest

from nabladft.chemistry.orbital_detection import detect_orbital_order, orbital_order_residuals
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.errors import OrbitalCountError, OrbitalOrderError


@pytest.mark.parametrize(
    ("order", "found"),
    [("ascending", "ascending"), ("pyscf", "pyscf"), ("psi4", "psi4"), ("orca", "psi4")],
)
def test_the_order_of_a_pyscf_overlap_is_found(order, found, all_elements, pyscf_molecule):
    numbers, positions = all_elements
    overlap = pyscf_molecule(numbers, positions).intor("int1e_ovlp")
    overlap = reorder_orbitals(overlap, numbers, source="pyscf", target=order)

    assert detect_orbital_order(overlap, numbers, positions) == found


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_f_shells_tell_orca_from_psi4(order, large_basis, rng):
    numbers, positions = np.array([7, 8, 9]), rng.normal(scale=2, size=(3, 3))
    basis = large_basis("def2-tzvp", numbers)
    overlap = overlap_matrix(numbers, positions, basis_set=basis, orbital_order=order)

    assert detect_orbital_order(overlap, numbers, positions, basis_set=basis) == order


def test_float32_and_rounded_positions_are_recognised(all_elements):
    numbers, positions = all_elements
    overlap = overlap_matrix(numbers, positions, orbital_order="psi4").astype(np.float32)

    assert detect_orbital_order(overlap, numbers, positions.round(5)) == "psi4"


def test_residuals_are_zero_only_for_the_order_at_hand(all_elements):
    overlap = overlap_matrix(*all_elements, orbital_order="pyscf")

    residuals = orbital_order_residuals(overlap, *all_elements)

    assert residuals["pyscf"] < 1e-14
    assert min(residuals[order] for order in ("ascending", "psi4", "orca")) > 0.01


@pytest.mark.parametrize("axis", range(3))
def test_linear_molecules_along_any_axis_are_told_apart(axis):
    numbers, positions = np.array([6, 8]), np.zeros((2, 3))
    positions[1, axis] = 2.1
    for order in ("ascending", "pyscf", "psi4"):
        overlap = overlap_matrix(numbers, positions, orbital_order=order)

        assert detect_orbital_order(overlap, numbers, positions) == order


def test_the_symmetry_of_methane_does_not_mislead():
    # x -> y -> z is a symmetry of the atoms' positions, but not of the matrix.
    numbers = np.array([6, 1, 1, 1, 1])
    corners = [[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    positions = 1.19 * np.array(corners, dtype=float)
    for order in ("ascending", "pyscf", "psi4"):
        overlap = overlap_matrix(numbers, positions, orbital_order=order)

        assert detect_orbital_order(overlap, numbers, positions) == order


def test_a_lone_atom_fits_every_order_and_is_refused():
    atom = np.array([8]), np.zeros((1, 3))

    with pytest.raises(OrbitalOrderError, match=r"fits several orbital orders .* another molecule"):
        detect_orbital_order(overlap_matrix(*atom), *atom)


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (BOHR_IN_ANGSTROM, r"positions are in angstrom.*psi4 fits"),
        (1 / BOHR_IN_ANGSTROM, r"converted to bohr twice.*psi4 fits"),
    ],
)
def test_positions_in_another_unit_are_named_as_the_reason(factor, reason, all_elements):
    numbers, positions = all_elements
    overlap = overlap_matrix(numbers, positions, orbital_order="psi4")

    with pytest.raises(OrbitalOrderError, match=reason):
        detect_orbital_order(overlap, numbers, positions * factor)


def test_another_geometry_is_refused_with_every_residual(all_elements, rng):
    numbers, positions = all_elements
    overlap = overlap_matrix(numbers, rng.normal(scale=3, size=positions.shape))

    with pytest.raises(
        OrbitalOrderError,
        match=r"CHBrClFNOS in def2-svp.*ascending .*pyscf .*psi4 .*orca .*another geometry",
    ):
        detect_orbital_order(overlap, numbers, positions)


def test_a_hamiltonian_in_place_of_the_overlap_is_recognised(
    hypobromous_acid, solved_hypobromous_acid
):
    with pytest.raises(OrbitalOrderError, match=r"diagonal is not 1.* not an overlap"):
        detect_orbital_order(solved_hypobromous_acid.get_fock(), *hypobromous_acid)


def test_cartesian_shells_are_named_as_the_reason(all_elements, pyscf_molecule):
    numbers, positions = all_elements
    overlap = pyscf_molecule(numbers, positions).intor("int1e_ovlp_cart")

    with pytest.raises(OrbitalCountError, match="is the number of Cartesian orbitals"):
        detect_orbital_order(overlap, numbers, positions)


def test_another_basis_is_refused_with_both_counts(all_elements):
    with pytest.raises(OrbitalCountError, match=r"129 orbitals expected.*\(100, 100\)"):
        detect_orbital_order(np.eye(100), *all_elements)
