"""The record of everything, on real Hamiltonians of the data set, beside PySCF's answers."""

import numpy as np
import pytest

import nabladft
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.electronic import (
    electronic_structure,
    electrons_in,
    loewdin_charges,
    wiberg_bond_orders,
)
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.rotations import orbital_rotation
from nabladft.errors import InputError, OrbitalCountError


def structure_of(real, **options):
    return electronic_structure(
        real.hamiltonian,
        real.overlap,
        real.numbers,
        real.positions,
        orbital_order=real.order,
        **options,
    )


def test_energies_and_density_are_pyscfs(real_hamiltonian):
    real = real_hamiltonian

    result = structure_of(real)

    np.testing.assert_allclose(result.orbitals.energies, real.energies, atol=1e-8, rtol=0)
    np.testing.assert_allclose(result.density_matrix, real.density, atol=1e-8, rtol=0)
    filled = real.mol.nelectron // 2
    assert result.n_electrons == real.mol.nelectron
    assert result.homo_energy == pytest.approx(real.energies[filled - 1], abs=1e-8)
    assert result.lumo_energy == pytest.approx(real.energies[filled], abs=1e-8)
    assert result.gap == pytest.approx(real.energies[filled] - real.energies[filled - 1], abs=1e-8)


def test_charges_and_dipole_are_pyscfs(real_hamiltonian):
    from pyscf.lo import orth
    from pyscf.scf import hf

    real = real_hamiltonian

    result = structure_of(real)

    D, S = real.density_in_pyscf_order, real.overlap_in_pyscf_order
    _, mulliken = hf.mulliken_pop(real.mol, D, S, verbose=0)
    inverse = np.linalg.inv(orth.lowdin(S))
    _, loewdin = hf.mulliken_pop(real.mol, inverse @ D @ inverse.T, np.eye(len(S)), verbose=0)
    dipole = hf.dip_moment(real.mol, D, unit="AU", verbose=0)
    np.testing.assert_allclose(result.mulliken_charges, mulliken, atol=1e-8)
    np.testing.assert_allclose(result.loewdin_charges, loewdin, atol=1e-8)
    np.testing.assert_allclose(result.dipole, dipole, atol=1e-8)


@pytest.mark.parametrize("row", range(0, 315, 35))
def test_stored_labels_follow_from_the_stored_hamiltonian(row):
    record = nabladft.open("nano")[row]

    result = electronic_structure(
        record.hamiltonian,
        None,
        record.atomic_numbers,
        record.positions,
        orbital_order=record.orbital_order,
    )

    # The Hamiltonian of the store is rounded, which is felt most by high empty orbitals.
    filled = result.n_electrons // 2
    np.testing.assert_allclose(
        result.orbitals.energies[: filled + 1], record.orbital_energies[: filled + 1], atol=2e-5
    )
    np.testing.assert_allclose(result.orbitals.energies, record.orbital_energies, atol=2e-4)
    np.testing.assert_allclose(result.mulliken_charges, record.mulliken_charges, atol=1e-4)
    np.testing.assert_allclose(result.loewdin_charges, record.loewdin_charges, atol=1e-4)
    np.testing.assert_allclose(result.dipole, record.dipole, atol=1e-4)


def test_turning_the_molecule_turns_the_dipole_and_nothing_else(real_hamiltonian, rotation):
    real = real_hamiltonian
    R = orbital_rotation(real.numbers, rotation, orbital_order=real.order)

    turned = electronic_structure(
        R @ real.hamiltonian @ R.T,
        None,
        real.numbers,
        real.positions @ rotation.T,
        orbital_order=real.order,
    )

    result = structure_of(real)
    np.testing.assert_allclose(turned.dipole, rotation @ result.dipole, atol=1e-8)
    for name in ("mulliken_charges", "loewdin_charges", "mayer_bond_orders", "wiberg_bond_orders"):
        np.testing.assert_allclose(getattr(turned, name), getattr(result, name), atol=1e-8)
    assert turned.gap == pytest.approx(result.gap, abs=1e-9)


