"""The places that one file can be fetched from, and when one may stand in for another.

A download may go on from a mirror, even in the middle, only if it is shown to hold the same file:
the same size, and either the same content ETag or a hash in the catalogue that decides at the end.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nabladft.catalog.verification import Expected, content_etag
from nabladft.errors import (
    ConnectionFailedError,
    DownloadError,
    RemoteMissingError,
    TransportError,
    VerificationError,
)
from nabladft.transport.addresses import shown
from nabladft.transport.files import open_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from nabladft.transport.files import RemoteFile, TransportSettings


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The file that a download was begun with, as the journal's header keeps it."""

    url: str
    size: int | None
    etag: str | None
    identity: str

    @classmethod
    def of(cls, remote: RemoteFile) -> Begun:
        """Describe a file as its server does."""
        return cls(url=remote.url, size=remote.size, etag=remote.etag, identity=remote.identity)

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Begun | None:
        """Read the header of a journal; None for a new one."""
        if not header:
            return None
        return cls(
            url=header["url"],
            size=header["size"],
            etag=header["etag"],
            identity=header["identity"],
        )


def difference(begun: Begun, remote: RemoteFile, *, hashes: Sequence[str]) -> str | None:
    """Say why bytes from ``remote`` may not be put together with those begun with; None if fine.

    Args:
        begun: What the first bytes were of.
        remote: What further bytes would be of.
        hashes: Names of the hashes that the whole file will be compared with.
    """
    if begun.size != remote.size:
        return f"its size is {remote.size} bytes, {begun.size} before"
    if begun.identity == remote.identity:
        return None
    before, now = content_etag(begun.etag), content_etag(remote.etag)
    # An ETag with parts and one without may be of the same bytes.
    if before and now and ("-" in before) == ("-" in now):
        return f"its ETag is {now}, {before} before"
    if begun.url == remote.url:
        return f"it was replaced at the server: {remote.identity}, {begun.identity} before"
    return None if hashes else "nothing shows that it holds the same file (no hash is known)"


def unlike(expected: Expected, remote: RemoteFile) -> str | None:
    """Say what a server tells of its file that contradicts what is expected; None if nothing."""
    if expected.size is not None and remote.size is not None and expected.size != remote.size:
        return f"it has {remote.size} bytes, {expected.said_by} says {expected.size}"
    promised, told = content_etag(expected.etag), content_etag(remote.etag)
    # A mirror that was uploaded in other parts has another ETag for the same bytes.
    same_kind = promised and told and promised.partition("-")[2] == told.partition("-")[2]
    if same_kind and promised != told:
        return f"its ETag is {told}, {expected.said_by} says {promised}"
    return None


class Sources:
    """The places of one file, of which one is in use; threads may ask for the next at once.

    Attributes:
        expected: What the whole file will be compared with.
    """

    def __init__(
        self,
        locations: Sequence[str],
        *,
        expected: Expected,
        settings: TransportSettings,
        say: Callable[[str], None],
    ) -> None:
        """Take the places in the order to try; nothing is opened yet."""
        self.expected = expected
        self._waiting = list(locations)
        self._settings = settings
        self._say = say
        self._lock = threading.Lock()
        self._failures: list[TransportError] = []
        self._current: RemoteFile | None = None

    def first(self) -> RemoteFile:
        """Open the first place that has the file.

        Raises:
            TransportError: No place has it.
        """
        with self._lock:
            return self._next(None)

    def after(self, failed: RemoteFile, error: TransportError, begun: Begun) -> RemoteFile:
        """Return the place to go on from when one has failed, opening it if nobody has yet.

        Raises:
            TransportError: No further place holds the same file.
        """
        with self._lock:
            if self._current is not failed and self._current is not None:
                return self._current
            failed.close()
            self._failures.append(error)
            if self._waiting:
                self._say(str(error))
            self._current = None
            remote = self._next(begun)
            self._say(f"going on from {remote.url}")
            return remote

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            if self._current is not None:
                self._current.close()

    def _next(self, begun: Begun | None) -> RemoteFile:
        while self._waiting:
            location = self._waiting.pop(0)
            try:
                remote = open_remote(location, settings=self._settings)
            except TransportError as error:
                self._failures.append(error)
                # A mirror need not hold everything.
                if self._waiting and not isinstance(error, RemoteMissingError):
                    self._say(str(error))
                continue
            reason = (
                unlike(self.expected, remote)
                if begun is None
                else difference(begun, remote, hashes=self.expected.hashes)
            )
            if reason is None:
                self._current = remote
                return remote
            remote.close()
            message = f"{shown(location)} holds another file: {reason}."
            if begun is None:
                message += (
                    " It was changed after the catalogue was written. Update the catalogue, or "
                    "take it as it is now with --accept-changed."
                )
            self._failures.append(VerificationError(message))
        raise self._given_up()

    def _given_up(self) -> TransportError:
        if len(self._failures) == 1:
            return self._failures[0]
        if not self._failures:
            return DownloadError("There is no address to fetch it from.")
        lines = "\n  ".join(str(failure) for failure in self._failures)
        passing = all(isinstance(one, ConnectionFailedError) for one in self._failures)
        kind = ConnectionFailedError if passing else DownloadError
        return kind(f"No place gives the file:\n  {lines}")
