"""Benchmark tables: one row a baseline, one column a test part, for Markdown, CSV and terminals."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.benchmark.tasks import Task, task_named
from nabladft.chemistry.units import convert
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nabladft.benchmark.results import Results
    from nabladft.metrics import Estimate

#: How units are printed.
UNIT_SYMBOLS: Final = {
    "hartree": "Eh",
    "millihartree": "mEh",
    "microhartree": "µEh",
    "hartree/bohr": "Eh/bohr",
    "millihartree/bohr": "mEh/bohr",
    "hartree/angstrom": "Eh/Å",
    "millihartree/angstrom": "mEh/Å",
    "e": "e",
    "e*bohr": "e·a0",
    "debye": "D",
    "1": "",
}
_PART_TITLES: Final = {
    "test_conformations": "conformations",
    "test_structures": "structures",
    "test_scaffolds": "scaffolds",
}
_NOTHING: Final = "-"
#: What Markdown, or GitHub's dialect of it, would take for more than text.
_MARKUP: Final = re.compile(r"[\\`*|<>~$#]|\](?=[(\[:])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
#: Smaller numbers are written with a power of ten.
_SMALLEST_PLAIN: Final = 1e-5


def decimals_of(value: float) -> int:
    """Count the decimals that give three significant digits, none for large numbers.

    Example:
        >>> [f"{v:.{decimals_of(v)}f}" for v in (1234.5, 65.0, 0.01234, 0.0)]
        ['1234', '65.0', '0.0123', '0.00']
    """
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2


def part_title(part: str) -> str:
    """Name a part for people."""
    return _PART_TITLES.get(part, part)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One baseline on one task.

    Attributes:
        name: Name of the baseline.
        task: Name of the task.
        is_learned: False for a row that learns nothing, the bar that learning has to pass.
        results: Results by part; empty when it was not run.
        repeats: The same of further trainings with other seeds.
        run_folder: Name of the run folder of ``results``; that of the baseline by default.
        minutes: Mean training time, or None.
        n_parameters: Trained parameters, or None.
        peak_memory_bytes: Largest memory of a training, or None.
        not_run: Why there are no results, or None.
    """

    name: str
    task: str
    is_learned: bool
    results: Mapping[str, Results]
    repeats: tuple[Mapping[str, Results], ...] = ()
    run_folder: str = ""
    minutes: float | None = None
    n_parameters: int | None = None
    peak_memory_bytes: int | None = None
    not_run: str | None = None

    def __post_init__(self) -> None:
        """Name the run folder."""
        if not self.run_folder:
            object.__setattr__(self, "run_folder", self.name)

    def estimate(self, metric: str, part: str) -> Estimate | None:
        """Give one cell, or None when there is no such number.

        With several trainings, value and ends of the interval are their means: all intervals are
        of the same draws of molecules, so that the mean of the ends says how far the mean depends
        on the choice of molecules. How far it depends on the seed is :meth:`spread`.
        """
        found = self._estimates(metric, part)
        if not found:
            return None
        columns = [[one.value, one.ci_low, one.ci_high] for one in found]
        value, low, high = (
            None if None in column else float(np.mean(column))
            for column in zip(*columns, strict=True)
        )
        return replace(found[0], value=value, ci_low=low, ci_high=high)

    def prediction_milliseconds(self) -> float | None:
        """Give the mean time of predicting a conformation, over parts and trainings, or None."""
        found = [
            one.prediction_seconds
            for results in (self.results, *self.repeats)
            for one in results.values()
            if one.prediction_seconds is not None
        ]
        return 1e3 * float(np.mean(found)) if found else None

    def spread(self, metric: str, part: str) -> float | None:
        """Give the standard deviation over the trainings, or None with only one."""
        values = [one.value for one in self._estimates(metric, part) if one.value is not None]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def _estimates(self, metric: str, part: str) -> list[Estimate]:
        results = [one[part] for one in (self.results, *self.repeats) if part in one]
        found = [one.metrics[metric] for one in results if metric in one.metrics]
        return [one for one in found if one.value is not None]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text cells of one metric, ready to be laid out.

    Attributes:
        title: What the numbers are, with the unit.
        header: Texts of the columns.
        rows: Texts of the cells.
        best: Whether a cell holds the best value of its column.
        notes: Lines below the table: why a row has no numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[tuple[bool, ...], ...]
    notes: tuple[str, ...] = ()


