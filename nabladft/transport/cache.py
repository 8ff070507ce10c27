"""What was read from elsewhere, kept on disk and in memory, with a limit, and checked.

Bytes are kept in blocks of 4 KiB, because that is what an index of an SQLite file is read in, and
lie in segment files of one mebibyte of the remote file. A segment file is a log: whoever fetched
blocks appends them in one write, with a checksum, and nobody changes what is there. So several
processes share a cache without locks; what a crash or a full disk left behind fails its checksum
and is thrown away. Least recently used segments go first when the limit is reached.

The cache is a convenience and never a reason to fail: when its disk cannot be used, a warning says
so once and reading goes on without it.

Example:
    >>> import tempfile
    >>> cache = BlockCache(Path(tempfile.mkdtemp()), limit=10_000_000)
    >>> key = cache.key("https://example.org/file.db", "etag-1")
    >>> cache.put(key, 3, b"x" * 4096 + b"y" * 4096)
    >>> {number: block[:1] for number, block in cache.get(key, range(2, 6)).items()}
    {3: b'x', 4: b'y'}
    >>> cache.usage().n_bytes > 8192
    True
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import struct
import sys
import threading
import warnings
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Bytes of a block, the unit in which bytes are fetched and kept.
BLOCK: Final = 4096

#: Blocks of the remote file that share one segment file.
SEGMENT_BLOCKS: Final = 256

#: Environment variables with the folder of the cache and its largest size ("20GB"; "0": none).
FOLDER_VARIABLE: Final = "NABLADFT_CACHE"
LIMIT_VARIABLE: Final = "NABLADFT_CACHE_LIMIT"

DEFAULT_LIMIT: Final = 10_000_000_000

#: Bytes of blocks that a process keeps in memory.
_MEMORY: Final = 128 << 20

#: What precedes the blocks of one write: magic, first block, bytes, checksum of all that follows.
_RECORD: Final = struct.Struct("<4sQQ16s")
_MAGIC: Final = b"NBC1"

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_ABOUT: Final = "about.json"


@dataclass(frozen=True, kw_only=True)
class CachedSize:
    """What the cache holds of one remote file.

    Attributes:
        url: Of the remote file.
        n_bytes: On disk.
        last_used: Seconds since the epoch.
    """

    url: str
    n_bytes: int
    last_used: float


@dataclass(frozen=True, kw_only=True)
class CacheUsage:
    """What the cache holds on disk.

    Attributes:
        folder: Where; None when there is no cache on disk.
        limit: Bytes that it may hold.
        files: Remote files, the last used first.
    """

    folder: Path | None
    limit: int
    files: tuple[CachedSize, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes on disk."""
        return sum(file.n_bytes for file in self.files)


class _DamagedError(Exception):
    """A segment file is damaged."""


#: All caches of this process, for what must be done after a fork.
_CACHES: Final = weakref.WeakSet["BlockCache"]()


