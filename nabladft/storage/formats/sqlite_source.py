"""What the readers of published SQLite files share: opening, refusing damaged files, rows."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import apsw
import numpy as np

from nabladft.chemistry.elements import SYMBOLS
from nabladft.errors import FormatError, MissingFieldError, NablaDFTError
from nabladft.storage.flat_source import FlatSource
from nabladft.storage.remote_sqlite import RemoteDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords

    IntArray = NDArray[np.int64]

SQLITE_MAGIC: Final = b"SQLite format 3\x00"

#: Rows read at once where all are gone through.
_STEP: Final = 4096


def table_columns(path: Path | RemoteDatabase) -> dict[str, tuple[str, ...]]:
    """List the tables of an SQLite file with their columns.

    Raises:
        FormatError: The file is not SQLite, or is incomplete.
    """
    check_size(path)
    query = (
        "SELECT tables.name, columns.name FROM sqlite_master AS tables,"
        " pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
    )
    found: dict[str, list[str]] = {}
    for table, column in _all(path, query):
        found.setdefault(str(table), []).append(str(column))
    return {table: tuple(columns) for table, columns in found.items()}


def first_value(path: Path | RemoteDatabase, sql: str) -> Any:  # noqa: ANN401 - whatever SQLite holds
    """Give the first value that a query finds, or None.

    Raises:
        FormatError: The file is damaged.
    """
    rows = _all(path, sql)
    return rows[0][0] if rows else None


def _all(path: Path | RemoteDatabase, sql: str) -> list[tuple[Any, ...]]:
    try:
        connection = _connect(path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
    except (apsw.Error, UnicodeError) as error:
        message = f"{path} cannot be read as SQLite ({error}). Download or copy it again."
        raise FormatError(message) from error


def check_size(path: Path | RemoteDatabase) -> None:
    """Refuse an SQLite file that is shorter than its own header says.

    Raises:
        FormatError: The file is not SQLite, or is incomplete.
    """
    if isinstance(path, RemoteDatabase):
        header, size = path.file.read(0, 100), path.file.size
    else:
        with path.open("rb") as file:
            header, size = file.read(100), path.stat().st_size
    if len(header) < 100 or not header.startswith(SQLITE_MAGIC):
        message = f"{path} is not an SQLite file."
        raise FormatError(message)
    page_size = int.from_bytes(header[16:18], "big")
    n_pages = int.from_bytes(header[28:32], "big")
    # The page count is only kept by writers that also copy the change counter (SQLite 3.7.0 on).
    counts = header[24:28] == header[92:96]
    expected = n_pages * (65536 if page_size == 1 else page_size)
    if counts and size < expected:
        message = (
            f"{path} is incomplete: it has {size} bytes of {expected}. Download or copy it again."
        )
        raise FormatError(message)


def _connect(path: Path | RemoteDatabase) -> apsw.Connection:
    if isinstance(path, RemoteDatabase):
        return path.connect()
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)


class SqliteSource(FlatSource):
    """A table of an SQLite file, one row a conformation, in the order of the ids.

    Attributes:
        path: The file, on this machine or at a server.
        tables: Columns of each table of the file.
    """

    #: Table of the records and the columns that must be there, by table.
    table: ClassVar[str]
    required: ClassVar[dict[str, tuple[str, ...]]]
    #: What such a file is called in messages.
    kind: ClassVar[str]
    #: What identifies a row: a column that is an alias of SQLite's own ``rowid``, or that itself.
    row_id: ClassVar[str] = "id"

    def __init__(self, path: str | Path | RemoteDatabase) -> None:
        """Look at the tables; nothing else is read yet.

        Raises:
            FormatError: The file is incomplete, or lacks a table or column.
            OSError: The file cannot be read.
        """
        self.path = path if isinstance(path, RemoteDatabase) else Path(path)
        self.tables = present = table_columns(self.path)
        for table, columns in self.required.items():
            absent = [name for name in columns if name not in present.get(table, ())]
            if table not in present or absent:
                what = f"column {', '.join(absent)} of table" if table in present else "table"
                message = (
                    f"{self.path} is not a {self.kind}: it lacks the {what} {table!r}. Its tables: "
                    f"{', '.join(present) or 'none'}."
                )
                raise FormatError(message)
        self._connection: apsw.Connection | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return self.__dict__ | {"_connection": None}

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.ids)

    @cached_property
    def ids(self) -> IntArray:
        """Ids of the rows in the file, ascending, shape (n,)."""
        return self.ids_of(self.table)

    def smiles(self) -> dict[int, str]:
        """SMILES of every molecule, by molecule_id; the labels are not read.

        Raises:
            MissingFieldError: A record comes without SMILES.
        """
        found: dict[int, str] = {}
        for start in range(0, len(self), _STEP):
            keys = self.keys[start : start + _STEP].tolist()
            texts = self.read_texts(range(start, start + len(keys)))
            for (molecule_id, conformation_id), smiles in zip(keys, texts.smiles, strict=True):
                if smiles is None:
                    message = f"Conformation {molecule_id}/{conformation_id} has no SMILES."
                    raise MissingFieldError(message)
                found[molecule_id] = smiles
        return found

    @property
    def location(self) -> Path | None:
        """The file, if it is on this machine."""
        return None if isinstance(self.path, RemoteDatabase) else self.path

    @property
    def url(self) -> str | None:
        """Where the file is, if it is at a server."""
        return self.path.url if isinstance(self.path, RemoteDatabase) else None

    @property
    def identity(self) -> str | None:
        """What changes when the file changes, if it is at a server."""
        return self.path.file.identity if isinstance(self.path, RemoteDatabase) else None

    def ids_of(self, table: str, *, declared: int | None = None) -> IntArray:
        """List the ids of a table, ascending, shape (n,).

        Counting takes an index only, so that the ids of millions of rows without a gap cost a
        moment and nothing is read of the rows.

        Args:
            table: Its name.
            declared: How many rows the file says it has. At a server this is believed if first and
                last id agree with it, because counting would fetch the whole table.

        Raises:
            FormatError: The file is damaged, or an id is not an integer.
        """
        if isinstance(self.path, RemoteDatabase):
            ends = [f"(SELECT {end}({self.row_id}) FROM {table})" for end in ("min", "max")]  # noqa: S608
            ((first, last),) = self.query(f"SELECT {', '.join(ends)}")
            if isinstance(first, int) and last - first + 1 == declared:
                return np.arange(first, last + 1, dtype=np.int64)
        name = self.row_id
        query = f"SELECT count(*), min({name}), max({name}) FROM {table}"  # noqa: S608 - our own names
        ((n, first, last),) = self.query(query)
        if n and isinstance(first, int) and last - first + 1 == n:
            return np.arange(first, last + 1, dtype=np.int64)
        return np.sort(self.integers(f"SELECT {name} FROM {table}", 1)[:, 0])  # noqa: S608

    def integers(self, sql: str, n_columns: int) -> IntArray:
        """Run a query that finds integers, without a Python object for each row found.

        Args:
            sql: The query.
            n_columns: How many columns it has.

        Returns:
            Shape (n, n_columns).

        Raises:
            FormatError: The file is damaged, or a value is missing or not a number.
        """
        if isinstance(self.path, RemoteDatabase):
            self.path.prefetch_table(sql.partition(" FROM ")[2].split()[0])
        row: Any = np.dtype((np.int64, n_columns))
        try:
            found: IntArray = np.fromiter(self.query(sql), dtype=row)
        except NablaDFTError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            message = f"{self.path} holds something else than integers where ids belong ({error})."
            raise FormatError(message) from error
        return found.reshape(-1, n_columns)

    def rows_with_ids(self, ids: IntArray) -> IntArray:
        """Find the rows of ids, shape (n,); -1 where there is none."""
        if len(self.ids) == 0 or len(ids) == 0:
            return np.full(len(ids), -1, dtype=np.int64)
        if self.ids[-1] - self.ids[0] + 1 == len(self.ids):
            rows = ids - self.ids[0]
            return np.where((rows >= 0) & (rows < len(self.ids)), rows, -1)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    def query(self, sql: str, bindings: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Run a query on this process's own connection.

        Raises:
            FormatError: The file is damaged.
        """
        try:
            yield from self._connected().execute(sql, tuple(bindings))
        except (apsw.Error, UnicodeError) as error:
            message = f"{self.path} is damaged ({error}). Download or copy it again."
            raise FormatError(message) from error

    def announced(
        self, table: str, ids: Iterable[int], columns: Iterable[str] = ()
    ) -> Iterable[int]:
        """Give ids back, each when its row is at hand: at a server, many are fetched together.

        Args:
            table: Where the rows are.
            ids: Of the rows.
            columns: What will be read of them; expressions are not looked into.
        """
        if isinstance(self.path, RemoteDatabase):
            return self.path.announced(table, columns, ids)
        return ids

    def query_rows(self, columns: str, ids: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        """Read columns of some rows, in the order of ``ids``, duplicates included.

        Raises:
            FormatError: The file is damaged, or a row is missing.
        """
        sql = f"SELECT {columns} FROM {self.table} WHERE {self.row_id} = ?"  # noqa: S608 - our own names
        cursor = self._connected().cursor()
        for number in self.announced(self.table, ids, columns.split(", ")):
            try:
                found = cursor.execute(sql, (number,)).fetchone()
            except (apsw.Error, UnicodeError) as error:
                self.refuse(number, f"cannot be read ({error}). Download or copy the file again")
            if found is None:
                self.refuse(number, "is missing")
            yield found

    def refuse(self, number: int, reason: str) -> NoReturn:
        """Raise an error that names the file and the row.

        Raises:
            FormatError: Always.
        """
        message = f"{self.path}, row with id {number}, {reason}."
        raise FormatError(message)

    def check_values(self, flat: FlatRecords, ids: Sequence[int]) -> FlatRecords:
        """Give records back, or refuse a value that is not finite or an element that is none.

        Args:
            flat: Records read from this file.
            ids: Of their rows.

        Raises:
            FormatError: A value makes no sense; the message names the row.
        """
        numbers = flat.atomic_numbers
        unknown = np.flatnonzero((numbers < 1) | (numbers >= len(SYMBOLS)))
        if unknown.size:
            row = int(np.searchsorted(flat.atom_offsets, unknown[0], side="right")) - 1
            self.refuse(ids[row], f"has an atom of atomic number {int(numbers[unknown[0]])}")
        for name, values in {"positions": flat.positions, **flat.values}.items():
            if np.isfinite(values).all():
                continue
            first = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
            offsets = flat.atom_offsets if name == "positions" else flat.value_offsets(name)
            row = int(np.searchsorted(offsets, first, side="right")) - 1
            self.refuse(ids[row], f"has a value in {name} that is not finite. Leave this row out")
        return flat

    @contextmanager
    def place(self) -> Iterator[None]:
        """Add the name of the file to an error from below."""
        try:
            yield
        except NablaDFTError as error:
            error.add_note(f"(while reading {self.path})")
            raise

    def _connected(self) -> apsw.Connection:
        if self._process != os.getpid():
            # SQLite forbids to carry a connection across a fork.
            self._connection = None
            self._process = os.getpid()
        if self._connection is None:
            self._connection = _connect(self.path)
        return self._connection
