"""Finished labels on their way into a store: one file each, safe on disk at once.

A staged file is written whole or not at all (temporary file, fsync, rename), so whatever dies, and
when, nothing finished is lost and nothing half-finished is read.
"""

from __future__ import annotations

import csv
import fcntl
import io
import re
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.conformation import Conformation
from nabladft.errors import StoreError
from nabladft.storage.manifest import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAILURES_NAME: Final = "failures.csv"
_FOLDER: Final = ".staging"
_NAME: Final = re.compile(r"^(-?\d+)_(-?\d+)\.npz$")

Key = tuple[int, int]


@dataclass(frozen=True)
class Failure:
    """A conformation that has no label, and why.

    Attributes:
        molecule_id: Of the conformation.
        conformation_id: Of the conformation; -1 when the molecule has no geometry at all.
        smiles: Of the molecule, empty when unknown.
        kind: Class of the error ("ConvergenceError"), or "WorkerDied".
        reason: One sentence.
    """

    molecule_id: int
    conformation_id: int
    smiles: str
    kind: str
    reason: str


class Staging:
    """The staged labels and the failures of one store that is being made.

    Args:
        store: Folder of the store; made when absent.
    """

    def __init__(self, store: Path) -> None:
        """Make the folder."""
        self.store = store
        self.folder = store / _FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run out of the same store.

        Raises:
            StoreError: Another process is at work in it.
        """
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"Another process is labelling into {self.store}. Wait, or stop it first."
                raise StoreError(message) from None
            yield

    def keys(self) -> set[Key]:
        """Find (molecule_id, conformation_id) of every staged label."""
        found = (_NAME.match(path.name) for path in self.folder.iterdir())
        return {(int(match[1]), int(match[2])) for match in found if match}

    def write(self, record: Conformation) -> None:
        """Stage one record; after the return it is on disk.

        Raises:
            OSError: The disk is full or not writable; nothing is left behind.
        """
        values: dict[str, Any] = {name: record.require(name) for name in record.fields}
        words = ("smiles", "geometry_origin", "orbital_order", "basis_set")
        values |= {name: getattr(record, name) for name in words if getattr(record, name)}
        values |= {"atomic_numbers": record.atomic_numbers, "positions": record.positions}
        buffer = io.BytesIO()
        np.savez(buffer, **values)
        write_atomically(self._path(record.key), buffer.getvalue())

    def read(self, key: Key) -> Conformation:
        """Read a staged record back.

        Raises:
            StoreError: The file is damaged.
        """
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                values: dict[str, Any] = {
                    name: str(file[name]) if file[name].dtype.kind == "U" else file[name]
                    for name in file.files
                }
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            message = f"{path} is damaged: {error}. Delete it and run the same command again."
            raise StoreError(message) from error
        return Conformation(molecule_id=key[0], conformation_id=key[1], **values)

    def discard(self, keys: set[Key]) -> None:
        """Delete staged records, once a store holds them."""
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def failures(self) -> list[Failure]:
        """Read the list of failures."""
        path = self.store / FAILURES_NAME
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Failure(
                    molecule_id=int(row["molecule_id"]),
                    conformation_id=int(row["conformation_id"]),
                    smiles=row["smiles"],
                    kind=row["kind"],
                    reason=row["reason"],
                )
                for row in csv.DictReader(file)
            ]

    def write_failures(self, failures: list[Failure]) -> None:
        """Replace the list of failures; an empty list removes the file.

        Raises:
            OSError: The disk is full or not writable.
        """
        path = self.store / FAILURES_NAME
        if not failures:
            path.unlink(missing_ok=True)
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(Failure.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(vars(failure) for failure in failures)
        write_atomically(path, text.getvalue().encode())

    def _path(self, key: Key) -> Path:
        return self.folder / f"{key[0]}_{key[1]}.npz"
