import h5py
import numpy as np
import pytest

from nabladft.storage.chunks import ChunkedArray
from nabladft.storage.codecs import write_array
from nabladft.storage.ragged import offsets_of

CHUNK_BYTES = 4096 * 8


@pytest.mark.parametrize("n_slots", [1, 3, 10**6], ids=["one slot", "few slots", "all in memory"])
@pytest.mark.parametrize("tail", [(), (3,)])
def test_rows_equal_rows_of_the_array_whatever_the_buffer_holds(rng, tail, n_slots):
    counts = rng.integers(0, 3000, size=60)
    counts[[3, 17]] = 0
    offsets = offsets_of(counts)
    values = rng.normal(size=(int(offsets[-1]), *tail))
    with h5py.File("unused", "w", driver="core", backing_store=False) as file:
        write_array(file, "values", values, "compact")
        assert file["values"].chunks[0] < len(values) / 15
        array = ChunkedArray(file["values"], buffer_bytes=n_slots * CHUNK_BYTES)

        for n_rows in (1, 2, 17, 60, 1, 3, 2, 1, 1, 5):
            rows = rng.integers(0, 60, size=n_rows)
            got = array.read(offsets[rows], counts[rows])

            expected = np.concatenate([values[offsets[row] : offsets[row + 1]] for row in rows])
            np.testing.assert_array_equal(got, expected)


def test_each_chunk_is_unpacked_once_while_the_buffer_is_large_enough(rng):
    values = rng.normal(size=40_000)
    with h5py.File("unused", "w", driver="core", backing_store=False) as file:
        write_array(file, "values", values, "compact")
        array = ChunkedArray(file["values"])
        array.read(np.array([0]), np.array([40_000]))
        file["values"][:] = 0.0

        again = array.read(np.array([39_000, 0]), np.array([1000, 1000]))

    np.testing.assert_array_equal(again, np.concatenate([values[39_000:], values[:1000]]))


def test_dataset_that_is_not_chunked_is_read_as_well(rng):
    values = rng.normal(size=(50, 3))
    with h5py.File("unused", "w", driver="core", backing_store=False) as file:
        array = ChunkedArray(file.create_dataset("values", data=values))
        empty = ChunkedArray(file.create_dataset("empty", data=values[:0]))
        nothing = np.zeros(2, dtype=np.int64)

        np.testing.assert_array_equal(array.read(np.array([40]), np.array([5])), values[40:45])
        assert empty.read(nothing, nothing).shape == (0, 3)
