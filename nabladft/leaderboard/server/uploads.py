"""Uploaded files: resumable, with the size on the disk as the only record of how far they are.

``N.part`` grows; when it is complete and has the declared hash it is renamed to ``N.h5`` and made
read-only. A lock of the operating system, which ends with the process that holds it, keeps two
requests from writing one file.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nabladft.leaderboard.server.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

#: Bytes written between two looks at the clock and the disk.
_PIECE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One file of a submission.

    Attributes:
        folder: Folder of the submission.
        number: Of the file, from 0.
        n_bytes: Declared size.
        sha256: Declared hash.
    """

    folder: Path
    number: int
    n_bytes: int
    sha256: str

    @property
    def path(self) -> Path:
        """The file when it is complete and verified."""
        return self.folder / f"{self.number}.h5"

    @property
    def unfinished(self) -> Path:
        """The file while it grows."""
        return self.folder / f"{self.number}.part"

    @property
    def is_verified(self) -> bool:
        """Whether it is complete and has the declared hash."""
        return self.path.exists()

    @property
    def offset(self) -> int:
        """Number of bytes that are here."""
        if self.is_verified:
            return self.n_bytes
        try:
            return self.unfinished.stat().st_size
        except FileNotFoundError:
            # It may have been renamed between the two looks.
            return self.n_bytes if self.is_verified else 0

    async def receive(self, pieces: AsyncIterator[bytes], offset: int, idle_seconds: float) -> int:
        """Append what comes, and verify the file when it is complete.

        Args:
            pieces: The body of the request.
            offset: Where the sender says that it begins.
            idle_seconds: Longest wait for a piece.

        Returns:
            Number of bytes that are here now.

        Raises:
            SubmissionError: The offset is another, another request writes, more bytes come than
                were declared, none come for too long, the disk is full, or the hash is wrong.
        """
        if self.is_verified:
            raise refusal("offset", offset=self.n_bytes)
        with self._locked() as descriptor:
            here = os.fstat(descriptor).st_size
            if self.is_verified:
                # Another request finished it between the two looks, and this one made a new file.
                self.unfinished.unlink(missing_ok=True)
                raise refusal("offset", offset=self.n_bytes)
            if offset != here:
                raise refusal("offset", offset=here)
            try:
                here = await self._append(descriptor, pieces, here, idle_seconds)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise refusal("disk_full") from None
                raise
            finally:
                # What was answered for is on the disk, also when the power fails.
                await _to_its_end(os.fsync, descriptor)
            if here == self.n_bytes:
                await _to_its_end(self._verify, descriptor)
        return here

    def verify(self) -> None:
        """Check the hash of a complete file; one that was verified before is left alone.

        Raises:
            SubmissionError: It is not complete, another request writes it, or it has another hash
                than declared and was emptied.
        """
        if self.is_verified:
            return
        if self.offset != self.n_bytes:
            raise refusal(
                "incomplete", number=self.number, offset=self.offset, n_bytes=self.n_bytes
            )
        with self._locked() as descriptor:
            if not self.is_verified:
                self._verify(descriptor)

    async def _append(
        self, descriptor: int, pieces: AsyncIterator[bytes], here: int, idle_seconds: float
    ) -> int:
        waiting = bytearray()

        def write() -> int:
            # A write to a nearly full disk may take only some of the bytes.
            at = here
            while waiting:
                done = os.pwrite(descriptor, waiting, at)
                at += done
                del waiting[:done]
            return at

        iterator = aiter(pieces)
        try:
            while True:
                try:
                    piece = await asyncio.wait_for(anext(iterator), idle_seconds)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise refusal("idle") from None
                if here + len(waiting) + len(piece) > self.n_bytes:
                    raise refusal("too_many_bytes", n_bytes=self.n_bytes)
                waiting += piece
                if len(waiting) >= _PIECE:
                    here = await _to_its_end(write)
        finally:
            # A connection that breaks raises here: what came before it is kept.
            if waiting:
                here = await _to_its_end(write)
        return here

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.unfinished, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refusal("locked") from None
            yield descriptor
        finally:
            os.close(descriptor)

    def _verify(self, descriptor: int) -> None:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            os.ftruncate(descriptor, 0)
            raise refusal("checksum")
        os.fchmod(descriptor, 0o440)
        try:
            self.unfinished.rename(self.path)
        except FileNotFoundError:
            # It was deleted meanwhile.
            raise refusal("not_found") from None
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


async def _to_its_end(function: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401
    """Run a function in a thread and wait for its end, also when this task is cancelled.

    The file is closed after that: a thread must not go on with the number of a closed file.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def remove_folder(folder: Path) -> None:
    """Remove the files of a submission that was deleted; nothing happens where there are none."""
    shutil.rmtree(folder, ignore_errors=True)
