"""Reading the index of a store.

Example:
    >>> from nabladft.resources import embedded_datasets
    >>> with Index(embedded_datasets()["nano"]) as index:
    ...     len(index), index.rows_of([(1, 0), (1, 999)]).tolist()
    (315, [0, -1])
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import apsw
import numpy as np

from nabladft.errors import StoreError
from nabladft.storage.index_schema import INDEX_NAME, check_version, integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


class Index:
    """An index, open for reading; nothing on disk changes.

    Attributes:
        path: The file.
        connection: To ask anything else in SQL.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index of a store.

        Raises:
            StoreError: There is no index, it is of another version, or it cannot be read.
        """
        self._open(folder / INDEX_NAME, f"Call rebuild_index({str(folder)!r}).")

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Open an index that is not in a store.

        Raises:
            StoreError: There is no index, it is of another version, or it cannot be read.
        """
        index = cls.__new__(cls)
        index._open(path, f"Remove it with `rm {path}`; it is made anew.")  # noqa: SLF001 - its own
        return index

    @classmethod
    def over(cls, connection: apsw.Connection, name: str) -> Self:
        """Read an index through a connection that somebody else opened (of a file elsewhere).

        Raises:
            StoreError: It is of another version, or it cannot be read.
        """
        check_version(connection, name, "Rebuild it where the store is, with rebuild_index.")
        index = cls.__new__(cls)
        index.path, index.connection = Path(name), connection
        return index

    def _open(self, path: Path, remedy: str) -> None:
        self.path = path
        _undo_unfinished(path)
        try:
            self.connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.Error as error:
            message = f"{path} cannot be opened ({error}). {remedy}"
            raise StoreError(message) from error
        try:
            check_version(self.connection, path, remedy)
        except StoreError:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close."""
        self.connection.close()

    def __enter__(self) -> Self:
        """Give the index."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def about(self) -> dict[str, str]:
        """Say how the index was made: energy, isolated_atoms, basis_set, rdkit, fingerprint."""
        query = "SELECT name, value FROM about"
        return {str(name): str(value) for name, value in self.connection.execute(query)}

    def __len__(self) -> int:
        """Number of conformations."""
        return integer(self.connection, "SELECT count(*) FROM conformations")

    def holds(self, key: tuple[int, int]) -> bool:
        """Say whether a conformation is in the store."""
        query = "SELECT 1 FROM conformations WHERE molecule_id = ? AND conformation_id = ?"
        return self.connection.execute(query, key).fetchone() is not None

    def rows_of(self, keys: Sequence[tuple[int, int]] | IntArray) -> IntArray:
        """Find the rows of (molecule_id, conformation_id) pairs; -1 for those that are not there.

        Args:
            keys: Shape (n, 2).

        Returns:
            Rows of the store, shape (n,), one step down a tree for each.
        """
        query = "SELECT row FROM conformations WHERE molecule_id = ? AND conformation_id = ?"
        pairs = np.asarray(keys, dtype=np.int64).reshape(-1, 2).tolist()
        cursor = self.connection.cursor()
        found = (cursor.execute(query, pair).fetchone() for pair in pairs)
        rows = (-1 if row is None else row[0] for row in found)
        return np.fromiter(rows, dtype=np.int64, count=len(pairs))

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
        query = "SELECT molecule_id, conformation_id FROM conformations ORDER BY row"
        return [(int(m), int(c)) for m, c in self.connection.execute(query)]

    def tags(self) -> dict[str, int]:
        """Count the conformations of each tag, by name."""
        query = (
            "SELECT name, (SELECT count(*) FROM tagged WHERE tagged.tag = tags.tag)"
            " FROM tags ORDER BY name"
        )
        return {str(name): int(count) for name, count in self.connection.execute(query)}


def _undo_unfinished(path: Path) -> None:
    """Undo what a killed writer left half done, which a connection for reading only cannot.

    SQLite does it at the first read. While a writer is alive its journal is its own, and nothing
    happens.
    """
    if not path.with_name(f"{path.name}-journal").exists():
        return
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        finally:
            connection.close()
    except apsw.Error:
        return  # of a read-only folder; opening says what cannot be read
