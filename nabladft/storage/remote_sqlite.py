"""SQLite files elsewhere: SQLite asks for pages, the cache and the server give them.

The file is opened as immutable, so SQLite neither locks it nor looks for journals, and a file that
changes is refused by the layer below.

Example:
    >>> database = RemoteDatabase("https://example.org/train_2k.db")  # doctest: +SKIP
    >>> database.connect().execute("SELECT N FROM metadata").get  # doctest: +SKIP
    12145
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

import apsw

from nabladft.storage.remote_pages import TablePages
from nabladft.transport.cached_file import CachedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

_VFS_NAME: Final = "nabladft-remote"

#: Bytes of rows that are fetched together, and rows whose pages are looked up together.
_WINDOW_BYTES: Final = 24 << 20
_WINDOW_ROWS: Final = 512

#: Pages of a table of short rows that are asked for together.
_WINDOW_LEAVES: Final = 4096


class RemoteDatabase:
    """An SQLite file elsewhere. It can be pickled.

    Attributes:
        file: Its bytes.
        url: Where it is, without credentials.
    """

    def __init__(self, location: str | CachedFile) -> None:
        """Ask the server for the file.

        Args:
            location: Address, or the file itself.

        Raises:
            TransportError: It cannot be had, or not in parts.
        """
        self.file = location if isinstance(location, CachedFile) else CachedFile(location)
        self.url = self.file.url
        self._tables: dict[str, tuple[TablePages, tuple[str, ...]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read of the tables behind."""
        return self.__dict__ | {"_tables": {}}

    def __str__(self) -> str:
        """Give the address, as a path gives its own."""
        return self.url

    @property
    def name(self) -> str:
        """File name at the end of the address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def stem(self) -> str:
        """File name without its suffix."""
        return PurePosixPath(self.name).stem

    def connect(self) -> apsw.Connection:
        """Open the file with SQLite, for reading.

        Raises:
            apsw.Error: SQLite refuses the file.
            TransportError: It cannot be had.
        """
        return apsw.Connection(
            f"file:/{_vfs().announce(self.file)}?immutable=1",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
            vfs=_VFS_NAME,
        )

    def prefetch_table(self, table: str) -> None:
        """Fetch all of a table of short rows, in many requests at once."""
        pages, _ = self._table(table)
        leaves = pages.leaves()
        for start in range(0, len(leaves), _WINDOW_LEAVES):
            self.file.prefetch(leaves[start : start + _WINDOW_LEAVES])

    def announced(self, table: str, columns: Iterable[str], ids: Iterable[int]) -> Iterator[int]:
        """Give ids one after the other, each after the pages of its row were fetched.

        While the caller reads some rows, the next ones are being fetched.

        Args:
            table: Where the rows are.
            columns: Those that will be read.
            ids: Keys of the rows.
        """
        pages, names = self._table(table)
        n_columns = 1 + max((names.index(c) for c in columns if c in names), default=0)
        waiting: deque[tuple[list[int], list[Future[Any]]]] = deque()
        try:
            for window, ranges in _windows(pages, ids, n_columns):
                waiting.append((window, self.file.begin_prefetch(ranges)))
                if len(waiting) > 1:
                    yield from _arrived(*waiting.popleft())
            while waiting:
                yield from _arrived(*waiting.popleft())
        finally:
            for future in (future for _, futures in waiting for future in futures):
                future.cancel()  # nobody wants the rest any more

    def _table(self, table: str) -> tuple[TablePages, tuple[str, ...]]:
        if table not in self._tables:
            connection = self.connect()
            try:
                query = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?"
                ((root,),) = cast("Any", connection.execute(query, (table,)).fetchall())
                query = "SELECT name FROM pragma_table_info(?)"
                columns = tuple(str(name) for (name,) in connection.execute(query, (table,)))
            finally:
                connection.close()
            self._tables[table] = TablePages(self.file, int(root)), columns
        return self._tables[table]


def _windows(
    pages: TablePages, ids: Iterable[int], n_columns: int
) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
    """Cut ids into pieces whose rows are together not too large, with the bytes of each piece."""
    remaining = iter(ids)
    while batch := list(itertools.islice(remaining, _WINDOW_ROWS)):
        where = pages.of_rows(batch, n_columns)
        window: list[int] = []
        ranges: list[tuple[int, int]] = []
        n_bytes = 0
        for number in batch:
            window.append(number)
            for start, stop in where.get(number, []):
                ranges.append((start, stop))
                n_bytes += stop - start
            if n_bytes >= _WINDOW_BYTES:
                yield window, ranges
                window, ranges, n_bytes = [], [], 0
        yield window, ranges


def _arrived(window: Sequence[int], futures: Sequence[Future[Any]]) -> Iterator[int]:
    for future in futures:
        future.result()
    yield from window


class _RemoteVfs(apsw.VFS):
    """SQLite's view of files elsewhere: they can be opened and read, and nothing else exists."""

    def __init__(self) -> None:
        super().__init__(_VFS_NAME, "")
        self._announced: dict[str, CachedFile] = {}
        self._count = itertools.count()

    def announce(self, file: CachedFile) -> str:
        """Give the name under which the next ``xOpen`` gets a file."""
        name = f"remote-{next(self._count)}"
        self._announced[name] = file
        return name

    def xFullPathname(self, name: str) -> str:  # noqa: N802 - SQLite's names, here and below
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802, ARG002
        return False

    def xOpen(self, name: Any, flags: list[int]) -> _RemoteVfsFile:  # noqa: N802, ANN401, ARG002
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        return _RemoteVfsFile(self._announced.pop(path.lstrip("/")))


class _RemoteVfsFile(apsw.VFSFile):
    """One open file. An error of the transport goes through SQLite to the caller as it is."""

    def __init__(self, file: CachedFile) -> None:
        # The base class is not initialised: it would open a file of this machine.
        self._file = file

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return self._file.read(offset, offset + amount)

    def xFileSize(self) -> int:  # noqa: N802
        return self._file.size

    def xClose(self) -> None:  # noqa: N802
        """Leave the file open: other connections may read it."""

    def xLock(self, level: int) -> None:  # noqa: N802
        """Do nothing: the file is immutable."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """Do nothing: the file is immutable."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:  # noqa: N802, ARG002
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return 4096

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_IMMUTABLE


_lock = threading.Lock()
_registered: list[_RemoteVfs] = []


def _vfs() -> _RemoteVfs:
    with _lock:
        if not _registered:
            _registered.append(_RemoteVfs())
        return _registered[0]
