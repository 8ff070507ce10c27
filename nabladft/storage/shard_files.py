"""Where the bytes of a shard are: the only place that opens them.

A shard on this machine is mapped into memory, so that reading rows is copying them. A shard
elsewhere is another :class:`ShardFile`, which needs to say only how bytes are read and how HDF5
opens them.

Example:
    >>> file = LocalShardFile(Path("store/shard-00000.h5"), n_bytes=4096)  # doctest: +SKIP
    >>> file.read(1, 4)  # doctest: +SKIP
    b'HDF'
"""

from __future__ import annotations

import hashlib
import mmap
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final, NoReturn

import h5py
import numpy as np

from nabladft.errors import CorruptStoreError
from nabladft.storage.ragged import runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Bytes hashed at once.
_STEP: Final = 1 << 24


@dataclass(frozen=True)
class ArrayLayout:
    """Where a contiguous array is in a file.

    Attributes:
        offset: First byte.
        shape: Shape, (n_values, ...).
        dtype: Type of one value.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def n_bytes(self) -> int:
        """Size of the array."""
        return prod(self.shape) * self.dtype.itemsize


class ShardFile(ABC):
    """The bytes of one shard file, open for reading.

    Attributes:
        name: Path or address, for messages.
        n_bytes: Size that the manifest gives it.
        announce: Told which bytes (start, stop) HDF5 will be made to read, where that is of use.
    """

    def __init__(self, name: str, n_bytes: int) -> None:
        """Remember what is to be read; a subclass opens it."""
        self.name = name
        self.n_bytes = n_bytes
        self.announce: Callable[[list[tuple[int, int]]], None] | None = None

    @abstractmethod
    def read(self, start: int, stop: int) -> bytes:
        """Read the bytes from ``start`` up to ``stop``, exactly."""

    @abstractmethod
    def open_hdf5(self) -> h5py.File:
        """Open the file with HDF5; the caller closes it.

        Raises:
            CorruptStoreError: It is no HDF5 file.
        """

    def view(self, layout: ArrayLayout) -> NDArray[Any] | None:  # noqa: ARG002 - see below
        """Give an array without reading it, or None where bytes must be asked for."""
        return None

    def read_rows(self, layout: ArrayLayout, starts: IntArray, counts: IntArray) -> NDArray[Any]:
        """Read rows of a contiguous array, in the sequence asked for, duplicates included.

        Args:
            layout: Where the array is.
            starts: First value of each row, shape (n,).
            counts: Number of values of each row, shape (n,).

        Returns:
            New array, shape (sum counts, ...).
        """
        width = layout.dtype.itemsize * prod(layout.shape[1:])
        pieces, lengths = runs(starts, counts)
        content = b"".join(
            self.read(layout.offset + width * start, layout.offset + width * (start + length))
            for start, length in zip(pieces.tolist(), lengths.tolist(), strict=True)
            if length
        )
        return np.frombuffer(bytearray(content), dtype=layout.dtype).reshape(-1, *layout.shape[1:])

    def sha256(self) -> str:
        """Hash the whole file, hexadecimal."""
        digest = hashlib.sha256()
        for start in range(0, self.n_bytes, _STEP):
            digest.update(self.read(start, min(start + _STEP, self.n_bytes)))
        return digest.hexdigest()

    def close(self) -> None:  # noqa: B027 - nothing to do unless a subclass holds something open
        """Let go of what is open; arrays given out stay valid."""

    def refuse(self, reason: str) -> NoReturn:
        """Say what is wrong with this file.

        Raises:
            CorruptStoreError: Always.
        """
        message = (
            f"The shard {self.name} {reason}. Restore it from a copy; if this was a download, "
            "download it again."
        )
        raise CorruptStoreError(message)


class LocalShardFile(ShardFile):
    """A shard on this machine, mapped into memory."""

    def __init__(self, path: Path, n_bytes: int) -> None:
        """Map the file.

        Raises:
            CorruptStoreError: The file is missing or has another size than the manifest says.
        """
        super().__init__(str(path), n_bytes)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if size != n_bytes:
                    # Reading a memory map beyond the end of its file would end the process.
                    self.refuse(f"has {size} bytes, the manifest says {n_bytes}")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            self.refuse("is missing")
        except ValueError:
            self.refuse("is empty")

    def read(self, start: int, stop: int) -> bytes:
        """Copy bytes out of the map."""
        return self._map[start:stop]

    def open_hdf5(self) -> h5py.File:
        """Open the file with HDF5; see the base class."""
        try:
            return h5py.File(self.name, "r", rdcc_nbytes=0)
        except OSError as error:
            self.refuse(f"is not an HDF5 file ({error})")

    def view(self, layout: ArrayLayout) -> NDArray[Any]:
        """Give an array of the map."""
        if layout.offset + layout.n_bytes > self.n_bytes:
            self.refuse(f"ends before byte {layout.offset + layout.n_bytes}")
        return np.ndarray(layout.shape, layout.dtype, buffer=self._map, offset=layout.offset)
