"""The page of a model: who, how, every metric, parity, and the molecules it does worst on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nabladft.benchmark.tasks import task_named
from nabladft.chemistry.units import convert
from nabladft.leaderboard.site.breakdowns import element_metric, element_values, size_values
from nabladft.leaderboard.site.cells import training_text
from nabladft.leaderboard.site.charts import axis_title
from nabladft.leaderboard.site.drawing import Figure
from nabladft.leaderboard.site.model_tables import (
    errors_by_kind,
    errors_by_size,
    external,
    model_metrics,
    parity_points,
    scored_predictions,
)
from nabladft.leaderboard.site.molecules import DrawnMolecule, draw_molecule, xyz_text
from nabladft.leaderboard.site.specs import lines_by_size, marks_by_element, parity_spec
from nabladft.leaderboard.site.tables import (
    Fact,
    Link,
    Table,
    number_format,
)
from nabladft.leaderboard.site.texts import (
    metric_title,
    part_title,
    quantity_title,
    unit_symbol,
)
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.leaderboard.details import ParitySample, WorstConformation
    from nabladft.leaderboard.site.contests import Contest, Contestant

#: Larger numbers are no energies, forces or matrix elements, and axes cannot show them.
_LARGEST_DRAWN: Final = 1e12


@dataclass(frozen=True, kw_only=True)
class MoleculeCard:
    """A molecule on which a model does badly.

    Attributes:
        slug: Name of its files.
        title: Ids of molecule and conformation.
        smiles: The molecule, or None.
        error: The error with its unit.
        metric: What the error is of.
        xyz: The geometry as an xyz file.
        drawing: The geometry drawn, or None when it cannot be.
    """

    slug: str
    title: str
    smiles: str | None
    error: str
    metric: str
    xyz: str
    drawing: DrawnMolecule | None


@dataclass(frozen=True, kw_only=True)
class PartSection:
    """What a page shows of one part.

    Attributes:
        title: Name of the part.
        parity: Parity figures.
        worst: Molecules, the worst first.
    """

    title: str
    parity: tuple[Figure, ...]
    worst: tuple[MoleculeCard, ...]


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """What the page of a model shows.

    Attributes:
        contest: Where it takes part.
        contestant: The model.
        facts: Who and how.
        metrics: Every metric by part.
        scored: What was scored, with hashes.
        tables: Errors by kind of atom or orbital.
        figures: Errors by size and by element.
        sections: What there is by part.
    """

    contest: Contest
    contestant: Contestant
    facts: tuple[Fact, ...]
    metrics: Table
    scored: Table
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    sections: tuple[PartSection, ...]


def model_page(contest: Contest, one: Contestant) -> ModelPage:
    """Put together what the page of a model shows."""
    parts = [part for part in contest.parts if part in one.row.results]
    return ModelPage(
        contest=contest,
        contestant=one,
        facts=tuple(_facts(contest, one)),
        metrics=model_metrics(contest, one, parts),
        scored=scored_predictions(one),
        tables=(*errors_by_size(contest, one, parts), *errors_by_kind(contest, one, parts)),
        figures=tuple(_figures(contest, one, parts)),
        sections=tuple(_sections(one, parts)),
    )


def _facts(contest: Contest, one: Contestant) -> list[Fact]:
    entry = one.scored.entry
    assert entry.data is not None
    assert entry.scorer is not None
    training = entry.training
    seeds = ", ".join(map(str, training.seeds)) or "nothing random"
    facts = [
        Fact(name="Authors", text=", ".join(entry.who.authors)),
        Fact(name="Affiliations", text="; ".join(entry.who.affiliations)),
        Fact(name="Paper", text=entry.model.paper or "", link=external(entry.model.paper)),
        Fact(name="Code", text=entry.model.code or "", link=external(entry.model.code)),
        Fact(name="Questions", text=entry.who.contact or "", link=external(entry.who.contact)),
        Fact(name="Licence", text=entry.model.licence),
        Fact(name="Parameters", text=f"{entry.model.n_parameters:,}"),
        Fact(name="Trained on", text=training_text(training)),
        Fact(name="Training seeds", text=seeds),
        Fact(name="Training", text=f"{training.hours:g} hours on {training.hardware}"),
        Fact(name="Scored on", text=contest.data_title),
        Fact(name="Data hash", text=entry.data.data_hash, is_code=True),
        Fact(name="Split hash", text=entry.data.split_hash or "", is_code=True),
        Fact(name="Scored by", text=entry.scorer.version),
        Fact(
            name="Intervals",
            text=f"{100 * entry.scorer.confidence:g} %, {entry.scorer.n_resamples:,} resamples of "
            f"the molecules, seed {entry.scorer.bootstrap_seed}",
        ),
        Fact(name="Entry", text=one.scored.path.name, link=Link(href=f"entries/{one.slug}.toml")),
        Fact(
            name="Details",
            text=f"{entry.name}.details.json",
            link=Link(href=f"entries/{one.slug}.details.json"),
        ),
        Fact(name="Hash of details", text=entry.details_sha256 or "", is_code=True),
    ]
    return [fact for fact in facts if fact.text]


def _figures(contest: Contest, one: Contestant, parts: Sequence[str]) -> list[Figure]:
    """Draw the first headline by number of atoms, and by element, a line or mark for each part."""
    metric = contest.task.headlines[0]
    titles = [part_title(part) for part in parts]
    sizes = [
        {
            "model": part_title(part),
            "atoms": (low + high) / 2,
            "error": value.value,
            "low": value.low,
            "high": value.high,
        }
        for part in parts
        for (low, high), value in size_values(contest, one, metric, part).items()
        if value.value > 0
    ]
    figures = []
    if sizes:
        figures.append(
            Figure(
                slug=f"{one.slug}-sizes",
                title="Error by size of the molecule",
                alt=f"{one.title}: {metric_title(metric)} against the number of atoms, a line for "
                f"each part: {', '.join(titles)}.",
                spec=lines_by_size(sizes, titles, axis_title(contest, metric)),
                note="First training seed. Bars: 95 % interval.",
                table=f"{one.slug}-by-size",
            )
        )
    told = element_metric(contest, parts[0])
    elements = [
        {"model": part_title(part), "element": symbol, "error": value}
        for part in parts
        for symbol, value in (element_values(contest, one, told, part) if told else {}).items()
        if value > 0
    ]
    if elements and told:
        symbols = list(dict.fromkeys(str(point["element"]) for point in elements))
        figures.append(
            Figure(
                slug=f"{one.slug}-elements",
                title=f"{metric_title(told)} by element",
                alt=f"{one.title}: {metric_title(told)} at atoms of {', '.join(symbols)}, a mark "
                f"for each part: {', '.join(titles)}.",
                spec=marks_by_element(elements, symbols, titles, axis_title(contest, told)),
                note="First training seed.",
                table=f"{one.slug}-by-element-{told}",
            )
        )
    return figures


def _sections(one: Contestant, parts: Sequence[str]) -> list[PartSection]:
    details = one.scored.details
    seed = one.scored.entry.scores[0].seed
    sections = []
    for part in parts:
        parity = [
            figure
            for sample in details.parity
            if (sample.part or "all") == part
            and sample.seed == seed
            and (figure := _parity_figure(one, sample, part)) is not None
        ]
        worst = [
            _molecule_card(one, found, part, k)
            for k, found in enumerate(w for w in details.worst if (w.part or "all") == part)
        ]
        if parity or worst:
            sections.append(
                PartSection(title=part_title(part), parity=tuple(parity), worst=tuple(worst))
            )
    return sections


def _parity_figure(one: Contestant, sample: ParitySample, part: str) -> Figure | None:
    values = [*sample.reference, *sample.predicted]
    if not values or max(map(abs, values)) > _LARGEST_DRAWN:
        return None
    unit = unit_symbol(sample.unit)
    name = quantity_title(sample.quantity)
    distance = math.fsum(
        abs(x - y) for x, y in zip(sample.reference, sample.predicted, strict=True)
    ) / len(sample.reference)
    shown = f"{distance:{number_format(distance)}} {unit}".strip()
    return Figure(
        slug=f"{one.slug}-{part.replace('_', '-')}-parity-{sample.quantity.replace('_', '-')}",
        title=f"{name[0].upper()}{name[1:]}",
        alt=f"{one.title}, {part_title(part)}: predicted against DFT, {name}, "
        f"{len(sample.reference):,} of {sample.n_total:,} values. On average {shown} from the "
        "diagonal.",
        spec=parity_spec(sample.reference, sample.predicted, unit),
        note=f"{len(sample.reference):,} of {sample.n_total:,} values, the same for all models.",
        points=parity_points(one, sample, part),
    )


def _molecule_card(one: Contestant, worst: WorstConformation, part: str, k: int) -> MoleculeCard:
    title = f"molecule {worst.molecule_id}, conformation {worst.conformation_id}"
    value, unit = _in_table_unit(one.scored.entry.task, worst.metric, worst.value)
    error = f"{value:{number_format(value)}} {unit}".strip()
    comment = f"{title} {worst.smiles or ''} {worst.metric} {error} {one.scored.entry.name}"
    return MoleculeCard(
        slug=f"{one.slug}-{part.replace('_', '-')}-{k + 1}",
        title=title,
        smiles=worst.smiles,
        error=error,
        metric=metric_title(worst.metric),
        xyz=xyz_text(worst, comment),
        drawing=draw_molecule(worst),
    )


def _in_table_unit(task: str, metric: str, value: float) -> tuple[float, str]:
    """Bring a metric to the unit of tables, and give its symbol."""
    unit = task_named(task).units.get(metric, METRICS[metric].unit)
    return convert(value, source=METRICS[metric].unit, target=unit), unit_symbol(unit)
