"""Reading rows of a source when some of them may be bad.

Readers refuse a batch as soon as one row of it is bad. Here the batch is halved until the bad rows
stand alone, so that each has its own reason and the others are read all the same.

Example:
    >>> from nabladft.storage.opening import open_source
    >>> flat, texts, bad = read_rows(open_source("nano"), np.arange(3), ("energy",))
    >>> len(flat), len(texts.smiles), bad
    (3, 3, [])
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.chemistry.elements import SYMBOLS
from nabladft.errors import (
    MissingExtraError,
    NablaDFTError,
    StoreError,
    TransportError,
    UnknownNameError,
)
from nabladft.fields import FIELDS
from nabladft.storage.flat import FlatRecords, Texts
from nabladft.storage.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Errors that are about the whole source, not about one row.
_WHOLE_SOURCE = (StoreError, TransportError, MissingExtraError, UnknownNameError)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be converted, and why.

    Attributes:
        row: In the source, from 0.
        molecule_id: Of the row, or None when unknown.
        conformation_id: Of the row, or None when unknown.
        reason: One sentence.
    """

    row: int
    molecule_id: int | None
    conformation_id: int | None
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"row {self.row} ({self.molecule_id}/{self.conformation_id}): {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> BadRow:
        """Undo :meth:`to_dict`."""
        return cls(**document)


def read_rows(
    source: ConformationSource, rows: IntArray, fields: Sequence[str]
) -> tuple[FlatRecords, Texts, list[BadRow]]:
    """Read those of some rows that can be read.

    Args:
        source: Where they are.
        rows: From 0, shape (n,).
        fields: Labels to read.

    Returns:
        The good records in the order of ``rows``, their words, and the bad rows.

    Raises:
        StoreError: The source is a store and is damaged.
        OSError: The source cannot be read.
    """
    flats: list[FlatRecords] = []
    smiles: list[str | None] = []
    origins: list[str | None] = []
    bad: list[BadRow] = []
    for piece in _readable(source, rows, fields, bad):
        flat, texts = piece
        flats.append(flat)
        smiles += texts.smiles
        origins += texts.geometry_origin
    return concatenate(flats, fields), Texts(smiles=smiles, geometry_origin=origins), bad


def _readable(
    source: ConformationSource, rows: IntArray, fields: Sequence[str], bad: list[BadRow]
) -> Iterator[tuple[FlatRecords, Texts]]:
    if len(rows) == 0:
        return
    try:
        flat = source.read_flat(rows, fields=fields)
        reasons = find_bad(flat)
        if not reasons:
            yield flat, source.read_texts(rows)
            return
    except _WHOLE_SOURCE:
        raise
    except NablaDFTError as error:
        if len(rows) == 1:
            bad.append(_bad_row(source, int(rows[0]), str(error)))
            return
        middle = len(rows) // 2
        yield from _readable(source, rows[:middle], fields, bad)
        yield from _readable(source, rows[middle:], fields, bad)
        return
    bad += [_bad_row(source, int(rows[k]), reason) for k, reason in reasons.items()]
    good = np.setdiff1d(np.arange(len(rows)), list(reasons))
    yield from _readable(source, rows[good], fields, bad)


def find_bad(flat: FlatRecords) -> dict[int, str]:
    """Find records that make no sense, by position, with the reason.

    These are records without atoms, of unknown elements, or with values that are not finite.
    """
    reasons: dict[int, str] = {}
    for k in np.flatnonzero(np.diff(flat.atom_offsets) == 0).tolist():
        reasons[k] = "It has no atoms."
    numbers = flat.atomic_numbers
    for atom in np.flatnonzero((numbers < 1) | (numbers >= len(SYMBOLS))).tolist():
        k = _record_of(flat.atom_offsets, atom)
        reasons.setdefault(k, f"It has an atom of atomic number {int(numbers[atom])}.")
    for name, values in {"positions": flat.positions, **flat.values}.items():
        finite = np.isfinite(values)
        if finite.all():
            continue
        offsets = flat.atom_offsets if name == "positions" else flat.value_offsets(name)
        for place in np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1)).tolist():
            k = _record_of(offsets, place)
            reasons.setdefault(k, f"It has a value in {name} that is not finite.")
    return reasons


def concatenate(flats: Sequence[FlatRecords], fields: Sequence[str]) -> FlatRecords:
    """Join several batches of records, with the labels ``fields``, into one."""
    if len(flats) == 1:
        return flats[0]

    def join(name: str, empty: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([getattr(flat, name) for flat in flats] or [empty])

    ids = np.zeros(0, dtype=np.int64)
    counts = [np.diff(flat.atom_offsets) for flat in flats]
    return FlatRecords(
        molecule_id=join("molecule_id", ids),
        conformation_id=join("conformation_id", ids),
        atom_offsets=offsets_of(np.concatenate(counts or [ids])),
        atomic_numbers=join("atomic_numbers", ids.astype(np.int32)),
        positions=join("positions", np.zeros((0, 3))),
        orbital_counts=join("orbital_counts", ids),
        values={
            name: np.concatenate([flat.values[name] for flat in flats] or [_no_values(name)])
            for name in fields
        },
    )


def _no_values(name: str) -> NDArray[Any]:
    field = FIELDS[name]
    tail = () if field.symmetric else tuple(a for a in field.shape if isinstance(a, int))
    return np.zeros((0, *tail), dtype=field.dtype)


def _record_of(offsets: IntArray, place: int) -> int:
    return int(np.searchsorted(offsets, place, side="right")) - 1


def _bad_row(source: ConformationSource, row: int, reason: str) -> BadRow:
    try:
        molecule_id, conformation_id = (int(number) for number in source.keys[row])
    except NablaDFTError:
        return BadRow(row, None, None, reason)
    return BadRow(row, molecule_id, conformation_id, reason)
