"""Results that others published: shown beside the rows that we scored, never ranked with them.

``leaderboard/published/results.csv`` has one number a row, as it was printed; ``sources.toml``
beside it says where the rows are from and what each of their metrics is. Their values cannot be
checked, because the predictions behind them are not public; what is known to be wrong with a row
is its flag. ``docs/published-results.md`` tells the story.

Example:
    >>> from nabladft.resources import resource_folder
    >>> folder = resource_folder("leaderboard") / "published"
    >>> rows = read_published(folder)
    >>> [row.value for row in rows if row.model == "HELM" and row.train_subset == "tiny"]
    [6.033e-05]
    >>> read_sources(folder)["helm"].year
    2025
"""

from __future__ import annotations

import csv
import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nabladft.benchmark.tasks import tasks
from nabladft.errors import EntryError, UnknownNameError, suggestion
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What can be wrong with a row; an empty flag says that nothing is known to be.
FLAGS: Final = ("", "not converged", "not reported", "misprint", "secondary source")

#: Published tasks that this benchmark does not have (yet).
OTHER_TASKS: Final = ("relaxation",)


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published number.

    Attributes:
        task: Name of the task, one of ours or of :data:`OTHER_TASKS`.
        metric: Name of the metric, explained in ``sources.toml``.
        unit: Unit of the value.
        model: Name of the model; spelled the same in all rows.
        train_subset: What it was trained on ("tiny", "small", "medium", "large", "full", "none").
        test_part: Part of the test data ("test_structures", ...).
        value: The number, or None when none was printed.
        flag: What is wrong with it, one of :data:`FLAGS`.
        source: Key of a :class:`PublishedSource`.
        note: Where in the source, and anything else worth knowing.
    """

    task: str
    metric: str
    unit: str
    model: str
    train_subset: str
    test_part: str
    value: float | None
    flag: str
    source: str
    note: str


@dataclass(frozen=True, kw_only=True)
class PublishedSource:
    """Where rows are from.

    Attributes:
        title: Of the publication.
        authors: In their order.
        year: Of the publication.
        url: Where the numbers stand.
        doi: Of the publication.
        dataset: Data that were trained and tested on.
        place: Version, branch or table.
    """

    title: str
    authors: tuple[str, ...]
    year: int
    url: str
    doi: str
    dataset: str
    place: str


@dataclass(frozen=True, kw_only=True)
class PublishedMetric:
    """What a published number is.

    Attributes:
        unit: Unit of its values.
        definition: In one sentence.
        ours: The metric of :data:`nabladft.metrics.METRICS` of the same definition, or None.
    """

    unit: str
    definition: str
    ours: str | None = None


def read_published(folder: str | Path) -> tuple[PublishedRow, ...]:
    """Read all rows of ``results.csv``, in its order.

    Args:
        folder: ``leaderboard/published``, with ``results.csv`` and ``sources.toml``.

    Raises:
        EntryError: A row has an unknown task, metric, flag or source, another unit than
            its metric, no value and no reason for it, or is there twice; the message has the line.
    """
    path = Path(folder) / "results.csv"
    sources, metrics = read_sources(folder), read_published_metrics(folder)
    header = [field.name for field in fields(PublishedRow)]
    rows: dict[tuple[str, ...], PublishedRow] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames != header:
            message = f"{path.name} has the columns {reader.fieldnames}, {header} expected."
            raise EntryError(message)
        for texts in reader:
            where = f"{path.name}, line {reader.line_num}"
            if None in texts or None in texts.values():
                message = f"{where}: {len(header)} fields expected; quote a text with a comma."
                raise EntryError(message)
            values: dict[str, Any] = texts | {"value": _value_of(texts["value"], where)}
            row = PublishedRow(**values)
            _check_row(row, sources, metrics, where)
            if rows.setdefault(_identity(row), row) is not row:
                message = f"{where}: a second value of {' '.join(_identity(row))}."
                raise EntryError(message)
    return tuple(rows.values())


def read_sources(folder: str | Path) -> Mapping[str, PublishedSource]:
    """Read where rows are from, by key.

    Raises:
        EntryError: A source lacks something, or says what is not understood.
    """
    found = _read_tables(Path(folder), "sources", PublishedSource)
    return {
        name: PublishedSource(**(table | {"authors": tuple(table["authors"])}))
        for name, table in found.items()
    }


def read_published_metrics(folder: str | Path) -> Mapping[str, PublishedMetric]:
    """Read what the metrics of rows are, by name.

    Raises:
        EntryError: A metric lacks something, says what is not understood, or names one
            of ours that is not there.
    """
    found = _read_tables(Path(folder), "metrics", PublishedMetric)
    metrics = {name: PublishedMetric(**table) for name, table in found.items()}
    for name, metric in metrics.items():
        if metric.ours is not None:
            _check_known("metric", metric.ours, METRICS, f"sources.toml, metrics.{name}.ours")
    return metrics


Record = TypeVar("Record", PublishedSource, PublishedMetric)


def _read_tables(folder: Path, table: str, record: type[Record]) -> dict[str, dict[str, Any]]:
    """Read one table of tables of ``sources.toml`` and check the names in it."""
    with (folder / "sources.toml").open("rb") as file:
        found: dict[str, dict[str, Any]] = tomllib.load(file).get(table, {})
    known = {field.name for field in fields(record)}
    needed = known - {"ours"}
    for name, values in found.items():
        where = f"sources.toml, {table}.{name}"
        for stray in sorted(set(values) - known):
            message = f"{where}: unknown field {stray!r}.{suggestion(stray, known)}"
            raise EntryError(message)
        for absent in sorted(needed - set(values)):
            message = f"{where}: the field {absent!r} is missing."
            raise EntryError(message)
    return found


def _value_of(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        message = f"{where}: the value {text!r} is no error or rate; a number from 0 on expected."
        raise EntryError(message)
    return value


def _check_row(
    row: PublishedRow,
    sources: Mapping[str, PublishedSource],
    metrics: Mapping[str, PublishedMetric],
    where: str,
) -> None:
    _check_known("task", row.task, [*tasks(), *OTHER_TASKS], where)
    _check_known("metric", row.metric, metrics, where)
    _check_known("flag", row.flag, FLAGS, where)
    _check_known("source", row.source, sources, where)
    if row.unit != metrics[row.metric].unit:
        expected = metrics[row.metric].unit
        message = f"{where}: {row.metric} in {row.unit!r}, {expected!r} expected."
        raise EntryError(message)
    if (row.value is None) != (row.flag == "not reported"):
        message = (
            f"{where}: a row has a value, or the flag 'not reported'; this one has the value "
            f"{row.value} and the flag {row.flag!r}."
        )
        raise EntryError(message)
    for name in ("model", "train_subset", "test_part"):
        if not getattr(row, name):
            message = f"{where}: {name} is empty."
            raise EntryError(message)


def _check_known(kind: str, name: str, known: Iterable[str], where: str) -> None:
    names = list(known)
    if name not in names:
        message = f"{where}: {UnknownNameError(kind, name, names)}"
        raise EntryError(message)


def _identity(row: PublishedRow) -> tuple[str, ...]:
    """Give what no two rows have in common; tables of one paper may repeat a number."""
    place = row.note.split(";")[0] if row.note.startswith("Table") else ""
    return (row.source, place, row.metric, row.model, row.train_subset, row.test_part)
