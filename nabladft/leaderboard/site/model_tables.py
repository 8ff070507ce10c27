"""Tables of the page of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nabladft.leaderboard.site.breakdowns import size_values
from nabladft.leaderboard.site.cells import estimate_cell
from nabladft.leaderboard.site.contests import Contest, Contestant, better_of
from nabladft.leaderboard.site.tables import (
    Column,
    Link,
    RowGroup,
    Table,
    TableRow,
    count_cell,
    number_cell,
    number_format,
    range_text,
    text_cell,
)
from nabladft.leaderboard.site.texts import (
    metric_meaning,
    metric_title,
    part_title,
    quantity_title,
    unit_symbol,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nabladft.benchmark.results import Results
    from nabladft.leaderboard.details import ParitySample


def external(address: str | None) -> Link | None:
    """Make a link that leaves the site, if there is an address."""
    return Link(href=address, is_external=True) if address else None


def model_metrics(contest: Contest, one: Contestant, parts: Sequence[str]) -> Table:
    """Lay out every metric of a model: a row a metric, a column a part."""
    rows = []
    for metric in contest.task.metrics:
        values = [contest.value(one, metric, part) for part in parts]
        if not any(values):
            continue
        cells = []
        for part, value in zip(parts, values, strict=True):
            ratio = contest.against_dummy(one, metric, part)
            note = ""
            if ratio is not None and contest.dummy is not None and contest.dummy is not one:
                note = (
                    f"{ratio:{number_format(ratio)}} \N{MULTIPLICATION SIGN} {contest.dummy.title}"
                )
            cells.append(estimate_cell(value, note=note))
        arrow = {"lower": "↓", "higher": "↑", None: ""}[better_of(metric)]
        name = text_cell(f"{metric_title(metric)} {arrow}".strip(), note=metric_meaning(metric))
        rows.append(TableRow(cells=(name, text_cell(contest.unit(metric)), *cells)))
    return Table(
        slug=f"{one.slug}-metrics",
        title="All metrics",
        columns=(
            Column(key="metric", title="Metric", is_number=False, is_wide=True),
            Column(key="unit", title="Unit", is_number=False),
            *(
                Column(key=part, title=part_title(part), has_interval=True, has_spread=True)
                for part in parts
            ),
        ),
        groups=(RowGroup(rows=tuple(rows)),),
        note="↓ lower is better, ↑ higher is better. Brackets: 95 % interval, bootstrap over "
        "molecules. ±: standard deviation over training seeds.",
    )


def scored_predictions(one: Contestant) -> Table:
    """Lay out the files that were scored, with their hashes."""
    rows = []
    for score in one.scored.entry.scores:
        file = score.predictions
        seconds = score.prediction_seconds
        rows.append(
            TableRow(
                cells=(
                    text_cell(part_title(score.part) if score.part else "all conformations"),
                    count_cell(score.seed),
                    count_cell(score.n_conformations),
                    count_cell(score.n_molecules),
                    number_cell(None if seconds is None else 1e3 * seconds),
                    count_cell(file.n_bytes),
                    text_cell(file.sha256),
                    text_cell(file.url, link=external(file.url)),
                )
            )
        )
    return Table(
        slug=f"{one.slug}-predictions",
        title="Predictions that were scored",
        columns=(
            Column(key="part", title="Part", is_number=False),
            Column(key="seed", title="Seed"),
            Column(key="n_conformations", title="Conformations"),
            Column(key="n_molecules", title="Molecules"),
            Column(key="prediction_ms", title="Prediction", unit="ms"),
            Column(key="n_bytes", title="Bytes"),
            Column(key="sha256", title="SHA-256", is_number=False),
            Column(key="url", title="Address", is_number=False),
        ),
        groups=(RowGroup(rows=tuple(rows)),),
        note="A row without an address can be checked only by who has the file.",
    )


def errors_by_size(contest: Contest, one: Contestant, parts: Sequence[str]) -> list[Table]:
    """Lay out the first headline by number of atoms."""
    metric = contest.task.headlines[0]
    values = {part: size_values(contest, one, metric, part) for part in parts}
    bins = sorted({key for found in values.values() for key in found})
    rows = [
        TableRow(
            cells=(
                text_cell(range_text(low, high)),
                *(estimate_cell(values[part].get((low, high))) for part in parts),
            )
        )
        for low, high in bins
    ]
    if not rows:
        return []
    columns = (
        Column(
            key=part,
            title=part_title(part),
            unit=contest.unit(metric),
            better=better_of(metric),
            has_interval=True,
        )
        for part in parts
    )
    return [
        Table(
            slug=f"{one.slug}-by-size",
            title=f"{metric_title(metric)} by number of atoms",
            columns=(Column(key="atoms", title="Atoms", is_number=False), *columns),
            groups=(RowGroup(rows=tuple(rows)),),
            note="First training seed. Brackets: 95 % interval, bootstrap over molecules.",
        )
    ]


def errors_by_kind(contest: Contest, one: Contestant, parts: Sequence[str]) -> list[Table]:
    """Lay out errors by element, by pair of elements and by angular degrees, of the first seed."""
    kinds = {
        "by_element": "element",
        "by_element_pair": "pair of elements",
        "by_degrees": "angular degrees",
    }
    tables = []
    for attribute, name in kinds.items():
        metrics = dict.fromkeys(
            metric for part in parts for metric in getattr(one.row.results[part], attribute)
        )
        for metric in metrics:
            values = {part: _kind(one.row.results[part], attribute, metric) for part in parts}
            kinds_there = dict.fromkeys(kind for table in values.values() for kind in table)
            rows = [
                TableRow(
                    cells=(
                        text_cell(kind),
                        *(
                            number_cell(
                                None
                                if kind not in values[part]
                                else contest.converted(metric, values[part][kind])
                            )
                            for part in parts
                        ),
                    )
                )
                for kind in kinds_there
            ]
            tables.append(
                Table(
                    slug=f"{one.slug}-{attribute.replace('_', '-')}-{metric}",
                    title=f"{metric_title(metric)} by {name}",
                    columns=(
                        Column(key="kind", title=name.capitalize(), is_number=False),
                        *(
                            Column(
                                key=part,
                                title=part_title(part),
                                unit=unit_symbol(contest.task.units[metric]),
                                better=better_of(metric),
                            )
                            for part in parts
                        ),
                    ),
                    groups=(RowGroup(rows=tuple(rows)),),
                    note="First training seed.",
                )
            )
    return tables


def _kind(results: Results, attribute: str, metric: str) -> Mapping[str, float]:
    found: Mapping[str, Mapping[str, float]] = getattr(results, attribute)
    return found.get(metric, {})


def parity_points(one: Contestant, sample: ParitySample, part: str) -> Table:
    """Lay out the points of a parity figure, for files."""
    unit = unit_symbol(sample.unit)
    return Table(
        slug=f"{one.slug}-{part.replace('_', '-')}-parity-{sample.quantity.replace('_', '-')}",
        title=f"{one.title}, {part_title(part)}: {quantity_title(sample.quantity)}",
        columns=(
            Column(key="reference", title="DFT", unit=unit),
            Column(key="predicted", title="Predicted", unit=unit),
        ),
        groups=(
            RowGroup(
                rows=tuple(
                    TableRow(cells=(number_cell(x), number_cell(y)))
                    for x, y in zip(sample.reference, sample.predicted, strict=True)
                )
            ),
        ),
    )
