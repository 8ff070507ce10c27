from math import exp, sqrt

import numpy as np
import pytest

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.gaussians import ContractedShell, GaussianBasis
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import InputError, UnknownNameError, UnsupportedElementError


def single(l, exponent):
    """A basis set of hydrogen with one primitive."""
    return {1: [ContractedShell.normalised(l, [exponent], [1.0])]}


def test_overlap_is_pyscfs_for_all_elements(all_elements, pyscf_molecule):
    numbers, positions = all_elements

    overlap = overlap_matrix(numbers, positions, orbital_order="pyscf")

    reference = pyscf_molecule(numbers, positions).intor("int1e_ovlp")
    np.testing.assert_allclose(overlap, reference, atol=1e-13, rtol=0)


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_every_order_is_pyscfs_reordered(all_elements, pyscf_molecule, order):
    numbers, positions = all_elements
    reference = pyscf_molecule(numbers, positions).intor("int1e_ovlp")

    overlap = overlap_matrix(numbers, positions, orbital_order=order)

    expected = reorder_orbitals(reference, numbers, source="pyscf", target=order)
    np.testing.assert_allclose(overlap, expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_every_order_is_exactly_one_reordered(all_elements, order):
    numbers, _ = all_elements

    overlap = overlap_matrix(*all_elements, orbital_order=order)

    expected = reorder_orbitals(
        overlap_matrix(*all_elements), numbers, source="ascending", target=order
    )
    np.testing.assert_array_equal(overlap, expected)


@pytest.mark.parametrize(("name", "highest"), [("def2-tzvp", 3), ("def2-qzvp", 4)])
def test_f_and_g_shells_are_pyscfs(name, highest, large_basis, pyscf_molecule, rng):
    numbers = np.array([7, 8, 10, 22, 35])
    positions = rng.normal(scale=2, size=(5, 3))
    basis = large_basis(name, numbers)
    assert max(map(max, basis.shells.values())) == highest

    overlap = overlap_matrix(numbers, positions, basis_set=basis, orbital_order="pyscf")

    reference = pyscf_molecule(numbers, positions, name).intor("int1e_ovlp")
    np.testing.assert_allclose(overlap, reference, atol=1e-12, rtol=0)


def test_every_element_of_the_basis_file_is_pyscfs(pyscf_molecule):
    for number in range(1, 37):
        positions = np.array([[0.0, 0.0, 0.0], [0.9, -0.7, 1.3]])

        overlap = overlap_matrix(np.array([number] * 2), positions, orbital_order="pyscf")

        reference = pyscf_molecule([number] * 2, positions).intor("int1e_ovlp")
        np.testing.assert_allclose(overlap, reference, atol=1e-12, rtol=0)


def test_two_s_gaussians_overlap_as_on_paper():
    # Equal exponents a at distance R: exp(-a R^2 / 2).
    basis = GaussianBasis.from_contractions("one s", single(0, 0.7))

    overlap = overlap_matrix(np.array([1, 1]), [[0, 0, 0], [0.3, -0.4, 1.2]], basis_set=basis)

    assert overlap[0, 1] == pytest.approx(exp(-0.7 * 1.69 / 2), abs=1e-15)


def test_p_orbitals_point_along_their_axes():
    # An s orbital displaced along +z overlaps with p_z positively, and with no other p.
    basis = GaussianBasis.from_contractions(
        "s and p", {1: [ContractedShell.normalised(l, [0.8], [1.0]) for l in (0, 1)]}
    )
    for axis, place in ((0, 3), (1, 1), (2, 2)):  # ascending: y, z, x after s
        positions = np.zeros((2, 3))
        positions[1, axis] = 1.0

        row = overlap_matrix(np.array([1, 1]), positions, basis_set=basis)[4, 1:4]

        # sqrt(a) R exp(-a R^2 / 2): the derivative of the s overlap over its norm.
        expected = np.zeros(3)
        expected[place - 1] = sqrt(0.8) * exp(-0.4)
        np.testing.assert_allclose(row, expected, atol=1e-15)


def test_overlap_is_symmetric_normalised_and_positive(all_elements):
    overlap = overlap_matrix(*all_elements)

    np.testing.assert_array_equal(overlap, overlap.T)
    np.testing.assert_allclose(np.diag(overlap), 1, atol=1e-14)
    assert np.linalg.eigvalsh(overlap)[0] > 0


def test_overlap_does_not_move_with_the_molecule(all_elements):
    numbers, positions = all_elements

    moved = overlap_matrix(numbers, positions + np.array([7.0, -3.0, 11.0]))

    np.testing.assert_allclose(moved, overlap_matrix(numbers, positions), atol=1e-13)


def test_permuted_atoms_permute_the_blocks(all_elements, rng):
    numbers, positions = all_elements
    order = rng.permutation(len(numbers))
    sizes = DEF2_SVP.orbitals_per_atom(numbers)
    starts = np.cumsum(sizes) - sizes
    orbitals = np.concatenate([np.arange(starts[a], starts[a] + sizes[a]) for a in order])

    permuted = overlap_matrix(numbers[order], positions[order])

    expected = overlap_matrix(numbers, positions)[np.ix_(orbitals, orbitals)]
    np.testing.assert_allclose(permuted, expected, atol=1e-14)


def test_far_atoms_do_not_overlap():
    overlap = overlap_matrix(np.array([6, 6]), [[0, 0, 0], [0, 0, 60.0]])

    assert np.abs(overlap[:14, 14:]).max() < 1e-90
    np.testing.assert_array_equal(overlap[:14, :14], overlap[14:, 14:])


@pytest.mark.parametrize("positions", [np.zeros((2, 3)), np.zeros((3, 2)), np.full((3, 3), np.nan)])
def test_positions_that_do_not_fit_are_refused(positions):
    with pytest.raises(InputError, match=r"finite, with shape \(n_atoms, 3\) = \(3, 3\)"):
        overlap_matrix(np.array([8, 1, 1]), positions)


def test_an_element_outside_the_basis_is_named():
    with pytest.raises(UnsupportedElementError, match="I has no shells in def2-svp"):
        overlap_matrix(np.array([53]), np.zeros((1, 3)))


def test_a_basis_without_exponents_is_refused():
    with pytest.raises(UnknownNameError, match=r"'my-basis'.* Known: def2-svp"):
        overlap_matrix(np.array([1]), np.zeros((1, 3)), basis_set=BasisSet("my-basis", {1: (0,)}))
