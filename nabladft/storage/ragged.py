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
_COUNTED: Final = 1 << 18


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
    def _index(self) -> IntArray:
        return _ranges(self.starts, self.counts, self.offsets)

    @cached_property
    def _shifts(self) -> IntArray:
        """Where each block begins within its row, shape (n, n_blocks)."""
        return np.minimum(
            self._block * _counting(self._n_blocks), (self.counts - self._block)[:, None]
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
        width = values.dtype.itemsize * prod(values.shape[1:])
        if self._is_one_piece:
            start = int(self.starts[0])
            if not 0 <= start <= start + self._total <= len(values):
                message = (
                    f"rows {start} to {start + self._total} of {len(values)} are out of bounds"
                )
                raise IndexError(message)
            return values[start : start + self._total].copy()
        in_blocks = self._block or width * self._total >= _LONG_PIECE * len(self.starts)
        if not in_blocks or not values.flags.c_contiguous:
            return values.take(self._index, axis=0)
        memory = values.reshape(-1).view(np.uint8)
        copied = self.take_bytes(memory, width * self.starts, width)
        return copied.view(values.dtype).reshape(-1, *values.shape[1:])

    def take_bytes(self, memory: NDArray[np.uint8], begin: IntArray, width: int) -> NDArray[Any]:
        """Copy the rows out of memory, wherever each of them is.

        Args:
            memory: Bytes.
            begin: First byte of each row, shape (n,); :attr:`starts` is not used.
            width: Bytes of one value.

        Returns:
            New array of bytes, shape (width * sum counts,).

        Raises:
            IndexError: A row is outside.
        """
        size = width * self._total
        if size >= _LONG_PIECE * len(begin):
            return self._take_pieces(memory, begin, width)
        if self._n_blocks == 1:
            copied = _overlapping(memory, width * self._block, 1)[begin]
            return np.ndarray((size,), np.uint8, copied)
        out = np.empty(size, dtype=np.uint8)
        if self._block:
            block = width * self._block
            source = (begin[:, None] + width * self._shifts).reshape(-1)
            target = (self.offsets[:-1, None] + self._shifts).reshape(-1)
            # Where blocks overlap they hold the same values, so their sequence does not matter.
            _overlapping(out, block, width)[target] = _overlapping(memory, block, 1)[source]
        elif size:
            first = np.repeat(begin - width * self.offsets[:-1], self.counts)
            _overlapping(out, width, width)[:] = _overlapping(memory, width, 1)[
                first + width * _counting(self._total)
            ]
        return out

    def _take_pieces(
        self, memory: NDArray[np.uint8], begin: IntArray, width: int
    ) -> NDArray[np.uint8]:
        out = np.empty(width * self._total, dtype=np.uint8)
        pieces, lengths = runs(begin, width * self.counts)
        position = 0
        for start, length in zip(pieces.tolist(), lengths.tolist(), strict=True):
            if not 0 <= start <= start + length <= len(memory):
                message = f"bytes {start} to {start + length} of {len(memory)} are out of bounds"
                raise IndexError(message)
            out[position : position + length] = memory[start : start + length]
            position += length
        return out


def _overlapping(memory: NDArray[np.uint8], size: int, step: int) -> NDArray[np.void]:
    """See memory as blocks of ``size`` bytes, one beginning every ``step`` bytes."""
    n_places = max(0, (len(memory) - size) // step + 1)
    return np.ndarray((n_places,), np.dtype((np.void, size)), memory, strides=(step,))


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

    @cached_property
    def offsets(self) -> IntArray:  # type: ignore[override]
        """0, 1, ..., n."""
        return np.arange(len(self.starts) + 1)

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copy the rows; see the base class."""
        return values.take(self.starts, axis=0)

    def take_bytes(self, memory: NDArray[np.uint8], begin: IntArray, width: int) -> NDArray[Any]:
        """Copy the rows; see the base class."""
        return np.ndarray((width * len(begin),), np.uint8, _overlapping(memory, width, 1)[begin])
