"""Columns and cells that several tables of a contest have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from nabladft.leaderboard.site.contests import Contest, Contestant, Value, better_of
from nabladft.leaderboard.site.tables import (
    Cell,
    Column,
    Link,
    Whisker,
    number_cell,
    text_cell,
)
from nabladft.leaderboard.site.texts import metric_meaning, metric_title

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nabladft.leaderboard.entry import TrainingCard

#: Room beside the outermost ends of intervals, as a share of the width.
_MARGIN: Final = 0.04

INTERVALS: Final = (
    "Brackets: 95 % interval, bootstrap over molecules. ±: standard deviation over training seeds."
)
FIRST_SEED: Final = "First training seed."


def estimate_cell(found: Value | None, *, note: str = "", is_best: bool = False) -> Cell:
    """Make the cell of a number with its uncertainties; a dash when there is none."""
    if found is None:
        return Cell(note=note)
    return number_cell(
        found.value,
        low=found.low,
        high=found.high,
        spread=found.spread,
        note=note,
        is_best=is_best,
    )


def title_cell(one: Contestant) -> Cell:
    """Make the cell that names a model in a line and leads to its page."""
    return text_cell(one.title, link=Link(href=one.page))


def metric_column(
    contest: Contest, metric: str, part: str, *, title: str = "", group: str = ""
) -> Column:
    """Make the column of a metric."""
    inside = contest.in_part(part)
    values = [contest.value(one, metric, part) for one in inside]
    return Column(
        key=f"{metric}_{part}",
        title=title or metric_title(metric),
        unit=contest.unit(metric),
        better=better_of(metric),
        group=group,
        hint=metric_meaning(metric),
        has_interval=any(value is not None and value.low is not None for value in values),
        has_spread=any(value is not None and value.spread is not None for value in values),
    )


def metric_cell(contest: Contest, one: Contestant, metric: str, part: str) -> Cell:
    """Make the cell of a metric, with interval and spread; the best of the column is marked."""
    is_best = contest.best(metric, part) is one
    return estimate_cell(contest.value(one, metric, part), is_best=is_best)


def name_cell(one: Contestant) -> Cell:
    """Make the cell that names a model and leads to its page."""
    authors = one.scored.entry.who.authors
    shown = authors[0] if len(authors) == 1 else f"{authors[0]} and {len(authors) - 1} more"
    badges = () if one.row.is_learned else ("no learning",)
    return text_cell(one.title, link=Link(href=one.page), note=shown, badges=badges)


def training_text(training: TrainingCard) -> str:
    """Say in a line what a model was trained on."""
    if not training.data:
        return "nothing"
    text = ", ".join(training.data)
    if training.subset and training.subset != "none":
        text += f", {training.subset}"
    return f"{text} ({training.n_conformations:,})" if training.n_conformations else text


def whiskers_of(values: Mapping[str, Value | None]) -> dict[str, Whisker | None]:
    """Place values and intervals on one logarithmic axis."""
    ends = [
        end
        for value in values.values()
        if value is not None
        for end in (value.low, value.value, value.high)
        if end is not None and end > 0
    ]
    n_drawn = sum(value is not None for value in values.values())
    if n_drawn <= 1 or not ends or min(ends) == max(ends):
        return dict.fromkeys(values)
    start, width = math.log(min(ends)), math.log(max(ends)) - math.log(min(ends))

    def place(number: float) -> float:
        share = _MARGIN + (1 - 2 * _MARGIN) * (math.log(number) - start) / width
        return round(100 * share, 2)

    def draw(value: Value | None) -> Whisker | None:
        if value is None or value.low is None or value.high is None or value.low <= 0:
            return None
        return Whisker(low=place(value.low), middle=place(value.value), high=place(value.high))

    return {slug: draw(value) for slug, value in values.items()}


def whisker_cell(value: Value | None, whisker: Whisker | None) -> Cell:
    """Make a cell that draws a value and its interval."""
    if value is None or whisker is None:
        return Cell()
    cell = number_cell(value.value, low=value.low, high=value.high)
    return Cell(value=value.value, text=f"{cell.text} {cell.interval_text}", whisker=whisker)
