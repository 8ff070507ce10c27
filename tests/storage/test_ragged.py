import numpy as np
import pytest

from nabladft.storage.ragged import Rows, SingleRows, gather, offsets_of, ranges, runs


def test_ranges_concatenate_every_row_also_empty_ones():
    starts, counts = np.array([7, 0, 3]), np.array([2, 0, 3])

    assert ranges(starts, counts).tolist() == [7, 8, 3, 4, 5]


def test_runs_join_neighbours_and_keep_the_sequence():
    starts, counts = np.array([0, 2, 9, 5, 5]), np.array([2, 3, 1, 4, 4])

    pieces, lengths = runs(starts, counts)

    assert pieces.tolist() == [0, 9, 5, 5]
    assert lengths.tolist() == [5, 1, 4, 4]


@pytest.mark.parametrize("mean_length", [3, 400], ids=["short rows", "long rows"])
@pytest.mark.parametrize("tail", [(), (3,)])
def test_gather_equals_a_loop_over_rows(rng, mean_length, tail):
    counts = rng.integers(0, 2 * mean_length, size=40)
    offsets = offsets_of(counts)
    values = rng.normal(size=(int(offsets[-1]), *tail))
    rows = rng.integers(0, 40, size=100)
    rows[10:20] = np.arange(5, 15)

    got = gather(values, offsets[rows], counts[rows], dtype=values.dtype)

    expected = np.concatenate([values[offsets[row] : offsets[row + 1]] for row in rows])
    np.testing.assert_array_equal(got, expected)


def test_gather_of_nothing_has_the_shape_of_nothing():
    nothing = np.zeros(0, dtype=np.int64)

    assert gather(np.zeros((5, 3)), nothing, nothing, dtype=np.dtype(float)).shape == (0, 3)


@pytest.mark.parametrize("sizes", [(42, 42), (29, 54), (5, 19), (1, 60), (0, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["u1", "f8"])
@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_rows_equal_a_loop_however_they_are_copied(rng, sizes, dtype, order):
    counts = rng.integers(sizes[0], sizes[1] + 1, size=300)
    offsets = offsets_of(counts)
    values = rng.integers(0, 255, size=(int(offsets[-1]), 3)).astype(dtype)
    chosen = rng.integers(0, 300, size=64) if order == "shuffled" else np.arange(7, 71)

    rows = Rows(offsets[chosen], counts[chosen])

    expected = np.concatenate([values[offsets[row] : offsets[row + 1]] for row in chosen])
    np.testing.assert_array_equal(rows.take(values), expected)
    np.testing.assert_array_equal(rows.take(values[:, 0]), expected[:, 0])
    np.testing.assert_array_equal(np.diff(rows.offsets), counts[chosen])


def test_single_rows_are_rows_of_one(rng):
    values = rng.normal(size=(9, 3))

    rows = SingleRows(np.array([8, 0, 8]))

    np.testing.assert_array_equal(rows.take(values), values[[8, 0, 8]])
    assert rows.counts.tolist() == [1, 1, 1]


@pytest.mark.parametrize("counts", [[8, 8], [5, 8], [3, 1]])
def test_rows_outside_are_refused(counts):
    rows = Rows(np.array([14, 3]), np.array(counts))

    with pytest.raises(IndexError, match="out of bounds"):
        rows.take(np.zeros(16))
