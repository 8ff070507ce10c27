"""The configuration of a server: one TOML file, every key checked.

Example:
    >>> from pathlib import Path
    >>> settings = parse_settings(EXAMPLE, place=Path("/srv/board/server.toml"))
    >>> settings.database, settings.tasks["nano-energy"].parts[0], settings.limits.files
    ('sqlite:////srv/board/data/server.sqlite', 'test_conformations', 12)
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from nabladft.benchmark.tasks import task_named
from nabladft.errors import ConfigError, UnknownNameError
from nabladft.training.options import Bound, Positive, PositiveInt, read_table, read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Replaces ``database`` of the file, so that a password need not be written there.
DATABASE_VARIABLE: Final = "NABLADFT_SERVER_DATABASE"

#: What ``nabladft leaderboard serve --example`` prints.
EXAMPLE: Final = """\
data = "data"                  # folder of uploads and of the SQLite database, beside this file
# database = "postgresql+psycopg://board@/board?host=/run/postgresql"
title = "Blind scores"

[limits]
upload_bytes = 2_000_000_000   # of one predictions file
files = 12                     # predictions files of one submission
submissions_per_day = 5        # scored ones, of one account; identical predictions count once

[scoring]
digits = 3                     # significant digits of every number that is shown
memory_bytes = 4_000_000_000
cpu_seconds = 3600
wall_seconds = 7200

[[tasks]]
name = "nano-energy"
kind = "energy"                # or "hamiltonian", "overlap"
labels = "nano"                # the private store: a path, or the name of an embedded data set
split = "public/split.json"    # written by `nabladft leaderboard blind`
data_hash = "0000000000000000000000000000000000000000000000000000000000000000"
parts = ["test_conformations", "test_structures", "test_scaffolds"]
"""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,61}[a-z0-9]")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one account or address may do.

    Attributes:
        upload_bytes: Largest predictions file.
        files: Predictions files of one submission.
        submissions_per_day: Submissions of an account that are scored on one day (UTC); those with
            identical predictions count once.
        open_submissions: Submissions of an account that are not finished, at one time.
        requests_per_minute: Of one token.
        address_requests_per_minute: Of one network address (of one /64 network with IPv6).
        idle_seconds: An upload that brings no byte for so long is closed; it can be resumed.
        keep_uploads_days: Uploads that were never submitted are deleted after so many days.
    """

    upload_bytes: PositiveInt = 2_000_000_000
    files: Annotated[int, Bound(at_least=1, at_most=100)] = 12
    submissions_per_day: PositiveInt = 5
    open_submissions: PositiveInt = 10
    requests_per_minute: PositiveInt = 240
    address_requests_per_minute: PositiveInt = 480
    idle_seconds: Positive = 30.0
    keep_uploads_days: Positive = 7.0


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """How submissions are scored.

    Attributes:
        digits: Significant digits of the numbers that are shown.
        memory_bytes: Data that the scoring process may allocate (RLIMIT_DATA).
        cpu_seconds: Its processor time (RLIMIT_CPU).
        wall_seconds: Its wall time.
        lease_seconds: A worker that has not said for so long that it lives loses its submission.
        poll_seconds: How often an idle worker looks for work.
        attempts: A submission whose scoring crashes so many times has failed.
    """

    digits: Annotated[int, Bound(at_least=1, at_most=6)] = 3
    memory_bytes: Annotated[int, Bound(at_least=200_000_000)] = 4_000_000_000
    cpu_seconds: PositiveInt = 3600
    wall_seconds: Positive = 7200.0
    lease_seconds: Positive = 30.0
    poll_seconds: Positive = 1.0
    attempts: PositiveInt = 3


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """One task of the server.

    Attributes:
        name: Its name here.
        kind: Task of this package that it is: what is predicted and how it is scored.
        labels: The private data: a store or any readable file. Only the scoring process opens it.
        split: The split file; its ids are public.
        data_hash: Data hash of the public copy without labels, which predictions files carry.
        parts: Parts of the split that are scored.
        metrics: Metrics that are shown; empty for the headlines of the task.
    """

    name: str
    kind: Literal["energy", "hamiltonian", "overlap"]
    labels: str
    split: str
    data_hash: str
    parts: tuple[str, ...]
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check name, hash, parts and metrics, and fill in the metrics."""
        if not _NAME.fullmatch(self.name):
            message = f"name = {self.name!r} must be lower case letters, digits, '.', '_' and '-'."
            raise ConfigError(message)
        if not _HASH.fullmatch(self.data_hash):
            message = (
                f"data_hash = {self.data_hash!r} must be 64 hexadecimal digits. `nabladft "
                "leaderboard blind` prints that of the copy that it makes."
            )
            raise ConfigError(message)
        if not self.parts or len(set(self.parts)) != len(self.parts):
            message = f"parts = {list(self.parts)} must be one part or several different ones."
            raise ConfigError(message)
        task = task_named(self.kind)
        for metric in self.metrics:
            if metric not in task.metrics:
                raise ConfigError(str(UnknownNameError("metric", metric, task.metrics)))
        object.__setattr__(self, "metrics", self.metrics or tuple(task.headlines))


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Everything of the file.

    Attributes:
        data: Folder of uploads; the default database is in it.
        database: SQLAlchemy's address of the database.
        title: Of the status page.
        trusted_proxies: Addresses of reverse proxies whose X-Forwarded-For is believed.
        limits: What one account or address may do.
        scoring: How submissions are scored.
        tasks: By name.
    """

    data: Path
    database: str
    title: str = "Blind scores"
    trusted_proxies: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    tasks: Mapping[str, TaskSettings] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _File:
    """The file as it is written, without the tasks."""

    data: str
    database: str | None = None
    title: str = "Blind scores"
    trusted_proxies: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)


