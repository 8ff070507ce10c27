"""Making stores: create, append, consolidate. Whatever happens meanwhile, the store stays whole.

New shards are written under temporary names, forced to disk and renamed; then the manifest is
replaced in one atomic step. A crash before that step leaves the last committed state, a crash after
it the new one.

Example:
    >>> import tempfile, numpy as np
    >>> from nabladft.conformation import Conformation
    >>> folder = Path(tempfile.mkdtemp()) / "demo"
    >>> _ = create_store(
    ...     folder,
    ...     name="demo",
    ...     level_of_theory={"functional": "wB97X-D", "basis_set": "def2-SVP"},
    ...     fields=["energy"],
    ... )
    >>> append(
    ...     folder,
    ...     [
    ...         Conformation(
    ...             molecule_id=1,
    ...             conformation_id=0,
    ...             atomic_numbers=np.array([2]),
    ...             positions=np.zeros((1, 3)),
    ...             energy=-2.9,
    ...         )
    ...     ],
    ... )
    1
    >>> Store(folder)[0].energy
    -2.9
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from nabladft.chemistry.basis import basis_set_named
from nabladft.errors import CorruptStoreError, StoreError
from nabladft.fields import FIELDS
from nabladft.storage.codecs import DEFAULT_ERROR_BOUNDS
from nabladft.storage.flat import Texts, flatten
from nabladft.storage.index import Index, update_index
from nabladft.storage.locking import store_lock
from nabladft.storage.manifest import (
    MANIFEST_NAME,
    Manifest,
    StoredField,
    read_manifest,
    write_atomically,
    write_manifest,
)
from nabladft.storage.shards import build_shard
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from nabladft.conformation import Conformation
    from nabladft.storage.manifest import Codec, ShardEntry

#: A shard is closed when its records have this many bytes before compression.
SHARD_BYTES: Final = 128 * 1024 * 1024

_SHARD_NAME: Final = re.compile(r"shard-(\d+)\.h5")


def create_store(
    path: str | Path,
    *,
    name: str,
    level_of_theory: Mapping[str, Any],
    fields: Sequence[str],
    basis_set: str | None = None,
    orbital_order: str | None = None,
    codec: Codec = "plain",
    error_bounds: Mapping[str, float | None] | None = None,
    licence: str | None = None,
    details: Mapping[str, Any] | None = None,
    exist_ok: bool = False,
) -> Path:
    """Make an empty store.

    Args:
        path: Folder to make; an empty folder will do.
        name: Short name of the data set.
        level_of_theory: What decides the value of a label ("functional", "basis_set", "program",
            "program_version", "grid", ...), as JSON can hold it.
        fields: Labels that every record will have.
        basis_set: Basis set of the matrices.
        orbital_order: Order of the orbitals of the matrices.
        codec: "plain" for speed, "compact" for size.
        error_bounds: For the compact codec, largest error by field, in its unit; None means
            lossless. Defaults: :data:`nabladft.storage.codecs.DEFAULT_ERROR_BOUNDS`.
        licence: Terms of use.
        details: Anything else worth telling, as JSON can hold it.
        exist_ok: Leave a store that is there and says the same of itself as it is.

    Returns:
        The folder.

    Raises:
        StoreError: The folder is not empty, or holds a store of another kind, or the description
            contradicts itself.
        UnknownNameError: A field, codec or basis set does not exist.
    """
    folder = Path(path)
    manifest = describe_store(
        name=name,
        level_of_theory=level_of_theory,
        fields=fields,
        basis_set=basis_set,
        orbital_order=orbital_order,
        codec=codec,
        error_bounds=error_bounds,
        licence=licence,
        details=details,
    )
    if (folder / MANIFEST_NAME).exists():
        _check_same(folder, manifest, exist_ok=exist_ok)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        message = f"{folder} is not empty and not a store. Choose a new folder."
        raise StoreError(message)
    try:
        write_manifest(folder, manifest)
    except TypeError as error:
        message = f"level_of_theory and details must be JSON ({error})."
        raise StoreError(message) from error
    return folder


def describe_store(
    *,
    name: str,
    level_of_theory: Mapping[str, Any],
    fields: Sequence[str],
    basis_set: str | None = None,
    orbital_order: str | None = None,
    codec: Codec = "plain",
    error_bounds: Mapping[str, float | None] | None = None,
    licence: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Make the manifest of a store without records; nothing is written.

    Args:
        name: As for :func:`create_store`, and so are all others.
        level_of_theory: What decides the value of a label.
        fields: Labels that every record will have.
        basis_set: Basis set of the matrices.
        orbital_order: Order of the orbitals of the matrices.
        codec: "plain" or "compact".
        error_bounds: For the compact codec, largest error by field.
        licence: Terms of use.
        details: Anything else worth telling.

    Raises:
        StoreError: The description contradicts itself.
        UnknownNameError: A field, codec or basis set does not exist.
    """
    bounds: dict[str, float | None] = {}
    if codec == "compact":
        bounds = {**DEFAULT_ERROR_BOUNDS, **(error_bounds or {})}
    elif error_bounds:
        message = "error_bounds need codec='compact': the plain codec is exact."
        raise StoreError(message)
    return Manifest(
        name=name,
        level_of_theory=dict(level_of_theory),
        fields=tuple(StoredField(field, codec, bounds.get(field)) for field in fields),
        geometry=codec,
        basis_set=None if basis_set is None else basis_set_named(basis_set).name,
        orbital_order=orbital_order,
        licence=licence,
        details=dict(details or {}),
    )


