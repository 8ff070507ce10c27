r"""Some conformations of a file at a server, as a store on this machine.

Only these are fetched; the rest is the work of :func:`nabladft.conversion.converting.convert`, so
an interrupted run goes on where it was, and what it had fetched but not stored yet is in the cache.

Example:
    >>> wanted = Wanted.from_text("molecule_id,conformation_id\n12,0\n12,3\n", "list.csv")
    >>> wanted.pairs.tolist()
    [[12, 0], [12, 3]]
    >>> Wanted.from_text("12\n77\n", "list.txt").molecules.tolist()
    [12, 77]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from nabladft.conversion.converting import convert
from nabladft.conversion.sources import SourceReference
from nabladft.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.conversion.settings import ConversionReport, ConversionSettings, Watcher
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

_ID_NAMES: Final = {
    "molecule_id": ("molecule_id", "moses_id"),
    "conformation_id": ("conformation_id", "conformer_id"),
}


def _no_pairs() -> IntArray:
    return np.zeros((0, 2), dtype=np.int64)


def _none() -> IntArray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Wanted:
    """Which conformations are wanted.

    Attributes:
        pairs: (molecule_id, conformation_id), shape (n, 2).
        molecules: Ids of molecules of which all conformations are wanted, shape (m,).
    """

    pairs: IntArray = field(default_factory=_no_pairs)
    molecules: IntArray = field(default_factory=_none)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a list of ids; see :meth:`from_text`.

        Raises:
            InputError: It is no such list.
            OSError: The file cannot be read.
        """
        try:
            return cls.from_text(path.read_text(encoding="utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            message = f"{path} is not a text file. Expected are lines of ids."
            raise InputError(message) from error

    @classmethod
    def from_text(cls, text: str, where: str) -> Self:
        """Read lines of ``molecule_id, conformation_id``, or of ``molecule_id`` alone.

        Columns are separated by commas, semicolons or blanks. A first line of names says which
        columns hold the ids; without one, they are the first two. A conformation_id that is left
        empty means all conformations of the molecule. Empty lines and those that begin with # are
        skipped.

        Args:
            text: The lines.
            where: Name of the list, for messages.

        Raises:
            InputError: A line holds no ids, or there is none; the message names it.
        """
        pairs, molecules = [], []
        places: tuple[int, int | None] | None = None
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            values = _cut(line)
            if places is None:
                places = _places(values)
                if places is not None:
                    continue
                places = (0, 1)
            try:
                molecule_id = int(values[places[0]])
                second = (
                    values[places[1]] if places[1] is not None and len(values) > places[1] else ""
                )
                if second:
                    pairs.append((molecule_id, int(second)))
                else:
                    molecules.append(molecule_id)
            except (ValueError, IndexError):
                message = (
                    f"{where}, line {number}: {line.strip()[:60]!r} are no ids. Expected are a "
                    "molecule_id and a conformation_id, or a molecule_id alone."
                )
                raise InputError(message) from None
        if not pairs and not molecules:
            message = f"{where} lists no conformations."
            raise InputError(message)
        return cls(
            np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(molecules, dtype=np.int64)
        )

    def keys(self, source: ConformationSource) -> IntArray:
        """Give the pairs that are meant, each once, shape (n, 2).

        Raises:
            InputError: A molecule is not in the source.
        """
        if len(self.molecules) == 0:
            return np.unique(self.pairs, axis=0)
        every = source.keys
        absent = np.setdiff1d(self.molecules, every[:, 0])
        if len(absent):
            message = (
                f"{len(absent)} of {len(np.unique(self.molecules))} molecules asked for are not in "
                f"{source.info.name!r}; the first is molecule_id {absent[0]}."
            )
            raise InputError(message)
        theirs = every[np.isin(every[:, 0], self.molecules)]
        return np.unique(np.concatenate([self.pairs, theirs]), axis=0)


def _cut(line: str) -> list[str]:
    separator = next((mark for mark in (",", ";") if mark in line), None)
    return [value.strip().strip('"') for value in line.split(separator)]


def _places(names: list[str]) -> tuple[int, int | None] | None:
    """Find the columns of the ids in a line of names; None when it is none."""
    lowered = [name.lower() for name in names]
    found = [
        next((lowered.index(name) for name in known if name in lowered), None)
        for known in _ID_NAMES.values()
    ]
    return None if found[0] is None else (found[0], found[1])


def fetch_conformations(
    location: str | Path,
    target: Path,
    wanted: Wanted,
    settings: ConversionSettings,
    *,
    watcher: Watcher | None = None,
) -> ConversionReport:
    """Make a store of some conformations of a source; run it again to continue.

    Args:
        location: Address of a store or a published SQLite file; a path or name works as well.
        target: Folder of the store; new, or begun by the same call.
        wanted: Which conformations.
        settings: Fields, codec and so on of the store.
        watcher: Sees the progress.

    Raises:
        InputError: A conformation is not there, or the target holds something else.
        TransportError: The server cannot be reached, gives whole files only, or the file changed.
        NablaDFTError: As :func:`nabladft.conversion.converting.convert`.
    """
    reference = SourceReference.of(location)
    keys = wanted.keys(reference.open())
    return convert(reference, target, settings, keys=keys, watcher=watcher)
