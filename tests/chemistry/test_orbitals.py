import itertools

import numpy as np
import pytest

from nabladft.chemistry.basis import BasisSet
from nabladft.chemistry.orbitals import (
    ORBITAL_ORDERS,
    orbital_order_named,
    orbital_permutation,
    reorder_orbital_coefficients,
    reorder_orbitals,
    shell_orbitals,
)
from nabladft.errors import OrbitalCountError, OrbitalOrderError, UnsupportedElementError

WATER = np.array([8, 1, 1])
#: One element with one shell of each degree up to h.
ALL_DEGREES = BasisSet("s to h", {10: (0, 1, 2, 3, 4, 5)})
NEON = np.array([10, 10])

# The functions by m, without their positive factors.
NAMES = {
    1: {-1: "y", 0: "z", 1: "x"},
    2: {-2: "xy", -1: "yz", 0: "zz", 1: "xz", 2: "xx-yy"},
}


def names(l, order):
    return " ".join(NAMES[l][m] for m, _ in shell_orbitals(l, order))


def symmetric(rng, size):
    matrix = rng.normal(size=(size, size))
    return matrix + matrix.T


@pytest.mark.parametrize(("source", "target"), list(itertools.product(ORBITAL_ORDERS, repeat=2)))
@pytest.mark.parametrize(
    ("numbers", "basis_set"), [(WATER, None), (NEON, ALL_DEGREES)], ids=["water", "s to h"]
)
def test_reordering_is_undone_by_its_inverse(source, target, numbers, basis_set, rng):
    options = {} if basis_set is None else {"basis_set": basis_set}
    size = 24 if basis_set is None else 72
    matrix = symmetric(rng, size)

    there = reorder_orbitals(matrix, numbers, source=source, target=target, **options)
    back = reorder_orbitals(there, numbers, source=target, target=source, **options)

    np.testing.assert_array_equal(back, matrix)
    np.testing.assert_allclose(np.linalg.eigvalsh(there), np.linalg.eigvalsh(matrix), atol=1e-12)


@pytest.mark.parametrize(("a", "b", "c"), list(itertools.permutations(ORBITAL_ORDERS, 3)))
def test_the_way_over_a_third_order_is_the_same(a, b, c, rng):
    matrix = symmetric(rng, 72)
    options = {"atomic_numbers": NEON, "basis_set": ALL_DEGREES}

    direct = reorder_orbitals(matrix, source=a, target=c, **options)
    over = reorder_orbitals(
        reorder_orbitals(matrix, source=a, target=b, **options), source=b, target=c, **options
    )

    np.testing.assert_array_equal(direct, over)


@pytest.mark.parametrize(
    ("order", "p", "d"),
    [
        ("ascending", "y z x", "xy yz zz xz xx-yy"),
        ("pyscf", "x y z", "xy yz zz xz xx-yy"),
        ("psi4", "z x y", "zz xz yz xx-yy xy"),
        ("orca", "z x y", "zz xz yz xx-yy xy"),
    ],
)
def test_p_and_d_shells_are_listed_as_the_programs_document(order, p, d):
    assert names(1, order) == p
    assert names(2, order) == d


@pytest.mark.parametrize(
    ("source", "p", "d"),
    [("psi4", [2, 0, 1], [4, 2, 0, 1, 3]), ("pyscf", [1, 2, 0], [0, 1, 2, 3, 4])],
)
def test_permutations_are_those_of_the_published_conversion(source, p, d):
    # def2-SVP carbon: s s s p p d. Published: nablaDFT, phisnet/transform_hamiltonians.py (psi4).
    permutation, signs = orbital_permutation(np.array([6]), source=source, target="ascending")

    expected = [0, 1, 2, *(3 + i for i in p), *(6 + i for i in p), *(9 + i for i in d)]
    assert permutation.tolist() == expected
    assert (signs == 1).all()


