"""What it moves to read some conformations out of a large published file at a server.

The file is a real SQLite database in the schema of the published Hamiltonian files: as large as one
(``--full``: 1.6 TB, 1.16 million rows of two 412 x 412 matrices) and sparse on disk. All pages of
the tree above the rows and the whole table of ids are written, and of the rows those that are
sampled; the pages of the others are holes. Nothing else is read, so nothing else is missed. That
the layout is SQLite's own is checked first, on a small file with every row written, by SQLite's
``PRAGMA integrity_check``. The file is served on loopback by another process, which counts what it
sends; ``--latency`` lets it wait before each answer, as a distant server does.

Compared in one run: the reader of this package (first and second time), SQLite over the cache
without knowing which rows come next, SQLite asking for page after page, and fetching it whole (its
size over the measured speed of one stream; not done).

    python benchmarks/remote_reading.py                    # 16 GB, 50 rows, a minute
    python benchmarks/remote_reading.py --full             # 1.6 TB, 1,000 rows, 1.5 GB of disk
    python benchmarks/remote_reading.py --latency 30       # milliseconds
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import re
import tempfile
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.conversion.partial import Wanted, fetch_conformations
from nabladft.conversion.settings import ConversionSettings
from nabladft.storage.opening import open_source
from nabladft.storage.remote_sqlite import RemoteDatabase
from nabladft.transport.cache import BlockCache
from nabladft.transport.cached_file import CachedFile
from nabladft.transport.files import open_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = 4096
#: SQLite never uses the page with the byte 2^30: locks are taken there.
LOCK_PAGE = 2**30 // PAGE + 1
SCHEMA = """
CREATE TABLE dataset_ids (id INTEGER NOT NULL PRIMARY KEY, MOSES_ID INT, CONFORMER_ID INT);
CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, Z BLOB, R BLOB, E FLOAT, F BLOB, H BLOB,
                   S BLOB, C BLOB);
CREATE TABLE nuclear_charges (id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB);
CREATE TABLE basisset (Z INTEGER NOT NULL PRIMARY KEY, orbitals BLOB);
CREATE TABLE metadata (id INTEGER PRIMARY KEY, N INTEGER);
"""


def main() -> None:
    """Write the file, serve it, read it in several ways, print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="1,160,000 rows, 1,000 of them read")
    parser.add_argument("--rows", type=int, default=11_800, help="rows of the file")
    parser.add_argument("--sample", type=int, default=50, help="rows that are read")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds before an answer")
    parser.add_argument("--store", action="store_true", help="also make a store of the sample")
    parser.add_argument("--folder", type=Path, help="for the files; default: a temporary one")
    args = parser.parse_args()
    if args.full:
        args.rows, args.sample = 1_160_000, 1_000
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        os.environ["NABLADFT_CACHE"] = str(folder / "cache")
        check_layout(folder / "check.db")
        sample = np.random.default_rng(1).choice(args.rows, args.sample, replace=False)
        database = Database(args.rows)
        began = time.perf_counter()
        database.write(folder / "big.db", {*sample.tolist(), *database.looked_at()})
        status = (folder / "big.db").stat()
        print(
            f"File: {status.st_size:,} bytes, {args.rows:,} rows, {512 * status.st_blocks:,} bytes "
            f"on disk, written in {time.perf_counter() - began:.0f} s."
        )
        with _Serving(folder, args.latency / 1000) as server:
            results = measure(server, database, sample, folder, with_store=args.store)
        print(f"Server: loopback, {args.latency:g} ms before each answer.\n")
        print_table(results, status.st_size, args.rows)


@dataclass
class Result:
    """One way of reading, measured at the server."""

    way: str
    rows: int
    n_bytes: int
    requests: int
    seconds: float


