"""The benchmark's tasks, read from ``tasks.toml`` beside this module.

Example:
    >>> tasks()["hamiltonian"].fields
    ('hamiltonian',)
    >>> reported_unit("forces_mae")
    'millihartree/angstrom'
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.chemistry.units import convert
from nabladft.errors import ConfigError, UnknownNameError
from nabladft.metrics.catalog import METRICS, metric_named
from nabladft.predictions import PREDICTED_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FILE: Final = Path(__file__).with_name("tasks.toml")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted and how it is scored.

    Attributes:
        name: Name of the task.
        title: The same for people.
        fields: Quantities that a predictions file may hold for this task.
        required: Those that it must hold.
        metrics: Metrics computed, in the order of tables.
        headlines: Metrics of the short tables.
        parts: Parts of a split to be predicted.
        units: Unit of each metric in tables and figures.

    Raises:
        ConfigError: A field, metric or unit does not exist, or they do not fit together.
    """

    name: str
    title: str
    fields: tuple[str, ...]
    required: tuple[str, ...]
    metrics: tuple[str, ...]
    headlines: tuple[str, ...]
    parts: tuple[str, ...]
    units: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check every name."""
        unknown = [name for name in self.fields if name not in PREDICTED_FIELDS]
        stray = [name for name in (*self.required,) if name not in self.fields]
        stray += [name for name in self.headlines if name not in self.metrics]
        if unknown or stray or set(self.units) != set(self.metrics):
            message = (
                f"Task {self.name!r}: unknown fields {unknown}, names without declaration {stray}, "
                f"metrics without unit {sorted(set(self.units) ^ set(self.metrics))}."
            )
            raise ConfigError(message)
        for name in self.metrics:
            metric = metric_named(name)
            if metric.field not in self.fields:
                message = f"Task {self.name!r}: {name} scores {metric.field}, not among its fields."
                raise ConfigError(message)
            convert(1.0, source=metric.unit, target=self.units[name])


@cache
def tasks() -> Mapping[str, Task]:
    """Read all tasks, by name.

    Raises:
        ConfigError: The file contradicts itself.
    """
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: Task(
            name=name,
            units=table.pop("units"),
            title=table.pop("title"),
            **{key: tuple(value) for key, value in table.items()},
        )
        for name, table in content.items()
    }


def task_named(name: str) -> Task:
    """Look a task up.

    Raises:
        UnknownNameError: There is no such task.
    """
    if name not in tasks():
        raise UnknownNameError("task", name, tasks())
    return tasks()[name]


def tasks_of(fields: Iterable[str]) -> list[Task]:
    """List the tasks for which all required quantities are there."""
    present = set(fields)
    return [task for task in tasks().values() if set(task.required) <= present]


def reported_unit(metric: str) -> str:
    """Give the unit of a metric in tables and figures."""
    for task in tasks().values():
        if metric in task.units:
            return task.units[metric]
    return METRICS[metric].unit