def _check_same(folder: Path, manifest: Manifest, *, exist_ok: bool) -> None:
    if not exist_ok:
        message = f"{folder} already holds a store. Append to it, or choose another folder."
        raise StoreError(message)
    present = read_manifest(folder)
    for attribute in ("name", "level_of_theory", "fields", "basis_set", "orbital_order"):
        there, wanted = getattr(present, attribute), getattr(manifest, attribute)
        if there != wanted:
            message = (
                f"{folder} already holds a store with another {attribute}: {there!r} there, "
                f"{wanted!r} wanted. Choose another folder."
            )
            raise StoreError(message)


def append(
    path: str | Path,
    records: Iterable[Conformation],
    *,
    level_of_theory: Mapping[str, Any] | None = None,
) -> int:
    """Add records to a store, all of them or, after any failure, none.

    Args:
        path: A store.
        records: Conformations with at least the labels of the store; other labels are not stored.
        level_of_theory: Of these labels; when given it must be that of the store.

    Returns:
        Number of records added.

    Raises:
        StoreError: A record contradicts the store or is there already, the store is being written
            by another process, or a value does not fit its codec.
        OSError: The disk is full or not writable.
    """
    with StoreWriter(path, level_of_theory=level_of_theory) as writer:
        for record in records:
            writer.add(record)
        return writer.commit()


