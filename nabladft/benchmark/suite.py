"""Train, predict and score every baseline of a suite, and make the tables and figures.

The folder::

    benchmark.json            what this is: suite, data and split with their hashes
    <baseline>/               a run folder (see nabladft.training), and in it for each test part;
                              with several seeds <baseline>-seed<number>/
      predictions-<part>.h5
      results-<part>.json
    tables.md, tables.csv     all numbers
    figures/*.png             see nabladft.benchmark.plots

Nothing that is complete and belongs to the same inputs is done twice, so a benchmark that was
interrupted anywhere continues when it is started again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nabladft
from nabladft.benchmark.evaluation import evaluate, file_sha256
from nabladft.benchmark.overview import Overview, Silent
from nabladft.benchmark.plots import draw_figures
from nabladft.benchmark.results import (
    SCORER_VERSION,
    Results,
    read_results,
    write_atomically,
    write_results,
)
from nabladft.benchmark.suites import Suite, suite_named
from nabladft.benchmark.tables import (
    Row,
    Table,
    comma_separated,
    comparison_table,
    markdown,
    metric_table,
)
from nabladft.benchmark.tasks import Task, task_named, tasks, tasks_of
from nabladft.errors import (
    FormatError,
    InputError,
    MissingExtraError,
    ModelError,
    NablaDFTError,
    RunError,
    StoreError,
)
from nabladft.models.contract import Preparable, is_trainable
from nabladft.predictions import Predictions
from nabladft.resources import find_baseline
from nabladft.splits import Split, read_split
from nabladft.storage.source import ConformationSource
from nabladft.training.building import read_recipe
from nabladft.training.predict import write_predictions
from nabladft.training.record import hash_of
from nabladft.training.run_folder import RunFolder
from nabladft.training.train import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.benchmark.overview import Listener
    from nabladft.benchmark.suites import SuiteRun
    from nabladft.training.building import Recipe
    from nabladft.training.train import TrainingResult

_FORMAT: Final = "nabladft-benchmark"
_FORMAT_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """What came out.

    Attributes:
        folder: The benchmark folder.
        rows: One row for each baseline that was asked for.
        tables: The headline tables, by title of the task.
        seconds: Wall time of this call.
        is_complete: Whether every baseline was run.
    """

    folder: Path
    rows: tuple[Row, ...]
    tables: dict[str, list[Table]]
    seconds: float
    is_complete: bool


def run_benchmark(
    suite: Suite | str,
    *,
    out: str | Path | None = None,
    baselines: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    fresh: bool = False,
    listener: Listener | None = None,
) -> BenchmarkReport:
    """Run a suite, or what is missing of it.

    A baseline that needs a package that is not installed, or whose training fails, becomes a row
    that says so; the others go on.

    Args:
        suite: The suite, or its name.
        out: Folder; ``runs/benchmark-<suite>`` by default.
        baselines: Names of runs of the suite, or paths of model folders; None runs all.
        seeds: Train every baseline that learns once with each, instead of the seeds of the suite.
            Calls with different seeds may share a folder; the last one asks for all of them.
        fresh: Remove what an earlier benchmark left in the folder for these baselines.
        listener: Where progress goes; nowhere by default.

    Raises:
        InputError: The folder holds something else, or a benchmark of other data.
        RunError: A run in it was trained with another configuration or code.
        UnknownNameError: There is no such suite or baseline.
        SplitError: The split was not made for the data.
        KeyboardInterrupt: After Ctrl-C; the same call continues.
    """
    started = time.monotonic()
    suite = suite_named(suite) if isinstance(suite, str) else suite
    if baselines is not None:
        suite = suite.only(baselines)
    if seeds is not None:
        suite = dataclasses.replace(suite, seeds=tuple(seeds))
    source = suite.data if isinstance(suite.data, ConformationSource) else nabladft.open(suite.data)
    split = suite.split if isinstance(suite.split, Split) else read_split(suite.split)
    split.check_belongs_to(source)
    folder = Path(out) if out is not None else Path("runs") / f"benchmark-{suite.name}"
    _claim(folder, suite, source, split, fresh=fresh)
    overview = Overview(listener or Silent())
    bench = _Bench(folder, source, split, suite.seeds, overview)
    try:
        plans = [bench.plan(run) for run in suite.runs]
        overview.expect([plan.run.minutes for plan in plans for _ in plan.trainings])
        rows = tuple(bench.run(plan) for plan in plans)
        tables = {
            task.title: [metric_table(m, mine, task) for m in task.headlines]
            for task in tasks().values()
            if (mine := [row for row in rows if row.task == task.name])
        }
        write_atomically(folder / "tables.md", _page(suite, source, split, rows).encode())
        write_atomically(folder / "tables.csv", comma_separated(rows).encode())
        draw_figures(rows, source, split, folder)
    finally:
        overview.finish()
    return BenchmarkReport(
        folder=folder,
        rows=rows,
        tables=tables,
        seconds=time.monotonic() - started,
        is_complete=not any(row.not_run for row in rows),
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A run that was checked before anything was trained."""

    run: SuiteRun
    model_folder: Path
    task: Task
    is_learned: bool
    trainings: tuple[_Training, ...]
    not_run: str | None = None