def metric_table(metric: str, rows: Sequence[Row], task: Task) -> Table:
    """Lay out one metric of one task.

    Args:
        metric: Name of the metric.
        rows: Baselines of the task.
        task: Gives parts and unit.
    """
    unit = UNIT_SYMBOLS[task.units[metric]]
    better = METRICS[metric].better
    title = METRICS[metric].title
    cells, best = [], []
    leaders = {part: leading_row(metric, part, rows) for part in task.parts}
    for row in rows:
        name = row.name if row.is_learned else f"{row.name} (no learning)"
        values = [
            "not run"
            if row.not_run
            else cell_text(row.estimate(metric, part), metric, task, row.spread(metric, part))
            for part in task.parts
        ]
        marks = [leaders[part] is row for part in task.parts]
        minutes = _NOTHING if row.minutes is None else f"{row.minutes:.1f}"
        parameters = _NOTHING if row.n_parameters is None else f"{row.n_parameters:,}"
        memory = _NOTHING if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e9:.2f}"
        took = row.prediction_milliseconds()
        speed = _NOTHING if took is None else f"{took:.{decimals_of(took)}f}"
        cells.append((name, *values, minutes, speed, memory, parameters))
        best.append((False, *marks, *(False,) * 4))
    suffix = f" [{unit}]" if unit else ""
    header = (
        "baseline",
        *(f"{part_title(part)}{suffix}" for part in task.parts),
        "training [min]",
        "prediction [ms]",
        "memory [GB]",
        "parameters",
    )
    return Table(
        title=f"{title[0].upper()}{title[1:]}{suffix}"
        + ("" if better == "neither" else f", {better} is better"),
        header=header,
        rows=tuple(cells),
        best=tuple(best),
        notes=tuple(f"{row.name} was not run: {row.not_run}" for row in rows if row.not_run),
    )


def comparison_table(part: str, rows: Sequence[Row], task: Task) -> Table:
    """Lay out all metrics of one part: one row a metric, one column a baseline.

    Args:
        part: Part of the split.
        rows: Baselines of the task; those without results of the part are left out.
        task: Gives metrics and units. Metrics that no baseline has are left out.
    """
    shown = [row for row in rows if part in row.results]
    names = [row.name if row.is_learned else f"{row.name} (no learning)" for row in shown]
    cells, best = [], []
    for metric in task.metrics:
        found = [row.estimate(metric, part) for row in shown]
        if not any(found):
            continue
        unit = UNIT_SYMBOLS[task.units[metric]]
        title = METRICS[metric].title
        spreads = [row.spread(metric, part) for row in shown]
        values = [
            cell_text(one and replace(one, ci_low=None, ci_high=None), metric, task, spread)
            for one, spread in zip(found, spreads, strict=True)
        ]
        leader = leading_row(metric, part, shown)
        cells.append((f"{title} [{unit}]" if unit else title, *values))
        best.append((False, *(row is leader for row in shown)))
    return Table(
        title=f"All metrics, {part_title(part)}",
        header=("metric", *names),
        rows=tuple(cells),
        best=tuple(best),
    )


def markdown(tables: Sequence[Table]) -> str:
    """Write tables as Markdown, the best value of each column in bold; names are only text."""
    blocks = []
    for table in tables:
        header = [escape_markdown(text) for text in table.header]
        lines = [f"### {escape_markdown(table.title)}", "", _pipe(header)]
        lines.append(_pipe(["---", *["---:"] * (len(table.header) - 1)]))
        for cells, marks in zip(table.rows, table.best, strict=True):
            name, *values = (f"**{c}**" if m else c for c, m in zip(cells, marks, strict=True))
            lines.append(_pipe([escape_markdown(name), *values]))
        blocks.append("\n".join([*lines, *(f"\n{note}" for note in table.notes)]))
    return "\n\n".join(blocks) + "\n"


def escape_markdown(text: str) -> str:
    r"""Make a name that comes from anywhere into text of a Markdown table, and nothing else.

    Example:
        >>> print(escape_markdown("so2net | <b>_x_</b> @me"))
        so2net \| &lt;b\>\_x\_&lt;/b\> &#64;me
    """
    line = " ".join(text.split()).replace("&", "&amp;")
    line = _MARKUP.sub(lambda found: "\\" + found.group(), line)
    # Entities for what a backslash does not help against: tags, mentions, bare addresses.
    return line.replace("\\<", "&lt;").replace("@", "&#64;").replace("://", "&#58;//")


