"""The journal of a download: which bytes of a ``.part`` file are on disk, safe from a power cut.

A text file beside the ``.part`` file; one JSON document a line, each with its CRC-32, the first
describing the file that is being fetched. A line is written only after the bytes that it speaks of
have been synced, and is synced itself. A line that a crash left half written does not count, nor
does what follows it. The open journal is also the lock: one process fetches a file.

.. code-block:: text

    {"format": "nabladft-download", "version": 1, "etag": "...", "size": 15118426112} 5d1ad9b5
    {"done": [0, 67108864]} 0f3a9c11
    {"md5": [8388608, 0, "9e107d9d372bb6826bd81d3542a419d6"]} 77c2e0b4
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import zlib
from typing import TYPE_CHECKING, Any, Final, Self

from nabladft.catalog.parts import Ranges
from nabladft.errors import DownloadError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = "nabladft-download"
VERSION: Final = 1
SUFFIX: Final = ".part.journal"


class Journal:
    """An open, locked journal.

    Attributes:
        path: Where it is.
        header: Description of the file that was begun; empty for a new journal.
        done: Bytes that are on disk.
        digests: Hex MD5s of complete S3 parts: part size -> part number -> digest.

    Raises:
        DownloadError: Another process holds it, or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Open or create, lock, read."""
        self.path = path
        self.header: dict[str, Any] = {}
        self.done = Ranges()
        self.digests: dict[int, dict[int, str]] = {}
        self._descriptor = _open_locked(path)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def begin(self, header: dict[str, Any]) -> None:
        """Forget everything and describe the file to be fetched from now on."""
        self.header = {"format": FORMAT, "version": VERSION} | header
        self.done = Ranges()
        self.digests = {}
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._write(self.header)

    def record_done(self, start: int, stop: int) -> None:
        """Say that bytes ``start`` to ``stop`` are on disk; they must have been synced."""
        self._write({"done": [start, stop]})
        self.done.add(start, stop)

    def record_digest(self, part_bytes: int, number: int, digest: str) -> None:
        """Keep the MD5 of an S3 part whose bytes are on disk; it is not synced at once."""
        self._write({"md5": [part_bytes, number, digest]}, sync=False)
        self.digests.setdefault(part_bytes, {})[number] = digest

    def remove(self) -> None:
        """Delete the file and give the lock back."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        self.close()

    def _write(self, document: dict[str, Any], *, sync: bool = True) -> None:
        text = json.dumps(document).encode()
        os.write(self._descriptor, b"%s %08x\n" % (text, zlib.crc32(text)))
        if sync:
            os.fsync(self._descriptor)

    def _read(self) -> None:
        content = b""
        while chunk := os.read(self._descriptor, 1 << 20):
            content += chunk
        valid = 0
        for line in content.splitlines(keepends=True):
            document = _parsed(line)
            if document is None or (not valid and document.get("format") != FORMAT):
                break
            if not valid and document.get("version") != VERSION:
                raise DownloadError(
                    f"{self.path} was written by another version of nabladft (format "
                    f"{document.get('version')}, {VERSION} expected). Finish the download with "
                    "that version, or delete this file to begin again."
                )
            self._take(document)
            valid += len(line)
        os.ftruncate(self._descriptor, valid)
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def _take(self, document: dict[str, Any]) -> None:
        if "format" in document:
            self.header = document
        elif "done" in document:
            self.done.add(*document["done"])
        elif "md5" in document:
            part_bytes, number, digest = document["md5"]
            self.digests.setdefault(part_bytes, {})[number] = digest


def _parsed(line: bytes) -> dict[str, Any] | None:
    text, _, check = line.rpartition(b" ")
    with contextlib.suppress(ValueError):
        if line.endswith(b"\n") and int(check, 16) == zlib.crc32(text):
            document = json.loads(text)
            return document if isinstance(document, dict) else None
    return None


def _open_locked(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise DownloadError(
                f"{path.parent} cannot be written ({error.strerror}). Choose another folder with "
                "--to or NABLADFT_DATA."
            ) from error
        try:
            _lock(descriptor, path)
            # The holder before us may have finished and deleted the file between our two steps.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        import fcntl  # noqa: PLC0415 - absent on Windows, where nothing is locked
    except ImportError:  # pragma: no cover
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DownloadError(
            f"{path.name.removesuffix(SUFFIX)} is being fetched into {path.parent} by another "
            f"process (on {socket.gethostname()} or another machine with this folder). Wait for "
            "it, or stop it and run again; what it has fetched is kept."
        ) from None
    except OSError as error:
        # Some cluster file systems have no locks; then nobody is refused.
        if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
