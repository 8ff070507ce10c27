import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

import nabladft
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.data import Batch, EnergyDataset, HamiltonianDataset
from nabladft.data.blocks import dense_from_blocks
from nabladft.errors import (
    InputError,
    MissingFieldError,
    OrbitalOrderError,
    UnitError,
    UnknownNameError,
)
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store

ROWS = [3, 0, 3, 1, 4, 2]


def assert_same(one, other):
    for name in ("molecule_id", "conformation_id", "atomic_numbers", "positions", "atom_offsets"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.conformation_index, other.conformation_index)
    assert one.labels.keys() == other.labels.keys()
    for name, label in one.labels.items():
        assert torch.equal(label, other.labels[name]), name
    if one.blocks is not None:
        assert torch.equal(one.blocks.pairs, other.blocks.pairs)
        assert torch.equal(one.blocks.offsets, other.blocks.offsets)


FIELDS = ("energy", "forces", "hamiltonian")


def stored(records, folder, *, codec):
    """Write records, without rounding, as a store of two shards."""
    exact = {"error_bounds": dict.fromkeys(FIELDS)} if codec == "compact" else {}
    create_store(
        folder,
        name="store",
        level_of_theory={"method": "HF/def2-SVP"},
        fields=FIELDS,
        basis_set="def2-SVP",
        orbital_order="ascending",
        codec=codec,
        **exact,
    )
    append(folder, records[:2])
    append(folder, records[2:])
    return folder


def test_a_batch_holds_the_records_in_the_order_asked_for(labelled_source, labelled_records):
    dataset = HamiltonianDataset(
        labelled_source, rows=ROWS, fields=("hamiltonian", "energy"), dtype=torch.float64
    )

    batch = next(iter(DataLoader(dataset, batch_size=len(ROWS), collate_fn=dataset.collate)))

    assert isinstance(batch, Batch)
    matrices = dense_from_blocks(batch.labels["hamiltonian"], batch.blocks)
    for k, row in enumerate(ROWS):
        record = labelled_records[row]
        atoms = slice(int(batch.atom_offsets[k]), int(batch.atom_offsets[k + 1]))
        assert (int(batch.molecule_id[k]), int(batch.conformation_id[k])) == record.key
        assert (batch.conformation_index[atoms] == k).all()
        np.testing.assert_array_equal(batch.atomic_numbers[atoms], record.atomic_numbers)
        np.testing.assert_array_equal(batch.positions[atoms], record.positions)
        np.testing.assert_array_equal(matrices[k], record.hamiltonian)
        assert float(batch.labels["energy"][k]) == record.energy


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_workers_give_the_batches_of_the_main_process(labelled_source, context, in_memory):
    dataset = HamiltonianDataset(labelled_source, rows=ROWS, in_memory=in_memory)

    def batches(**workers):
        return list(DataLoader(dataset, batch_size=2, collate_fn=dataset.collate, **workers))

    alone = batches()
    together = batches(num_workers=2, multiprocessing_context=context)

    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)


def test_memory_and_file_give_the_same(labelled_source):
    lazy = EnergyDataset(labelled_source, rows=ROWS)
    eager = EnergyDataset(labelled_source, rows=ROWS, in_memory=True)

    for index in (0, 5, -1):
        assert_same(lazy[index], eager[index])


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_items_joined_by_hand_are_the_batch(labelled_source, in_memory, dtype):
    dataset = HamiltonianDataset(
        labelled_source,
        rows=ROWS,
        fields=("hamiltonian", "energy", "forces"),
        dtype=dtype,
        in_memory=in_memory,
    )

    items = dataset.__getitems__([5, 0, -1, 3])

    assert len(items) == 4
    assert [int(item.molecule_id) for item in items[1:]] == [13, 12, 11]
    assert_same(dataset.collate(list(items)), dataset.collate(items))
    assert items[0].labels["forces"].dtype == dtype
    with pytest.raises(IndexError):
        items[4]


def test_all_rows_are_not_listed(labelled_source):
    dataset = EnergyDataset(labelled_source)

    assert dataset.rows.tolist() == [0, 1, 2, 3, 4]
    assert len(dataset) == 5
    assert dataset._rows is None


def test_energies_are_float64_whatever_the_rest_is(labelled_source, labelled_records):
    batch = EnergyDataset(labelled_source)[2]

    assert batch.positions.dtype == batch.labels["forces"].dtype == torch.float32
    assert batch.labels["formation_energy"].dtype == torch.float64
    assert batch.labels["formation_energy"].item() == labelled_records[2].formation_energy


def test_formation_energy_follows_from_the_energy(labelled_records, memory_source):
    source = memory_source([record.replace(formation_energy=None) for record in labelled_records])

    batch = EnergyDataset(source, fields=("formation_energy",))[1]

    expected = labelled_records[1].energy - isolated_atoms_energy(np.array([1, 6, 7]))
    assert batch.labels["formation_energy"].item() == pytest.approx(expected, abs=1e-12)


def test_blocks_are_in_the_order_asked_for(labelled_source, labelled_records):
    from nabladft.chemistry.orbitals import reorder_orbitals

    dataset = HamiltonianDataset(labelled_source, orbital_order="psi4", dtype=torch.float64)

    batch = dataset[3]

    expected = reorder_orbitals(
        labelled_records[3].hamiltonian,
        labelled_records[3].atomic_numbers,
        source="ascending",
        target="psi4",
    )
    matrix = dense_from_blocks(batch.labels["hamiltonian"], batch.blocks)[0]
    np.testing.assert_array_equal(matrix, expected)
    assert batch.blocks.orbital_order == "psi4"


