"""Fetch one file: parts over several connections, a journal, hashes on the way, one rename.

The state on disk is ``FILE.part`` (of full size, with holes) and ``FILE.part.journal``. A range is
journalled only after a disk sync, so whatever kills the process or the machine, the next run goes
on from there and fetches again no more than the parts that were in flight. ``FILE`` itself appears
in one step, after its hashes agreed.

Example:
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     origin = pathlib.Path(folder, "origin")
    ...     _ = origin.write_bytes(b"abc" * 100)
    ...     fetched = fetch_file([str(origin)], pathlib.Path(folder, "copy.db"))
    ...     fetched.n_bytes, fetched.n_fetched, fetched.path.read_bytes() == origin.read_bytes()
    (300, 300, True)
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from nabladft.catalog.journal import SUFFIX, Journal
from nabladft.catalog.parts import part_bytes_for
from nabladft.catalog.reporting import Fetched, Reporter
from nabladft.catalog.sources import Begun, Sources, difference
from nabladft.catalog.transfer import Transfer
from nabladft.catalog.verification import Expected, Mismatch, content_etag, verify_file
from nabladft.errors import DownloadError, TransportError, VerificationError
from nabladft.transport.files import TransportSettings, open_remote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nabladft.transport.files import RemoteFile

__all__ = ["PART", "Fetched", "Reporter", "bytes_to_fetch", "fetch_file"]

PART: Final = ".part"
_SERVER: Final = "the server"

#: Bytes to leave on a disk: a full one breaks other people's work.
_SPARE: Final = 64 << 20


def fetch_file(
    locations: Sequence[str],
    target: Path,
    *,
    expected: Expected | None = None,
    connections: int = 8,
    part_bytes: int | None = None,
    settings: TransportSettings | None = None,
    reporter: Reporter | None = None,
) -> Fetched:
    """Fetch a file, or what is missing of it, and check it.

    Args:
        locations: Where it is, the best place first: URLs or paths.
        target: Where it shall be.
        expected: Size and hashes. Without hashes, an ETag of the server that follows from the
            content is checked.
        connections: Parts to fetch at a time.
        part_bytes: Size of a part; None chooses one.
        settings: Time-outs and retries; None for those of the environment.
        reporter: Told what happens.

    Raises:
        DownloadError: It cannot begin or go on: no space, folder read-only, another process.
        VerificationError: The whole file is not the expected one; nothing is left under its name.
        TransportError: No place gives it; what was fetched is kept.
        KeyboardInterrupt: Passed on, after what was fetched has been recorded.
    """
    settings = settings or TransportSettings.from_environment()
    settings = replace(settings, connections=max(settings.connections, connections))
    reporter = reporter or Reporter()
    expected = expected or Expected()
    if target.exists():
        _remove_left_journal(target)
        return _found(target, expected)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{target.parent} cannot be created ({error.strerror}). Choose another folder with "
            "--to or NABLADFT_DATA."
        ) from error
    with Journal(target.with_name(target.name + SUFFIX)) as journal:
        if target.exists():  # finished by another process while we waited for nothing
            journal.remove()
            return _found(target, expected)
        job = _Job(
            target=target,
            journal=journal,
            expected=expected,
            connections=connections,
            part_bytes=part_bytes,
            settings=settings,
            reporter=reporter,
        )
        began = time.monotonic()
        try:
            verified = job.run(list(locations))
        except OSError as error:
            raise _explained(error, target) from error
        return Fetched(
            path=target,
            n_bytes=target.stat().st_size,
            n_fetched=job.n_fetched,
            seconds=time.monotonic() - began,
            verified=verified,
        )


def bytes_to_fetch(target: Path, size: int) -> int:
    """Return how many of the ``size`` bytes of a file are not on disk yet."""
    if target.exists():
        return 0
    part, path = target.with_name(target.name + PART), target.with_name(target.name + SUFFIX)
    if not part.exists() or not path.exists():
        return size
    try:
        with Journal(path) as journal:
            # The size that the server said, where the catalogue has an estimate.
            size = journal.header.get("size") or size
            return size - journal.done.total if part.stat().st_size == size else size
    except TransportError:
        return size


@dataclass(kw_only=True)
class _Job:
    """One file while it is being fetched; the journal is locked."""

    target: Path
    journal: Journal
    expected: Expected
    connections: int
    part_bytes: int | None
    settings: TransportSettings
    reporter: Reporter
    n_fetched: int = 0

    @property
    def _part(self) -> Path:
        return self.target.with_name(self.target.name + PART)

    def run(self, locations: list[str]) -> tuple[str, ...]:
        """Fetch and check; once more when a checked file turns out to be wrong."""
        try:
            return self._attempt(locations)
        except _WrongContent as wrong:
            self.reporter.say(f"{wrong}; fetching it once more")
            # Another place first: this one may have a damaged copy.
            others = locations[1:] + locations[:1]
        try:
            return self._attempt(others)
        except _WrongContent as wrong:
            raise VerificationError(
                f"{self.target.name} was fetched twice and is wrong: {wrong}. Nothing is left "
                "under its name. Either the server's copy is damaged (try --mirror), or the hash "
                "that it is compared with is of another file (--accept-changed)."
            ) from None

    def _attempt(self, locations: list[str]) -> tuple[str, ...]:
        sources = Sources(
            locations, expected=self.expected, settings=self.settings, say=self.reporter.say
        )
        try:
            remote = sources.first()
            expected = _completed(self.expected, remote)
            sources.expected = expected
            self._resume_or_begin(remote, expected)
            self._transfer(sources, remote, expected)
            return self._finish(expected, remote)
        finally:
            sources.close()

    def _resume_or_begin(self, remote: RemoteFile, expected: Expected) -> None:
        begun = Begun.from_header(self.journal.header)
        reason = None
        if begun is not None:
            reason = difference(begun, remote, hashes=expected.hashes)
            if reason is None and not self._part_is_whole(remote.size):
                reason = f"{self._part.name} was moved, cut or replaced"
            if reason and self.journal.done.total:
                self.reporter.say(f"{self.target.name} is begun again: {reason}")
        if begun is None or reason:
            self.journal.begin({"file": self.target.name} | asdict(Begun.of(remote)))
        self._check_space(remote.size)
        with self._part.open("ab") as file:
            # Of unknown size: what an earlier run left must not stay behind the new end.
            os.ftruncate(file.fileno(), remote.size or 0)
            os.fsync(file.fileno())
        _sync_folder(self.target.parent)

    def _part_is_whole(self, size: int | None) -> bool:
        if not self.journal.done.total:
            return True
        return self._part.exists() and self._part.stat().st_size == size

    def _check_space(self, size: int | None) -> None:
        if size is None:
            return
        needed = size - self.journal.done.total
        free = shutil.disk_usage(self.target.parent).free
        # Holes that were filled by an earlier, forgotten beginning take no space again.
        if self._part.exists():
            needed = min(needed, max(0, size - self._part.stat().st_blocks * 512))
        if needed and needed + min(_SPARE, needed // 10) > free:
            raise DownloadError(
                f"{self.target.name} needs {needed / 1e9:.2f} GB more, and {self.target.parent} "
                f"has {free / 1e9:.2f} GB free. Nothing was fetched; what is there is kept. Free "
                "some space, or choose another folder with --to or NABLADFT_DATA."
            )

    def _transfer(self, sources: Sources, remote: RemoteFile, expected: Expected) -> None:
        reporter = self.reporter
        reporter.begin(self.target.name, size=remote.size, kept=self.journal.done.total)
        connections = self.connections
        if not remote.accepts_ranges:
            connections = 1
            reporter.say(
                f"{remote.url}: the server gives whole files only: one connection, and after an "
                "interruption from the start"
            )
        transfer = Transfer(
            path=self._part,
            journal=self.journal,
            sources=sources,
            remote=remote,
            begun=Begun.of(remote),
            expected=expected,
            part_bytes=self.part_bytes or part_bytes_for(remote.size or 0, connections=connections),
            settings=self.settings,
            advance=reporter.advance,
        )
        try:
            transfer.run(connections)
        finally:
            self.n_fetched += transfer.n_fetched
            reporter.end()
        self._mismatches = transfer.mismatches

    def _finish(self, expected: Expected, remote: RemoteFile) -> tuple[str, ...]:
        part = self._part
        size = part.stat().st_size
        wrong: list[Mismatch] = self._mismatches
        if expected.size is not None and size != expected.size:
            raise VerificationError(
                f"{remote.url} gave {size} bytes, {expected.said_by} says {expected.size}. It was "
                "changed after the catalogue was written, or broke off; nothing is left under the "
                "name of the file."
            )
        if remote.size is None and expected.hashes:
            # Part sizes follow from the size, which is known only now.
            verify_file(part, expected)
        sized = expected.size is not None or remote.size is not None
        verified = ("size",) * sized + expected.hashes
        if not verified:
            self.reporter.say(
                "neither server nor catalogue says its size or a hash: whether it is whole is "
                "not known"
            )
        if wrong and not any(mismatch.certain for mismatch in wrong):
            self._accept_uncertain(wrong, expected)
            verified = tuple(name for name in verified if name != "ETag")
        elif wrong:
            text = "; ".join(map(str, wrong))
            self.journal.begin({"file": self.target.name} | asdict(Begun.of(remote)))
            self._refuse_if_changed(remote, text)
            raise _WrongContent(text)
        part.replace(self.target)
        _sync_folder(self.target.parent)
        self.journal.remove()
        return verified

    def _accept_uncertain(self, wrong: list[Mismatch], expected: Expected) -> None:
        """Go on with an ETag that cannot be reproduced if only the server said it, else refuse."""
        text = "; ".join(map(str, wrong))
        if expected.said_by == _SERVER or len(expected.hashes) > 1:
            self.reporter.say(f"{text}; what else is known of it agrees")
            return
        raise VerificationError(
            f"{self.target.name}: {text}. Its bytes are kept in {self._part.name}: give "
            "etag_part_bytes in the catalogue, or take the file as it is with --accept-changed, "
            "and run again; nothing is fetched again. To fetch it again, delete that file."
        )

    def _refuse_if_changed(self, remote: RemoteFile, text: str) -> None:
        """Raise if the server's file is another one now: then a second try would mix again."""
        location = remote.url
        try:
            with open_remote(location, settings=self.settings) as now:
                changed = now.identity != remote.identity
        except TransportError:
            return
        if changed:
            raise VerificationError(
                f"{self.target.name}: {text}. {location} was replaced while it was being fetched. "
                "Nothing is left under its name; run the same command again."
            )


