"""The SQLite index of a store: which molecules and conformations it holds, and where.

The index holds nothing that the shards do not say (but tags, which are carried over), so it can
always be rebuilt. Reading records does not need it; looking for molecules and refusing duplicates
does. Questions in words are the business of :mod:`nabladft.queries`.

Example:
    Molecules with a benzene scaffold and more than three conformations::

        SELECT molecules.smiles, count(*)
        FROM scaffolds JOIN molecules USING (scaffold) JOIN conformations USING (molecule_id)
        WHERE scaffolds.smiles = 'c1ccccc1' GROUP BY molecule_id HAVING count(*) > 3;
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw
import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, basis_set_named
from nabladft.errors import InputError, StoreError
from nabladft.storage.derived import PUBLISHED_METHOD
from nabladft.storage.index_building import IndexBuilder, Level
from nabladft.storage.index_reading import Index
from nabladft.storage.index_rows import energy_of, rows_of_shard, rows_of_source
from nabladft.storage.index_schema import (
    INDEX_NAME,
    PAGE_BYTES,
    SMALL_PAGE_BYTES,
    create_tables,
)
from nabladft.storage.locking import store_lock
from nabladft.storage.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nabladft.storage.index_building import Progress
    from nabladft.storage.manifest import Manifest
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

__all__ = [
    "INDEX_NAME",
    "Index",
    "index_source",
    "rebuild_index",
    "tag_conformations",
    "update_index",
]

#: Up to this many rows, a build is so short that it need not be able to go on after a stop.
_SMALL: Final = 100_000

#: Kibibytes of pages that a build keeps in memory.
_CACHE_KIB: Final = 256 * 1024

_BUILDING: Final = f".{INDEX_NAME}.building"
_STAGING: Final = f".{INDEX_NAME}.staging"


def rebuild_index(
    folder: Path | str, *, processes: int = 1, progress: Progress | None = None
) -> None:
    """Make the index anew from the shards, in one atomic step; the old one serves until then.

    Memory does not grow with the store, and a build that was stopped goes on where it was.

    Args:
        folder: A store.
        processes: How many processes RDKit may use besides this one; 1 uses this one only.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        StoreError: The folder is no store, or is being written.
        CorruptStoreError: A shard cannot be read.
        OSError: The disk is full or not writable.
    """
    folder = Path(folder)
    with store_lock(folder):
        _rebuild(folder, read_manifest(folder), processes=processes, progress=progress)


def update_index(
    folder: Path,
    manifest: Manifest,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> None:
    """Bring the index up to the manifest; the caller holds the store's lock.

    Shards that the index does not know yet are added. An index that is damaged, of another version,
    or knows shards that are not in the manifest, is made anew.

    Args:
        folder: Of the store.
        manifest: Of the store.
        processes: How many processes RDKit may use besides this one; 1 uses this one only.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        StoreError: The index cannot be written; the store itself is untouched.
        CorruptStoreError: A shard cannot be read.
    """
    known = _known_shards(folder)
    listed = [(shard.file, shard.sha256) for shard in manifest.shards]
    new_rows = sum(shard.rows for shard in manifest.shards[len(known or ()) :])
    try:
        if known is None or known != listed[: len(known)] or new_rows > _SMALL:
            _rebuild(folder, manifest, processes=processes, progress=progress)
        elif len(known) < len(listed):
            _extend(folder, manifest, len(known), processes=processes)
    except apsw.Error as error:
        for name in (INDEX_NAME, f"{INDEX_NAME}-journal"):
            (folder / name).unlink(missing_ok=True)
        message = (
            f"{folder / INDEX_NAME} cannot be written ({error}). The records are safe; free some "
            f"space, then call rebuild_index({str(folder)!r})."
        )
        raise StoreError(message) from error


def tag_conformations(folder: Path | str, name: str, keys: IntArray) -> None:
    """Give a name to some conformations of a store, for queries (``tag = 'name'``).

    A tag of the same name is replaced. Tags stay when the store is appended to or its index is
    rebuilt; they are no part of the data and do not change its hash.

    Args:
        folder: A store.
        name: Of the tag.
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).

    Raises:
        InputError: A conformation is not in the store.
        StoreError: The index is missing or cannot be written.
    """
    folder = Path(folder)
    with store_lock(folder):
        with Index(folder) as index:
            absent = np.flatnonzero(index.rows_of(keys) < 0)
        if len(absent):
            first = tuple(np.asarray(keys)[absent[0]].tolist())
            message = (
                f"{len(absent)} of {len(keys)} conformations of tag {name!r} are not in {folder}; "
                f"the first is molecule_id {first[0]}, conformation_id {first[1]}."
            )
            raise InputError(message)
        with _changing(folder) as connection:
            connection.execute("INSERT OR IGNORE INTO tags (name) VALUES (?)", (name,))
            ((tag,),) = connection.execute("SELECT tag FROM tags WHERE name = ?", (name,))
            connection.execute("DELETE FROM tagged WHERE tag = ?", (tag,))
            connection.executemany(
                "INSERT OR IGNORE INTO tagged VALUES (?, ?, ?)",
                ((tag, m, c) for m, c in np.asarray(keys, dtype=np.int64).tolist()),
            )


def index_source(
    source: ConformationSource,
    path: Path,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> None:
    """Make an index of any source, in a file of its own, in one atomic step.

    Args:
        source: The data; all of it is read.
        path: File to make.
        processes: How many processes RDKit may use besides this one; 1 uses this one only.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        OSError: The disk is full or not writable.
    """
    info = source.info
    level = _level(info.basis_set, info.method, info.fields)
    building = path.with_name(f".{path.name}.{os.getpid()}.building")
    try:
        connection = apsw.Connection(str(building))
        try:
            connection.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")
            is_small = len(source) <= _SMALL
            create_tables(connection, page_bytes=SMALL_PAGE_BYTES if is_small else PAGE_BYTES)
            builder = IndexBuilder(connection, level, staging="")
            with connection:
                for rows in rows_of_source(source):
                    builder.add(rows)
                    _tell(progress, "rows", rows.first_row + len(rows), len(source))
            _complete(connection, builder, processes=processes, progress=progress)
        finally:
            connection.close()
        _move_into_place(building, path)
    finally:
        building.unlink(missing_ok=True)


def _rebuild(
    folder: Path, manifest: Manifest, *, processes: int, progress: Progress | None
) -> None:
    building, staging = folder / _BUILDING, folder / _STAGING
    total = manifest.n_conformations
    is_small = total <= _SMALL
    connection = _open_building(folder, manifest, is_small=is_small)
    try:
        # A small build is done again from the start; its file is forced to disk before it counts.
        connection.execute(f"PRAGMA synchronous = {'OFF' if is_small else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        level = _level_of(manifest)
        builder = IndexBuilder(connection, level, staging="" if is_small else str(staging))
        ((done,),) = connection.execute("SELECT count(*) FROM shards")
        for position in range(done, len(manifest.shards)):
            with connection:
                _add_shard(connection, builder, folder, manifest, position)
            _tell(progress, "rows", sum(s.rows for s in manifest.shards[: position + 1]), total)
        _complete(connection, builder, processes=processes, progress=progress)
        with connection:
            _carry_tags(connection, folder)
    finally:
        connection.close()
    _move_into_place(building, folder / INDEX_NAME)
    for name in (_STAGING, f"{_STAGING}-journal", f"{_BUILDING}-journal"):
        (folder / name).unlink(missing_ok=True)


def _open_building(folder: Path, manifest: Manifest, *, is_small: bool) -> apsw.Connection:
    """Open the file of a build that was stopped, if it is of this store; else a new one."""
    building, staging = folder / _BUILDING, folder / _STAGING
    if not is_small and building.exists() and staging.exists():
        try:
            with Index.of_file(building) as stopped:
                done = stopped.shards()
            if done == [(s.file, s.sha256) for s in manifest.shards[: len(done)]]:
                return apsw.Connection(str(building))
        except (StoreError, apsw.Error):
            pass
    for path in (building, staging):
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    connection = apsw.Connection(str(building))
    create_tables(connection, page_bytes=SMALL_PAGE_BYTES if is_small else PAGE_BYTES)
    return connection


def _extend(folder: Path, manifest: Manifest, known: int, *, processes: int) -> None:
    """Add shards to an index in one transaction."""
    with _changing(folder) as connection:
        builder = IndexBuilder(connection, _level_of(manifest), staging="")
        for position in range(known, len(manifest.shards)):
            _add_shard(connection, builder, folder, manifest, position)
        builder.sort_conformations()
        for _ in builder.identify_molecules(processes=processes):
            pass


@contextmanager
def _changing(folder: Path) -> Iterator[apsw.Connection]:
    """Open the index of a store for changes that all happen or, after an error, do not."""
    connection = apsw.Connection(str(folder / INDEX_NAME))
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def _add_shard(
    connection: apsw.Connection,
    builder: IndexBuilder,
    folder: Path,
    manifest: Manifest,
    position: int,
) -> None:
    entry = manifest.shards[position]
    first = sum(shard.rows for shard in manifest.shards[:position])
    connection.execute(
        "INSERT INTO shards VALUES (?, ?, ?, ?, ?)",
        (position, entry.file, entry.sha256, first, entry.rows),
    )
    for rows in rows_of_shard(folder, manifest, position):
        builder.add(rows)


def _complete(
    connection: apsw.Connection,
    builder: IndexBuilder,
    *,
    processes: int,
    progress: Progress | None,
) -> None:
    """Do what comes after the last row, one commit after the other."""
    total = builder.n_waiting()
    done = 0
    steps = builder.identify_molecules(processes=processes)
    while True:
        with connection:
            count = next(steps, None)
        if count is None:
            break
        done += count
        _tell(progress, "molecules", done, total)
    for number, step in enumerate((builder.sort_conformations, builder.finish)):
        _tell(progress, "sorting", number, 2)
        with connection:
            step()
    _tell(progress, "sorting", 2, 2)


def _carry_tags(connection: apsw.Connection, folder: Path) -> None:
    """Take the tags of the old index along; a damaged or older one has none."""
    try:
        with Index(folder) as old:
            tags = old.connection.execute("SELECT tag, name FROM tags").fetchall()
            connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", tags)
            connection.executemany(
                "INSERT OR IGNORE INTO tagged SELECT ?1, molecule_id, conformation_id"
                " FROM conformations WHERE molecule_id = ?2 AND conformation_id = ?3",
                old.connection.execute("SELECT tag, molecule_id, conformation_id FROM tagged"),
            )
    except (StoreError, apsw.Error):
        return


def _move_into_place(building: Path, path: Path) -> None:
    with building.open("rb+") as file:
        os.fsync(file.fileno())
    building.replace(path)


def _known_shards(folder: Path) -> list[tuple[str, str]] | None:
    """List the shards in the index, or None when there is no index that can be used."""
    if not (folder / INDEX_NAME).is_file():
        return None
    try:
        with Index(folder) as index:
            return index.shards()
    except (StoreError, apsw.Error):
        return None


def _level_of(manifest: Manifest) -> Level:
    return _level(
        manifest.basis_set, manifest.method, (*manifest.stored_names, *manifest.derived_names)
    )


def _level(basis_set: str | None, method: str | None, fields: Sequence[str]) -> Level:
    return Level(
        basis_set=DEF2_SVP if basis_set is None else basis_set_named(basis_set),
        has_isolated_atoms=(method or "").lower() == PUBLISHED_METHOD.lower(),
        energy=energy_of(fields),
    )


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)
