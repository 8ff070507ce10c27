"""What goes over the wire, version 1: the bodies of requests and answers.

Unknown members of a request are refused. An answer has exactly these members.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from nabladft.errors import missing_extra

try:
    from pydantic import BaseModel, ConfigDict, Field
except ImportError as _error:
    raise missing_extra("The scoring server", "server", _error) from _error

State = Literal["uploading", "queued", "scoring", "scored", "failed"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits")]

#: Ids and numbers in paths.
SubmissionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Body):
    """Why a request was refused."""

    code: str = Field(description="one word that does not change")
    message: str = Field(description="for people: what is wrong and what to do")


class FileIn(_Body):
    """A predictions file, announced before it is uploaded."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="for people; no path"
    )
    size: int = Field(ge=1, le=2**53, strict=True, description="bytes")
    sha256: Sha256


class SubmissionIn(_Body):
    """A submission, announced before its files are uploaded."""

    task: str = Field(max_length=64, description="name of a task of this server")
    entry: str | dict[str, Any] = Field(
        description="the entry, as TOML text or as the same in JSON; see entry.schema.json"
    )
    files: list[FileIn] = Field(min_length=1, max_length=100)


class FileOut(_Body):
    """A predictions file."""

    number: int = Field(description="for the path of the upload")
    name: str
    size: int
    sha256: Sha256
    offset: int = Field(description="bytes that are here")
    verified: bool = Field(description="whether all are here and have the declared hash")


class MetricOut(_Body):
    """One aggregated metric, rounded."""

    value: float
    ci_low: float | None = Field(description="95 % interval, bootstrap over molecules")
    ci_high: float | None
    unit: str


class ScoreOut(_Body):
    """The score of one predictions file: aggregates over the whole part."""

    part: str | None
    seed: int | None
    n_conformations: int
    n_molecules: int
    metrics: dict[str, MetricOut]


class SubmissionOut(_Body):
    """A submission."""

    id: str
    task: str
    name: str
    state: State
    created_at: str
    submitted_at: str | None
    finished_at: str | None
    queue_position: int | None = Field(description="1 is scored next; null unless queued")
    delayed: bool = Field(description="the server cannot score this task now; it tries again")
    files: list[FileOut]
    failure: Problem | None
    scores: list[ScoreOut] | None


class SubmissionsOut(_Body):
    """The hundred newest submissions of an account."""

    submissions: list[SubmissionOut]


class PartOut(_Body):
    """A part of a split."""

    name: str
    n_conformations: int
    n_molecules: int


class TaskOut(_Body):
    """What can be submitted to."""

    name: str
    kind: Literal["energy", "hamiltonian", "overlap"]
    dataset: str
    data_hash: Sha256 = Field(description="of the public copy, which predictions files carry")
    split: str
    split_hash: Sha256
    parts: list[PartOut]
    fields: list[str] = Field(description="quantities that may be predicted")
    required: list[str] = Field(description="those that must be")
    metrics: list[str] = Field(description="metrics that are shown")
    digits: int = Field(description="significant digits that are shown")


class LimitsOut(_Body):
    """What one account may do."""

    upload_bytes: int
    files: int
    submissions_per_day: int
    open_submissions: int


class TasksOut(_Body):
    """All tasks of the server."""

    title: str
    version: str
    tasks: list[TaskOut]
    limits: LimitsOut


class RowOut(_Body):
    """A row of the board: the last scored submission of an account under one name."""

    task: str
    name: str
    title: str
    account: str
    authors: list[str]
    paper: str | None
    code: str | None
    n_parameters: int
    finished_at: str
    scores: list[ScoreOut]


class BoardOut(_Body):
    """All rows; those of one task from the best to the worst."""

    rows: list[RowOut]


class HealthOut(_Body):
    """Whether the database answers."""

    status: Literal["ok"]
