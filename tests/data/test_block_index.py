import numpy as np
import pytest
import torch

from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.packing import pack_lower
from nabladft.data.block_index import block_index, blocks_of_records
from nabladft.data.blocks import block_layout, dense_from_blocks
from nabladft.errors import OrbitalCountError, UnsupportedElementError
from nabladft.storage.flat import FlatRecords
from nabladft.storage.ragged import offsets_of

COMPOSITIONS = [(8, 1, 1), (1,), (35, 6, 17), (16, 9, 1, 6)]
SIZE = {1: 5, 6: 14, 8: 14, 9: 14, 16: 18, 17: 18, 35: 32}


@pytest.fixture
def matrices(rng):
    sizes = [sum(SIZE[z] for z in one) for one in COMPOSITIONS]
    squares = [rng.normal(size=(n, n)) for n in sizes]
    return [square + square.T for square in squares]


def flat_of(matrices):
    n_atoms = np.array([len(one) for one in COMPOSITIONS])
    return FlatRecords(
        molecule_id=np.arange(4),
        conformation_id=np.zeros(4, dtype=np.int64),
        atom_offsets=offsets_of(n_atoms),
        atomic_numbers=np.array([z for one in COMPOSITIONS for z in one], dtype=np.int32),
        positions=np.zeros((n_atoms.sum(), 3)),
        orbital_counts=np.array([len(matrix) for matrix in matrices]),
        values={"hamiltonian": np.concatenate([pack_lower(matrix) for matrix in matrices])},
    )


@pytest.mark.parametrize("source", ["ascending", "psi4", "pyscf", "orca"])
def test_blocks_of_records_make_the_reordered_matrices(matrices, source):
    flat = flat_of(matrices)

    values, offsets = blocks_of_records(
        flat, "hamiltonian", "def2-svp", source=source, target="ascending", dtype=np.dtype(float)
    )

    layout = block_layout(
        torch.from_numpy(flat.atomic_numbers).long(),
        torch.from_numpy(flat.atom_offsets),
        "def2-svp",
        "ascending",
    )
    assert offsets[-1] == len(values) == layout.n_values
    for one, matrix, composition in zip(
        dense_from_blocks(torch.from_numpy(values), layout), matrices, COMPOSITIONS, strict=True
    ):
        expected = reorder_orbitals(
            matrix, np.array(composition), source=source, target="ascending"
        )
        np.testing.assert_array_equal(one, expected)


def test_values_are_rounded_to_the_type_asked_for(matrices):
    kwargs = {"source": "psi4", "target": "ascending"}

    single, _ = blocks_of_records(
        flat_of(matrices), "hamiltonian", "def2-svp", dtype=np.dtype(np.float32), **kwargs
    )
    double, _ = blocks_of_records(
        flat_of(matrices), "hamiltonian", "def2-svp", dtype=np.dtype(np.float64), **kwargs
    )

    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_diagonal_blocks_use_a_packed_value_twice_and_all_others_once():
    index, signs = block_index(np.array([8, 1]), "def2-svp", source="ascending", target="ascending")

    times = np.bincount(index)
    assert signs is None
    assert len(times) == 19 * 20 // 2
    assert (times == 2).sum() == 14 * 13 // 2 + 5 * 4 // 2
    assert (times >= 1).all()


def test_triangle_of_another_size_is_refused(matrices):
    flat = flat_of(matrices)
    wrong = FlatRecords(**{**flat.__dict__, "orbital_counts": flat.orbital_counts - 1})

    with pytest.raises(OrbitalCountError, match=r"300 packed values expected for 24 orbitals"):
        blocks_of_records(
            wrong, "hamiltonian", "def2-svp", source="psi4", target="psi4", dtype=np.dtype(float)
        )


def test_element_without_shells_is_refused():
    with pytest.raises(UnsupportedElementError, match="no shells"):
        block_index(np.array([92]), "def2-svp", source="psi4", target="psi4")


def test_elements_with_the_same_shells_share_an_index():
    one, _ = block_index(np.array([6, 16, 1]), "def2-svp", source="psi4", target="ascending")
    other, _ = block_index(np.array([9, 17, 1]), "def2-svp", source="psi4", target="ascending")

    assert one is other
