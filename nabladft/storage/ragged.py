"""Arithmetic of flat ragged arrays: many rows of different lengths in one array plus offsets.

Example:
    >>> import numpy as np
    >>> offsets_of(np.array([2, 0, 3]))
    array([0, 2, 2, 5])
    >>> ranges(np.array([10, 4]), np.array([2, 3]))
    array([10, 11,  4,  5,  6])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Rows longer than this on average are copied one by one; below, one gather is faster.
_LONG_ROW = 128


def offsets_of(counts: NDArray[np.integer]) -> IntArray:
    """Turn lengths, shape (n,), into offsets, shape (n + 1,)."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def ranges(starts: IntArray, counts: IntArray) -> IntArray:
    """Concatenate ``arange(start, start + count)`` of every row, without a loop.

    Args:
        starts: Shape (n,).
        counts: Shape (n,), not negative.

    Returns:
        Shape (sum counts,).
    """
    offsets = offsets_of(counts)
    shifts = np.repeat(starts - offsets[:-1], counts)
    return shifts + np.arange(offsets[-1], dtype=np.int64)


def runs(starts: IntArray, counts: IntArray) -> tuple[IntArray, IntArray]:
    """Join rows that follow each other without a gap.

    Args:
        starts: Shape (n,).
        counts: Shape (n,).

    Returns:
        Starts and lengths of the joined pieces, in the same sequence; together they cover exactly
        what the rows cover.
    """
    if len(starts) == 0:
        return starts, counts
    is_first = np.ones(len(starts), dtype=bool)
    is_first[1:] = starts[1:] != starts[:-1] + counts[:-1]
    first = np.flatnonzero(is_first)
    return starts[first], np.add.reduceat(counts, first)


def gather(
    values: NDArray[Any], starts: IntArray, counts: IntArray, *, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Copy rows out of a flat array, in the sequence asked for.

    Args:
        values: Shape (n_values, ...).
        starts: First value of each row, shape (n,).
        counts: Number of values of each row, shape (n,).
        dtype: Type of the copy.

    Returns:
        New array, shape (sum counts, ...).
    """
    pieces, lengths = runs(starts, counts)
    total = int(counts.sum())
    if len(pieces) and total / len(pieces) < _LONG_ROW:
        return np.take(values, ranges(starts, counts), axis=0).astype(dtype, copy=False)
    out = np.empty((total, *values.shape[1:]), dtype=dtype)
    position = 0
    for start, length in zip(pieces.tolist(), lengths.tolist(), strict=True):
        out[position : position + length] = values[start : start + length]
        position += length
    return out
