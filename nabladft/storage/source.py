"""The one interface through which conformations are read, whatever the file.

The sharded store and every reader of a foreign format are a :class:`ConformationSource`; what sits
above (splits, datasets, evaluation, command line) knows only this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from nabladft.errors import InputError, MissingFieldError, UnknownNameError
from nabladft.fields import LABEL_FIELDS
from nabladft.storage.flat import FlatRecords, Texts, flatten
from nabladft.storage.keys import rows_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation

    IntArray = NDArray[np.int64]

__all__ = ["ConformationSource", "FlatRecords", "SourceInfo", "Texts"]


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What a source says of itself.

    Attributes:
        name: Short name ("nano", or the file's stem).
        fields: Names of the labels that every record has.
        method: Functional and basis set ("wB97X-D/def2-SVP"), or None when the file does not say.
        basis_set: Name of the basis set of the matrices, or None.
        orbital_order: Order of the orbitals of the matrices, or None.
        details: Everything else worth telling (program, versions, grid, licence, known defects).
        location: The file or folder, or None when the data are not on disk.
    """

    name: str
    fields: tuple[str, ...]
    method: str | None = None
    basis_set: str | None = None
    orbital_order: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    location: Path | None = None


class ConformationSource(ABC, Sequence["Conformation"]):
    """A readable, ordered collection of conformations.

    Indices are 0-based rows. What is asked for is returned in that order, duplicates included.
    Handles open lazily, once per process, so a source can be pickled and used in workers.
    """

    @property
    @abstractmethod
    def info(self) -> SourceInfo:
        """What the source says of itself."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of conformations."""

    @abstractmethod
    def read(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> list[Conformation]:
        """Read records, in the order asked for, duplicates included.

        Args:
            indices: Rows, 0 to ``len(self) - 1``; negative ones count from the end.
            fields: Labels to read; None reads every label present.

        Raises:
            InputError: An index is out of range or not an integer.
            UnknownNameError: There is no such field.
            MissingFieldError: The source does not hold a field that was asked for.
        """

    def read_flat(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> FlatRecords:
        """Read records as flat arrays, in the order asked for, duplicates included.

        Args:
            indices: Rows, 0 to ``len(self) - 1``; negative ones count from the end.
            fields: Labels to read; None reads every label present.

        Raises:
            InputError: An index is out of range or not an integer.
            UnknownNameError: There is no such field.
            MissingFieldError: The source does not hold a field that was asked for.
        """
        names = self.check_fields(fields)
        return flatten(self.read(indices, fields=names), names)

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Read SMILES and origin of the geometry, in the order asked for, duplicates included.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        records = self.read(indices, fields=())
        return Texts(
            smiles=[record.smiles for record in records],
            geometry_origin=[record.geometry_origin for record in records],
        )

    @property
    @abstractmethod
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id) of all records, shape (n, 2), in row order."""

    @property
    @abstractmethod
    def n_atoms(self) -> IntArray:
        """Number of atoms of all records, shape (n,)."""

    @property
    @abstractmethod
    def data_hash(self) -> str:
        """SHA-256 (hex) that identifies the contents; the same data have the same hash."""

    @overload
    def __getitem__(self, index: int) -> Conformation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Conformation]: ...
    def __getitem__(self, index: int | slice) -> Conformation | list[Conformation]:
        """Read one record, or a slice of them."""
        if isinstance(index, slice):
            return self.read(range(len(self))[index])
        return self.read([index])[0]

    def __iter__(self) -> Iterator[Conformation]:
        """Read all records in order, a few at a time."""
        step = 256
        for start in range(0, len(self), step):
            yield from self.read(range(start, min(start + step, len(self))))

    def smiles(self) -> dict[int, str]:
        """SMILES of every molecule, by molecule_id.

        Raises:
            MissingFieldError: A record comes without SMILES.
        """
        found: dict[int, str] = {}
        for record in self.read(range(len(self)), fields=()):
            if record.smiles is None:
                message = (
                    f"Conformation {record.molecule_id}/{record.conformation_id} has no SMILES."
                )
                raise MissingFieldError(message)
            found[record.molecule_id] = record.smiles
        return found

    def rows_of(self, keys: Sequence[tuple[int, int]] | IntArray) -> IntArray:
        """Find the rows of (molecule_id, conformation_id) pairs, shape (n,).

        Raises:
            InputError: A pair is not in this source; the message counts them and names the first.
        """
        wanted = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
        rows = rows_of_keys(self._key_blocks(), wanted)
        absent = wanted[rows < 0]
        if len(absent):
            message = (
                f"{len(absent)} of {len(wanted)} conformations are not in {self.info.name!r}; the "
                f"first is molecule_id {absent[0, 0]}, conformation_id {absent[0, 1]}."
            )
            raise InputError(message)
        return rows

    def _key_blocks(self) -> Iterable[IntArray]:
        """Give all keys in row order, a part at a time where that saves memory."""
        return [self.keys]

    def check_rows(self, indices: Sequence[int] | IntArray) -> IntArray:
        """Turn indices into rows 0 to n - 1, or refuse.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        rows = np.asarray(indices)
        if rows.size == 0:
            return np.zeros(0, dtype=np.int64)
        n = len(self)
        # As unsigned numbers negative rows are huge, so one comparison passes almost every batch.
        if rows.ndim == 1 and rows.dtype == np.int64 and rows.view(np.uint64).max() < n:
            return rows
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            message = f"Rows must be a list of integers, got {rows.dtype} of shape {rows.shape}."
            raise InputError(message)
        bad = rows[(rows < -n) | (rows >= n)]
        if bad.size:
            message = (
                f"Row {int(bad[0])} is out of range: {self.info.name!r} has {n} conformations."
            )
            raise InputError(message)
        return np.where(rows < 0, rows + n, rows).astype(np.int64)

    def check_fields(self, fields: Sequence[str] | None) -> tuple[str, ...]:
        """Give the labels to read, or refuse those that are unknown or not held.

        Raises:
            UnknownNameError: There is no such field.
            MissingFieldError: The source does not hold it.
        """
        if fields is None:
            return self.info.fields
        for name in fields:
            if name not in LABEL_FIELDS:
                raise UnknownNameError("label", name, LABEL_FIELDS)
            if name not in self.info.fields:
                held = ", ".join(self.info.fields) or "none"
                message = f"{self.info.name!r} does not hold {name!r}. Labels it holds: {held}."
                raise MissingFieldError(message)
        return tuple(fields)
