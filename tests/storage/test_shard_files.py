import hashlib

import numpy as np
import pytest

from nabladft.errors import CorruptStoreError
from nabladft.storage.shard_files import ArrayLayout, LocalShardFile, ShardFile
from nabladft.storage.shards import Shard
from nabladft.storage.store import Store


class ByteRanges(ShardFile):
    """A file without a memory map, as one that is elsewhere; counts what it reads."""

    def __init__(self, path, n_bytes):
        super().__init__(str(path), n_bytes)
        self.path = path
        self.n_read = 0

    def read(self, start, stop):
        self.n_read += stop - start
        return self.path.read_bytes()[start:stop]

    def open_hdf5(self):
        return LocalShardFile(self.path, self.n_bytes).open_hdf5()


class StoreElsewhere(Store):
    def _open_file(self, entry):
        return ByteRanges(self.folder / entry.file, entry.n_bytes)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "numbers"
    np.arange(20, dtype="<i4").tofile(path)
    return path


def test_rows_by_ranges_equal_the_view(file):
    layout = ArrayLayout(offset=8, shape=(6, 3), dtype=np.dtype("<i4"))
    starts, counts = np.array([4, 0, 2, 4]), np.array([2, 2, 0, 1])

    local, ranges = LocalShardFile(file, 80), ByteRanges(file, 80)

    view = local.view(layout)
    expected = np.concatenate([view[s : s + c] for s, c in zip(starts, counts, strict=True)])
    np.testing.assert_array_equal(ranges.read_rows(layout, starts, counts), expected)
    np.testing.assert_array_equal(local.read_rows(layout, starts, counts), expected)
    assert ranges.view(layout) is None
    assert ranges.n_read == expected.nbytes
    assert local.sha256() == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("codec", ["plain", "compact"])
def test_a_store_elsewhere_reads_the_same(new_store, records, codec):
    store = new_store(records[:5], records[5:], codec=codec)
    elsewhere = StoreElsewhere(store.folder)
    rows = [11, 2, 2, 6, 0]

    one, other = store.read_flat(rows), elsewhere.read_flat(rows)

    for name in store.info.fields:
        np.testing.assert_array_equal(one.values[name], other.values[name])
    np.testing.assert_array_equal(one.positions, other.positions)
    assert store.read_texts(rows) == elsewhere.read_texts(rows)
    assert elsewhere.keys.tolist() == store.keys.tolist()


def test_a_map_does_not_reach_beyond_its_file(file):
    layout = ArrayLayout(offset=8, shape=(7, 3), dtype=np.dtype("<i4"))

    with pytest.raises(CorruptStoreError, match="numbers ends before byte 92"):
        LocalShardFile(file, 80).view(layout)


def test_another_size_than_the_manifest_says_is_refused(file):
    with pytest.raises(CorruptStoreError, match="has 80 bytes, the manifest says 81"):
        LocalShardFile(file, 81)


def test_a_plain_shard_keeps_no_hdf5_open(new_store, records):
    plain = new_store(records, name="plain")
    compact = new_store(records, name="compact", codec="compact")

    for store, is_open in ((plain, False), (compact, True)):
        shard = Shard(store.folder, store.manifest.shards[0], store.manifest)
        shard.read(np.arange(3), store.manifest.stored_names)
        assert (shard._hdf5 is not None) == is_open
