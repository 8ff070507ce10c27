"""What a download tells while it runs, and at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Reporter:
    """What a download tells while it runs; this one says nothing."""

    def begin(self, name: str, *, size: int | None, kept: int) -> None:
        """Say that bytes will come; ``kept`` of ``size`` are there from an earlier run."""

    def advance(self, n_bytes: int) -> None:
        """Say that bytes came; called from several threads."""

    def say(self, message: str) -> None:
        """Say something that the user should know: another mirror, a restart."""

    def end(self) -> None:
        """Say that no more bytes will come."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What became of a download.

    Attributes:
        path: The file.
        n_bytes: Its size.
        n_fetched: Bytes that came in this run.
        seconds: Time that this run took.
        verified: What agreed: "size", "SHA-256", "MD5", "ETag".
        was_there: Whether the whole file was there before.
    """

    path: Path
    n_bytes: int
    n_fetched: int
    seconds: float
    verified: tuple[str, ...]
    was_there: bool = False
