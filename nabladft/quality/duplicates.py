"""Records with the same geometry, found on disk: memory does not grow with the data.

Each record leaves its composition and its nuclear repulsion in one of several files. Records with
the same geometry share both, so they meet in the same file, next to each other when it is sorted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

_FILES: Final = 16
_ENTRY: Final = np.dtype([("composition", "<u8"), ("repulsion", "<f8"), ("row", "<i8")])

#: Largest relative difference of the repulsion of two geometries that are called the same.
_TOLERANCE: Final = 1e-6

#: A random number for each element, so that a sum of them stands for a composition.
_CODES: Final = np.random.default_rng(0x6E61626C61).integers(1, 2**63, size=256, dtype=np.uint64)


class DuplicateFinder:
    """Collects records, then names pairs that may have the same geometry."""

    def __init__(self) -> None:
        """Make a temporary folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="nabladft-duplicates-")
        self._paths = [Path(self._folder.name) / str(k) for k in range(_FILES)]

    def __enter__(self) -> Self:
        """Give the finder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def add(self, flat: FlatRecords, repulsion: FloatArray, rows: IntArray) -> None:
        """Take some records.

        Args:
            flat: The records.
            repulsion: Of their nuclei, shape (n,).
            rows: Their rows, shape (n,).
        """
        entries = np.empty(len(flat), dtype=_ENTRY)
        codes = _CODES[flat.atomic_numbers]
        entries["composition"] = np.add.reduceat(codes, flat.atom_offsets[:-1])
        entries["repulsion"] = repulsion
        entries["row"] = rows
        which = entries["composition"] % _FILES
        for k in np.unique(which).tolist():
            with self._paths[k].open("ab") as file:
                file.write(entries[which == k].tobytes())

    def candidates(self) -> Iterator[tuple[int, int]]:
        """Name pairs of rows whose composition and repulsion agree, the lower row first."""
        for path in self._paths:
            if not path.exists():
                continue
            entries = np.fromfile(path, dtype=_ENTRY)
            entries = entries[np.lexsort((entries["repulsion"], entries["composition"]))]
            close = np.abs(np.diff(entries["repulsion"])) <= _TOLERANCE * entries["repulsion"][1:]
            same = close & (entries["composition"][1:] == entries["composition"][:-1])
            for k in np.flatnonzero(same).tolist():
                pair = sorted((int(entries["row"][k]), int(entries["row"][k + 1])))
                yield pair[0], pair[1]
