"""The SQLite index of a store: which molecules and conformations it holds, and where.

The index holds nothing that the shards do not say, so it can always be rebuilt. Reading records
does not need it; looking for molecules and refusing duplicates does.

Example:
    Molecules with a benzene ring and more than three conformations::

        SELECT smiles, count(*) FROM molecules JOIN conformations USING (molecule_id)
        WHERE scaffold = 'c1ccccc1' GROUP BY molecule_id HAVING count(*) > 3;
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import apsw
import numpy as np

from nabladft.chemistry.elements import formula
from nabladft.chemistry.scaffolds import inchikey_of, scaffold_of
from nabladft.errors import InputError, MissingExtraError, StoreError
from nabladft.storage.derived import derive, stored_fields_for
from nabladft.storage.locking import store_lock
from nabladft.storage.manifest import read_manifest
from nabladft.storage.shards import Shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nabladft.storage.flat import FlatRecords
    from nabladft.storage.manifest import Manifest

INDEX_NAME: Final = "index.sqlite"

_SCHEMA: Final = """
CREATE TABLE shards (
    shard INTEGER PRIMARY KEY,           -- position in the manifest
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE TABLE molecules (
    molecule_id INTEGER PRIMARY KEY,
    smiles TEXT,
    inchikey TEXT,                       -- null without RDKit, and so is scaffold
    formula TEXT NOT NULL,
    scaffold TEXT                        -- Bemis-Murcko; empty for acyclic molecules
);
CREATE TABLE conformations (
    molecule_id INTEGER NOT NULL REFERENCES molecules,
    conformation_id INTEGER NOT NULL,
    n_atoms INTEGER NOT NULL,
    n_orbitals INTEGER,
    energy REAL,                         -- total, hartree
    geometry_origin TEXT,
    shard INTEGER NOT NULL REFERENCES shards,
    row INTEGER NOT NULL,                -- within the shard
    PRIMARY KEY (molecule_id, conformation_id)
) WITHOUT ROWID;
CREATE INDEX molecules_by_inchikey ON molecules (inchikey);
CREATE INDEX molecules_by_scaffold ON molecules (scaffold);
"""


class Index:
    """The index of a store, open for reading; nothing on disk changes."""

    def __init__(self, folder: Path) -> None:
        """Open.

        Raises:
            StoreError: There is no index, or it cannot be read.
        """
        self.path = folder / INDEX_NAME
        try:
            self.connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.Error as error:
            message = (
                f"{self.path} cannot be opened ({error}). Call rebuild_index({str(folder)!r})."
            )
            raise StoreError(message) from error

    def close(self) -> None:
        """Close."""
        self.connection.close()

    def holds(self, key: tuple[int, int]) -> bool:
        """Say whether a conformation is in the store."""
        query = "SELECT 1 FROM conformations WHERE molecule_id = ? AND conformation_id = ?"
        return self.connection.execute(query, key).fetchone() is not None

    def smiles_of(self, molecule_id: int) -> str | None:
        """Give the SMILES of a molecule; None when it is not in the store or has none."""
        query = "SELECT smiles FROM molecules WHERE molecule_id = ?"
        row = self.connection.execute(query, (molecule_id,)).fetchone()
        return None if row is None else row[0]

    def shards(self) -> list[tuple[str, str]]:
        """List file and sha256 of the shards that the index covers, in row order."""
        query = "SELECT file, sha256 FROM shards ORDER BY shard"
        return [(str(file), str(sha256)) for file, sha256 in self.connection.execute(query)]

    def keys(self) -> list[tuple[int, int]]:
        """List (molecule_id, conformation_id) in row order of the store."""
        query = "SELECT molecule_id, conformation_id FROM conformations ORDER BY shard, row"
        return [(int(m), int(c)) for m, c in self.connection.execute(query)]


def rebuild_index(folder: Path) -> None:
    """Make the index anew from the shards.

    Raises:
        StoreError: The folder is no store, or is being written.
        CorruptStoreError: A shard cannot be read.
        OSError: The disk is full or not writable.
    """
    with store_lock(folder):
        _remove(folder)
        update_index(folder, read_manifest(folder))


def update_index(folder: Path, manifest: Manifest) -> None:
    """Bring the index up to the manifest; the caller holds the store's lock.

    Shards that the index does not know yet are added. An index that is damaged, or knows shards
    that are not in the manifest, is made anew.

    Raises:
        StoreError: The index cannot be written; the store itself is untouched.
        CorruptStoreError: A shard cannot be read.
    """
    known = _known_shards(folder)
    listed = [(shard.file, shard.sha256) for shard in manifest.shards]
    if known is None or known != listed[: len(known)]:
        _remove(folder)
        known = None
    if known is not None and len(known) == len(listed):
        return
    try:
        with _writing(folder) as connection:
            if known is None:
                connection.execute(_SCHEMA)
            for position in range(len(known or ()), len(listed)):
                _add_shard(connection, folder, manifest, position)
    except apsw.Error as error:
        _remove(folder)
        message = (
            f"{folder / INDEX_NAME} cannot be written ({error}). The records are safe; free some "
            f"space, then call rebuild_index({str(folder)!r})."
        )
        raise StoreError(message) from error


def _known_shards(folder: Path) -> list[tuple[str, str]] | None:
    """List the shards in the index, or None when there is no index that can be used."""
    if not (folder / INDEX_NAME).is_file():
        return None
    try:
        index = Index(folder)
        try:
            return index.shards()
        finally:
            index.close()
    except (StoreError, apsw.Error):
        return None


def _remove(folder: Path) -> None:
    for name in (INDEX_NAME, f"{INDEX_NAME}-journal"):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(folder / INDEX_NAME))
    try:
        # A lost index is made anew, so nothing here waits for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


def _add_shard(
    connection: apsw.Connection, folder: Path, manifest: Manifest, position: int
) -> None:
    entry = manifest.shards[position]
    shard = Shard(folder, entry, manifest)
    rows = np.arange(entry.rows)
    has_energy = "energy" in (*manifest.stored_names, *manifest.derived_names)
    wanted = ("energy",) if has_energy else ()
    flat = shard.read(rows, stored_fields_for(wanted, manifest.derived_names))
    energies = derive(flat, wanted)["energy"].tolist() if has_energy else [None] * entry.rows
    texts = shard.read_texts(rows)
    connection.execute("INSERT INTO shards VALUES (?, ?, ?)", (position, entry.file, entry.sha256))
    connection.executemany(
        "INSERT INTO molecules VALUES (?, ?, ?, ?, ?)",
        _new_molecules(connection, flat, texts.smiles),
    )
    connection.executemany(
        "INSERT INTO conformations VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        zip(
            flat.molecule_id.tolist(),
            flat.conformation_id.tolist(),
            np.diff(flat.atom_offsets).tolist(),
            [n or None for n in shard.orbital_counts.tolist()],
            energies,
            texts.geometry_origin,
            [position] * entry.rows,
            range(entry.rows),
            strict=True,
        ),
    )


def _new_molecules(
    connection: apsw.Connection, flat: FlatRecords, smiles: Sequence[str | None]
) -> list[tuple[int, str | None, str | None, str, str | None]]:
    found = []
    seen: set[int] = set()
    for k, molecule_id in enumerate(flat.molecule_id.tolist()):
        query = "SELECT 1 FROM molecules WHERE molecule_id = ?"
        if molecule_id in seen or connection.execute(query, (molecule_id,)).fetchone():
            continue
        seen.add(molecule_id)
        atoms = flat.atomic_numbers[flat.atom_offsets[k] : flat.atom_offsets[k + 1]]
        inchikey, scaffold = _identity(smiles[k])
        found.append((molecule_id, smiles[k], inchikey, formula(atoms), scaffold))
    return found


def _identity(smiles: str | None) -> tuple[str | None, str | None]:
    """InChIKey and scaffold, or nulls: without RDKit the index still does its main work."""
    if smiles is None:
        return None, None
    try:
        return inchikey_of(smiles), scaffold_of(smiles)
    except (MissingExtraError, InputError):
        return None, None
