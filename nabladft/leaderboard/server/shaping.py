"""From rows of the database to answers: what is not named here does not leave the server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from nabladft.benchmark.tasks import task_named
from nabladft.leaderboard.entry import parse_entry
from nabladft.leaderboard.server.refusals import failure_message
from nabladft.leaderboard.server.schemas import (
    BoardOut,
    FileOut,
    PartOut,
    Problem,
    RowOut,
    SubmissionOut,
    TaskOut,
)
from nabladft.metrics import METRICS
from nabladft.splits import read_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nabladft.leaderboard.server.settings import ServerSettings, TaskSettings
    from nabladft.leaderboard.server.submissions import Submission

_NO_SCORE: Final = float("inf")


def submission_out(submission: Submission) -> SubmissionOut:
    """Shape a submission for the account that it belongs to."""
    row = submission.row
    failure, scores = row["failure"], row["public_scores"]
    return SubmissionOut(
        id=row["id"],
        task=row["task"],
        name=row["name"],
        state=row["state"],
        created_at=time_text(row["created_at"]),
        submitted_at=_optional_time(row["submitted_at"]),
        finished_at=_optional_time(row["finished_at"]),
        queue_position=submission.queue_position,
        delayed=row["state"] == "queued" and row["n_delays"] > 0,
        files=[
            FileOut(
                number=upload.number,
                name=name,
                size=upload.n_bytes,
                sha256=upload.sha256,
                offset=upload.offset,
                verified=upload.is_verified,
            )
            for upload, name in zip(submission.uploads, submission.names, strict=True)
        ],
        failure=Problem(code=failure, message=failure_message(failure)) if failure else None,
        scores=json.loads(scores) if scores else None,
    )


def task_out(task: TaskSettings, *, digits: int) -> TaskOut:
    """Describe a task; the split file is read, the labels are not.

    Raises:
        SplitError: The split file cannot be used.
        UnknownNameError: There is none, or it has no such part.
    """
    split, kind = read_split(task.split), task_named(task.kind)
    for part in task.parts:
        split.part(part)
    counts = split.counts()
    return TaskOut(
        name=task.name,
        kind=task.kind,
        dataset=split.dataset,
        data_hash=task.data_hash,
        split=split.name,
        split_hash=split.sha256,
        parts=[
            PartOut(
                name=part,
                n_conformations=counts[part]["conformations"],
                n_molecules=counts[part]["molecules"],
            )
            for part in task.parts
        ],
        fields=list(kind.fields),
        required=list(kind.required),
        metrics=list(task.metrics),
        digits=digits,
    )


def board_out(rows: Sequence[Mapping[str, Any]], settings: ServerSettings) -> BoardOut:
    """Shape the board: tasks in the order of the configuration, the best row first."""
    shaped = [
        _row_out(
            row["task"], row["entry"], row["account"], row["finished_at"], row["public_scores"]
        )
        for row in rows
        if row["task"] in settings.tasks
    ]
    order = list(settings.tasks)
    shaped.sort(key=lambda row: (order.index(row.task), _badness(row, settings), row.name))
    return BoardOut(rows=shaped)


def time_text(seconds: float) -> str:
    """Write a time for JSON, to the second.

    Example:
        >>> time_text(0.5)
        '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _optional_time(seconds: float | None) -> str | None:
    return None if seconds is None else time_text(seconds)


# Anybody may ask for the board, and a row never changes.
@lru_cache(maxsize=10_000)
def _row_out(task: str, text: str, account: str, finished_at: float, scores: str) -> RowOut:
    entry = parse_entry(text, where=f"an entry of {account}")
    return RowOut(
        task=task,
        name=entry.name,
        title=entry.title,
        account=account,
        authors=list(entry.who.authors),
        paper=entry.model.paper,
        code=entry.model.code,
        n_parameters=entry.model.n_parameters,
        finished_at=time_text(finished_at),
        scores=json.loads(scores),
    )


def _badness(row: RowOut, settings: ServerSettings) -> float:
    """Give the mean of the first metric over the files, so that the best comes first."""
    metric = settings.tasks[row.task].metrics[0]
    values = [score.metrics[metric].value for score in row.scores if metric in score.metrics]
    if not values:
        return _NO_SCORE
    mean = sum(values) / len(values)
    return -mean if METRICS[metric].better == "higher" else mean
