"""What a conversion is asked to make, and what it tells on the way and at the end."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nabladft.errors import InputError
from nabladft.storage.writing import SHARD_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nabladft.conversion.rows import BadRow
    from nabladft.storage.manifest import Codec

TargetFormat = Literal["store", "extxyz", "db", "schnetpack"]


@dataclass(frozen=True, kw_only=True)
class ConversionSettings:
    """What decides the content of the target.

    Attributes:
        fields: Labels to take; None takes all that the source holds.
        codec: Of a store: "plain" or "compact".
        error_bounds: Of a compact store, largest error by field, in its unit.
        shard_rows: Conformations in one shard; None lets ``shard_bytes`` decide.
        shard_bytes: Size of one shard before compression.
        name: Of the data set; None takes that of the source.
        licence: Terms of use; None takes those that the source states.
        limit: Take only so many conformations, the first ones.

    Raises:
        InputError: A number is not positive, or a bound without the compact codec.
    """

    fields: tuple[str, ...] | None = None
    codec: Codec = "plain"
    error_bounds: Mapping[str, float] = field(default_factory=dict)
    shard_rows: int | None = None
    shard_bytes: int = SHARD_BYTES
    name: str | None = None
    licence: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check."""
        for name in ("shard_rows", "shard_bytes", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                message = f"{name} must be at least 1, got {value}."
                raise InputError(message)
        if self.error_bounds and self.codec != "compact":
            message = "An error bound needs the compact codec: the plain one is exact."
            raise InputError(message)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a conversion stands when it begins.

    Attributes:
        n_rows: Conformations to convert in all.
        n_done: Converted by earlier runs.
        n_bytes: Estimated size of the target.
    """

    n_rows: int
    n_done: int
    n_bytes: int


class Counter(Protocol):
    """Counts conformations; a bar of tqdm is one."""

    def update(self, n: int) -> object:
        """Take ``n`` more."""


class Watcher(Protocol):
    """Who wants to see the work, a progress bar say."""

    def converting(self, progress: Progress) -> AbstractContextManager[Counter]:
        """Begin to convert."""

    def indexing(self, what: str, n_done: int, n_total: int) -> None:
        """Take note of how far the index of the store is."""

    def verifying(self, n_rows: int) -> AbstractContextManager[Counter]:
        """Begin to compare the target with the source."""


class Silent:
    """A watcher that does not look."""

    def update(self, n: int) -> object:
        """Do nothing."""

    def converting(self, progress: Progress) -> AbstractContextManager[Counter]:  # noqa: ARG002
        """Do nothing."""
        return nullcontext(self)

    def indexing(self, what: str, n_done: int, n_total: int) -> None:
        """Do nothing."""

    def verifying(self, n_rows: int) -> AbstractContextManager[Counter]:  # noqa: ARG002
        """Do nothing."""
        return nullcontext(self)


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What a conversion left.

    Attributes:
        target: File or folder.
        format: Of the target.
        n_conformations: In the target.
        n_now: Of these, converted by this run; none when it was complete before.
        n_bytes: Size of the target.
        bad: Rows that were left out, with reasons.
        details: What was found and recorded (orbital order, units, bounds).
    """

    target: Path
    format: TargetFormat
    n_conformations: int
    n_now: int
    n_bytes: int
    bad: tuple[BadRow, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
