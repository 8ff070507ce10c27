"""Tables of a contest: the standings, all metrics, errors by size and by element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nabladft.leaderboard.site.cells import (
    INTERVALS,
    metric_cell,
    metric_column,
    name_cell,
    training_text,
    whisker_cell,
    whiskers_of,
)
from nabladft.leaderboard.site.contests import Contest, Contestant, better_of, contest_title
from nabladft.leaderboard.site.published_tables import (
    Line,
    Published,
    best_lines,
    distinct_lines,
    has_headline,
    model_cell,
    published_group,
    subset_text,
    value_cell,
)
from nabladft.leaderboard.site.tables import (
    Cell,
    Column,
    RowGroup,
    Table,
    TableRow,
    count_cell,
    number_cell,
    range_text,
    text_cell,
)
from nabladft.leaderboard.site.texts import metric_title, part_title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


#: Published models shown below short tables.
_N_PUBLISHED: Final = 4


def short_table(contest: Contest, published: Published) -> Table:
    """Lay out the headline metrics on all parts, published models beside ours."""
    task, parts, first = contest.task, contest.parts, contest.task.headlines[0]
    columns = [Column(key="model", title="Model", is_number=False)]
    for metric in task.headlines:
        columns += [
            _without_interval(
                metric_column(
                    contest, metric, part, title=part_title(part), group=metric_title(metric)
                )
            )
            for part in parts
        ]
        if metric == first and contest.dummy:
            columns.append(_mean_column(contest))
    columns.append(Column(key="n_parameters", title="Parameters"))
    rows = []
    for one in contest.ranked():
        cells = {
            "model": name_cell(one),
            "mean_against_dummy": number_cell(contest.group.score(one.scored, first)),
            "n_parameters": count_cell(one.row.n_parameters),
        }
        cells |= {
            f"{metric}_{part}": _plain(metric_cell(contest, one, metric, part))
            for metric in task.headlines
            for part in parts
        }
        rows.append(_row(columns, cells))
    claims = []
    for line in best_lines(published, task, contest.hardest_part, limit=_N_PUBLISHED):
        cells = {"model": model_cell(published, line)}
        cells |= {
            f"{metric}_{part}": value_cell(line.find(metric, part), metric, task.units[metric])
            for metric in task.headlines
            for part in parts
        }
        claims.append(_row(columns, cells))
    return Table(
        slug=f"{contest.slug}-overview",
        title=f"{task.title}: {contest.data_title}",
        columns=tuple(columns),
        groups=(RowGroup(rows=tuple(rows)), *published_group(claims)),
        note=f"Ours in the order of the geometric mean over the parts. {_published_note(claims)}",
    )


def standings_table(contest: Contest, part: str, published: Published) -> Table:
    """Lay out the ranking of a part: headlines with intervals, cost, training."""
    task = contest.task
    first = task.headlines[0]
    ranks = contest.rank_ranges(first, part)
    inside = contest.in_part(part)
    values = {
        one.slug: None if one is contest.dummy else contest.value(one, first, part)
        for one in inside
    }
    whiskers = whiskers_of(values)
    columns = [
        Column(
            key="rank",
            title="Rank",
            hint=f"By {metric_title(first)}. A range where intervals overlap.",
        ),
        Column(key="model", title="Model", is_number=False),
    ]
    for metric in task.headlines:
        columns.append(metric_column(contest, metric, part))
        if metric == first and any(whiskers.values()):
            title = f"{metric_title(first)}, log scale"
            columns.append(Column(key="interval", title=title, is_number=False, is_drawing=True))
        if contest.dummy is not None and better_of(metric) == "lower":
            columns.append(_dummy_column(contest, metric))
    columns += _cost_columns()
    rows = []
    for place, one in enumerate(inside, start=1):
        training = one.scored.entry.training
        cells = [_rank_cell(place, ranks.get(one.slug)), name_cell(one)]
        for metric in task.headlines:
            cells.append(metric_cell(contest, one, metric, part))
            if metric == first and any(whiskers.values()):
                cells.append(whisker_cell(values[one.slug], whiskers[one.slug]))
            if contest.dummy is not None and better_of(metric) == "lower":
                cells.append(number_cell(contest.against_dummy(one, metric, part)))
        cells += _cost_cells(one)
        subset = training.subset or ""
        rows.append(TableRow(cells=tuple(cells), data_seen=training.data, subset=subset))
    lines = distinct_lines(published, task.name)
    claims = [
        _published_row(published, line, contest, part, columns)
        for line in sorted(lines, key=lambda line: _published_order(line, first, part))
        if has_headline(line, task, [part])
    ]
    return Table(
        slug=f"{contest.slug}-{part}-standings",
        title=f"Standings. {contest_title(contest, part)}",
        columns=tuple(columns),
        groups=(RowGroup(rows=tuple(rows)), *published_group(claims)),
        note=f"{INTERVALS} A rank is a range where intervals overlap.",
        sorted_by=f"{first}_{part}",
    )


def _without_interval(column: Column) -> Column:
    return Column(
        key=column.key,
        title=column.title,
        unit=column.unit,
        better=column.better,
        group=column.group,
        hint=column.hint,
        is_number=column.is_number,
    )


def _plain(cell: Cell) -> Cell:
    return Cell(value=cell.value, text=cell.text, is_best=cell.is_best)


def _dummy_column(contest: Contest, metric: str) -> Column:
    assert contest.dummy is not None
    return Column(
        key=f"{metric}_against_dummy",
        title=f"÷ {contest.dummy.title}",
        file_title=f"{metric_title(metric)} over {contest.dummy.title}",
        better="lower",
        hint=f"{metric_title(metric)} divided by that of {contest.dummy.title}, which learns "
        "nothing: 1 is as bad as that, 0 is perfect.",
    )


def _mean_column(contest: Contest) -> Column:
    assert contest.dummy is not None
    metric = contest.task.headlines[0]
    return Column(
        key="mean_against_dummy",
        title=f"÷ {contest.dummy.title}",
        file_title=f"{metric_title(metric)} over {contest.dummy.title}",
        better="lower",
        hint=f"{metric_title(metric)} divided by that of {contest.dummy.title}, which learns "
        "nothing, in the geometric mean over the parts: 1 is as bad as that, 0 is perfect.",
    )


def _published_note(claims: Sequence[TableRow]) -> str:
    if not claims:
        return ""
    return (
        f"Published: the {len(claims)} best models, each with its best training set; all others "
        "are on the page of published results."
    )


def _cost_columns() -> list[Column]:
    return [
        Column(
            key="prediction_ms",
            title="Prediction",
            unit="ms",
            better="lower",
            hint="Wall time of predicting one conformation, as the submission states it.",
        ),
        Column(key="n_parameters", title="Parameters"),
        Column(key="trained_on", title="Trained on", is_number=False),
        Column(key="n_seeds", title="Seeds", hint="Trainings with different random numbers."),
        Column(key="hours", title="Training", unit="h", hint="Wall time of one training."),
        Column(key="hardware", title="Hardware", is_number=False),
    ]


def _cost_cells(one: Contestant) -> list[Cell]:
    training = one.scored.entry.training
    return [
        number_cell(one.row.prediction_milliseconds()),
        count_cell(one.row.n_parameters),
        text_cell(training_text(training)),
        count_cell(len(training.seeds) or None),
        number_cell(training.hours),
        text_cell(training.hardware),
    ]


def _rank_cell(place: int, ranks: tuple[int, int] | None) -> Cell:
    if ranks is None:
        return Cell()
    low, high = ranks
    return Cell(value=place, text=range_text(low, high))


def _published_row(
    published: Published, line: Line, contest: Contest, part: str, columns: Sequence[Column]
) -> TableRow:
    cells: dict[str, Cell] = {
        "model": model_cell(published, line),
        "trained_on": text_cell(subset_text(published, line)),
    }
    for metric in contest.task.headlines:
        cells[f"{metric}_{part}"] = value_cell(
            line.find(metric, part), metric, contest.task.units[metric]
        )
    return _row(
        columns,
        cells,
        data_seen=(published.sources[line.first.source].dataset,),
        subset=line.first.train_subset,
    )


def _row(
    columns: Sequence[Column],
    cells: Mapping[str, Cell],
    *,
    data_seen: tuple[str, ...] = (),
    subset: str = "",
) -> TableRow:
    """Put cells in the order of the columns, empty ones where there is none."""
    ordered = tuple(cells.get(column.key, Cell()) for column in columns)
    return TableRow(cells=ordered, data_seen=data_seen, subset=subset)


def _published_order(line: Line, metric: str, part: str) -> tuple[bool, float, str]:
    row = line.find(metric, part)
    sign = -1 if better_of(metric) == "higher" else 1
    value = None if row is None else row.value
    return (value is None, sign * (value or 0.0), line.first.model)
