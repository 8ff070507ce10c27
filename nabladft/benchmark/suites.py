"""What ``nabladft benchmark`` runs, read from ``suites.toml`` beside this module.

Example:
    >>> [run.baseline for run in suite_named("nano").runs if run.task == "hamiltonian"]
    ['initial_guess', 'schnorb', 'phisnet', 'qhnet', 'so2net']
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nabladft.benchmark.tasks import task_named
from nabladft.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

_FILE: Final = Path(__file__).with_name("suites.toml")


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """One baseline to train and score.

    Attributes:
        baseline: Name of a baseline, or path of a model folder.
        task: Name of the task; None asks the model what it predicts.
        config: Configuration file in the folder.
        overrides: ``"training.max_epochs=3"`` and the like, put over the file.
        minutes: Expected time, for the time left.
        label: Name in tables, where a baseline runs twice; that of the folder by default.
    """

    baseline: str
    task: str | None = None
    config: str = "config.toml"
    overrides: tuple[str, ...] = ()
    minutes: float = 1.0
    label: str = ""

    @property
    def name(self) -> str:
        """Name in tables and of the run folder; of ``.`` that of the folder itself."""
        return self.label or Path(self.baseline).resolve().name


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Baselines on one data set and split.

    Attributes:
        name: Name of the suite.
        data: The data, or a name or path for :func:`nabladft.open`.
        split: The split, or a name or path for :func:`nabladft.splits.read_split`.
        runs: Baselines, in the order of the tables.
        seeds: Seeds with which each baseline that learns is trained; empty for one training with
            the seed of its configuration.

    Raises:
        ConfigError: Two runs have the same name, or a seed comes twice or is negative.
        UnknownNameError: A task does not exist.
    """

    name: str
    data: ConformationSource | str
    split: Split | str
    runs: tuple[SuiteRun, ...]
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check names."""
        names = [run.name for run in self.runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = f"Suite {self.name!r} has {', '.join(twice)} twice."
            raise ConfigError(message)
        if len(set(self.seeds)) != len(self.seeds) or any(seed < 0 for seed in self.seeds):
            message = f"Seeds must be different and not negative, got {list(self.seeds)}."
            raise ConfigError(message)
        for run in self.runs:
            if run.task is not None:
                task_named(run.task)

    def only(self, baselines: Sequence[str]) -> Suite:
        """Keep some runs, in the order of the suite, and add model folders given by path.

        Raises:
            UnknownNameError: Neither a run of this suite nor a folder with a ``model.py``.
        """
        names = [run.name for run in self.runs]
        wanted = set()
        added = []
        for baseline in baselines:
            run = SuiteRun(baseline=baseline)
            if run.name in names:
                wanted.add(run.name)
            elif (Path(baseline) / "model.py").is_file():
                added.append(run)
            else:
                raise UnknownNameError("baseline of the suite or model folder", baseline, names)
        kept = [run for run in self.runs if run.name in wanted]
        return dataclasses.replace(self, runs=(*kept, *added))

    def with_overrides(self, *overrides: str) -> Suite:
        """Put options over the configuration of every run."""
        runs = [dataclasses.replace(r, overrides=(*r.overrides, *overrides)) for r in self.runs]
        return dataclasses.replace(self, runs=tuple(runs))


def suite_names() -> list[str]:
    """List the suites."""
    return list(tomllib.loads(_FILE.read_text(encoding="utf-8")))


def suite_named(name: str) -> Suite:
    """Look a suite up.

    Raises:
        UnknownNameError: There is no such suite.
    """
    content: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    if name not in content:
        raise UnknownNameError("benchmark", name, content)
    table = content[name]
    runs = tuple(
        SuiteRun(**(run | {"overrides": tuple(run.get("overrides", ()))}))
        for run in table.pop("runs")
    )
    seeds = tuple(table.pop("seeds", ()))
    return Suite(name=name, runs=runs, seeds=seeds, **table)