def test_orca_flips_the_orbitals_of_three_and_four():
    # f: m = 3, -3; g and h: also m = 4, -4, and h not m = 5. As its Molden files are documented.
    assert [m for m, sign in shell_orbitals(3, "orca") if sign < 0] == [3, -3]
    assert [m for m, sign in shell_orbitals(4, "orca") if sign < 0] == [3, -3, 4, -4]
    assert [m for m, sign in shell_orbitals(5, "orca") if sign < 0] == [3, -3, 4, -4]
    assert [m for m, sign in shell_orbitals(3, "psi4") if sign < 0] == []


def test_orders_of_orca_and_psi4_agree_without_f_shells(rng):
    matrix = symmetric(rng, 24)

    moved = reorder_orbitals(matrix, WATER, source="psi4", target="orca")

    np.testing.assert_array_equal(moved, matrix)


def test_atoms_and_shells_stay_where_they_are():
    # Every orbital is labelled by its atom and shell: reordering may only move within a shell.
    shells = [0, 1, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 6, 7, 8, 8, 8, 9, 10, 11, 11, 11]

    permutation, _ = orbital_permutation(WATER, source="psi4", target="ascending")

    assert np.array(shells)[permutation].tolist() == shells


def test_p_shell_of_hydrogen_matches_the_published_orders():
    # def2-SVP hydrogen is s, s, p; Psi4 lists p as z, x, y and PySCF as x, y, z.
    labels = np.diag([0.0, 0.0, ord("z"), ord("x"), ord("y")])

    moved = reorder_orbitals(labels, np.array([1]), source="psi4", target="pyscf")

    assert "".join(map(chr, np.diag(moved)[2:].astype(int))) == "xyz"


def test_stacks_of_matrices_and_dtypes_are_kept(rng):
    matrices = rng.normal(size=(2, 3, 24, 24)).astype(np.float32)

    moved = reorder_orbitals(matrices, WATER, source="psi4", target="ascending")

    assert moved.dtype == np.float32
    alone = reorder_orbitals(matrices[1, 2], WATER, source="psi4", target="ascending")
    np.testing.assert_array_equal(moved[1, 2], alone)


@pytest.mark.parametrize("target", ORBITAL_ORDERS)
def test_the_result_never_shares_memory_with_the_input(target):
    matrix = np.eye(24)

    reorder_orbitals(matrix, WATER, source="ascending", target=target)[:] = 7

    np.testing.assert_array_equal(matrix, np.eye(24))


def test_coefficients_move_as_the_operator_does(rng):
    # C of the eigenvectors, moved, diagonalises the moved operator.
    matrix = symmetric(rng, 72)
    energies, coefficients = np.linalg.eigh(matrix)
    options = {"source": "pyscf", "target": "orca", "basis_set": ALL_DEGREES}

    moved = reorder_orbitals(matrix, NEON, **options)
    moved_coefficients = reorder_orbital_coefficients(coefficients, NEON, **options)

    np.testing.assert_allclose(
        moved_coefficients.T @ moved @ moved_coefficients, np.diag(energies), atol=1e-12
    )


def test_wrong_basis_names_both_counts():
    with pytest.raises(OrbitalCountError, match=r"24 orbitals expected.*\(23, 23\)"):
        reorder_orbitals(np.zeros((23, 23)), WATER, source="psi4", target="pyscf")
    with pytest.raises(OrbitalCountError, match=r"24 orbitals expected.*\(23, 5\)"):
        reorder_orbital_coefficients(np.zeros((23, 5)), WATER, source="psi4", target="pyscf")


def test_an_unknown_order_is_refused_with_the_nearest_one():
    with pytest.raises(OrbitalOrderError, match=r"'psi'\. Did you mean 'psi4'"):
        orbital_order_named("psi")
    with pytest.raises(OrbitalOrderError, match="Known: ascending, pyscf, psi4, orca"):
        reorder_orbitals(np.eye(24), WATER, source="e3nn", target="psi4")


def test_undocumented_signs_of_orca_are_refused_not_guessed():
    with pytest.raises(OrbitalOrderError, match="signs of ORCA's i shells"):
        shell_orbitals(6, "orca")


def test_an_element_without_shells_is_named():
    with pytest.raises(UnsupportedElementError, match="I has no shells in def2-svp"):
        orbital_permutation(np.array([53]), source="psi4", target="pyscf")
