"""InChIKey and scaffold of every molecule of every data file, in a table, for data of any size.

Finding the InChIKey and the scaffold of a molecule takes about a millisecond, so two million of
them take half an hour of one core: the table is filled in pieces, by several processes if wanted,
and goes on where it was stopped. Memory stays the same whatever the number of molecules.

Example:
    >>> with IdentityTable("identities.sqlite") as table:
    ...     table.add(open_source("train_full.db"), workers=8)  # doctest: +SKIP
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import apsw
import numpy as np

from nabladft.chemistry.scaffolds import inchikey_of, scaffold_of
from nabladft.errors import InputError, MissingFieldError, SplitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nabladft.storage.source import ConformationSource

#: Rows read and molecules identified between two commits.
_STEP: Final = 8192

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS origins (
    origin TEXT PRIMARY KEY,            -- name of the data
    rows INTEGER NOT NULL,              -- conformations
    done INTEGER NOT NULL               -- of which this many were looked at
);
CREATE TABLE IF NOT EXISTS scaffolds (scaffold INTEGER PRIMARY KEY, smiles TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS molecules (
    origin TEXT NOT NULL REFERENCES origins,
    molecule_id INTEGER NOT NULL,
    inchikey TEXT NOT NULL,
    scaffold INTEGER NOT NULL REFERENCES scaffolds,
    PRIMARY KEY (molecule_id, origin)
) WITHOUT ROWID;
"""


class IdentityTable:
    """Molecules of data files, with InChIKey and scaffold, in an SQLite file."""

    def __init__(self, path: str | Path) -> None:
        """Open, or make if there is none.

        Raises:
            SplitError: The file is something else, or cannot be written.
        """
        try:
            self.connection = apsw.Connection(str(path))
            self.connection.set_busy_timeout(10_000)
            self.connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
            self.connection.execute(_SCHEMA)
        except apsw.Error as error:
            message = f"{path} cannot be used as a table of identities ({error})."
            raise SplitError(message) from error

    def __enter__(self) -> Self:
        """Give the table."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.connection.close()

    def add(
        self,
        source: ConformationSource,
        *,
        workers: int = 1,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Identify every molecule of some data; go on where an earlier call was stopped.

        Args:
            source: Data with SMILES, in any order.
            workers: Processes for the chemistry.
            progress: Called with the number of rows of each piece.

        Raises:
            SplitError: Data of this name were begun before and have another number of rows.
            MissingFieldError: A record comes without SMILES.
            InputError: A SMILES cannot be read; the message names the molecule.
            MissingExtraError: RDKit is not installed.
        """
        done = self._begin(source)
        if progress and done:
            progress(done)
        with ExitStack() as stack:
            run: Callable[..., Iterable[tuple[str, str]]] = map
            if workers > 1:
                pool = stack.enter_context(ProcessPoolExecutor(workers))
                run = partial(pool.map, chunksize=64)
            for start in range(done, len(source), _STEP):
                stop = min(start + _STEP, len(source))
                smiles = self._new_smiles(source, start, stop)
                self._commit(source.info.name, smiles, run(_identity, smiles.items()), stop)
                if progress:
                    progress(stop - start)

    def require_complete(self) -> None:
        """Refuse a table that is still being filled.

        Raises:
            SplitError: Some data are not complete.
        """
        query = "SELECT origin, rows, done FROM origins WHERE done < rows"
        for origin, rows, done in self.connection.execute(query):
            message = f"{origin!r} is not complete: {done} of {rows} rows were looked at."
            raise SplitError(message)

    def inchikeys(self) -> dict[int, str]:
        """Give the InChIKey of every molecule, by molecule_id."""
        query = "SELECT molecule_id, inchikey FROM molecules"
        return {int(m): str(key) for m, key in self.connection.execute(query)}

    def scaffolds(self) -> dict[int, int]:
        """Give a number of the scaffold of every molecule, by molecule_id."""
        query = "SELECT molecule_id, scaffold FROM molecules"
        return {int(m): int(number) for m, number in self.connection.execute(query)}

    def _begin(self, source: ConformationSource) -> int:
        origin, rows = source.info.name, len(source)
        query = "SELECT rows, done FROM origins WHERE origin = ?"
        known = self.connection.execute(query, (origin,)).fetchone()
        if known is None:
            self.connection.execute("INSERT INTO origins VALUES (?, ?, 0)", (origin, rows))
            return 0
        if known[0] != rows:
            message = (
                f"The table was begun with another {origin!r}: {known[0]} rows, not {rows}. Choose "
                "another file for the table."
            )
            raise SplitError(message)
        return int(known[1])

    def _new_smiles(self, source: ConformationSource, start: int, stop: int) -> dict[int, str]:
        """Read the SMILES of those molecules of some rows that are not in the table yet."""
        molecule_ids, first = np.unique(source.keys[start:stop, 0], return_index=True)
        query = "SELECT 1 FROM molecules WHERE molecule_id = ? AND origin = ?"
        new = [
            k
            for k, molecule_id in enumerate(molecule_ids.tolist())
            if not self.connection.execute(query, (molecule_id, source.info.name)).fetchone()
        ]
        texts = source.read_texts(start + first[new]).smiles
        found = {}
        for molecule_id, smiles in zip(molecule_ids[new].tolist(), texts, strict=True):
            if smiles is None:
                message = (
                    f"Molecule {molecule_id} of {source.info.name!r} has no SMILES, so nothing can "
                    "be proved of it. Hamiltonian files have none: give the energy file of the "
                    "same part."
                )
                raise MissingFieldError(message)
            found[molecule_id] = smiles
        return found

    def _commit(
        self,
        origin: str,
        smiles: dict[int, str],
        identities: Iterable[tuple[str, str]],
        done: int,
    ) -> None:
        rows = [(m, *identity) for m, identity in zip(smiles, identities, strict=True)]
        with self.connection:
            self.connection.executemany(
                "INSERT OR IGNORE INTO scaffolds (smiles) VALUES (?)",
                [(scaffold,) for scaffold in sorted({scaffold for _, _, scaffold in rows})],
            )
            self.connection.executemany(
                "INSERT INTO molecules SELECT ?, ?, ?, scaffold FROM scaffolds WHERE smiles = ?",
                [(origin, m, inchikey, scaffold) for m, inchikey, scaffold in rows],
            )
            self.connection.execute("UPDATE origins SET done = ? WHERE origin = ?", (done, origin))


def _identity(item: tuple[int, str]) -> tuple[str, str]:
    molecule_id, smiles = item
    try:
        return inchikey_of(smiles), scaffold_of(smiles)
    except InputError as error:
        message = f"Molecule {molecule_id}: {error}"
        raise InputError(message) from error