@dataclass(frozen=True)
class _Training:
    """One of the trainings of a baseline: the name of its run folder, and what is special to it."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class _Bench:
    """What all runs of a benchmark share."""

    folder: Path
    source: ConformationSource
    split: Split
    seeds: tuple[int, ...]
    overview: Overview

    def plan(self, run: SuiteRun) -> _Plan:
        """Build the model once, so that what is missing is known before hours of training.

        Raises:
            RunError: Its run folder holds a run with another configuration or code.
        """
        model_folder = find_baseline(run.baseline)
        try:
            recipe = read_recipe(model_folder, model_folder / run.config, run.overrides)
            model = recipe.build()
        except MissingExtraError as error:
            self.overview.note(f"{run.name} cannot be run: {error}")
            return _Plan(
                run=run,
                model_folder=model_folder,
                task=task_named(run.task) if run.task else next(iter(tasks().values())),
                is_learned=True,
                trainings=(_Training(run.name, run.overrides),),
                not_run=str(error),
            )
        # Where nothing is drawn at random, another seed would give the same again.
        trainings = self._trainings(run) if is_trainable(model) else ()
        trainings = trainings or (_Training(run.name, run.overrides),)
        for training in trainings:
            recipe = read_recipe(model_folder, model_folder / run.config, training.overrides)
            self._check_same(training.name, recipe)
        return _Plan(
            run=run,
            model_folder=model_folder,
            task=task_named(run.task) if run.task else _task_of(model.predicts, run.name),  # type: ignore[arg-type]
            is_learned=is_trainable(model) or isinstance(model, Preparable),
            trainings=trainings,
        )

    def run(self, plan: _Plan) -> Row:
        """Train, predict and score one baseline, or what is missing of it."""
        trained, results = [], []
        for training in plan.trainings:
            self.overview.baseline(training.name)
            if plan.not_run:
                self.overview.skip()
                return _row(plan, not_run=plan.not_run)
            run_folder = RunFolder(self.folder / training.name)
            try:
                self.overview.doing("training", 0.0)
                trained.append(
                    train(
                        plan.model_folder,
                        self.source,
                        self.split,
                        run_folder=run_folder.path,
                        config=plan.run.config,
                        overrides=training.overrides,
                        progress=self.overview,
                    )
                )
                results.append(self._score(plan, run_folder))
            except StoreError:
                # The data or the disk, not the model: the others would fail as well.
                raise
            except NablaDFTError as error:
                self.overview.note(f"{training.name} failed: {error}")
                return _row(plan, not_run=f"it failed: {error}")
        return _row(plan, results, trained)

    def _trainings(self, run: SuiteRun) -> tuple[_Training, ...]:
        """One training for each seed that was asked for."""
        return tuple(
            _Training(f"{run.name}-seed{seed}", (*run.overrides, f"training.seed={seed}"))
            for seed in self.seeds
        )

    def _check_same(self, name: str, recipe: Recipe) -> None:
        """Refuse a run folder of the same model with another configuration or code."""
        found = (RunFolder(self.folder / name).read_record() or {}).get("identity", {})
        wanted = {
            "configuration": hash_of(recipe.influential_tables()),
            "model code": recipe.code_hash(),
        }
        changed = [key for key, value in wanted.items() if found.get(key, value) != value]
        if changed:
            message = (
                f"{self.folder / name} was trained with another {' and '.join(changed)}. Choose "
                f"another folder with --out, or train it anew with --fresh --baselines {name}."
            )
            raise RunError(message)

    def _score(self, plan: _Plan, run_folder: RunFolder) -> dict[str, Results]:
        results = {}
        record = run_folder.read_record() or {}
        for number, part in enumerate(plan.task.parts):
            if part not in self.split.parts:
                continue
            predictions = run_folder.path / f"predictions-{part}.h5"
            scored = run_folder.path / f"results-{part}.json"
            if not self._is_predicted(predictions, record, part):
                self.overview.doing(f"predicting {part}", 0.9 + 0.1 * number / 3)
                write_predictions(run_folder.path, self.source, predictions, part=part)
            found = self._scored(scored, predictions)
            if found is None:
                self.overview.doing(f"scoring {part}", 0.9 + 0.1 * (number + 0.5) / 3)
                found = evaluate(predictions, self.source, split=self.split, part=part)
                write_results(found, scored)
            results[part] = found
        return results

    def _is_predicted(self, path: Path, record: dict[str, Any], part: str) -> bool:
        """Tell whether the predictions are there and of this run, data and split."""
        try:
            info = Predictions(path).info
        except NablaDFTError:
            return False
        return (
            info.part == part
            and info.data_hash == self.source.data_hash
            and info.split_hash == self.split.sha256
            and all(info.details.get(key) == record.get(key) for key in ("identity", "epochs"))
        )

    def _scored(self, path: Path, predictions: Path) -> Results | None:
        """Read the results when they are of these predictions and this scorer."""
        try:
            found = read_results(path)
        except (InputError, FormatError):
            return None
        is_current = (
            found.predictions_sha256 == file_sha256(predictions)
            and found.data_hash == self.source.data_hash
            and found.split_hash == self.split.sha256
            and found.scorer_version.endswith(f"metrics {SCORER_VERSION}")
        )
        return found if is_current else None


def _claim(
    folder: Path, suite: Suite, source: ConformationSource, split: Split, *, fresh: bool
) -> None:
    """Make the folder, or check that it holds this benchmark."""
    marker = folder / "benchmark.json"
    content = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "suite": suite.name,
        "data": source.info.name,
        "data_hash": source.data_hash,
        "split": split.name,
        "split_hash": split.sha256,
    }
    if folder.exists() and any(folder.iterdir()):
        found = _read_marker(marker)
        if found is None:
            message = (
                f"{folder} is not empty and holds no benchmark. Choose another folder with --out."
            )
            raise InputError(message)
        differences = [
            key for key in ("suite", "data_hash", "split_hash") if found.get(key) != content[key]
        ]
        if differences and not fresh:
            message = (
                f"{folder} holds a benchmark with another {', '.join(differences)}. Choose another "
                "folder with --out, or start over with --fresh."
            )
            raise InputError(message)
        if fresh:
            names = [run.name for run in suite.runs]
            names += [f"{name}-seed{seed}" for name in names for seed in suite.seeds]
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(folder / name)
    write_atomically(marker, (json.dumps(content, indent=2) + "\n").encode())


def _read_marker(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == _FORMAT else None


def _task_of(predicts: frozenset[str], name: str) -> Task:
    fields = {"energy" if quantity == "formation_energy" else quantity for quantity in predicts}
    found = tasks_of(fields)
    if not found:
        message = f"{name} predicts {sorted(predicts)}, which is enough for no task."
        raise ModelError(message)
    return found[0]


def _row(
    plan: _Plan,
    results: Sequence[dict[str, Results]] = (),
    trained: Sequence[TrainingResult] = (),
    *,
    not_run: str | None = None,
) -> Row:
    memory = [one.peak_memory_bytes for one in trained if one.peak_memory_bytes is not None]
    return Row(
        name=plan.run.name,
        task=plan.task.name,
        is_learned=plan.is_learned,
        results=results[0] if results else {},
        repeats=tuple(results[1:]),
        run_folder=plan.trainings[0].name,
        minutes=sum(one.seconds for one in trained) / len(trained) / 60 if trained else None,
        n_parameters=trained[0].n_parameters if trained else None,
        peak_memory_bytes=max(memory, default=None),
        not_run=not_run,
    )


def _page(suite: Suite, source: ConformationSource, split: Split, rows: Sequence[Row]) -> str:
    """Write all tables of all tasks as one Markdown page."""
    repeated = max((len(row.repeats) for row in rows), default=0)
    seeds = (
        f" With ±: the mean over {repeated + 1} trainings with different seeds, the standard "
        "deviation over them, and the mean of their intervals."
        if repeated
        else ""
    )
    origin = (
        f"Data {source.info.name!r} ({source.data_hash[:12]}), split {split.name!r} "
        f"({split.sha256[:12]}), nabladft {nabladft.__version__}. Each cell: mean [95 % bootstrap "
        f"interval over molecules]; the best of each column in bold.{seeds} Definitions: "
        "docs/metrics.md."
    )
    blocks = [f"# Benchmark {suite.name}", origin]
    for task in tasks().values():
        mine = [row for row in rows if row.task == task.name]
        if mine:
            blocks.append(f"## {task.title}")
            tables = [metric_table(name, mine, task) for name in task.headlines]
            tables += [comparison_table(part, mine, task) for part in task.parts]
            blocks.append(markdown([table for table in tables if table.rows]))
    return "\n\n".join(block.rstrip() for block in blocks) + "\n"