def test_overlap_is_computed_where_it_is_not_stored(labelled_records, tmp_path):
    from nabladft.chemistry.overlap import overlap_matrix

    folder = stored(labelled_records, tmp_path / "store", codec="plain")
    dataset = HamiltonianDataset(
        Store(folder), fields=("hamiltonian", "overlap"), dtype=torch.float64, in_memory=True
    )

    batch = dataset.collate(dataset.__getitems__([3, 0]))

    for k, row in enumerate([3, 0]):
        record = labelled_records[row]
        expected = overlap_matrix(record.atomic_numbers, record.positions)
        found = dense_from_blocks(batch.labels["overlap"], batch.blocks)[k]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        matrix = dense_from_blocks(batch.labels["hamiltonian"], batch.blocks)[k]
        np.testing.assert_array_equal(matrix, record.hamiltonian)


def test_keys_choose_conformations(labelled_source):
    dataset = EnergyDataset(labelled_source, keys=[(13, 1), (10, 0)])

    assert [int(item.molecule_id) for item in dataset] == [13, 10]


def test_sizes_are_what_a_batch_costs(labelled_source):
    assert EnergyDataset(labelled_source).sizes.tolist() == [3, 3, 5, 4, 6]
    assert HamiltonianDataset(labelled_source).sizes.tolist() == [
        n * n for n in (24, 33, 34, 38, 57)
    ]


def test_distributed_sampler_shares_the_records(labelled_source):
    dataset = EnergyDataset(labelled_source, rows=[0, 1, 2, 3])

    seen = []
    for rank in range(2):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=False)
        loader = DataLoader(dataset, batch_size=2, sampler=sampler, collate_fn=dataset.collate)
        seen += [int(key) for batch in loader for key in batch.molecule_id]

    assert sorted(seen) == [10, 11, 12, 13]


def test_datasets_can_be_pickled(labelled_source):
    dataset = HamiltonianDataset(labelled_source, in_memory=True)

    assert_same(pickle.loads(pickle.dumps(dataset))[4], dataset[4])


def test_moving_a_batch_moves_everything(labelled_source):
    batch = HamiltonianDataset(labelled_source)[0].to("meta")

    assert batch.positions.device.type == batch.blocks.pairs.device.type == "meta"
    assert batch.labels["hamiltonian"].device.type == "meta"


def test_rows_and_keys_together_are_refused(labelled_source):
    with pytest.raises(InputError, match="by rows or by keys"):
        EnergyDataset(labelled_source, rows=[0], keys=[(10, 0)])


def test_unknown_label_is_refused_with_the_nearest(labelled_source):
    with pytest.raises(UnknownNameError, match="Did you mean 'forces'"):
        EnergyDataset(labelled_source, fields=("force",))


def test_absent_label_is_refused(labelled_records, memory_source):
    source = memory_source([record.replace(forces=None) for record in labelled_records])

    with pytest.raises(MissingFieldError, match="does not hold 'forces'"):
        EnergyDataset(source)


def test_source_without_matrices_is_refused(labelled_records, memory_source):
    source = memory_source([record.replace(hamiltonian=None) for record in labelled_records])

    with pytest.raises(MissingFieldError, match="does not hold 'hamiltonian'"):
        HamiltonianDataset(source)


def test_unknown_orbital_order_is_refused(labelled_source):
    with pytest.raises(OrbitalOrderError, match="Did you mean 'psi4'"):
        HamiltonianDataset(labelled_source, orbital_order="psi")


def test_index_out_of_range_stops_an_iteration(labelled_source):
    with pytest.raises(IndexError, match="5 conformations"):
        EnergyDataset(labelled_source)[5]


@pytest.mark.parametrize("codec", ["plain", "compact"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_stores_give_what_records_give(labelled_records, labelled_source, tmp_path, codec, dtype):
    folder = stored(labelled_records, tmp_path / "store", codec=codec)
    options = {"fields": FIELDS, "dtype": dtype, "orbital_order": "psi4"}

    found = HamiltonianDataset(Store(folder), **options)
    expected = HamiltonianDataset(labelled_source, **options)

    for rows in ([4, 0, 0, 3], [1], [2, 3]):
        one, other = (data.collate(data.__getitems__(rows)) for data in (found, expected))
        assert_same(one, other)
        assert one.labels["hamiltonian"].dtype == dtype


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda r: {"hamiltonian": 27.2114 * r.hamiltonian}, UnitError, "looks like eV"),
        (lambda r: {"orbital_order": "psi4"}, OrbitalOrderError, "look like ascending"),
    ],
    ids=["eV", "order"],
)
def test_data_that_are_not_what_they_say_are_refused_by_name(memory_source, change, error, message):
    records = nabladft.open("nano").read([0, 100], fields=["hamiltonian"])
    wrong = memory_source([record.replace(**change(record)) for record in records])

    with pytest.raises(error, match=message) as caught:
        HamiltonianDataset(wrong)

    assert "'memory', conformation " in caught.value.__notes__[-1]
