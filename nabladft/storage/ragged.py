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
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Bytes from which a piece is copied by itself; NumPy's cost of one slice is that of copying this.
_LONG_PIECE: Final = 8192

#: Rows are copied in at most so many blocks of equal length; more are slower than single values.
_MOST_BLOCKS: Final = 4
_SHORTEST_BLOCK: Final = 4

#: Counting up to here is done once.
_COUNTED: Final = 1 << 16


def offsets_of(counts: NDArray[np.integer]) -> IntArray:
    """Turn lengths, shape (n,), into offsets, shape (n + 1,)."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.add.accumulate(counts, out=offsets[1:])
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

    Positions and forces of the same atoms share all but the copying itself. How it is done depends
    on the rows: what lies together is copied as slices; short rows in blocks of the length of the
    shortest, the last block of a row ending with the row, so that blocks overlap and none is of
    another length (NumPy then moves one block at a time, several times faster than its values);
    very different rows value by value.

    Example:
        >>> rows = Rows(np.array([3, 0]), np.array([1, 2]))
        >>> rows.take(np.array([0.5, 1.5, 2.5, 3.5])), rows.offsets
        (array([3.5, 0.5, 1.5]), array([0, 1, 3]))

    Attributes:
        starts: First value of each row, shape (n,).
        counts: Number of values of each row, shape (n,).
        offsets: Where each row begins in what :meth:`take` gives, shape (n + 1,).
    """

    def __init__(self, starts: IntArray, counts: IntArray) -> None:
        """Say which rows.

        Args:
            starts: First value of each row, shape (n,).
            counts: Number of values of each row, shape (n,).
        """
        self.starts = starts
        self.counts = counts
        self.offsets = offsets_of(counts)
        self._total = int(self.offsets[-1])
        self._block = self._n_blocks = 0
        # Looking at the first two is cheap and mostly enough.
        self._is_one_piece = len(starts) > 0 and (
            len(starts) == 1
            or (
                starts[1] == starts[0] + counts[0]
                and bool((starts[1:] == starts[:-1] + counts[:-1]).all())
            )
        )
        if not self._is_one_piece and self._total:
            shortest = int(np.minimum.reduce(counts))
            longest = int(np.maximum.reduce(counts))
            if shortest >= _SHORTEST_BLOCK and longest <= _MOST_BLOCKS * shortest:
                self._block = shortest
                self._n_blocks = -(-longest // shortest)

    @cached_property
    def _pieces(self) -> list[tuple[int, int]]:
        pieces, lengths = runs(self.starts, self.counts)
        return list(zip(pieces.tolist(), (pieces + lengths).tolist(), strict=True))

    @cached_property
    def _index(self) -> IntArray:
        return _ranges(self.starts, self.counts, self.offsets)

    @cached_property
    def _blocks(self) -> tuple[IntArray, IntArray]:
        """First value of every block, in the source and in the copy."""
        shifts = np.minimum(
            self._block * _counting(self._n_blocks), (self.counts - self._block)[:, None]
        )
        return (
            (self.starts[:, None] + shifts).reshape(-1),
            (self.offsets[:-1, None] + shifts).reshape(-1),
        )

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copy the rows out of a flat array.

        Args:
            values: Shape (n_values, ...).

        Returns:
            New array, shape (sum counts, ...).

        Raises:
            IndexError: A row is outside.
        """
        n, total = len(self.starts), self._total
        width = values.dtype.itemsize * prod(values.shape[1:])
        if n and (width * total >= _LONG_PIECE * n or self._is_one_piece):
            return self._take_slices(values)
        if self._block and values.flags.c_contiguous:
            return self._take_blocks(values, width)
        return values.take(self._index, axis=0)

    def _take_slices(self, values: NDArray[Any]) -> NDArray[Any]:
        out = np.empty((self._total, *values.shape[1:]), dtype=values.dtype)
        position = 0
        for start, stop in self._pieces:
            end = position + stop - start
            out[position:end] = values[start:stop]
            position = end
        return out

    def _take_blocks(self, values: NDArray[Any], width: int) -> NDArray[Any]:
        block = np.dtype((np.void, width * self._block))
        n_places = len(values) - self._block + 1
        # Overlapping blocks, one beginning at every value.
        source = np.ndarray((max(0, n_places),), block, values, strides=(width,))
        if self._n_blocks == 1:
            copied = source[self.starts]
            return np.ndarray((self._total, *values.shape[1:]), values.dtype, copied)
        begin, place = self._blocks
        out = np.empty((self._total, *values.shape[1:]), dtype=values.dtype)
        target = np.ndarray((self._total - self._block + 1,), block, out, strides=(width,))
        # Where blocks overlap they hold the same values, so their sequence does not matter.
        target[place] = source[begin]
        return out


class SingleRows(Rows):
    """Rows of one value each."""

    def __init__(self, rows: IntArray) -> None:
        """Say which.

        Args:
            rows: Shape (n,).
        """
        self.starts = rows

    @cached_property
    def counts(self) -> IntArray:  # type: ignore[override]
        """Ones, shape (n,)."""
        return np.ones_like(self.starts)

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copy the rows; see the base class."""
        return values.take(self.starts, axis=0)
