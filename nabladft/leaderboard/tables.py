"""Tables of the leaderboard: what can be compared, side by side and in order.

Only rows of one task, on the same data and split (by their hashes) are in one table. They are
ordered by the error over that of the model that learns nothing (the "dummy"), in the geometric
mean over the parts; published rows are never among them.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.benchmark.results import write_atomically
from nabladft.benchmark.tables import (
    UNIT_SYMBOLS,
    Table,
    cell_text,
    decimals_of,
    leading_row,
    markdown,
    part_title,
    reported_value,
)
from nabladft.benchmark.tasks import Task, task_named
from nabladft.errors import EntryError
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.leaderboard.board import Board, ScoredEntry

#: The model of each task that learns nothing. Its entry is named ``<model>-<data>``.
DUMMIES: Final = {"energy": "isolated_atoms", "hamiltonian": "initial_guess"}

#: Lines of a page between which its tables are written.
BEGIN: Final = "<!-- leaderboard: begin -->"
END: Final = "<!-- leaderboard: end -->"

_NOTHING: Final = "-"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Entries that can be compared.

    Attributes:
        task: Of all.
        dataset: Name of the data.
        split: Name of the split, or None.
        entries: The rows.
        dummy: The one that learns nothing, or None where there is none.
    """

    task: Task
    dataset: str
    split: str | None
    entries: tuple[ScoredEntry, ...]
    dummy: ScoredEntry | None

    @property
    def title(self) -> str:
        """Task and data, for people."""
        return f"{self.task.title}, {self.dataset}"

    def over_dummy(self, entry: ScoredEntry, metric: str, part: str) -> float | None:
        """Give an error over that of the model that learns nothing, on the same part.

        Returns:
            The mean over seeds of the error over the dummy's, or None where one of them is not
            known, the dummy's is 0, or the metric is no error.
        """
        if self.dummy is None or METRICS[metric].better != "lower":
            return None
        found, dummy = entry.row().estimate(metric, part), self.dummy.row().estimate(metric, part)
        if found is None or found.value is None or dummy is None or not dummy.value:
            return None
        return found.value / dummy.value

    def score(self, entry: ScoredEntry, metric: str) -> float | None:
        """Give the number that orders a table: :meth:`over_dummy` in the mean over all parts.

        Returns:
            The geometric mean, or None where a part has no such number.
        """
        return _geometric_mean([self.over_dummy(entry, metric, part) for part in self.task.parts])

    def ranked(self, metric: str) -> tuple[ScoredEntry, ...]:
        """Order the entries by a metric, the best first; those without it last, by name."""
        return tuple(sorted(self.entries, key=lambda entry: self._place(entry, metric)))

    def _place(self, entry: ScoredEntry, metric: str) -> tuple[bool, float, str]:
        row = entry.row()
        found = [row.estimate(metric, part) for part in self.task.parts]
        values = [one.value if one else None for one in found]
        if METRICS[metric].better == "lower":
            place = _geometric_mean(values)
        else:
            known = [-value for value in values if value is not None]
            place = sum(known) / len(known) if len(known) == len(values) else None
        return (place is None, place or 0.0, entry.entry.name)


def groups_of(board: Board) -> tuple[Group, ...]:
    """Put together what can be compared, in the order of task and data."""
    found: dict[tuple[str, str, str | None], list[ScoredEntry]] = {}
    for entry in board.entries:
        found.setdefault(entry.data_key, []).append(entry)
    groups = [_group(entries) for entries in found.values()]
    return tuple(sorted(groups, key=lambda group: (group.dataset, group.title)))


def group_with(entry: ScoredEntry, others: Sequence[ScoredEntry]) -> Group:
    """Put an entry among those that it can be compared with, in place of one of its name.

    Args:
        entry: A new entry.
        others: Entries of the same task, data and split.
    """
    return _group([entry, *(one for one in others if one.entry.name != entry.entry.name)])