class BlockCache:
    """Blocks of remote files, in memory and on disk. Safe to use from several threads.

    Attributes:
        folder: Where segments are kept; None for a cache in memory only.
        limit: Bytes that the segments may take on disk; the cache is brought under it now and then,
            not at every write, so it can be exceeded by a twentieth.
    """

    def __init__(self, folder: Path | None, *, limit: int, memory: int = _MEMORY) -> None:
        """Remember; the folder is made when something is kept in it.

        Args:
            folder: Where segments are kept.
            limit: Bytes on disk; 0 for none.
            memory: Bytes of blocks kept in memory.
        """
        self.folder = folder if limit > 0 else None
        self.limit = limit
        self._most_blocks = max(1, memory // BLOCK)
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        # Of each segment file that was read: how much of it, and which blocks it has, as bits.
        self._seen: dict[tuple[str, int], tuple[int, int]] = {}
        self._written_since_check: int | None = None
        self._lock = threading.Lock()
        _CACHES.add(self)

    @staticmethod
    def key(url: str, identity: str) -> str:
        """Give the key of a remote file, another one when its content is another."""
        return hashlib.blake2b(f"{url}\n{identity}".encode(), digest_size=16).hexdigest()

    def describe(self, key: str, url: str, identity: str) -> None:
        """Note beside the blocks of a file what they are of, for people who look at the cache."""
        if self.folder is None or (self.folder / key / _ABOUT).exists():
            return
        with self._or_without("written"):
            folder = self.folder / key
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{os.getpid()}.{threading.get_ident()}.tmp"
            temporary.write_text(json.dumps({"url": url, "identity": identity}), encoding="utf-8")
            temporary.replace(folder / _ABOUT)

    def get(self, key: str, numbers: Iterable[int]) -> dict[int, bytes]:
        """Give those blocks that are there.

        Args:
            key: Of the remote file.
            numbers: Which blocks.
        """
        found: dict[int, bytes] = {}
        absent: dict[int, list[int]] = {}
        with self._lock:
            for number in numbers:
                block = self._blocks.get((key, number))
                if block is None:
                    absent.setdefault(number // SEGMENT_BLOCKS, []).append(number)
                else:
                    self._blocks.move_to_end((key, number))
                    found[number] = block
        if self.folder is not None:
            for segment, wanted in absent.items():
                found |= self._load(key, segment, wanted)
        return found

    def put(self, key: str, first: int, data: bytes) -> None:
        """Keep blocks that follow each other.

        Args:
            key: Of the remote file.
            first: Number of the first block.
            data: Whole blocks; only the last block of a file may be shorter.
        """
        blocks = {
            first + k: data[k * BLOCK : (k + 1) * BLOCK] for k in range(-(-len(data) // BLOCK))
        }
        self._remember(key, blocks)
        if self.folder is None:
            return
        with self._or_without("written"):
            (self.folder / key).mkdir(parents=True, exist_ok=True)
            for start, content in _by_segment(first, data):
                _append(self._path(key, start // SEGMENT_BLOCKS), start, content)
        self._keep_to_limit(len(data))

    def usage(self) -> CacheUsage:
        """Say what is on disk."""
        files = []
        for folder in self._folders():
            sizes = [status for _, status in _segments(folder)]
            about = {}
            with contextlib.suppress(OSError, ValueError):
                about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            files.append(
                CachedSize(
                    url=str(about.get("url", "?")),
                    n_bytes=sum(status.st_size for status in sizes),
                    last_used=max((status.st_mtime for status in sizes), default=0.0),
                )
            )
        files.sort(key=lambda file: -file.last_used)
        return CacheUsage(folder=self.folder, limit=self.limit, files=tuple(files))

    def clear(self) -> int:
        """Forget everything, on disk and in memory, and give the number of bytes freed on disk.

        Raises:
            OSError: A file cannot be removed.
        """
        freed = self.usage().n_bytes
        for folder in self._folders():
            shutil.rmtree(folder)
        with self._lock:
            self._blocks.clear()
            self._seen.clear()
        return freed

    def after_fork(self) -> None:
        """Make the lock anew: another thread of the parent process may have held it."""
        self._lock = threading.Lock()

    def _path(self, key: str, segment: int) -> Path:
        assert self.folder is not None
        return self.folder / key / f"{segment:08x}"

    def _folders(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            return []
        # Only what looks like ours: a folder given by mistake must not be emptied.
        return [f for f in sorted(self.folder.iterdir()) if re.fullmatch("[0-9a-f]{32}", f.name)]

    def _remember(self, key: str, blocks: dict[int, bytes]) -> None:
        with self._lock:
            for number, block in blocks.items():
                self._blocks[key, number] = block
                self._blocks.move_to_end((key, number))
            while len(self._blocks) > self._most_blocks:
                self._blocks.popitem(last=False)

    def _load(self, key: str, segment: int, wanted: list[int]) -> dict[int, bytes]:
        """Read a segment file, unless it is known to have nothing that is wanted."""
        path = self._path(key, segment)
        try:
            size = path.stat().st_size
        except OSError:
            return {}
        seen, present = self._seen.get((key, segment), (0, 0))
        if seen == size and not any(present >> n % SEGMENT_BLOCKS & 1 for n in wanted):
            return {}
        blocks: dict[int, bytes] = {}
        with self._or_without("read"):
            content = path.read_bytes()
            try:
                for first, data in _records(content):
                    blocks |= {
                        first + k: data[k * BLOCK : (k + 1) * BLOCK]
                        for k in range(-(-len(data) // BLOCK))
                    }
                os.utime(path)  # last used now
            except _DamagedError:
                # What precedes the damage is good; appending after it would be of no use.
                path.unlink(missing_ok=True)
            present = sum(1 << n % SEGMENT_BLOCKS for n in blocks)
            self._seen[key, segment] = (len(content), present)
        self._remember(key, blocks)
        return {number: blocks[number] for number in wanted if number in blocks}

    def _keep_to_limit(self, written: int) -> None:
        """Remove what was not used for longest, when enough was written to look again."""
        with self._lock:
            first = self._written_since_check is None
            self._written_since_check = (self._written_since_check or 0) + written
            if not first and self._written_since_check < self.limit // 20:
                return
            self._written_since_check = 0
        with self._or_without("kept to its limit"):
            found = [
                (status.st_mtime, status.st_size, path)
                for folder in self._folders()
                for path, status in _segments(folder)
            ]
            total = sum(size for _, size, _ in found)
            if total <= self.limit:
                return
            for _, size, path in sorted(found):
                path.unlink(missing_ok=True)
                total -= size
                if total <= 0.9 * self.limit:
                    break

    @contextlib.contextmanager
    def _or_without(self, what: str) -> Iterator[None]:
        """Go on without a cache on disk when its disk cannot be used."""
        try:
            yield
        except OSError as error:
            folder, self.folder = self.folder, None
            if folder is not None:
                warnings.warn(
                    f"The cache in {folder} cannot be {what} ({error.strerror or error}); going on "
                    f"without one. Free some space, or set {FOLDER_VARIABLE} to another folder.",
                    RuntimeWarning,
                    stacklevel=2,
                )


def _checksum(first: int, data: bytes) -> bytes:
    start = struct.pack("<QQ", first, len(data))
    return hashlib.blake2b(data, digest_size=16, key=start).digest()


def _by_segment(first: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut blocks at the borders of segments."""
    position = 0
    while position < len(data):
        number = first + position // BLOCK
        room = (SEGMENT_BLOCKS - number % SEGMENT_BLOCKS) * BLOCK
        yield number, data[position : position + room]
        position += room


def _append(path: Path, first: int, data: bytes) -> None:
    record = _RECORD.pack(_MAGIC, first, len(data), _checksum(first, data)) + data
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        # One write, so that those of several processes do not mix.
        written = os.write(file, record)
    finally:
        os.close(file)
    if written < len(record):
        path.unlink(missing_ok=True)
        raise OSError(28, "No space left on device")


def _records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the records of a segment file; one at the end may still be being written.

    Raises:
        _DamagedError: A record is not what was written.
    """
    position = 0
    while position + _RECORD.size <= len(content):
        magic, first, length, checksum = _RECORD.unpack_from(content, position)
        position += _RECORD.size
        if magic != _MAGIC or length > SEGMENT_BLOCKS * BLOCK:
            raise _DamagedError
        if position + length > len(content):
            return
        data = content[position : position + length]
        if _checksum(first, data) != checksum:
            raise _DamagedError
        yield first, data
        position += length


def _segments(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Give the segment files of one remote file; one that another process removes is left out."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch("[0-9a-f]{8,}", entry.name):
                with contextlib.suppress(FileNotFoundError):
                    yield Path(entry.path), entry.stat()


def _after_fork() -> None:
    for cache in _CACHES:
        cache.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


def parse_size(text: str) -> int:
    """Read a number of bytes: "500MB", "10 GB", "1e9".

    Raises:
        ConfigError: It is not one.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][0-9]+)?)\s*([kKmMgGtT]?)[bB]?\s*", text)
    try:
        if match:
            return int(float(match[1]) * _UNITS[match[2].lower()])
    except ValueError:
        pass
    message = f"{text!r} is not a size. Write a number of bytes or, for example, 500MB or 10GB."
    raise ConfigError(message)


def cache_folder() -> Path:
    """Give the folder of the cache: ``NABLADFT_CACHE``, else the platform's place for caches."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "nabladft"


def default_cache() -> BlockCache:
    """Give the cache of this process, as the environment says.

    Raises:
        ConfigError: ``NABLADFT_CACHE_LIMIT`` is not a size.
    """
    given = os.environ.get(LIMIT_VARIABLE)
    try:
        limit = parse_size(given) if given else DEFAULT_LIMIT
    except ConfigError as error:
        message = f"{LIMIT_VARIABLE}: {error}"
        raise ConfigError(message) from None
    return _cache_at(cache_folder(), limit)


@remembered
def _cache_at(folder: Path, limit: int) -> BlockCache:
    return BlockCache(folder, limit=limit)
