import builtins

import numpy as np
import pytest
import torch

from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.packing import pack_lower
from nabladft.data import HamiltonianDataset
from nabladft.data.augmentation import rotate
from nabladft.data.blocks import dense_from_blocks
from nabladft.data.references import ReferenceHamiltonians
from nabladft.errors import InputError, MissingExtraError, UnknownNameError
from nabladft.labels.guesses import guess_hamiltonian
from nabladft.storage.opening import open_source
from nabladft.testing.molecules import MOLECULES


@pytest.fixture(scope="module")
def nano():
    return open_source("nano")


@pytest.mark.parametrize("order", ["ascending", "pyscf"])
def test_core_is_the_core_hamiltonian_of_chemistry(nano, order):
    data = HamiltonianDataset(
        nano, rows=[3, 0], orbital_order=order, reference="core", dtype=torch.float64
    )

    batch = data.collate(data.__getitems__([0, 1]))

    found = dense_from_blocks(batch.reference_hamiltonian, batch.blocks)
    for record, matrix in zip(nano.read([3, 0]), found, strict=True):
        expected = core_hamiltonian_matrix(record.atomic_numbers, record.positions)
        expected = reorder_orbitals(
            expected, record.atomic_numbers, source="ascending", target=order
        )
        np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_a_guess_is_that_of_the_dft_program():
    pytest.importorskip("pyscf")
    water = MOLECULES[0]

    triangle = ReferenceHamiltonians("sap").triangle(water.atomic_numbers, water.positions)

    expected = guess_hamiltonian(water.atomic_numbers, water.positions, method="sap")
    np.testing.assert_allclose(triangle, pack_lower(expected), atol=1e-12)


def test_items_batches_and_memory_agree(nano):
    options = {"rows": [0, 1, 2], "reference": "core"}
    lazy = HamiltonianDataset(nano, **options)
    kept = HamiltonianDataset(nano, **options, in_memory=True)

    together = lazy.collate(lazy.__getitems__([2, 0])).reference_hamiltonian
    joined = lazy.collate([lazy[2], lazy[0]]).reference_hamiltonian
    remembered = kept.collate(kept.__getitems__([2, 0])).reference_hamiltonian

    assert torch.equal(together, joined)
    assert torch.equal(together, remembered)
    assert lazy[0].reference_hamiltonian.dtype == torch.float32


def test_a_folder_keeps_what_was_computed_once(tmp_path, monkeypatch):
    water = MOLECULES[0]
    first = ReferenceHamiltonians("core", folder=tmp_path)
    computed = first.triangle(water.atomic_numbers, water.positions)
    again = ReferenceHamiltonians("core", folder=tmp_path)
    monkeypatch.setattr(again, "_computed", lambda *_: pytest.fail("computed twice"))

    read = again.triangle(water.atomic_numbers, water.positions)

    np.testing.assert_array_equal(read, computed)
    assert [file.suffix for file in (tmp_path / "core").iterdir()] == [".npy"]


def test_a_turned_batch_has_the_reference_of_the_turned_molecule(nano):
    data = HamiltonianDataset(nano, rows=[5], reference="core", dtype=torch.float64)
    orthogonal, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))

    turned = rotate(data[0], torch.from_numpy(orthogonal)[None])

    triangle = ReferenceHamiltonians("core").triangle(
        turned.atomic_numbers.numpy(), turned.positions.numpy()
    )
    (matrix,) = dense_from_blocks(turned.reference_hamiltonian, turned.blocks)
    np.testing.assert_allclose(pack_lower(matrix.numpy()), triangle, atol=1e-9)


def test_without_asking_there_is_none(nano):
    assert HamiltonianDataset(nano, rows=[0])[0].reference_hamiltonian is None


def test_unknown_reference_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'minao'"):
        ReferenceHamiltonians("minoa")


def test_missing_pyscf_is_named_with_its_extra(monkeypatch):
    real = builtins.__import__

    def without_pyscf(name, *args, **options):
        if name.startswith("pyscf"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_pyscf)

    ReferenceHamiltonians("core")
    with pytest.raises(MissingExtraError, match=r"The reference 'sap'.*nabladft\[label\]"):
        ReferenceHamiltonians("sap")


def test_odd_electrons_are_refused():
    pytest.importorskip("pyscf")
    with pytest.raises(InputError, match="electrons cannot be paired"):
        ReferenceHamiltonians("sap").triangle(np.array([1]), np.zeros((1, 3)))
