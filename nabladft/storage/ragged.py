"""Arithmetic of flat ragged arrays: many rows of different lengths in one array plus offsets.

Example:
    >>> import numpy as np
    >>> offsets_of(np.array([2, 0, 3]))
    array([0, 2, 2, 5])
    >>> ranges(np.array([10, 4]), np.array([2, 3]))
    array([10, 11,  4,  5,  6])
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Rows longer than this on average are copied one by one; below, one gather is faster.
_LONG_ROW: Final = 128

#: Counting up to here is done once.
_COUNTED: Final = 1 << 16


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
    return _ranges(starts, counts, offsets_of(counts))


def _ranges(starts: IntArray, counts: IntArray, offsets: IntArray) -> IntArray:
    index = np.repeat(starts - offsets[:-1], counts)
    index += _counting(len(index))
    return index


def _counting(n: int) -> IntArray:
    """Give 0, 1, ..., n - 1, not to be written to."""
    if n > _COUNTED:
        return np.arange(n, dtype=np.int64)
    return _counted()[:n]


@cache
def _counted() -> IntArray:
    numbers = np.arange(_COUNTED, dtype=np.int64)
    numbers.flags.writeable = False
    return numbers


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
    return Rows(starts, counts).take(values).astype(dtype, copy=False)


class Rows:
    """Some rows of ragged arrays, prepared once and copied out of several arrays.

    Positions and forces of the same atoms share all but the copying itself.

    Example:
        >>> rows = Rows(np.array([3, 0]), np.array([1, 2]))
        >>> rows.take(np.array([0.5, 1.5, 2.5, 3.5])), rows.offsets
        (array([3.5, 0.5, 1.5]), array([0, 1, 3]))
    """

    def __init__(self, starts: IntArray, counts: IntArray | None) -> None:
        """Say which.

        Args:
            starts: First value of each row, shape (n,).
            counts: Number of values of each row, shape (n,); None for one each.
        """
        self.starts = starts
        self._counts = counts

    @cached_property
    def counts(self) -> IntArray:
        """Number of values of each row, shape (n,)."""
        return np.ones_like(self.starts) if self._counts is None else self._counts

    @cached_property
    def offsets(self) -> IntArray:
        """Where each row begins in what :meth:`take` gives, shape (n + 1,)."""
        return offsets_of(self.counts)

    @cached_property
    def _pieces(self) -> list[tuple[int, int]] | None:
        """Start and stop of long pieces; None when there are none and an index is faster."""
        if self._counts is None or not len(self.starts):
            return None
        total = int(self.offsets[-1])
        if total < _LONG_ROW * len(self.starts):
            # Short rows are long pieces only when they follow each other; look at a few first.
            gaps = self.starts[1:] != self.starts[:-1] + self.counts[:-1]
            if total < _LONG_ROW * (1 + np.count_nonzero(gaps)):
                return None
        pieces, lengths = runs(self.starts, self.counts)
        return list(zip(pieces.tolist(), (pieces + lengths).tolist(), strict=True))

    @cached_property
    def _index(self) -> IntArray:
        if self._counts is None:
            return self.starts
        return _ranges(self.starts, self.counts, self.offsets)

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copy the rows out of a flat array.

        Args:
            values: Shape (n_values, ...).

        Returns:
            New array, shape (sum counts, ...).
        """
        if self._pieces is None:
            return values.take(self._index, axis=0)
        out = np.empty((int(self.offsets[-1]), *values.shape[1:]), dtype=values.dtype)
        position = 0
        for start, stop in self._pieces:
            end = position + stop - start
            out[position:end] = values[start:stop]
            position = end
        return out
