from itertools import pairwise

import numpy as np
import pytest

from nabladft.chemistry import two_centre
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.packing import pack_lower
from nabladft.chemistry.two_centre import two_centre_triangles
from nabladft.errors import InputError

ELEMENTS = np.array([1, 6, 7, 8, 9, 16, 17, 35])


@pytest.fixture
def heap(rng):
    """Several molecules as flat arrays: numbers, positions, offsets. One of them has no atoms."""
    sizes = np.array([3, 1, 0, 12, 2])
    numbers = rng.choice(ELEMENTS, size=sizes.sum())
    positions = rng.normal(scale=2.5, size=(len(numbers), 3))
    return numbers, positions, np.concatenate([[0], np.cumsum(sizes)])


@pytest.mark.parametrize(
    ("operator", "name"), [("overlap", "int1e_ovlp"), ("kinetic", "int1e_kin")]
)
def test_matrices_of_many_molecules_are_pyscfs(heap, pyscf_molecule, operator, name):
    numbers, positions, offsets = heap

    packed = two_centre_triangles(
        numbers, positions, offsets, operator=operator, orbital_order="pyscf"
    )

    expected = [
        pack_lower(pyscf_molecule(numbers[a:b], positions[a:b]).intor(name))
        for a, b in pairwise(offsets)
        if b > a
    ]
    np.testing.assert_allclose(packed, np.concatenate(expected), atol=1e-10, rtol=0)


def test_a_molecule_does_not_depend_on_its_company(heap):
    numbers, positions, offsets = heap

    packed = two_centre_triangles(numbers, positions, offsets)

    alone = [
        pack_lower(overlap_matrix(numbers[a:b], positions[a:b]))
        for a, b in pairwise(offsets)
        if b > a
    ]
    np.testing.assert_allclose(packed, np.concatenate(alone), atol=1e-15)


def test_the_number_worked_on_together_changes_nothing(heap, monkeypatch):
    expected = two_centre_triangles(*heap)

    monkeypatch.setattr(two_centre, "_PAIRS_AT_ONCE", 1)

    np.testing.assert_allclose(two_centre_triangles(*heap), expected, atol=1e-15)


def test_no_molecules_have_no_values():
    nothing = np.zeros(0, dtype=np.int64)

    assert two_centre_triangles(nothing, np.zeros((0, 3)), [0]).shape == (0,)


def test_f_shells_have_the_kinetic_energy_of_pyscf(large_basis, pyscf_molecule, rng):
    numbers = np.array([7, 8, 22])
    positions = rng.normal(scale=2, size=(3, 3))
    basis = large_basis("def2-tzvp", numbers)

    packed = two_centre_triangles(
        numbers, positions, [0, 3], operator="kinetic", basis_set=basis, orbital_order="pyscf"
    )

    reference = pyscf_molecule(numbers, positions, "def2-tzvp").intor("int1e_kin")
    np.testing.assert_allclose(packed, pack_lower(reference), atol=1e-9, rtol=0)


def test_positions_that_are_not_finite_are_refused(heap):
    numbers, positions, offsets = heap

    with pytest.raises(InputError, match="positions must be finite"):
        two_centre_triangles(numbers, np.where(positions > 0, np.inf, positions), offsets)
