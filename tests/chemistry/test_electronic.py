import numpy as np
import pytest
from scipy.linalg import sqrtm

from nabladft.chemistry.electronic import (
    density_matrix,
    electrons_in,
    homo_lumo,
    homo_lumo_gap,
    loewdin_charges,
    mulliken_charges,
    n_electrons,
    orbital_energies_and_coefficients,
)
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals
from nabladft.errors import InputError, OrbitalCountError


@pytest.fixture(params=ORBITAL_ORDERS)
def solution(request, hypobromous_acid, solved_hypobromous_acid):
    """H and S of PySCF in one order, with the solver they came from."""
    numbers, _ = hypobromous_acid
    solver = solved_hypobromous_acid
    H, S = (
        reorder_orbitals(matrix, numbers, source="pyscf", target=request.param)
        for matrix in (solver.get_fock(), solver.get_ovlp())
    )
    return numbers, H, S, solver, request.param


def density_of(solution):
    numbers, H, S, *_ = solution
    _, coefficients = orbital_energies_and_coefficients(H, S)
    return density_matrix(coefficients, n_electrons(numbers))


def test_orbital_energies_and_gap_are_pyscfs(solution):
    numbers, H, S, solver, _ = solution

    energies, _ = orbital_energies_and_coefficients(H, S)

    np.testing.assert_allclose(energies, solver.mo_energy, atol=1e-8, rtol=0)
    occupied = int(solver.mo_occ.sum()) // 2
    gap = solver.mo_energy[occupied] - solver.mo_energy[occupied - 1]
    assert homo_lumo_gap(energies, n_electrons(numbers)) == pytest.approx(gap, abs=1e-8)
    assert homo_lumo(energies, n_electrons(numbers))[0] == pytest.approx(
        solver.mo_energy[occupied - 1], abs=1e-8
    )


def test_orbitals_are_orthonormal_and_solve_the_equation(solution):
    _, H, S, *_ = solution

    energies, C = orbital_energies_and_coefficients(H, S)

    np.testing.assert_allclose(C.T @ S @ C, np.eye(len(S)), atol=1e-10)
    np.testing.assert_allclose(H @ C, S @ C * energies, atol=1e-8)


def test_density_is_pyscfs_and_holds_every_electron(solution):
    numbers, _, S, solver, order = solution

    D = density_of(solution)

    reference = reorder_orbitals(solver.make_rdm1(), numbers, source="pyscf", target=order)
    np.testing.assert_allclose(D, reference, atol=1e-8, rtol=0)
    assert electrons_in(D, S) == pytest.approx(44, abs=1e-10)
    np.testing.assert_allclose(D @ S @ D, 2 * D, atol=1e-9)


def test_energy_of_the_density_is_pyscfs(hypobromous_acid, solved_hypobromous_acid):
    numbers, _ = hypobromous_acid
    solver = solved_hypobromous_acid
    H = solver.get_fock()

    D = density_matrix(
        orbital_energies_and_coefficients(H, solver.get_ovlp())[1], n_electrons(numbers)
    )

    energy = 0.5 * np.sum(D * (solver.get_hcore() + H)) + solver.energy_nuc()
    assert energy == pytest.approx(solver.e_tot, abs=1e-8)


def test_mulliken_charges_are_pyscfs(solution):
    numbers, _, S, solver, _ = solution

    charges = mulliken_charges(density_of(solution), S, numbers)

    _, reference = solver.mulliken_pop(verbose=0)
    np.testing.assert_allclose(charges, reference, atol=1e-8)
    assert charges.sum() == pytest.approx(0, abs=1e-10)


def test_loewdin_charges_are_mullikens_of_the_orthogonal_orbitals(solution):
    numbers, _, S, *_ = solution
    D = density_of(solution)

    charges = loewdin_charges(D, S, numbers)

    root = sqrtm(S).real
    expected = mulliken_charges(root @ D @ root, np.eye(len(S)), numbers)
    np.testing.assert_allclose(charges, expected, atol=1e-8)
    assert charges.sum() == pytest.approx(0, abs=1e-10)
    assert charges[1] < 0 < charges[0]  # oxygen takes electrons from hydrogen


def test_loewdin_charges_are_pyscfs(hypobromous_acid, solved_hypobromous_acid):
    orth = pytest.importorskip("pyscf.lo.orth")
    hf = pytest.importorskip("pyscf.scf.hf")
    numbers, _ = hypobromous_acid
    solver = solved_hypobromous_acid
    S, D = solver.get_ovlp(), solver.make_rdm1()

    charges = loewdin_charges(D, S, numbers)

    inverse = np.linalg.inv(orth.lowdin(S))
    _, reference = hf.mulliken_pop(solver.mol, inverse @ D @ inverse.T, np.eye(len(S)), verbose=0)
    np.testing.assert_allclose(charges, reference, atol=1e-8)


def test_a_molecule_of_two_orbitals_is_solved_as_on_paper():
    # (a + b) / (1 + s) and (a - b) / (1 - s).
    a, b, s = -0.8, -0.5, 0.3

    energies, _ = orbital_energies_and_coefficients([[a, b], [b, a]], [[1, s], [s, 1]])

    np.testing.assert_allclose(energies, [(a + b) / (1 + s), (a - b) / (1 - s)], atol=1e-14)


def test_charge_changes_the_number_of_electrons():
    assert n_electrons(np.array([8, 1, 1])) == 10
    assert n_electrons(np.array([8, 1, 1, 1]), charge=1) == 10


def test_dependent_orbitals_are_refused_with_the_eigenvalues():
    S = np.ones((3, 3)) + 1e-9 * np.eye(3)

    with pytest.raises(InputError, match=r"singular: 2 of 3 eigenvalues are below 1e-06"):
        orbital_energies_and_coefficients(np.eye(3), S)
    with pytest.raises(InputError, match="singular"):
        loewdin_charges(np.eye(5), np.ones((5, 5)), np.array([1]))


def test_the_threshold_for_dependent_orbitals_can_be_lowered():
    S = np.diag([1.0, 1e-8])

    energies, _ = orbital_energies_and_coefficients(
        np.diag([1.0, 2e-8]), S, smallest_overlap_eigenvalue=1e-10
    )

    np.testing.assert_allclose(energies, [1.0, 2.0])


@pytest.mark.parametrize("number", [3, -2, 8])
def test_numbers_of_electrons_that_close_no_shell_are_refused(number):
    with pytest.raises(InputError, match=rf"even number of electrons from 0 to 6, got {number}"):
        density_matrix(np.eye(3), number)


@pytest.mark.parametrize("number", [0, 6])
def test_a_gap_needs_an_occupied_and_an_empty_orbital(number):
    with pytest.raises(InputError, match="no HOMO or no LUMO"):
        homo_lumo_gap(np.arange(3.0), number)


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(OrbitalCountError, match=r"Hamiltonian .* got \(3, 3\) and \(2, 2\)"):
        orbital_energies_and_coefficients(np.eye(3), np.eye(2))
    with pytest.raises(OrbitalCountError, match=r"24 orbitals expected.*\(3, 3\)"):
        mulliken_charges(np.eye(3), np.eye(3), np.array([8, 1, 1]))
    with pytest.raises(InputError, match="Hamiltonian holds 9 values not finite"):
        orbital_energies_and_coefficients(np.full((3, 3), np.nan), np.eye(3))
