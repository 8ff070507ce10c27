from math import erf, pi, sqrt

import numpy as np
import pytest

from nabladft.chemistry.attraction import attraction_matrix
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix, kinetic_matrix
from nabladft.chemistry.gaussians import ContractedShell, GaussianBasis
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals
from nabladft.errors import InputError, UnsupportedElementError


@pytest.fixture(scope="module")
def one_s():
    """Every element with one normalised s Gaussian of exponent 0.7."""
    shell = ContractedShell.normalised(0, [0.7], [1.0])
    return GaussianBasis.from_contractions("one s", {number: [shell] for number in range(1, 10)})


def test_core_hamiltonian_is_pyscfs_for_all_elements(all_elements, pyscf_molecule):
    numbers, positions = all_elements

    core = core_hamiltonian_matrix(numbers, positions, orbital_order="pyscf")

    molecule = pyscf_molecule(numbers, positions)
    reference = molecule.intor("int1e_kin") + molecule.intor("int1e_nuc")
    np.testing.assert_allclose(core, reference, atol=1e-8, rtol=0)


def test_kinetic_energy_and_attraction_are_each_pyscfs(all_elements, pyscf_molecule):
    numbers, positions = all_elements
    molecule = pyscf_molecule(numbers, positions)

    kinetic = kinetic_matrix(numbers, positions, orbital_order="pyscf")
    attraction = attraction_matrix(numbers, positions, orbital_order="pyscf")

    np.testing.assert_allclose(kinetic, molecule.intor("int1e_kin"), atol=1e-10, rtol=0)
    # Attractions of thousands of hartree: 1e-12 of them.
    np.testing.assert_allclose(attraction, molecule.intor("int1e_nuc"), atol=2e-9, rtol=0)


@pytest.mark.parametrize("name", ["def2-tzvp", "def2-qzvp"])
def test_f_and_g_shells_are_pyscfs(name, large_basis, pyscf_molecule, rng):
    numbers = np.array([7, 8, 10])
    positions = rng.normal(scale=2, size=(3, 3))
    basis = large_basis(name, numbers)

    core = core_hamiltonian_matrix(numbers, positions, basis_set=basis, orbital_order="pyscf")

    molecule = pyscf_molecule(numbers, positions, name)
    reference = molecule.intor("int1e_kin") + molecule.intor("int1e_nuc")
    np.testing.assert_allclose(core, reference, atol=1e-8, rtol=0)


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_every_order_is_a_reordering_of_one(all_elements, order):
    numbers, positions = all_elements

    core = core_hamiltonian_matrix(numbers, positions, orbital_order=order)

    expected = reorder_orbitals(
        core_hamiltonian_matrix(numbers, positions), numbers, source="ascending", target=order
    )
    np.testing.assert_allclose(core, expected, atol=1e-12)


def test_an_s_gaussian_has_the_energies_on_paper(one_s):
    # Exponent a: kinetic energy 3a/2; a nucleus at the centre -2 Z sqrt(2a/pi), one at a distance R
    # -Z erf(sqrt(2a) R) / R.
    positions = np.array([[0.0, 0.0, 0.0], [0.3, -0.4, 1.2]])

    kinetic = kinetic_matrix(np.array([3, 5]), positions, basis_set=one_s)
    attraction = attraction_matrix(np.array([3, 5]), positions, basis_set=one_s)

    assert kinetic[0, 0] == pytest.approx(1.05, abs=1e-14)
    expected = -3 * 2 * sqrt(1.4 / pi) - 5 * erf(sqrt(1.4) * 1.3) / 1.3
    assert attraction[0, 0] == pytest.approx(expected, abs=1e-13)


def test_a_far_nucleus_attracts_like_a_point(one_s):
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 1000.0, 0.0]])

    alone = attraction_matrix(np.array([1]), positions[:1], basis_set=one_s)
    together = attraction_matrix(np.array([1, 9]), positions, basis_set=one_s)

    assert together[0, 0] - alone[0, 0] == pytest.approx(-9 / 1000, abs=1e-12)
    assert together[0, 1] == 0.0


def test_matrices_are_symmetric_and_do_not_move_with_the_molecule(all_elements):
    numbers, positions = all_elements
    core = core_hamiltonian_matrix(numbers, positions)

    moved = core_hamiltonian_matrix(numbers, positions + np.array([7.0, -3.0, 11.0]))

    np.testing.assert_array_equal(core, core.T)
    np.testing.assert_allclose(moved, core, atol=1e-9)


def test_eigenvalues_do_not_turn_with_the_molecule(all_elements, rotation):
    numbers, positions = all_elements

    turned = core_hamiltonian_matrix(numbers, positions @ rotation.T)

    expected = np.linalg.eigvalsh(core_hamiltonian_matrix(numbers, positions))
    np.testing.assert_allclose(np.linalg.eigvalsh(turned), expected, atol=1e-9)


def test_one_electron_in_the_field_of_a_proton():
    # Varying the exponent of one Gaussian gives -4 / (3 pi) hartree at a = 8 / (9 pi).
    best = ContractedShell.normalised(0, [8 / (9 * pi)], [1.0])
    basis = GaussianBasis.from_contractions("best", {1: [best]})

    core = core_hamiltonian_matrix(np.array([1]), np.zeros((1, 3)), basis_set=basis)

    assert core[0, 0] == pytest.approx(-4 / (3 * pi), abs=1e-14)


def test_positions_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"finite, with shape \(n_atoms, 3\) = \(3, 3\)"):
        core_hamiltonian_matrix(np.array([8, 1, 1]), np.zeros((2, 3)))


def test_an_element_outside_the_basis_is_named():
    with pytest.raises(UnsupportedElementError, match="I has no shells in def2-svp"):
        attraction_matrix(np.array([53]), np.zeros((1, 3)))
