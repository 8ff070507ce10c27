"""Figures of a benchmark: errors, learning curves, error against size and by element, parity.

A baseline has the same colour in every figure; rows that learn nothing are grey. Every axis has a
unit, errors are on logarithmic axes, and bars are 95 % bootstrap intervals over molecules.
"""

from __future__ import annotations

import csv
import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.benchmark.drawing import (
    STYLE,
    Scene,
    add_legend,
    baseline_looks,
    new_figure,
    save,
    use_logarithm,
)
from nabladft.benchmark.parity import draw_parity
from nabladft.benchmark.tables import part_title
from nabladft.benchmark.tasks import tasks
from nabladft.chemistry.elements import SYMBOLS
from nabladft.errors import missing_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from nabladft.benchmark.tables import Row
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

#: Columns of a learning curve (see nabladft.training.run_folder) and the metrics they estimate.
_CURVES: Final = {
    "formation_energy_mae": "energy_mae",
    "forces_mae": "forces_mae",
    "hamiltonian_mae": "hamiltonian_mae_over_elements",
}
_BY_ELEMENT: Final = ("forces_mae", "hamiltonian_diagonal_mae_over_elements")


def draw_figures(
    rows: Sequence[Row], source: ConformationSource, split: Split, folder: Path
) -> list[Path]:
    """Draw every figure of a benchmark folder into its ``figures``.

    Args:
        rows: What was run.
        source: The data.
        split: The split.
        folder: The benchmark folder, with run folders and predictions files.

    Returns:
        The files, PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context  # noqa: PLC0415 - optional
    except ImportError as error:
        raise missing_extra("Drawing figures", "train", error) from error
    done = [row for row in rows if row.results]
    looks = baseline_looks(done)
    written = []
    with rc_context(STYLE):
        for task in tasks().values():
            mine = [row for row in done if row.task == task.name]
            scene = Scene(
                task=task, rows=mine, looks=looks, source=source, split=split, folder=folder
            )
            drawings: dict[str, Callable[[Scene], Figure | None]] = {
                f"errors-{task.name}": draw_errors,
                f"learning-curves-{task.name}": draw_learning_curves,
                f"error-by-size-{task.name}": draw_error_by_size,
                f"error-by-element-{task.name}": draw_error_by_element,
                **{f"parity-{name}": partial(draw_parity, field=name) for name in task.fields},
            }
            for name, draw in drawings.items() if mine else ():
                figure = draw(scene)
                if figure is not None:
                    written.append(save(figure, folder / "figures" / f"{name}.png"))
    return written


def draw_errors(scene: Scene) -> Figure:
    """Draw the headline metrics: a point and an interval for each baseline and part."""
    metrics, parts = scene.headlines(), scene.task.parts
    figure, axes = new_figure(1, len(metrics), width=3.1, height=2.9)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for number, row in enumerate(scene.rows):
            shift = _shift(number, len(scene.rows), step=0.16)
            points = [
                (place + shift, found)
                for place, part in enumerate(parts)
                if (found := row.estimate(metric, part)) is not None
            ]
            scene.draw_estimates(axis, points, metric, row)
        for line in axis.lines:
            line.set_linestyle("none")
        axis.set_xticks(range(len(parts)), [part_title(part) for part in parts])
        axis.set_xlim(-0.5, len(parts) - 0.5)
        axis.tick_params(axis="x", length=0)
        axis.set_ylabel(scene.label(metric))
        use_logarithm(axis)
    add_legend(figure, axes)
    return figure


def draw_learning_curves(scene: Scene) -> Figure | None:
    """Draw the validation errors while training; None when nothing was trained in epochs.

    Rows without epochs are dashed lines at the error they have.
    """
    histories = {
        row.name: _history(scene.folder / row.run_folder / "metrics.csv") for row in scene.rows
    }
    columns = [
        column
        for column, metric in _CURVES.items()
        if metric in scene.task.metrics and any(column in table for table in histories.values())
    ]
    if not columns:
        return None
    figure, axes = new_figure(1, len(columns), width=3.6, height=2.9)
    for axis, column in zip(axes[0], columns, strict=True):
        for row in scene.rows:
            table = histories[row.name]
            if column in table:
                axis.plot(
                    table["epoch"],
                    scene.reported(table[column], _CURVES[column]),
                    color=scene.looks[row.name]["color"],
                    label=row.name,
                )
            elif (level := _level(scene.folder / row.run_folder / "run.json", column)) is not None:
                axis.axhline(
                    scene.reported(level, _CURVES[column]),
                    color=scene.looks[row.name]["color"],
                    linestyle=(0, (4, 2)),
                    label=row.name,
                )
        axis.set_xlabel("epoch")
        axis.set_ylabel(f"validation {scene.label(_CURVES[column])}")
        axis.set_xlim(left=0)
        use_logarithm(axis)
    add_legend(figure, axes)
    return figure


def draw_error_by_size(scene: Scene) -> Figure:
    """Draw the first two headline metrics against the number of atoms."""
    metrics, parts = scene.headlines()[:2], scene.task.parts
    figure, axes = new_figure(
        len(metrics), len(parts), width=2.5, height=2.2, share={"sharey": "row", "sharex": "all"}
    )
    for line, metric in zip(axes, metrics, strict=True):
        for axis, part in zip(line, parts, strict=True):
            for row in scene.rows:
                results = row.results.get(part)
                points = [
                    ((size.smallest + size.largest) / 2, size.metrics[metric])
                    for size in (results.by_size if results else ())
                    if metric in size.metrics
                ]
                scene.draw_estimates(axis, points, metric, row)
            use_logarithm(axis)
            axis.xaxis.get_major_locator().set_params(integer=True)
        line[0].set_ylabel(scene.label(metric))
    for axis, part in zip(axes[0], parts, strict=True):
        axis.set_title(part_title(part))
    for axis in axes[-1]:
        axis.set_xlabel("number of atoms")
    add_legend(figure, axes)
    return figure


def draw_error_by_element(scene: Scene) -> Figure | None:
    """Draw the errors on the atoms of each element; None when no metric can be told by element."""
    parts = scene.task.parts
    found = [results for row in scene.rows for results in row.results.values()]
    metrics = [name for name in _BY_ELEMENT if any(name in r.by_element for r in found)]
    if not metrics:
        return None
    figure, axes = new_figure(
        len(metrics), len(parts), width=2.5, height=2.4, share={"sharey": "row", "sharex": "row"}
    )
    for line, metric in zip(axes, metrics, strict=True):
        present = {symbol for results in found for symbol in results.by_element.get(metric, {})}
        symbols = sorted(present, key=SYMBOLS.index)
        for axis, part in zip(line, parts, strict=True):
            for number, row in enumerate(scene.rows):
                results = row.results.get(part)
                values = results.by_element.get(metric, {}) if results else {}
                shift = _shift(number, len(scene.rows), step=0.1)
                axis.plot(
                    [symbols.index(symbol) + shift for symbol in values],
                    scene.reported(list(values.values()), metric),
                    label=row.name,
                    **{**scene.looks[row.name], "linestyle": "none"},
                )
            axis.set_xticks(range(len(symbols)), symbols)
            axis.set_xlim(-0.6, len(symbols) - 0.4)
            axis.tick_params(axis="x", length=0)
            axis.set_title(part_title(part))
            use_logarithm(axis)
        line[0].set_ylabel(scene.label(metric))
    add_legend(figure, axes)
    return figure


def _shift(number: int, count: int, *, step: float) -> float:
    """Move the points of one baseline aside, so that equal values do not hide each other."""
    return (number - (count - 1) / 2) * step


def _level(path: Path, column: str) -> float | None:
    """Read the validation error of a run without epochs from its record."""
    level: float | None = json.loads(path.read_text(encoding="utf-8")).get("best", {}).get(column)
    return level


def _history(path: Path) -> dict[str, Any]:
    """Read a learning curve: arrays by column; empty when there is none."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return {
        name: np.array([float(line[name]) if line[name] else math.nan for line in lines])
        for name in (lines[0] if lines else ())
    }
