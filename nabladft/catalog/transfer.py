"""The threads of a download: connections that write parts, and one that hashes what is complete."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final

from nabladft.catalog.parts import plan_parts
from nabladft.catalog.verification import Mismatch, Verifier
from nabladft.errors import TransportError
from nabladft.transport.retries import fetch_range, retrying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nabladft.catalog.journal import Journal
    from nabladft.catalog.sources import Begun, Sources
    from nabladft.catalog.verification import Expected
    from nabladft.transport.files import RemoteFile, TransportSettings

#: macOS has only the one that syncs times as well.
_sync: Final = getattr(os, "fdatasync", os.fsync)

_READ: Final = 4 << 20
#: Seconds that threads get to stop after an interruption; one may hang in a dead connection.
_PATIENCE: Final = 3.0


class _StoppedError(Exception):
    """The download is over for this thread."""


class Transfer:
    """Bytes on their way from a source into a ``.part`` file.

    Attributes:
        n_fetched: Bytes that came.
        mismatches: After :meth:`run`, the hashes that are not as promised.
    """

    def __init__(
        self,
        *,
        path: Path,
        journal: Journal,
        sources: Sources,
        remote: RemoteFile,
        begun: Begun,
        expected: Expected,
        part_bytes: int,
        settings: TransportSettings,
        advance: Callable[[int], None],
    ) -> None:
        """Prepare; nothing moves yet.

        Args:
            path: The ``.part`` file, of full size.
            journal: Knows what is in it.
            sources: Gives another place when one fails.
            remote: The place to begin with.
            begun: The file that the journal is about.
            expected: What the whole is compared with.
            part_bytes: Size of a part.
            settings: Retries and pauses.
            advance: Told the number of bytes that came.
        """
        self.n_fetched = 0
        self.mismatches: list[Mismatch] = []
        self._path = path
        self._journal = journal
        self._sources = sources
        self._remote = remote
        self._begun = begun
        self._settings = settings
        self._advance = advance
        self._size = remote.size
        self._parts = plan_parts(journal.done.gaps(remote.size or 0), part_bytes=part_bytes)
        self._verifier = Verifier(
            remote.size, expected, known=journal.digests, keep=self._keep_digest
        )
        self._lock = threading.Lock()
        self._journal_lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._complete = journal.done.prefix
        self._in_flight: dict[int, tuple[int, int]] = {}
        self._stop = threading.Event()
        self._over = threading.Event()
        self._n_running = 0
        self._failure: BaseException | None = None
        self._descriptor = -1

    def run(self, connections: int) -> None:
        """Fetch what is missing and hash everything.

        Raises:
            TransportError: No place gives it any more; what came is journalled.
            OSError: The disk does not take it.
            KeyboardInterrupt: Passed on; what came is journalled.
        """
        self._descriptor = os.open(self._path, os.O_RDWR)
        if self._remote.accepts_ranges and self._size is not None:
            works: list[Callable[[], None]] = [self._fetch_parts] * connections
        else:
            works = [self._fetch_whole]
        works.append(self._hash)
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works
        ]
        self._n_running = len(threads)
        try:
            for thread in threads:
                thread.start()
            self._over.wait()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C, raised again below
            self._fail(error)
        if self._failure is not None:
            self._halt(threads)
            raise self._failure
        self.mismatches = self._verifier.mismatches(self._path)
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _halt(self, threads: list[threading.Thread]) -> None:
        """Wait for the threads to stop and journal what is on its way."""
        for thread in threads:
            if thread.ident is not None:
                thread.join(_PATIENCE / len(threads))
        with contextlib.suppress(OSError), self._journal_lock:
            with self._lock:
                came = list(self._in_flight.values())
            if self._remote.accepts_ranges:
                _sync(self._descriptor)
                for start, position in came:
                    if position > start:
                        self._journal.record_done(start, position)
        # A thread that hangs may still write; its number must not become another file's.
        if not any(thread.is_alive() for thread in threads):
            os.close(self._descriptor)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._fail(error)
        with self._lock:
            self._n_running -= 1
            if not self._n_running:
                self._over.set()

    def _fail(self, error: BaseException) -> None:
        with self._progress:
            if self._failure is None:
                self._failure = error
            self._stop.set()
            self._over.set()
            self._progress.notify_all()

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _StoppedError

    def _write(self, position: int, chunk: bytes) -> None:
        if self._stop.is_set():
            raise _StoppedError
        view = memoryview(chunk)
        while view:
            n_written = os.pwrite(self._descriptor, view, position)
            view, position = view[n_written:], position + n_written

    def _fetch_parts(self) -> None:
        me = threading.get_ident()
        while not self._stop.is_set():
            with self._lock:
                part = next(self._parts, None)
                if part is None:
                    return
                self._in_flight[me] = (part[0], part[0])
            start, stop = part
            self._fetch_part(me, start, stop)
            with self._journal_lock:
                # First the bytes, then the line that says so.
                _sync(self._descriptor)
                self._journal.record_done(start, stop)
                with self._progress:
                    del self._in_flight[me]
                    self._complete = self._journal.done.prefix
                    self._progress.notify_all()

    def _fetch_part(self, me: int, start: int, stop: int) -> None:
        def write(position: int, chunk: bytes) -> None:
            self._write(position, chunk)
            with self._lock:
                self._in_flight[me] = (start, position + len(chunk))
                self.n_fetched += len(chunk)
            self._advance(len(chunk))

        remote = self._remote
        while (position := self._in_flight[me][1]) < stop:
            try:
                fetch_range(
                    remote.stream,
                    position,
                    stop,
                    write=write,
                    settings=self._settings,
                    sleep=self._pause,
                )
            except TransportError as error:
                if self._stop.is_set():
                    raise _StoppedError from None
                remote = self._sources.after(remote, error, self._begun)
                self._remote = remote

    def _fetch_whole(self) -> None:
        """Fetch from a server that gives no ranges: after a failure again, past what is there."""
        there = 0

        def attempt() -> None:
            nonlocal there
            position = 0
            for chunk in self._remote.stream():
                fresh = chunk[max(0, there - position) :]
                position += len(chunk)
                if fresh:
                    self._write(position - len(fresh), fresh)
                    there = position
                    with self._progress:
                        self.n_fetched += len(fresh)
                        self._complete = max(self._complete, there)
                        self._progress.notify_all()
                    self._advance(len(fresh))

        while True:
            try:
                retrying(self._settings, sleep=self._pause)(attempt)
                break
            except TransportError as error:
                if self._stop.is_set():
                    raise _StoppedError from None
                self._remote = self._sources.after(self._remote, error, self._begun)
        with self._progress:
            self._size = there
            self._progress.notify_all()

    def _hash(self) -> None:
        verifier = self._verifier
        while True:
            with self._progress:
                while (
                    verifier.position >= self._complete
                    and verifier.position != self._size
                    and not self._stop.is_set()
                ):
                    self._progress.wait()
                if self._stop.is_set():
                    raise _StoppedError
                complete = self._complete
            if verifier.position == self._size:
                return
            while verifier.position < complete and not self._stop.is_set():
                wanted = min(_READ, complete - verifier.position)
                chunk = os.pread(self._descriptor, wanted, verifier.position)
                if not chunk:
                    message = f"{self._path} was cut while it was being fetched. Run again."
                    raise TransportError(message)
                verifier.update(chunk)

    def _keep_digest(self, part_bytes: int, number: int, digest: str) -> None:
        if self._remote.accepts_ranges:
            with self._journal_lock:
                self._journal.record_digest(part_bytes, number, digest)
