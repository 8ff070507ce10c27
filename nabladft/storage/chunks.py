"""Random access to chunked HDF5 datasets at a speed that does not depend on HDF5's bookkeeping.

A call to HDF5 costs tens of microseconds whatever it reads. Here unpacked chunks stay in one buffer
per dataset, each chunk is asked for once, and rows are gathered from the buffer by NumPy; a data
set that fits into its buffers is unpacked once and then read like memory.
"""

from __future__ import annotations

import mmap
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from h5py import h5s

from nabladft.errors import CorruptStoreError, TransportError
from nabladft.storage.ragged import gather, ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Size of the buffer of one dataset, where nothing else is said.
BUFFER_BYTES: Final = 8 << 20


class ChunkedArray:
    """Rows of an HDF5 dataset of any layout, shape (n_values, ...), with a buffer of chunks."""

    def __init__(
        self,
        dataset: h5py.Dataset,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        announce: Callable[[list[tuple[int, int]]], None] | None = None,
    ) -> None:
        """Wrap a dataset; nothing is read yet.

        Args:
            dataset: At least one-dimensional, not chunked along its other axes.
            buffer_bytes: Size of the buffer.
            announce: Told which bytes (start, stop) of the file will be read next, where that is
                of use: HDF5 itself asks for one chunk after the other.
        """
        import hdf5plugin  # noqa: F401, PLC0415 - registers filters with HDF5 when imported

        self._name = f"{dataset.name} in {dataset.file.filename}"
        self._id = dataset.id
        self._announce = announce if dataset.chunks else None
        self._dtype: np.dtype[Any] = dataset.dtype
        self._length: int = len(dataset)
        self._tail: tuple[int, ...] = dataset.shape[1:]
        # A dataset that is not chunked counts as one chunk.
        self._size: int = dataset.chunks[0] if dataset.chunks else max(1, self._length)
        n_chunks = -(-self._length // self._size)
        chunk_bytes = self._size * int(np.prod(self._tail)) * self._dtype.itemsize
        self._n_slots = min(n_chunks, max(1, buffer_bytes // chunk_bytes))
        self._buffer: NDArray[Any] | None = None
        self._slot_of = np.full(n_chunks, -1, dtype=np.int64)
        self._chunk_in = np.full(self._n_slots, -1, dtype=np.int64)
        self._next_slot = 0

    @property
    def buffer_bytes(self) -> int:
        """Size of the buffer, 0 while nothing is in it."""
        return 0 if self._buffer is None else self._buffer.nbytes

    def release(self) -> None:
        """Give the buffer back; the next read makes a new one."""
        self._buffer = None
        self._slot_of.fill(-1)
        self._chunk_in.fill(-1)

    def read(self, starts: IntArray, counts: IntArray) -> NDArray[Any]:
        """Read rows, in the sequence asked for, duplicates included.

        Args:
            starts: First value of each row, shape (n,).
            counts: Number of values of each row, shape (n,).

        Returns:
            New array, shape (sum counts, ...).

        Raises:
            CorruptStoreError: The data cannot be unpacked.
        """
        filled = counts > 0
        starts, counts = starts[filled], counts[filled]
        first, last = starts // self._size, (starts + counts - 1) // self._size
        # A row is one piece of each chunk it touches.
        row = np.repeat(np.arange(len(starts)), last - first + 1)
        chunk = ranges(first, last - first + 1)
        begin = np.maximum(starts[row], chunk * self._size)
        end = np.minimum(starts[row] + counts[row], (chunk + 1) * self._size)
        buffer, slot_of = self._unpacked(np.unique(chunk))
        places = slot_of[chunk] * self._size + begin - chunk * self._size
        return gather(buffer, places, end - begin, dtype=self._dtype)

    def _unpacked(self, needed: IntArray) -> tuple[NDArray[Any], IntArray]:
        """Give a buffer that holds the chunks needed, and the slot of each chunk."""
        if len(needed) > self._n_slots:
            slots = np.arange(len(needed))
            slot_of = np.full(len(self._slot_of), -1, dtype=np.int64)
            slot_of[needed] = slots
            buffer = self._new_buffer(len(needed))
            self._load(buffer, needed, slots)
            return buffer, slot_of
        if self._buffer is None:
            # Not from the heap, which buffers that stay would keep from shrinking.
            shape = (self._n_slots * self._size, *self._tail)
            n_bytes = max(1, prod(shape) * self._dtype.itemsize)
            private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            memory = mmap.mmap(-1, n_bytes, flags=private)
            self._buffer = np.ndarray(shape, self._dtype, memory)
        missing = needed[self._slot_of[needed] < 0]
        if len(missing):
            # The oldest go first, but none that is needed now.
            ring = (np.arange(self._n_slots) + self._next_slot) % self._n_slots
            slots = ring[~np.isin(self._chunk_in[ring], needed)][: len(missing)]
            self._slot_of[self._chunk_in[slots][self._chunk_in[slots] >= 0]] = -1
            self._chunk_in[slots] = -1
            self._load(self._buffer, missing, slots)
            self._chunk_in[slots] = missing
            self._slot_of[missing] = slots
            self._next_slot = int(slots[-1] + 1) % self._n_slots
        return self._buffer, self._slot_of

    def _new_buffer(self, n_slots: int) -> NDArray[Any]:
        return np.empty((n_slots * self._size, *self._tail), dtype=self._dtype)

    def _load(self, buffer: NDArray[Any], chunks: IntArray, slots: IntArray) -> None:
        """Unpack chunks into slots; neighbours that stay neighbours in one call."""
        breaks = np.flatnonzero((np.diff(chunks) != 1) | (np.diff(slots) != 1)) + 1
        bounds = np.concatenate([[0], breaks, [len(chunks)]]).tolist() if len(chunks) else [0]
        space = self._id.get_space()
        zeros = (0,) * len(self._tail)
        if self._announce is not None:
            found = [
                self._id.get_chunk_info_by_coord((k * self._size, *zeros)) for k in chunks.tolist()
            ]
            self._announce([(c.byte_offset, c.byte_offset + c.size) for c in found])
        try:
            for low, high in pairwise(bounds):
                start = int(chunks[low]) * self._size
                length = min((int(chunks[high - 1]) + 1) * self._size, self._length) - start
                place = int(slots[low]) * self._size
                space.select_hyperslab((start, *zeros), (length, *self._tail))
                memory = h5s.create_simple((length, *self._tail))
                self._id.read(memory, space, buffer[place : place + length])
        except TransportError:
            raise  # of a file elsewhere, about which it says all
        except (OSError, ValueError) as error:
            message = f"{self._name} cannot be read ({error}). Restore the file from a copy."
            raise CorruptStoreError(message) from error
