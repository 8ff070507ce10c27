"""A file elsewhere, read by ranges through the cache: few requests, each for what is needed.

Ranges that are wanted together are asked for together: neighbours become one request, and several
requests are under way at once. A file that is read from front to back is read ahead, each time
twice as far.

Example:
    >>> file = CachedFile("https://example.org/train_2k.db")  # doctest: +SKIP
    >>> file.prefetch([(0, 100), (8192, 12288)])  # doctest: +SKIP
    >>> file.read(0, 15)  # doctest: +SKIP
    b'SQLite format 3'
    >>> file.traffic.requests  # doctest: +SKIP
    2
"""

from __future__ import annotations

import io
import os
import threading
import uuid
import weakref
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nabladft.errors import BadResponseError, RemoteChangedError, TransportError
from nabladft.transport.addresses import shown
from nabladft.transport.cache import BLOCK, BlockCache, default_cache
from nabladft.transport.files import RemoteFile, open_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nabladft.transport.files import TransportSettings

#: A gap of at most so many bytes is cheaper to read than to leave out: at 10 MB/s and 5 ms from
#: server to client it is the bytes of one way there and back.
_GAP: Final = 32 << 10

#: Largest range asked for at once, so that one request does not hold up the others.
_LARGEST: Final = 4 << 20

#: Requests under way at once.
_CONNECTIONS: Final = 8

#: Bytes first fetched where a read was not announced, and the most that is read ahead.
_FIRST_READ: Final = 16 << 10
_MOST_AHEAD: Final = 2 << 20


@dataclass(kw_only=True)
class Traffic:
    """What one handle has moved so far.

    Attributes:
        requests: Ranges asked for.
        n_bytes: Bytes fetched.
    """

    requests: int = 0
    n_bytes: int = 0


#: What all handles of this process have moved so far.
TOTAL: Final = Traffic()

#: How the identity of a file begins of which the server tells neither ETag nor date.
_NO_IDENTITY: Final = "date unknown"

#: For such files: in memory only.
_UNKEPT: Final = BlockCache(None, limit=0)

#: All handles of this process, for what must be done after a fork.
_files: Final = weakref.WeakSet["CachedFile"]()

_locks: Final = {"total": threading.Lock()}