def measure(
    server: _Server, database: Database, sample: np.ndarray, folder: Path, *, with_store: bool
) -> list[Result]:
    """Read the same file in several ways; what is read is compared with what was written."""
    url = f"{server.url}/big.db"
    results: list[Result] = []

    def timed(way: str, rows: int, work: Callable[[], None]) -> None:
        before = server.counts()
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        requests, n_bytes = (now - then for now, then in zip(server.counts(), before, strict=True))
        results.append(Result(way, rows, n_bytes, requests, seconds))

    keys = [database.key(row) for row in sample.tolist()]
    state: dict[str, Any] = {}

    def open_file() -> None:
        state["source"] = open_source(url)
        assert state["source"].info.fields, len(state["source"]) == database.n_rows

    def find_rows() -> None:
        state["rows"] = state["source"].rows_of(keys)
        np.testing.assert_array_equal(state["rows"], sample)

    def read_rows() -> None:
        source = state["source"]
        for batch in np.array_split(state["rows"], max(1, len(sample) // 50)):
            flat = source.read_flat(batch, fields=("hamiltonian", "overlap"))
            values = flat.values["hamiltonian"].reshape(len(batch), -1)
            for row, packed in zip(batch.tolist(), values, strict=True):
                database.check(row, packed)

    timed("open", 0, open_file)
    timed("find the rows of the ids", 0, find_rows)
    timed("read the rows", len(sample), read_rows)
    first = results[-3:]
    total = Result("**all of it**", len(sample), 0, 0, 0.0)
    for part in first:
        total.n_bytes += part.n_bytes
        total.requests += part.requests
        total.seconds += part.seconds
    results.append(total)
    timed("the same rows again, from the cache", len(sample), read_rows)
    if with_store:
        wanted = Wanted(np.array(keys))
        settings = ConversionSettings(name="sample", codec="compact")
        timed(
            "download --ids --compact, what it needs from the cache",
            len(sample),
            lambda: fetch_conformations(url, folder / "store", wanted, settings) and None,
        )
    few = sample[:10].tolist()
    timed("SQLite over the cache, rows not announced", 10, functools.partial(unannounced, url, few))
    timed("SQLite, page after page", 2, functools.partial(page_by_page, url, few[:2]))
    whole = min(2 << 30, database.size)
    timed("one stream", 0, functools.partial(stream, url, whole))
    return results


def unannounced(url: str, rows: list[int]) -> None:
    """Let SQLite ask for what it wants, with read-ahead and a cache."""
    with tempfile.TemporaryDirectory() as folder:
        cache = BlockCache(Path(folder), limit=10**10)
        connection = RemoteDatabase(CachedFile(url, cache=cache)).connect()
        for row in rows:
            connection.execute("SELECT Z, R, H, S FROM data WHERE id = ?", (row,)).fetchall()
        connection.close()


class _PageVfs(apsw.VFS):
    """The simplest way to read SQLite from a server: one request for each page."""

    def __init__(self, url: str) -> None:
        super().__init__("one-request-per-page", "")
        self.remote = open_remote(url)

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802, ARG002
        return False

    def xOpen(self, name: Any, flags: list[int]) -> _PageFile:  # noqa: N802, ARG002, ANN401
        return _PageFile(self.remote)


class _PageFile(apsw.VFSFile):
    """One open file."""

    def __init__(self, remote: Any) -> None:  # noqa: ANN401
        self.remote = remote

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return self.remote.read(offset, min(offset + amount, self.remote.size))

    def xFileSize(self) -> int:  # noqa: N802
        return self.remote.size

    def xLock(self, level: int) -> None:  # noqa: N802
        pass

    def xUnlock(self, level: int) -> None:  # noqa: N802
        pass

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:  # noqa: N802, ARG002
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return PAGE

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_IMMUTABLE

    def xClose(self) -> None:  # noqa: N802
        pass


def page_by_page(url: str, rows: list[int]) -> None:
    """Let SQLite ask for what it wants, one page at a time."""
    vfs = _PageVfs(url)
    connection = apsw.Connection(
        "file:/x?immutable=1",
        flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        vfs="one-request-per-page",
    )
    for row in rows:
        connection.execute("SELECT Z, R, H, S FROM data WHERE id = ?", (row,)).fetchall()
    connection.close()
    vfs.remote.close()


def stream(url: str, n_bytes: int) -> None:
    """Read the beginning of the file over one connection."""
    with open_remote(url) as remote:
        for _ in remote.stream(0, n_bytes):
            pass


def print_table(results: list[Result], size: int, n_rows: int) -> None:
    """Print Markdown; the last line is computed."""
    print("| way | rows | bytes moved | requests | seconds | MB per row |")
    print("|---|---|---|---|---|---|")
    for result in results:
        per_row = f"{result.n_bytes / result.rows / 1e6:.3f}" if result.rows else ""
        print(
            f"| {result.way} | {result.rows or ''} | {result.n_bytes:,} | {result.requests:,} | "
            f"{result.seconds:.2f} | {per_row} |"
        )
    one = results[-1]
    seconds = size / (one.n_bytes / one.seconds)
    print(
        f"| the whole file at that speed (computed) | {n_rows:,} | {size:,} | 1 | {seconds:,.0f} | "
        f"{size / n_rows / 1e6:.3f} |"
    )


class Database:
    """Lays out the pages of a database of equal molecules, row after row as if inserted so."""

    def __init__(self, n_rows: int, *, small: bool = False) -> None:
        """Decide where everything goes; with ``small``, of a molecule of eight atoms."""
        self.n_rows = n_rows
        self.numbers, self.positions = molecule(small=small)
        n = DEF2_SVP.n_orbitals(self.numbers)
        self.overlap = overlap_matrix(self.numbers, self.positions).astype("<f4")
        noise = np.random.default_rng(0).normal(size=(n, n)).astype("<f4")
        self.matrix = noise + noise.T
        kinds = [0, *(12 + 2 * k for k in (self.numbers.nbytes, 12 * len(self.numbers))), 7, 0]
        kinds += [12 + 8 * n * n, 12 + 8 * n * n, 0]
        types = b"".join(varint(kind) for kind in kinds)
        self.head = varint(len(types) + 1) + types
        self.record_bytes = len(self.record(0))
        least = (PAGE - 12) * 32 // 255 - 23
        local = least + (self.record_bytes - least) % (PAGE - 4)
        self.local = local if local <= PAGE - 35 else least
        self.n_overflow = -(-(self.record_bytes - self.local) // (PAGE - 4))
        self.per_leaf = (PAGE - 8) // (self.local + 4 + 12 + 2)
        self.first_pages = start_of_file(self)
        self._lay_out()

    def key(self, row: int) -> tuple[int, int]:
        """Give the ids of a row."""
        return row // 7 + 1, row % 7

    def hamiltonian(self, row: int) -> np.ndarray:
        """Give the matrix of a row, another one for each."""
        return self.matrix * np.float32(1 + row % 1000 / 1000)

    def check(self, row: int, packed: np.ndarray) -> None:
        """Compare a packed triangle with what was written."""
        expected = self.hamiltonian(row)[np.tril_indices(len(self.matrix))]
        np.testing.assert_array_equal(packed, expected)

    def record(self, row: int) -> bytes:
        """Write a row of ``data`` in SQLite's record format."""
        return b"".join(
            [
                self.head,
                self.numbers.tobytes(),
                self.positions.astype("<f4").tobytes(),
                np.float64(-1000.0).astype(">f8").tobytes(),
                self.hamiltonian(row).tobytes(),
                self.overlap.tobytes(),
            ]
        )

    def looked_at(self) -> set[int]:
        """List the rows that the reader looks at when it opens a file: the first, and a spread."""
        return {0, *np.linspace(0, self.n_rows - 1, 32).astype(int).tolist()}

    def _lay_out(self) -> None:
        """Give every page its number, in the order in which inserting would take them."""
        self.chain = np.zeros(self.n_rows, dtype=np.int64)
        self.leaves: list[tuple[int, int, int]] = []  # page, first row, last row
        self.id_leaves: list[tuple[int, int, int]] = []
        free = len(self.first_pages) // PAGE + 1
        per_id_leaf = 200
        for row in range(self.n_rows):
            if free == LOCK_PAGE:
                free += 1
            self.chain[row] = free
            crosses = free < LOCK_PAGE < free + self.n_overflow
            free += self.n_overflow + crosses
            for leaves, size in ((self.leaves, self.per_leaf), (self.id_leaves, per_id_leaf)):
                if (row + 1) % size == 0 or row == self.n_rows - 1:
                    free += free == LOCK_PAGE
                    leaves.append((free, row - row % size, row))
                    free += 1
        self.trees: dict[int, bytes] = {}
        for root, leaves in ((2, self.id_leaves), (3, self.leaves)):
            level = [(page, last) for page, _, last in leaves]
            while len(level) > 300:
                above = []
                for group in batches(level, 300):
                    free += free == LOCK_PAGE
                    self.trees[free] = interior(group)
                    above.append((free, group[-1][1]))
                    free += 1
                level = above
            self.trees[root] = interior(level)
        self.n_pages = free - 1

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.n_pages * PAGE

    def write(self, path: Path, rows: set[int]) -> None:
        """Write the file, with the pages of some rows."""
        with path.open("wb") as file:
            file.truncate(self.size)
            head = bytearray(self.first_pages)
            head[28:32] = self.n_pages.to_bytes(4, "big")
            file.write(head)
            for page, content in self.trees.items():
                self._put(file, page, content)
            for page, first, last in self.id_leaves:
                cells = []
                for row in range(first, last + 1):
                    values = [number.to_bytes(4, "big") for number in self.key(row)]
                    payload = bytes([4, 0, 4, 4]) + b"".join(values)
                    cells.append(varint(len(payload)) + varint(row) + payload)
                self._put(file, page, leaf(cells))
            for row in sorted(rows):
                self._put_row(file, row)

    def _put(self, file: Any, page: int, content: bytes) -> None:  # noqa: ANN401
        file.seek((page - 1) * PAGE)
        file.write(content)

    def _put_row(self, file: Any, row: int) -> None:  # noqa: ANN401
        page, first, last = self.leaves[row // self.per_leaf]
        cells = [
            varint(self.record_bytes)
            + varint(k)
            + self.record(k)[: self.local]
            + int(self.chain[k]).to_bytes(4, "big")
            for k in range(first, last + 1)
        ]
        self._put(file, page, leaf(cells))
        rest = self.record(row)[self.local :]
        page = int(self.chain[row])
        for k in range(self.n_overflow):
            piece = rest[k * (PAGE - 4) : (k + 1) * (PAGE - 4)]
            after = page + 1 + (page + 1 == LOCK_PAGE)
            pointer = after if k + 1 < self.n_overflow else 0
            self._put(file, page, pointer.to_bytes(4, "big") + piece)
            page = after


def molecule(*, small: bool) -> tuple[np.ndarray, np.ndarray]:
    """Give 42 atoms with 412 orbitals on a jittered grid, the middle of the published sizes."""
    counts = {6: 4, 1: 4} if small else {6: 15, 7: 3, 8: 3, 16: 1, 1: 20}
    numbers = np.repeat(list(counts), list(counts.values())).astype("<i4")
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)[: len(numbers)]
    return numbers, 2.8 * grid + np.random.default_rng(2).uniform(-0.3, 0.3, size=grid.shape)


def start_of_file(database: Database) -> bytes:
    """Let SQLite write the schema and the small tables; give those pages."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.db"
        connection = apsw.Connection(str(path))
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute(SCHEMA)
        elements = np.unique(database.numbers).astype("<i4")
        connection.execute(
            "INSERT INTO nuclear_charges VALUES (0, ?, ?)", (len(elements), elements.tobytes())
        )
        for number in elements.tolist():
            shells = np.array(DEF2_SVP.shells[number], dtype="<i4").tobytes()
            connection.execute("INSERT INTO basisset VALUES (?, ?)", (number, shells))
        connection.execute("INSERT INTO metadata VALUES (0, ?)", (database.n_rows,))
        roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
        assert (roots["dataset_ids"], roots["data"]) == (2, 3)
        connection.close()
        return path.read_bytes()


def varint(value: int) -> bytes:
    """Write an integer as SQLite does: seven bits a byte, the largest first."""
    found = [value & 127]
    while value := value >> 7:
        found.append(128 | value & 127)
    return bytes(reversed(found))


def leaf(cells: list[bytes]) -> bytes:
    """Write a leaf page of a table."""
    return tree_page(b"\x0d", cells, b"")


def interior(children: list[tuple[int, int]]) -> bytes:
    """Write an interior page of a table: children with the largest key below each."""
    cells = [page.to_bytes(4, "big") + varint(key) for page, key in children[:-1]]
    return tree_page(b"\x05", cells, children[-1][0].to_bytes(4, "big"))


def tree_page(kind: bytes, cells: list[bytes], right: bytes) -> bytes:
    """Write a page of a b-tree, its cells at the end of it."""
    starts, position = [], PAGE
    for cell in cells:
        position -= len(cell)
        starts.append(position.to_bytes(2, "big"))
    head = kind + bytes(2) + len(cells).to_bytes(2, "big") + position.to_bytes(2, "big") + bytes(1)
    head += right + b"".join(starts)
    assert len(head) <= position, "a page is too full"
    return head + bytes(position - len(head)) + b"".join(reversed(cells))


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Cut a list into pieces."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def check_layout(path: Path) -> None:
    """Write every row of a small file and let SQLite check it."""
    n = 1500
    database = Database(n, small=True)
    database.write(path, set(range(n)))
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    ((answer,),) = connection.execute("PRAGMA integrity_check").fetchall()
    rows = connection.execute("SELECT count(*), max(id), sum(length(H)) FROM data").fetchall()
    blob = connection.execute("SELECT H FROM data WHERE id = 523").fetchall()[0][0]
    connection.close()
    path.unlink()
    assert answer == "ok", answer
    assert rows == [(n, n - 1, n * database.matrix.nbytes)], rows
    assert blob == database.hamiltonian(523).tobytes()
    print(f"SQLite's integrity_check of a file of {n:,} rows laid out so: {answer}.")


class _Server:
    """A file server in another process; counts what it sends."""

    def __init__(self, port: int, process: Any, counts: Any) -> None:  # noqa: ANN401
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self._counts = counts

    def counts(self) -> tuple[int, int]:
        """Give requests and bytes of bodies so far, when no answer is under way any more."""
        while self._counts[2]:
            time.sleep(0.001)
        return self._counts[0], self._counts[1]


class _Serving:
    """Start a server for a folder, and stop it."""

    def __init__(self, folder: Path, latency: float) -> None:
        self.folder, self.latency = folder, latency

    def __enter__(self) -> _Server:
        context = multiprocessing.get_context("spawn")
        counts = context.Array("q", [0, 0, 0])
        ours, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(self.folder, self.latency, counts, theirs), daemon=True
        )
        self.process.start()
        return _Server(ours.recv(), self.process, counts)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join()


def serve(folder: Path, latency: float, counts: Any, pipe: Any) -> None:  # noqa: ANN401
    """Serve files with ranges, straight from the page cache of the system."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            with counts.get_lock():
                counts[2] += 1
            try:
                self.answer()
            finally:
                with counts.get_lock():
                    counts[2] -= 1

        def answer(self) -> None:
            time.sleep(latency)
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            size = path.stat().st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            stop = min(int(asked[2]) + 1, size) if asked and asked[2] else size
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("ETag", '"the same"')
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.end_headers()
            sent = 0
            try:
                with path.open("rb") as file:
                    while start + sent < stop:
                        sent += os.sendfile(
                            self.connection.fileno(),
                            file.fileno(),
                            start + sent,
                            min(1 << 20, stop - start - sent),
                        )
            except OSError:
                self.close_connection = True  # the reader has enough
            with counts.get_lock():
                counts[0] += 1
                counts[1] += sent

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Say nothing when a reader has enough and closes its connection."""

    server = Quiet(("127.0.0.1", 0), Handler)
    pipe.send(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
