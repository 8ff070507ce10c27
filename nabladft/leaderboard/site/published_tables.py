"""Published rows as pages show them: beside the rows that we scored, never ranked with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nabladft.benchmark.tasks import Task, tasks
from nabladft.chemistry.units import convert
from nabladft.leaderboard.site.contests import better_of
from nabladft.leaderboard.site.tables import (
    Cell,
    Column,
    Link,
    RowGroup,
    Table,
    TableRow,
    number_cell,
    text_cell,
)
from nabladft.leaderboard.site.texts import (
    metric_meaning,
    metric_title,
    part_title,
    task_title,
    texts,
    unit_symbol,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nabladft.catalog.catalogue import Catalogue
    from nabladft.leaderboard.published import PublishedMetric, PublishedRow, PublishedSource

#: Line above published rows in tables.
GROUP_TITLE: Final = "Published, on other test data: not ranked, not checked by us"

#: Flags that a reader must see beside the number.
_FLAG_MARKS: Final = {
    "not converged": "not converged",
    "misprint": "misprint?",
    "secondary source": "second hand",
}
#: Published models shown where there are none of ours.
_N_ALONE: Final = 6
_SUBSETS: Final = ("none", "tiny", "small", "medium", "large", "full")


@dataclass(frozen=True, kw_only=True)
class Published:
    """All that is known of published results.

    Attributes:
        rows: The numbers.
        sources: Where they are from, by key.
        metrics: What they are, by name.
        sizes: Number of training conformations by data set and subset, where known.
    """

    rows: tuple[PublishedRow, ...]
    sources: Mapping[str, PublishedSource]
    metrics: Mapping[str, PublishedMetric]
    sizes: Mapping[tuple[str, str], int]

    def size(self, row: PublishedRow) -> int | None:
        """Give the number of conformations that a model was trained on, or None."""
        return self.sizes.get((self.sources[row.source].dataset, row.train_subset))


@dataclass(frozen=True, kw_only=True)
class Line:
    """All numbers of one model, trained on one subset, in one table of one source.

    Attributes:
        rows: By metric and part.
    """

    rows: Mapping[tuple[str, str], PublishedRow]

    @property
    def first(self) -> PublishedRow:
        """Any of them: model, subset and source are the same in all."""
        return next(iter(self.rows.values()))

    def find(self, metric: str, part: str) -> PublishedRow | None:
        """Find the number for a column, also where its definition differs a little."""
        close = (
            row for (name, where), row in self.rows.items() if where == part and _fits(name, metric)
        )
        return self.rows.get((metric, part)) or next(close, None)


def subset_sizes(catalogue: Catalogue) -> dict[tuple[str, str], int]:
    """Look up how many conformations the published training subsets have."""
    found = {}
    for dataset, products in texts()["subsets"].items():
        for subset, name in products.items():
            product = catalogue.find(name)
            size = product and (product.n_conformations or product.n_conformations_about)
            if size:
                found[dataset, subset] = size
    return found


def lines_of(published: Published, task: str) -> list[Line]:
    """Put the numbers of a task together to lines, in the order of the file."""
    lines: dict[tuple[str, ...], dict[tuple[str, str], PublishedRow]] = {}
    for row in published.rows:
        if row.task == task:
            place = row.note.split(";")[0] if task not in tasks() else ""
            key = (row.source, place, row.model, row.train_subset)
            lines.setdefault(key, {}).setdefault((row.metric, row.test_part), row)
    return [Line(rows=rows) for rows in lines.values()]


def distinct_lines(published: Published, task: str) -> list[Line]:
    """Keep one line of each model, data set and subset: the one with least wrong with it."""
    found: dict[tuple[str, ...], Line] = {}
    for line in lines_of(published, task):
        first = line.first
        key = (published.sources[first.source].dataset, first.model, first.train_subset)
        if key not in found or _n_flagged(line) < _n_flagged(found[key]):
            found[key] = line
    return list(found.values())


def value_in(row: PublishedRow, unit: str) -> float | None:
    """Give a published value in another unit of the same kind."""
    if row.value is None or row.unit == unit:
        return row.value
    return convert(row.value, source=row.unit, target=unit)


def value_cell(row: PublishedRow | None, metric: str, unit: str) -> Cell:
    """Make the cell of a published number: as it was printed, with what is wrong with it."""
    if row is None:
        return Cell()
    value = value_in(row, unit)
    remarks = [_FLAG_MARKS[row.flag]] if row.flag in _FLAG_MARKS else []
    if row.metric != metric:
        remarks.append("other definition")
    text = None if value is None else f"{value:.4g}"
    return number_cell(value, text=text, note="; ".join(remarks))


def model_cell(published: Published, line: Line) -> Cell:
    """Make the cell that names a published model and links to its source."""
    source = published.sources[line.first.source]
    return text_cell(
        line.first.model,
        link=Link(href=f"published.html#source-{line.first.source}"),
        note=f"{line.first.train_subset}, {source.dataset} {source.year}",
    )


def subset_text(published: Published, line: Line) -> str:
    """Say what a published model was trained on."""
    size = published.size(line.first)
    name = f"{published.sources[line.first.source].dataset} {line.first.train_subset}"
    return f"{name} ({size:,})" if size else name


def has_headline(line: Line, task: Task, parts: Iterable[str]) -> bool:
    """Whether a line has a number for a column of the short tables."""
    return any(line.find(metric, part) for metric in task.headlines for part in parts)


def best_lines(published: Published, task: Task, part: str, *, limit: int) -> list[Line]:
    """Choose the best line of each published model, for short tables.

    Only numbers with the definition of the first headline or one close to it count, and none that
    are flagged; the latest source wins where two say the same.
    """
    metric = task.headlines[0]
    sign = -1 if better_of(metric) == "higher" else 1
    best: dict[str, tuple[float, int, Line]] = {}
    for line in distinct_lines(published, task.name):
        row = line.find(metric, part)
        if row is None or row.value is None or row.flag:
            continue
        year = published.sources[row.source].year
        order = (sign * row.value, -year, line)
        if row.model not in best or order[:2] < best[row.model][:2]:
            best[row.model] = order
    return [line for _, _, line in sorted(best.values(), key=lambda one: one[:2])[:limit]]


def published_group(rows: Sequence[TableRow]) -> list[RowGroup]:
    """Set published rows apart from ours."""
    return [RowGroup(title=GROUP_TITLE, rows=tuple(rows), is_published=True)] if rows else []


def claims_table(published: Published, task: Task) -> Table | None:
    """Lay out the best published models of a task for which nothing was scored, if there are any.

    Returns:
        A row a model, a column a headline metric and part; None without published rows.
    """
    lines = best_lines(published, task, task.parts[-1], limit=_N_ALONE)
    pairs = [
        (metric, part)
        for metric in task.headlines
        for part in task.parts
        if any(line.find(metric, part) for line in lines)
    ]
    rows = [
        TableRow(
            cells=(
                model_cell(published, line),
                *(value_cell(line.find(m, part), m, task.units[m]) for m, part in pairs),
            )
        )
        for line in lines
    ]
    if not rows:
        return None
    columns = (
        Column(
            key=f"{metric}_{part}",
            title=part_title(part),
            unit=unit_symbol(task.units[metric]),
            better=better_of(metric),
            group=metric_title(metric),
            hint=metric_meaning(metric),
        )
        for metric, part in pairs
    )
    return Table(
        slug=f"{task.name}-overview",
        title=task.title,
        columns=(Column(key="model", title="Model", is_number=False), *columns),
        groups=tuple(published_group(rows)),
        note="The best models, each with its best training set.",
    )


def published_table(published: Published, task: str) -> Table:
    """Lay out everything that was published for a task: a row a model, subset and source."""
    lines = lines_of(published, task)
    metrics = list(dict.fromkeys(metric for line in lines for metric, _ in line.rows))
    parts = list(dict.fromkeys(part for line in lines for _, part in line.rows))
    units = {name: _table_unit(published, task, name) for name in metrics}
    columns = [
        Column(key="model", title="Model", is_number=False),
        Column(key="train_subset", title="Trained on", is_number=False),
        Column(key="n_training", title="Training conformations"),
        Column(key="source", title="Source", is_number=False),
    ]
    columns += [
        Column(
            key=f"{metric}_{part}",
            title=part_title(part),
            unit=unit_symbol(units[metric]),
            better=better_of(metric) if metric in metric_names() else None,
            group=metric_title(metric),
            hint=metric_meaning(metric) or published.metrics[metric].definition,
        )
        for metric in metrics
        for part in parts
    ]
    columns.append(Column(key="note", title="Remarks", is_number=False, is_wide=True))
    rows = []
    for line in lines:
        size = published.size(line.first)
        notes = dict.fromkeys(row.note for row in line.rows.values() if row.note)
        cells = [
            text_cell(line.first.model),
            text_cell(line.first.train_subset),
            Cell() if size is None else Cell(value=size, text=f"{size:,}"),
            text_cell(
                line.first.source, link=Link(href=f"published.html#source-{line.first.source}")
            ),
            *(
                value_cell(line.rows.get((metric, part)), metric, units[metric])
                for metric in metrics
                for part in parts
            ),
            text_cell("; ".join(notes)),
        ]
        rows.append(TableRow(cells=tuple(cells), subset=line.first.train_subset))
    return Table(
        slug=f"published-{task}",
        title=f"Published results: {task_title(task)}",
        columns=tuple(columns),
        groups=(RowGroup(rows=tuple(rows), is_published=True),),
        note="As printed in the sources; not checked by us.",
    )


def subset_order(subset: str) -> int:
    """Order training subsets by size."""
    return _SUBSETS.index(subset) if subset in _SUBSETS else len(_SUBSETS)


def metric_names() -> frozenset[str]:
    """Names of metrics that this package computes itself."""
    return frozenset(name for task in tasks().values() for name in task.metrics)


def _n_flagged(line: Line) -> int:
    return sum(bool(row.flag) for row in line.rows.values())


def _table_unit(published: Published, task: str, metric: str) -> str:
    """Choose the unit of a column: that of our tables for this metric or the one it is close to."""
    if task in tasks():
        units = tasks()[task].units
        for name in (metric, *tasks()[task].headlines):
            if name in units and (name == metric or name in metric):
                return units[name]
    return published.metrics[metric].unit


def _fits(published_name: str, metric: str) -> bool:
    """Whether a published metric is the same quantity, maybe averaged otherwise."""
    rest = published_name.removeprefix(metric)
    return published_name == metric or rest.startswith(("_padded", "_published"))
