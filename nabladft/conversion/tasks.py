"""One task of a conversion: some rows of the source become one staged shard.

A task says everything it needs, so any process that sees the same files can do it, more than once
if need be: the same rows give the same bytes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.conversion.rows import BadRow, concatenate, read_rows
from nabladft.storage.flat import FlatRecords, Texts
from nabladft.storage.staging import ShardStaging, StagedShard

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from nabladft.conversion.sources import SourceReference
    from nabladft.storage.manifest import Manifest
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Bytes read from the source in one go.
READ_BYTES: Final = 8 * 1024 * 1024

_opened = threading.local()


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """What one task does.

    Attributes:
        position: Of the shard in the store.
        rows: Of the source, shape (n,).
        read_rows: Rows to read in one go.
        source: The source.
        content: Identifies its content, so that a changed file is opened anew.
        target: Folder of the store.
        manifest: Of the store, without shards.
        skip_bad: Leave bad rows out; otherwise nothing is written when there is one.
    """

    position: int
    rows: IntArray
    read_rows: int
    source: SourceReference
    content: str
    target: str
    manifest: Manifest
    skip_bad: bool


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What one task did.

    Attributes:
        position: Of the shard in the store.
        n_rows: Rows looked at.
        bad: Rows that cannot be converted.
        is_staged: Whether the part is finished.
    """

    position: int
    n_rows: int
    bad: tuple[BadRow, ...]
    is_staged: bool


def convert_shard(task: ShardTask) -> TaskResult:
    """Do one task.

    Raises:
        StoreError: A value does not fit its codec, or the source is a damaged store.
        OSError: The disk is full or not writable, or the source cannot be read.
    """
    source = _source(task.source, task.content)
    fields = task.manifest.stored_names
    flats: list[FlatRecords] = []
    smiles: list[str | None] = []
    origins: list[str | None] = []
    bad: list[BadRow] = []
    for rows in _pieces(task.rows, task.read_rows):
        flat, texts, found = read_rows(source, rows, fields)
        bad += found
        flats.append(flat)
        smiles += texts.smiles
        origins += texts.geometry_origin
    staged = not bad or task.skip_bad
    if staged:
        joined = concatenate(flats, fields)
        flats.clear()
        ShardStaging(Path(task.target)).write(
            task.position,
            joined,
            Texts(smiles=smiles, geometry_origin=origins),
            task.manifest,
            notes={"n_rows": len(task.rows), "bad": [row.to_dict() for row in bad]},
        )
    return TaskResult(
        position=task.position, n_rows=len(task.rows), bad=tuple(bad), is_staged=staged
    )


def result_of(staged: StagedShard) -> TaskResult:
    """Give the result of a task that an earlier run did."""
    return TaskResult(
        position=staged.position,
        n_rows=int(staged.notes["n_rows"]),
        bad=tuple(BadRow.from_dict(row) for row in staged.notes["bad"]),
        is_staged=True,
    )


def _pieces(rows: IntArray, step: int) -> Iterator[IntArray]:
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def forget_source() -> None:
    """Close the source that this thread has open."""
    _opened.__dict__.clear()


def _source(reference: SourceReference, content: str) -> ConformationSource:
    """Open a source once per thread: connections to SQLite are not shared."""
    if getattr(_opened, "which", None) != (reference, content):
        _opened.source = reference.open()
        _opened.which = (reference, content)
    source: ConformationSource = _opened.source
    return source