class CachedFile:
    """A file elsewhere, read through the cache. Safe to use from several threads.

    It can be pickled and survives a fork: connections are made by the process that needs them, and
    a file that changed meanwhile is refused.

    Attributes:
        url: Without credentials.
        size: Bytes.
        identity: Changes when the content changes.
        traffic: What was moved so far by this process.
    """

    def __init__(
        self,
        location: str,
        *,
        size: int | None = None,
        identity: str | None = None,
        cache: BlockCache | None = None,
        settings: TransportSettings | None = None,
    ) -> None:
        """Ask the server for size and identity of the file, unless both are known.

        Args:
            location: ``https://``, ``http://``, ``s3://`` or ``file://``.
            size: Bytes, where a manifest says so.
            identity: A hash of the content, where a manifest gives one. With both, the server is
                not asked before something is wanted that the cache does not have.
            cache: Where to keep what is read; None for the one of this process.
            settings: How to reach the server.

        Raises:
            TransportError: There is no such file, the server cannot be reached, or it does not
                give parts of files.
        """
        self._location = location
        self._settings = settings
        self._cache = cache
        self._remote: RemoteFile | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self.traffic = Traffic()
        self._read_up_to = -1
        self._ahead = 0
        self.url = shown(location)
        # Where the server has no tag for a content, the whole address must tell files apart.
        self._name = self.url
        self._is_kept = True
        # Only what the server itself called the content can be compared with what it calls it now.
        self._seen: str | None = None
        if size is None or identity is None:
            remote = self._connect()
            assert remote.size is not None
            self.url, size, identity = remote.url, remote.size, remote.identity
            self._name = self.url if remote.etag else location
            if remote.identity.startswith(_NO_IDENTITY):
                # Nothing would show that the file was replaced: what is read serves this handle.
                self._name += f" {uuid.uuid4()}"
                self._is_kept = False
        self.size: int = size
        self.identity: str = identity
        self._begin_caching()

    def __getstate__(self) -> dict[str, Any]:
        """Leave connections and locks behind."""
        return self.__dict__ | {"_remote": None, "_lock": None, "_cache": None, "_blocks": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew in this process, with its own cache."""
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self.traffic = Traffic()
        self._begin_caching()

    def read(self, start: int, stop: int) -> bytes:
        """Read the bytes from ``start`` up to ``stop``, exactly.

        Raises:
            TransportError: The server cannot be reached, or the file is another one by now.
        """
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first, last = start // BLOCK, (stop - 1) // BLOCK
        blocks = self._blocks.get(self._key, range(first, last + 1))
        if len(blocks) <= last - first:
            missing = [n for n in range(first, last + 1) if n not in blocks]
            blocks |= self._fetch_all(self._with_read_ahead(missing))
        self._read_up_to = last + 1
        if first == last:
            return blocks[first][start - first * BLOCK : stop - first * BLOCK]
        joined = b"".join(blocks[n] for n in range(first, last + 1))
        return joined[start - first * BLOCK : stop - first * BLOCK]

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what of some ranges is not in the cache, and keep it there.

        Args:
            ranges: Pairs (start, stop) of bytes, in any order, overlapping or not.

        Raises:
            TransportError: The server cannot be reached, or the file is another one by now.
        """
        futures = self.begin_prefetch(ranges)
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()  # what was not begun when another failed, or Ctrl-C came

    def begin_prefetch(self, ranges: Iterable[tuple[int, int]]) -> list[Future[dict[int, bytes]]]:
        """Start what :meth:`prefetch` does; the result of every future must be asked for."""
        numbers = sorted(
            {
                number
                for start, stop in ranges
                if start < min(stop, self.size)
                for number in range(start // BLOCK, (min(stop, self.size) - 1) // BLOCK + 1)
            }
        )
        found = self._blocks.get(self._key, numbers)
        return self._submit([number for number in numbers if number not in found])

    def close(self) -> None:
        """Let go of the connections; a later read makes new ones."""
        with self._lock:
            remote, self._remote = self._remote, None
        if remote is not None and self._process == os.getpid():
            remote.close()

    def after_fork(self) -> None:
        """Leave the connections to the parent, and a lock that one of its threads may have held."""
        self._remote = None
        self._lock = threading.Lock()

    def rest(self) -> None:
        """Give idle connections back for now; a later read makes new ones without a question."""
        remote = self._remote
        if remote is not None and self._process == os.getpid():
            remote.close()

    def _begin_caching(self) -> None:
        _files.add(self)
        given = self._cache if self._cache is not None else default_cache()
        self._blocks: BlockCache = given if self._is_kept else _UNKEPT
        self._key = BlockCache.key(self._name, self.identity)
        self._blocks.describe(self._key, self.url, self.identity)

    def _with_read_ahead(self, missing: list[int]) -> list[int]:
        """Add what will probably be wanted next."""
        if missing[0] == self._read_up_to:
            self._ahead = min(max(_FIRST_READ, 2 * self._ahead), _MOST_AHEAD)
        else:
            self._ahead = _FIRST_READ
        n_blocks = -(-self.size // BLOCK)
        more = range(missing[-1] + 1, min(missing[0] + self._ahead // BLOCK, n_blocks))
        return missing + list(more)

    def _submit(self, numbers: Sequence[int]) -> list[Future[dict[int, bytes]]]:
        return [_executor().submit(self._fetch, first, last) for first, last in _joined(numbers)]

    def _fetch_all(self, numbers: Sequence[int]) -> dict[int, bytes]:
        pieces = _joined(numbers)
        if len(pieces) == 1:
            return self._fetch(*pieces[0])
        blocks: dict[int, bytes] = {}
        for future in self._submit(numbers):
            blocks |= future.result()
        return blocks

    def _fetch(self, first: int, last: int) -> dict[int, bytes]:
        """Fetch the blocks from ``first`` to ``last`` with one request."""
        start, stop = first * BLOCK, min((last + 1) * BLOCK, self.size)
        data = self._connected().read(start, stop)
        with self._lock:
            self.traffic.requests += 1
            self.traffic.n_bytes += len(data)
        with _locks["total"]:
            TOTAL.requests += 1
            TOTAL.n_bytes += len(data)
        _note_use(self)
        self._blocks.put(self._key, first, data)
        return {
            n: data[(n - first) * BLOCK : (n - first + 1) * BLOCK] for n in range(first, last + 1)
        }

    def _connected(self) -> RemoteFile:
        with self._lock:
            if self._remote is not None and self._process == os.getpid():
                return self._remote
            remote = self._connect()
            if remote.size != self.size:
                self._remote = None
                remote.close()
                message = (
                    f"{self.url} has {remote.size} bytes, {self.size} expected: it was changed at "
                    "the server. Open it again; what was read before is out of date."
                )
                raise RemoteChangedError(message)
            return remote

    def _connect(self) -> RemoteFile:
        remote = open_remote(self._location, settings=self._settings)
        problem: TransportError | None = None
        if self._seen is not None and remote.identity != self._seen:
            problem = RemoteChangedError(
                f"{self.url} is another file than when it was opened (then {self._seen}, now "
                f"{remote.identity}). Open it again; what was read before is out of date."
            )
        elif remote.size is None or not remote.accepts_ranges:
            problem = BadResponseError(
                f"{remote.url} cannot be read in parts: its server does not give ranges of bytes. "
                "Download the file, then open the copy."
            )
        if problem is not None:
            remote.close()
            raise problem
        self._seen = remote.identity
        self._remote, self._process = remote, os.getpid()
        return remote


class CachedStream(io.RawIOBase):
    """A cached file as a Python file object, for libraries that want one.

    Example:
        >>> h5py.File(CachedStream(file), "r")  # doctest: +SKIP
    """

    def __init__(self, file: CachedFile) -> None:
        """Begin at the first byte."""
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Say where the next read begins."""
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        """Fill a buffer as far as the file goes."""
        data = self._file.read(self._position, self._position + len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _joined(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Join ascending block numbers to pieces (first, last): over small gaps, but not too large."""
    pieces: list[tuple[int, int]] = []
    for number in numbers:
        if (
            pieces
            and (number - pieces[-1][1] - 1) * BLOCK <= _GAP
            and (number - pieces[-1][0] + 1) * BLOCK <= _LARGEST
        ):
            pieces[-1] = (pieces[-1][0], number)
        else:
            pieces.append((number, number))
    return pieces


#: Files whose connections may stay open; a store has thousands of shards, a process 1,024 sockets.
_MOST_OPEN: Final = 32

_recent: OrderedDict[int, weakref.ref[CachedFile]] = OrderedDict()


def _note_use(file: CachedFile) -> None:
    """Let the files that were not used for longest give their connections back."""
    with _locks["total"]:
        _recent[id(file)] = weakref.ref(file)
        _recent.move_to_end(id(file))
        oldest = _recent.popitem(last=False)[1]() if len(_recent) > _MOST_OPEN else None
    if oldest is not None:
        oldest.rest()


_executors: dict[int, ThreadPoolExecutor] = {}


def _executor() -> ThreadPoolExecutor:
    """Give the threads of this process; those of a parent did not come through the fork."""
    process = os.getpid()
    if process not in _executors:
        _executors.clear()
        _executors[process] = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="nabladft-remote")
    return _executors[process]


def _after_fork() -> None:
    _locks["total"] = threading.Lock()
    _recent.clear()
    for file in _files:
        file.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