def read_settings(path: str | Path) -> ServerSettings:
    """Read a configuration file.

    Raises:
        InputError: There is no such file.
        ConfigError: A key is unknown, missing, or has a value out of its domain.
    """
    path = Path(path).resolve()
    return _settings_of(read_toml(path), path)


def parse_settings(text: str, *, place: Path) -> ServerSettings:
    """Read a configuration from text, as if it were in the file ``place``.

    Raises:
        ConfigError: It is not TOML, or as for :func:`read_settings`.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{place} is not a TOML file: {error}."
        raise ConfigError(message) from None
    return _settings_of(content, place)


def _settings_of(content: Mapping[str, Any], path: Path) -> ServerSettings:
    content = dict(content)
    tables = content.pop("tasks", [])
    if not isinstance(tables, list) or not tables:
        message = f"{path.name}: a server needs at least one table [[tasks]]."
        raise ConfigError(message)
    file = read_table(_File, content, table="server", place=path.name)
    tasks: dict[str, TaskSettings] = {}
    for number, table in enumerate(tables):
        task = read_table(TaskSettings, table, table=f"tasks.{number}", place=path.name)
        if task.name in tasks:
            message = f"{path.name}: two tasks have the name {task.name!r}."
            raise ConfigError(message)
        tasks[task.name] = _with_places(task, path.parent)
    data = path.parent / file.data
    written = os.environ.get(DATABASE_VARIABLE) or file.database
    return ServerSettings(
        data=data,
        database=written or f"sqlite:///{data / 'server.sqlite'}",
        title=file.title,
        trusted_proxies=file.trusted_proxies,
        limits=file.limits,
        scoring=file.scoring,
        tasks=tasks,
    )


def _with_places(task: TaskSettings, folder: Path) -> TaskSettings:
    """Find labels and split beside the file; what is not there is the name of a data set."""
    places = {
        name: str(folder / value) if (folder / value).exists() else value
        for name, value in (("labels", task.labels), ("split", task.split))
    }
    return TaskSettings(**vars(task) | places)