def ranking_table(group: Group, metric: str) -> Table:
    """Lay out one metric of a group, in order.

    Args:
        group: What is compared.
        metric: Name of the metric.
    """
    task = group.task
    unit = UNIT_SYMBOLS[task.units[metric]]
    suffix = f" [{unit}]" if unit else ""
    title, better = METRICS[metric].title, METRICS[metric].better
    entries = group.ranked(metric)
    rows = [entry.row() for entry in entries]
    leaders = {part: leading_row(metric, part, rows) for part in task.parts}
    cells, best = [], []
    for entry, row in zip(entries, rows, strict=True):
        values = [
            cell_text(row.estimate(metric, part), metric, task, row.spread(metric, part))
            for part in task.parts
        ]
        score = group.score(entry, metric)
        took = row.prediction_milliseconds()
        cells.append(
            (
                row.name if row.is_learned else f"{row.name} (no learning)",
                *values,
                _NOTHING if score is None else f"{score:.3g}",
                str(1 + len(row.repeats)) if entry.entry.training.seeds else _NOTHING,
                f"{entry.entry.training.hours:.2g}",
                _NOTHING if took is None else f"{took:.{decimals_of(took)}f}",
                f"{entry.entry.model.n_parameters:,}",
            )
        )
        best.append((False, *(leaders[part] is row for part in task.parts), *(False,) * 5))
    direction = "" if better == "neither" else f", {better} is better"
    return Table(
        title=f"{title[0].upper()}{title[1:]}{suffix}, {group.dataset}{direction}",
        header=(
            "model",
            *(f"{part_title(part)}{suffix}" for part in task.parts),
            "over no learning",
            "seeds",
            "training [h]",
            "prediction [ms]",
            "parameters",
        ),
        rows=tuple(cells),
        best=tuple(best),
    )


def board_tables(board: Board, *, metrics: Sequence[str] | None = None) -> list[Table]:
    """Lay out all groups.

    Args:
        board: The leaderboard.
        metrics: Metrics to show; None shows the headlines of each task.
    """
    return [
        ranking_table(group, metric)
        for group in groups_of(board)
        for metric in (group.task.headlines if metrics is None else metrics)
        if metric in group.task.metrics
    ]


def board_csv(board: Board) -> str:
    """Write every number of every entry as one CSV line, unrounded, in the tables' units."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("task", "data", "name", "title", "learned", "part", "metric", "unit", "value"),
            *("ci_low", "ci_high", "seed_spread", "n_seeds", "over_no_learning"),
            *("training_hours", "prediction_milliseconds", "n_parameters"),
        ]
    )
    for group in groups_of(board):
        for entry in group.entries:
            row = entry.row()
            for metric in group.task.metrics:
                for part in group.task.parts:
                    found = row.estimate(metric, part)
                    if found is None:
                        continue
                    values = [found.value, found.ci_low, found.ci_high, row.spread(metric, part)]
                    writer.writerow(
                        [
                            *(group.task.name, group.dataset, entry.entry.name),
                            *(_harmless(row.name), str(row.is_learned).lower(), part, metric),
                            group.task.units[metric],
                            *(
                                _number(reported_value(value, metric, group.task))
                                for value in values
                            ),
                            1 + len(row.repeats),
                            _number(group.over_dummy(entry, metric, part)),
                            _number(entry.entry.training.hours),
                            _number(row.prediction_milliseconds()),
                            entry.entry.model.n_parameters,
                        ]
                    )
    return text.getvalue()


def readme_block(board: Board) -> str:
    """Write what the README shows: one table for each task and data, between the marks."""
    tables = [ranking_table(group, group.task.headlines[0]) for group in groups_of(board)]
    return f"{BEGIN}\n{markdown(tables)}\n{END}"


def write_readme_block(page: str | Path, board: Board) -> bool:
    """Put the tables into a page, between the marks.

    Args:
        page: The page.
        board: The leaderboard.

    Returns:
        Whether the page changed.

    Raises:
        EntryError: The page has no marks.
    """
    path = Path(page)
    text = path.read_text(encoding="utf-8")
    changed = with_readme_block(text, board, where=path.name)
    if changed != text:
        write_atomically(path, changed.encode())
    return changed != text


def with_readme_block(text: str, board: Board, *, where: str) -> str:
    """Replace what is between the marks of a page.

    Raises:
        EntryError: It has no marks.
    """
    start, end = text.find(BEGIN), text.find(END)
    if not 0 <= start < end:
        message = f"{where} has no lines {BEGIN} and {END} between which the tables belong."
        raise EntryError(message)
    return text[:start] + readme_block(board) + text[end + len(END) :]


def _group(entries: Sequence[ScoredEntry]) -> Group:
    first = entries[0].entry
    assert first.data is not None
    name = f"{DUMMIES.get(first.task)}-{first.data.dataset}"
    return Group(
        task=task_named(first.task),
        dataset=first.data.dataset,
        split=first.data.split,
        entries=tuple(entries),
        dummy=next((one for one in entries if one.entry.name == name), None),
    )


def _geometric_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values) or min(known) < 0:
        return None
    if min(known) == 0:
        return 0.0
    return math.exp(math.fsum(map(math.log, known)) / len(known))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def _harmless(text: str) -> str:
    """Keep a spreadsheet from taking a name for a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