def terminal(tables: Sequence[Table]) -> str:
    """Write tables as aligned text, the best value of each column with a star."""
    blocks = []
    for table in tables:
        body = [
            [f"{c} *" if m else c for c, m in zip(cells, marks, strict=True)]
            for cells, marks in zip(table.rows, table.best, strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(table.header, *body, strict=True)]
        lines = [table.title, "", _aligned(table.header, widths)]
        lines.append("  ".join("-" * width for width in widths))
        lines += [_aligned(cells, widths) for cells in body]
        lines += ["", *table.notes] if table.notes else []
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks) + "\n"


def comma_separated(rows: Sequence[Row]) -> str:
    """Write every number of every row as one CSV line, unrounded, in the tables' units."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("task", "baseline", "learned", "part", "metric", "unit", "value", "ci_low"),
            *("ci_high", "seed_spread", "n_seeds", "n_conformations", "n_molecules"),
            *("training_minutes", "prediction_milliseconds", "peak_memory_bytes", "n_parameters"),
            "not_run",
        ]
    )
    for row in rows:
        task = task_named(row.task)
        costs = (
            *(row.minutes, row.prediction_milliseconds()),
            *(row.peak_memory_bytes, row.n_parameters),
        )
        tail = [*("" if cost is None else f"{cost:.12g}" for cost in costs), row.not_run or ""]
        start = [row.task, row.name, str(row.is_learned).lower()]
        if row.not_run:
            writer.writerow([*start, *[""] * 10, *tail])
        for metric in task.metrics:
            for part in task.parts:
                found = row.estimate(metric, part)
                if found is not None:
                    spread = row.spread(metric, part)
                    values = [found.value, found.ci_low, found.ci_high, spread]
                    n_seeds = 1 + len(row.repeats)
                    writer.writerow(
                        [
                            *(*start, part, metric, task.units[metric]),
                            *(_text(reported_value(value, metric, task)) for value in values),
                            *(n_seeds, found.n_conformations, found.n_molecules, *tail),
                        ]
                    )
    return text.getvalue()


def results_table(results: Results, task: Task) -> Table:
    """Lay out one results file: a row a metric."""
    cells = []
    for metric in task.metrics:
        found = results.metrics.get(metric)
        if found is None:
            continue
        unit = UNIT_SYMBOLS[task.units[metric]]
        counts = (f"{found.n_conformations:,}", f"{found.n_molecules:,}")
        text = cell_text(found, metric, task)
        if METRICS[metric].is_rate and found.value is not None:
            happened = round(found.value * found.n_conformations)
            text = f"{happened:,} of {found.n_conformations:,}: {text}"
        cells.append((METRICS[metric].title, text, unit, *counts))
    return Table(
        title=task.title,
        header=("metric", "value [95 % interval]", "unit", "conformations", "molecules"),
        rows=tuple(cells),
        best=tuple((False,) * 5 for _ in cells),
    )


def leading_row(metric: str, part: str, rows: Sequence[Row]) -> Row | None:
    """Find the row with the best value of a column, or None where there is no better or worse."""
    if METRICS[metric].better == "neither":
        return None
    sign = 1 if METRICS[metric].better == "lower" else -1
    scored = [
        (sign * found.value, k)
        for k, row in enumerate(rows)
        if (found := row.estimate(metric, part)) is not None and found.value is not None
    ]
    return rows[min(scored)[1]] if scored else None


def reported_value(value: float | None, metric: str, task: Task) -> float | None:
    """Convert a value from the unit of results files to that of tables."""
    if value is None:
        return None
    return convert(value, source=METRICS[metric].unit, target=task.units[metric])


def cell_text(found: Estimate | None, metric: str, task: Task, spread: float | None = None) -> str:
    """Write "value ± spread [low, high]" with three significant digits of the value.

    Args:
        found: The number, or None when there is none.
        metric: Name of the metric.
        task: Gives the unit.
        spread: Standard deviation over trainings, or None.
    """
    if found is None or found.value is None:
        return _NOTHING
    value, low, high = (
        reported_value(number, metric, task)
        for number in (found.value, found.ci_low, found.ci_high)
    )
    assert value is not None
    is_tiny = 0 < abs(value) < _SMALLEST_PLAIN
    digits = ".1e" if is_tiny else f".{decimals_of(value)}f"
    text = f"{value:{digits}}"
    if spread is not None:
        text = f"{text} ± {reported_value(spread, metric, task):{digits}}"
    return text if low is None else f"{text} [{low:{digits}}, {high:{digits}}]"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def _pipe(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