def consolidate(path: str | Path, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Rewrite a store of many small shards into few large ones, sorted by ids.

    Values do not change, so the data hash stays. Close readers first: the old shards are removed.

    Args:
        path: A store.
        shard_bytes: Close a shard when its records have this many bytes before compression.

    Raises:
        StoreError: No store, or being written by another process.
        CorruptStoreError: A shard is damaged; the store is as it was before.
        OSError: The disk is full or not writable; the store is as it was before.
    """
    with StoreWriter(path, shard_bytes=shard_bytes) as writer:
        writer.rewrite()


class StoreWriter:
    """The one process that may write to a store, as a context manager.

    Records are committed by :meth:`commit`, and by leaving the ``with`` block without an exception.
    What is not committed leaves no trace.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        level_of_theory: Mapping[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Prepare; the store is locked by ``with``.

        Args:
            path: A store.
            level_of_theory: Of the records to come; when given it must be that of the store.
            shard_bytes: Close a shard when its records have this many bytes before compression.
        """
        self.folder = Path(path)
        self._level_of_theory = level_of_theory
        self._shard_bytes = shard_bytes
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        """Lock the store, clean up after crashed writers, and bring the index up to date.

        Raises:
            StoreError: No store, another level of theory, or being written.
        """
        read_manifest(self.folder)
        with ExitStack() as resources:
            resources.enter_context(store_lock(self.folder))
            # Read again: the manifest may have changed before the lock was ours.
            self._manifest = read_manifest(self.folder)
            self._check_level_of_theory()
            self._remove_leftovers()
            self._open_index()
            self._resources = resources.pop_all()
        self._forget()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit unless there was an exception, and unlock."""
        with self._resources:
            try:
                if kind is None:
                    self.commit()
            finally:
                for shard in self._new_shards:
                    (self.folder / shard.file).unlink(missing_ok=True)
                self._forget()
                self._index.close()

    def add(self, record: Conformation) -> None:
        """Take one record; it is in the store after the next commit.

        Raises:
            StoreError: The record contradicts the store or is there already.
            OSError: The disk is full or not writable.
        """
        self._check(record)
        self._keys.add(record.key)
        self._smiles[record.molecule_id] = record.smiles
        self._take(record)

    def commit(self) -> int:
        """Make all records taken so far part of the store, in one atomic step.

        Returns:
            Number of records committed.

        Raises:
            StoreError: The index cannot be written (the records are committed nevertheless).
            OSError: The disk is full or not writable; the store is as it was before.
        """
        self._write_shard()
        if not self._new_shards:
            return 0
        added = sum(shard.rows for shard in self._new_shards)
        self._replace_manifest((*self._manifest.shards, *self._new_shards))
        return added

    def rewrite(self) -> None:
        """Replace all shards of the store by few large ones, sorted by ids, in one atomic step.

        Raises:
            StoreError: Records were added and not committed.
            CorruptStoreError: A shard is damaged; the store is as it was before.
            OSError: The disk is full or not writable; the store is as it was before.
        """
        if self._records or self._new_shards:
            message = f"Commit what was added to {self.folder} before rewriting it."
            raise StoreError(message)
        store = Store(self.folder)
        for row in np.lexsort((store.keys[:, 1], store.keys[:, 0])).tolist():
            self._take(store[row])
        self._write_shard()
        old = self._manifest
        if replace(old, shards=tuple(self._new_shards)).data_hash != old.data_hash:
            message = f"{self.folder} is damaged: its records are not those of its manifest."
            raise CorruptStoreError(message)
        self._replace_manifest(tuple(self._new_shards))
        for shard in old.shards:
            (self.folder / shard.file).unlink(missing_ok=True)

    def _take(self, record: Conformation) -> None:
        self._records.append(record)
        self._pending_bytes += self._size(record)
        if self._pending_bytes >= self._shard_bytes:
            self._write_shard()

    def _replace_manifest(self, shards: tuple[ShardEntry, ...]) -> None:
        manifest = replace(self._manifest, shards=shards)
        write_manifest(self.folder, manifest)
        self._manifest = manifest
        self._forget()
        self._index.close()
        self._open_index()

    def _forget(self) -> None:
        self._records: list[Conformation] = []
        self._pending_bytes = 0
        self._new_shards: list[ShardEntry] = []
        self._keys: set[tuple[int, int]] = set()
        self._smiles: dict[int, str | None] = {}

    def _open_index(self) -> None:
        update_index(self.folder, self._manifest)
        self._index = Index(self.folder)

    def _write_shard(self) -> None:
        if not self._records:
            return
        content, entry = build_shard(
            self._next_name(),
            flatten(self._records, self._manifest.stored_names),
            Texts(
                smiles=[record.smiles for record in self._records],
                geometry_origin=[record.geometry_origin for record in self._records],
            ),
            self._manifest,
        )
        write_atomically(self.folder / entry.file, content)
        self._new_shards.append(entry)
        self._records = []
        self._pending_bytes = 0

    def _next_name(self) -> str:
        shards = (*self._manifest.shards, *self._new_shards)
        numbers = [int(m[1]) for s in shards if (m := _SHARD_NAME.fullmatch(s.file))]
        return f"shard-{max(numbers, default=-1) + 1:05d}.h5"

    def _size(self, record: Conformation) -> int:
        n_values = 4 * record.n_atoms
        for name in self._manifest.stored_names:
            value = getattr(record, name)
            n_values += 1 if isinstance(value, float) else value.size
        return 8 * n_values

    def _check(self, record: Conformation) -> None:
        for name in self._manifest.stored_names:
            if getattr(record, name) is None:
                has = ", ".join(record.fields) or "no labels"
                self._refuse(record, f"has no {name!r}, which this store holds. It has: {has}")
            if FIELDS[name].in_orbitals:
                self._check_convention(record)
        if record.key in self._keys or self._index.holds(record.key):
            self._refuse(record, "is in the store already")
        known = self._smiles.get(record.molecule_id) or self._index.smiles_of(record.molecule_id)
        if None not in (known, record.smiles) and known != record.smiles:
            self._refuse(
                record, f"is {record.smiles}, but this molecule_id is {known} in the store"
            )

    def _check_convention(self, record: Conformation) -> None:
        if (record.basis_set or "").lower() != self._manifest.basis_set:
            self._refuse(
                record,
                f"has matrices in {record.basis_set}, the store in {self._manifest.basis_set}",
            )
        if record.orbital_order != self._manifest.orbital_order:
            self._refuse(
                record,
                f"has orbital order {record.orbital_order!r}, the store "
                f"{self._manifest.orbital_order!r}. Convert with "
                "nabladft.chemistry.orbitals.reorder_orbitals",
            )

    def _refuse(self, record: Conformation, reason: str) -> NoReturn:
        message = (
            f"Conformation {record.molecule_id}/{record.conformation_id} {reason} ({self.folder})."
        )
        raise StoreError(message)

    def _check_level_of_theory(self) -> None:
        given, held = self._level_of_theory, self._manifest.level_of_theory
        if given is None:
            return
        for key in sorted({*given, *held}):
            if given.get(key) != held.get(key):
                message = (
                    f"The labels have {key} {given.get(key)!r}, those in {self.folder} "
                    f"{held.get(key)!r}. Put them into a store of their own."
                )
                raise StoreError(message)

    def _remove_leftovers(self) -> None:
        """Remove what crashed writers left: temporary files, and shards of no manifest."""
        listed = {shard.file for shard in self._manifest.shards}
        for path in self.folder.iterdir():
            is_shard = _SHARD_NAME.fullmatch(path.name) and path.name not in listed
            if is_shard or re.fullmatch(r"\..*\.tmp", path.name):
                path.unlink()
