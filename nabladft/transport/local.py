"""A file on this machine or on a mounted mirror, read like a remote one."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from nabladft.errors import RemoteChangedError, RemoteMissingError, TransportError
from nabladft.transport.remote_file import RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK: Final = 1 << 20


class LocalFile(RemoteFile):
    """A local file behind the interface of remote ones.

    Raises:
        RemoteMissingError: There is none.
        TransportError: It is no regular file, or not readable.
    """

    def __init__(self, path: Path) -> None:
        """Open it."""
        self.url = str(path)
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise RemoteMissingError(f"{path} does not exist.") from None
        except OSError as error:
            raise TransportError(f"{path} cannot be read: {error.strerror}.") from error
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise TransportError(f"{path} is not a regular file.")
        self.size: int = status.st_size
        self.etag = None
        self.identity = self._identity()
        self.accepts_ranges = True

    def _identity(self) -> str:
        status = os.fstat(self._file.fileno())
        return f"date {status.st_mtime_ns} size {status.st_size}"

    def read(self, start: int, stop: int) -> bytes:
        """Return exactly bytes ``start`` to ``stop``."""
        return b"".join(self.stream(start, stop))

    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop``, by the megabyte."""
        position, end = start, self.size if stop is None else stop
        while position < end:
            chunk = os.pread(self._file.fileno(), min(_CHUNK, end - position), position)
            if not chunk or self._identity() != self.identity:
                raise RemoteChangedError(
                    f"{self.url} was changed while it was being read. Read it again from the start."
                )
            yield chunk
            position += len(chunk)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
