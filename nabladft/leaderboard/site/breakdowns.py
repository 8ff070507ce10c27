"""Tables of a contest that go into detail: all metrics, errors by size and by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nabladft.leaderboard.site.cells import (
    FIRST_SEED,
    INTERVALS,
    estimate_cell,
    metric_cell,
    metric_column,
    title_cell,
)
from nabladft.leaderboard.site.contests import Contest, Contestant, Value, better_of, contest_title
from nabladft.leaderboard.site.tables import (
    Column,
    RowGroup,
    Table,
    TableRow,
    number_cell,
    range_text,
)
from nabladft.leaderboard.site.texts import metric_title

if TYPE_CHECKING:
    from collections.abc import Mapping


def metrics_table(contest: Contest, part: str) -> Table:
    """Lay out every metric of a part: a row a model, a column a metric."""
    inside = contest.in_part(part)
    metrics = [
        metric
        for metric in contest.task.metrics
        if any(contest.value(one, metric, part) for one in inside)
    ]
    columns = [Column(key="model", title="Model", is_number=False)]
    columns += [metric_column(contest, metric, part) for metric in metrics]
    rows = [
        TableRow(
            cells=(
                title_cell(one),
                *(metric_cell(contest, one, metric, part) for metric in metrics),
            ),
            data_seen=one.scored.entry.training.data,
            subset=one.scored.entry.training.subset or "",
        )
        for one in inside
    ]
    return Table(
        slug=f"{contest.slug}-{part}-metrics",
        title=f"All metrics. {contest_title(contest, part)}",
        columns=tuple(columns),
        groups=(RowGroup(rows=tuple(rows)),),
        note=INTERVALS,
    )


def sizes_table(contest: Contest, part: str) -> Table | None:
    """Lay out the first headline by number of atoms; None when nobody has it."""
    metric = contest.task.headlines[0]
    inside = contest.in_part(part)
    bins = sorted(
        {(one.smallest, one.largest) for c in inside for one in c.row.results[part].by_size}
    )
    rows = []
    for one in inside:
        found = size_values(contest, one, metric, part)
        cells = [estimate_cell(found.get(key)) for key in bins]
        if found:
            rows.append(TableRow(cells=(title_cell(one), *cells)))
    if not rows:
        return None
    return Table(
        slug=f"{contest.slug}-{part}-sizes",
        title=f"{metric_title(metric)} by size. {contest_title(contest, part)}",
        columns=(
            Column(key="model", title="Model", is_number=False),
            *(
                Column(
                    key=f"atoms_{low}_{high}",
                    title=f"{range_text(low, high)} atoms",
                    unit=contest.unit(metric),
                    better=better_of(metric),
                    has_interval=True,
                )
                for low, high in bins
            ),
        ),
        groups=(RowGroup(rows=tuple(rows)),),
        note=f"{FIRST_SEED} Brackets: 95 % interval, bootstrap over molecules.",
    )


def elements_table(contest: Contest, part: str) -> Table | None:
    """Lay out the error by chemical element; None when nobody has one."""
    inside = contest.in_part(part)
    metric = element_metric(contest, part)
    if metric is None:
        return None
    rows, symbols = [], element_symbols(contest, metric, part)
    for one in inside:
        found = element_values(contest, one, metric, part)
        if found:
            cells = [number_cell(found.get(symbol)) for symbol in symbols]
            rows.append(TableRow(cells=(title_cell(one), *cells)))
    return Table(
        slug=f"{contest.slug}-{part}-elements",
        title=f"{metric_title(metric)} by element. {contest_title(contest, part)}",
        columns=(
            Column(key="model", title="Model", is_number=False),
            *(
                Column(
                    key=symbol, title=symbol, unit=contest.unit(metric), better=better_of(metric)
                )
                for symbol in symbols
            ),
        ),
        groups=(RowGroup(rows=tuple(rows)),),
        note=FIRST_SEED,
    )


def size_values(
    contest: Contest, one: Contestant, metric: str, part: str
) -> dict[tuple[int, int], Value]:
    """Give a metric by number of atoms (smallest, largest), of the first seed."""
    found = {}
    for size_bin in one.row.results[part].by_size:
        estimate = size_bin.metrics.get(metric)
        if estimate is not None and estimate.value is not None:
            value, low, high = (
                None if number is None else contest.converted(metric, number)
                for number in (estimate.value, estimate.ci_low, estimate.ci_high)
            )
            assert value is not None
            found[size_bin.smallest, size_bin.largest] = Value(
                value=value, low=low, high=high, spread=None
            )
    return found


def element_metric(contest: Contest, part: str) -> str | None:
    """Choose the metric that is told by element, or None."""
    known = {metric for one in contest.in_part(part) for metric in one.row.results[part].by_element}
    return next((metric for metric in contest.task.metrics if metric in known), None)


def element_values(
    contest: Contest, one: Contestant, metric: str, part: str
) -> Mapping[str, float]:
    """Give a metric by chemical element, of the first seed."""
    found = one.row.results[part].by_element.get(metric, {})
    return {symbol: contest.converted(metric, value) for symbol, value in found.items()}


def element_symbols(contest: Contest, metric: str, part: str) -> list[str]:
    """List the elements of a part, in the order of the results files."""
    return list(
        dict.fromkeys(
            symbol
            for one in contest.in_part(part)
            for symbol in one.row.results[part].by_element.get(metric, {})
        )
    )