def test_listing_the_atoms_in_another_order_lists_the_results_so(real_hamiltonian, rng):
    real = real_hamiltonian
    order = rng.permutation(len(real.numbers))
    starts = DEF2_SVP.first_orbitals(real.numbers)
    sizes = DEF2_SVP.orbitals_per_atom(real.numbers)
    orbitals = np.concatenate([starts[atom] + np.arange(sizes[atom]) for atom in order])

    permuted = electronic_structure(
        real.hamiltonian[np.ix_(orbitals, orbitals)],
        None,
        real.numbers[order],
        real.positions[order],
        orbital_order=real.order,
    )

    result = structure_of(real)
    np.testing.assert_allclose(permuted.dipole, result.dipole, atol=1e-8)
    np.testing.assert_allclose(permuted.loewdin_charges, result.loewdin_charges[order], atol=1e-8)
    np.testing.assert_allclose(
        permuted.mayer_bond_orders, result.mayer_bond_orders[np.ix_(order, order)], atol=1e-8
    )


def test_another_basis_set_is_solved_as_pyscf_does(large_basis, pyscf_molecule, rng):
    hf = pytest.importorskip("pyscf.scf.hf")
    numbers, positions = np.array([22, 8, 8]), rng.normal(scale=3, size=(3, 3))
    mol = pyscf_molecule(numbers, positions, "def2-tzvp")
    H, S = hf.get_hcore(mol), mol.intor("int1e_ovlp")

    result = electronic_structure(
        H,
        None,
        numbers,
        positions,
        basis_set=large_basis("def2-tzvp", numbers),
        orbital_order="pyscf",
    )

    solver = hf.RHF(mol)
    energies, coefficients = solver.eig(H, S)
    D = solver.make_rdm1(coefficients, solver.get_occ(energies, coefficients))
    np.testing.assert_allclose(result.orbitals.energies, energies, atol=1e-8, rtol=1e-11)
    np.testing.assert_allclose(
        result.dipole, hf.dip_moment(mol, D, unit="AU", verbose=0), atol=1e-7
    )
    _, charges = hf.mulliken_pop(mol, D, S, verbose=0)
    np.testing.assert_allclose(result.mulliken_charges, charges, atol=1e-7)


def test_a_charge_takes_electrons_away():
    numbers, positions = np.array([1, 1]), [[0, 0, 0], [0, 0, 1.4]]
    H = core_hamiltonian_matrix(np.array([1, 1]), positions)

    anion = electronic_structure(H, None, numbers, positions, charge=-2)

    assert anion.n_electrons == 4
    assert anion.mulliken_charges.sum() == pytest.approx(-2, abs=1e-12)
    assert anion.dipole[2] == pytest.approx(-2 * 0.7, abs=1e-9)  # about the origin, not the middle


def test_dropped_combinations_are_reported_and_hold_no_electrons():
    # The two hydrogen atoms on the right coincide nearly.
    numbers = np.array([1, 1, 1, 1])
    positions = np.array([[0, 0, 0], [0, 0, 1.4], [0, 0, 8.0], [0, 0, 8.0001]])
    H = core_hamiltonian_matrix(numbers, positions)

    result = electronic_structure(H, None, numbers, positions, dependent="drop")

    assert result.orbitals.n_dropped == 5
    assert result.orbitals.smallest_overlap_eigenvalue < 1e-6
    assert result.orbitals.energies.shape == (15,)
    S, D = overlap_matrix(numbers, positions), result.density_matrix
    assert electrons_in(D, S) == pytest.approx(4, abs=1e-9)
    assert result.loewdin_charges.sum() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(
        result.loewdin_charges, loewdin_charges(D, S, numbers, dependent="drop")
    )
    np.testing.assert_allclose(
        result.wiberg_bond_orders, wiberg_bond_orders(D, S, numbers, dependent="drop")
    )


def test_input_that_does_not_fit_is_refused(real_hamiltonian):
    real = real_hamiltonian
    H, numbers, positions = real.hamiltonian, real.numbers, real.positions

    with pytest.raises(OrbitalCountError, match="Hamiltonian and the overlap matrix must both"):
        electronic_structure(H[:-1, :-1], None, numbers, positions)
    with pytest.raises(OrbitalCountError, match="orbitals expected for atomic_numbers"):
        electronic_structure(H[:-1, :-1], real.overlap[:-1, :-1], numbers, positions)
    with pytest.raises(InputError, match=f"Hamiltonian holds {len(H)} values not finite"):
        electronic_structure(H + np.diag([np.nan] * len(H)), None, numbers, positions)
    with pytest.raises(InputError, match="even number of electrons"):
        electronic_structure(H, None, numbers, positions, charge=1)
    with pytest.raises(InputError, match="singular"):
        electronic_structure(H, np.ones_like(H), numbers, positions)
