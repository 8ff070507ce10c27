import gc

import h5py
import numpy as np
import pytest

from nabladft.errors import CorruptStoreError
from nabladft.storage import store as store_module
from nabladft.storage.manifest import write_manifest
from nabladft.storage.store import Store


@pytest.fixture
def many(new_store, records):
    """One store of twelve shards and one of a single shard, with the same records."""
    return new_store(*([r] for r in records), name="many"), new_store(records, name="one")


ROWS = np.array([11, 2, 2, 6, 0, 5, 4, 7, 7, 10, 1])


def assert_same(one, other):
    for name in ("molecule_id", "conformation_id", "atom_offsets", "orbital_counts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("atomic_numbers", "positions"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert one.values.keys() == other.values.keys()
    for name, values in one.values.items():
        np.testing.assert_array_equal(values, other.values[name], err_msg=name)
        assert values.flags.writeable


def test_many_shards_read_as_one(many):
    scattered, single = many

    assert_same(scattered.read_flat(ROWS), single.read_flat(ROWS))
    assert_same(
        scattered.read_flat(ROWS, fields=["forces"]), single.read_flat(ROWS, fields=["forces"])
    )


def test_more_shards_than_stay_open(many, monkeypatch):
    scattered, single = many
    monkeypatch.setattr(store_module, "_OPEN_SHARDS", 3)

    for rows in (ROWS, ROWS[::-1], ROWS):
        got = scattered.read_flat(rows)
        gc.collect()
        assert_same(got, single.read_flat(rows))
    assert len(scattered._shards) <= 3


def test_packed_shards_are_read_one_by_one(new_store, records):
    scattered = new_store(*([r] for r in records), name="many", codec="compact")
    single = new_store(records, name="one", codec="compact")

    assert_same(scattered.read_flat(ROWS), single.read_flat(ROWS))


def test_what_is_unpacked_is_limited(new_store, records, monkeypatch):
    scattered = new_store(*([r] for r in records), name="many", codec="compact")
    expected = scattered.read_flat(ROWS)
    limit = sum(shard.buffer_bytes for shard in scattered._shards.values()) // 2
    monkeypatch.setattr(store_module, "_BUFFER_BYTES", limit)

    for _ in range(2):
        assert_same(scattered.read_flat(ROWS), expected)
        kept = sum(shard.buffer_bytes for shard in scattered._shards.values())
        assert 0 < kept <= limit


@pytest.mark.parametrize("value", [-5, 1000], ids=["negative", "beyond the end"])
def test_damaged_offsets_lead_nowhere(new_store, record, value):
    store = new_store([record(3, 0), record(11, 0)], [record(4, 0)])
    path = store.folder / "shard-00000.h5"
    with h5py.File(path, "r+") as file:
        file["atom_offsets"][1] = value
    write_manifest(store.folder, store.manifest)

    with pytest.raises(CorruptStoreError, match="Offsets of positions in a shard are damaged"):
        Store(store.folder).read_flat([0, 2], fields=["forces"])


def test_array_shorter_than_its_offsets_is_refused(new_store, record):
    store = new_store([record(3, 0), record(11, 0)], [record(4, 0)])
    with h5py.File(store.folder / "shard-00000.h5", "r+") as file:
        file["atom_offsets"][2] = 9

    with pytest.raises(CorruptStoreError, match=r"00000\.h5 has 8 values of .*, its offsets say 9"):
        Store(store.folder).read_flat([0, 2], fields=["forces"])