class _WrongContent(Exception):  # noqa: N818 - a signal inside this module
    """The whole file was fetched and is not the expected one."""


def _completed(expected: Expected, remote: RemoteFile) -> Expected:
    """Add what the server says, where nothing better is known."""
    if expected.hashes or content_etag(remote.etag) is None:
        return expected
    size = expected.size if expected.size is not None else remote.size
    return replace(expected, size=size, etag=remote.etag, said_by=_SERVER)


def _found(target: Path, expected: Expected) -> Fetched:
    if not target.is_file():
        raise DownloadError(f"{target} exists and is not a file. Move it away, or choose --to.")
    size = target.stat().st_size
    if expected.size is not None and size != expected.size:
        raise DownloadError(
            f"{target} exists with {size} bytes, {expected.said_by} says {expected.size}: it is "
            "another file, or one that a program without a journal left unfinished. Move it away "
            "and run again."
        )
    verified = ("size",) if expected.size is not None else ()
    return Fetched(
        path=target, n_bytes=size, n_fetched=0, seconds=0.0, verified=verified, was_there=True
    )


def _remove_left_journal(target: Path) -> None:
    """Remove the journal of a process that was killed after its last step but one."""
    path = target.with_name(target.name + SUFFIX)
    if path.exists():
        with contextlib.suppress(OSError), Journal(path) as journal:
            journal.remove()


def _explained(error: OSError, target: Path) -> OSError:
    """Turn an error of the disk into one that says what to do; others are returned as they are."""
    texts = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "your quota is used up",
        errno.EFBIG: "the file system does not take files of this size (FAT does not)",
        errno.EROFS: "the folder is read-only",
        errno.EACCES: "the folder is not writable",
        errno.EIO: "the disk reports an error",
    }
    if isinstance(error, TransportError) or error.errno not in texts:
        return error
    return DownloadError(
        f"{target.name} cannot be written into {target.parent}: {texts[error.errno]}. What was "
        "fetched is kept; remedy that and run the same command again, or choose another folder "
        "with --to or NABLADFT_DATA."
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
