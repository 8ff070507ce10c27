"""Figures of a contest: cost against accuracy, learning curves, errors by size and by element.

A figure is a Vega-Lite specification with its data. Texts of entries are data in it, never part of
an expression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nabladft.leaderboard.site.breakdowns import (
    element_metric,
    element_symbols,
    element_values,
    size_values,
)
from nabladft.leaderboard.site.contests import Contest, better_of, contest_title
from nabladft.leaderboard.site.drawing import SERIES, Figure
from nabladft.leaderboard.site.published_tables import Published, distinct_lines, value_in
from nabladft.leaderboard.site.specs import (
    Record,
    layered,
    lines_by_size,
    marks_by_element,
    quantity,
    series_of,
    tooltip,
)
from nabladft.leaderboard.site.texts import metric_title

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Flags of published rows that are not drawn.
_NOT_DRAWN: Final = ("not converged", "not reported", "misprint")


def axis_title(contest: Contest, metric: str) -> str:
    """Title an axis: the metric, its unit, which way is better."""
    unit = contest.unit(metric)
    better = better_of(metric)
    arrow = {"lower": " ↓", "higher": " ↑", None: ""}[better]
    return f"{metric_title(metric)}{f' [{unit}]' if unit else ''}{arrow}"


def cost_figure(contest: Contest, part: str, *, cost: str) -> Figure | None:
    """Draw the first headline against what it costs, with the Pareto front.

    Args:
        contest: The contest.
        part: Part of the split.
        cost: "prediction" for the time of a prediction, "training" for that of a training.

    Returns:
        The figure, or None with fewer than two costs of models whose error is above zero.
    """
    metric = contest.task.headlines[0]
    points: list[Record] = []
    for one in contest.in_part(part):
        found = contest.value(one, metric, part)
        price = one.row.prediction_milliseconds() if cost == "prediction" else one.row.minutes
        if found is not None and price and found.value > 0:
            points.append({"model": contest.label(one), "cost": price, "error": found.value})
    if len({point["cost"] for point in points}) <= 1:
        return None
    front = pareto_front(points, better=better_of(metric) or "lower")
    title = {
        "prediction": "Time of predicting one conformation [ms] ←",
        "training": "Time of one training [min] ←",
    }[cost]
    x = quantity("cost", title, is_log=True)
    y = quantity("error", axis_title(contest, metric), is_log=True)
    models = [str(point["model"]) for point in points]
    spec = layered(
        points,
        layer=[
            {
                "data": {"values": front},
                "mark": {"type": "line", "interpolate": "step-after", "strokeDash": [4, 3]},
                "encoding": {"x": x, "y": y, "color": {"value": SERIES[-1]}},
            },
            {"mark": "point", "encoding": {"x": x, "y": y, **series_of(models), **tooltip(x, y)}},
        ],
    )
    what = "prediction" if cost == "prediction" else "training"
    return Figure(
        slug=f"{contest.slug}-{part}-cost-{what}",
        title=f"Cost of {what} against accuracy",
        alt=f"{contest_title(contest, part)}. {metric_title(metric)} of {len(points)} models "
        f"against the time of {what}, both axes logarithmic. On the Pareto front: "
        f"{', '.join(point['model'] for point in front)}.",
        note="Dashed: the Pareto front; no model is better in both. Lower left is best. Times are "
        "those stated with the submission, on its hardware.",
        spec=spec,
        table=f"{contest.slug}-{part}-standings",
    )


def pareto_front(points: Sequence[Record], *, better: str) -> list[Record]:
    """Choose the points than which none is cheaper and better, by cost.

    Example:
        >>> points = [{"cost": c, "error": e} for c, e in ((1, 9), (2, 5), (3, 7), (4, 1))]
        >>> [point["cost"] for point in pareto_front(points, better="lower")]
        [1, 2, 4]
    """
    sign = -1 if better == "higher" else 1
    front: list[Record] = []
    for point in sorted(points, key=lambda one: (one["cost"], sign * one["error"])):
        if not front or sign * point["error"] < sign * front[-1]["error"]:
            front.append(point)
    return front


def learning_figure(contest: Contest, part: str, published: Published) -> Figure | None:
    """Draw the first headline against the number of training conformations.

    Ours by title of the model; published ones by model and data set, one curve each.
    """
    metric = contest.task.headlines[0]
    ours = [
        _learning_point(one.title, "scored here", size, found.value)
        for one in contest.in_part(part)
        if (size := one.scored.entry.training.n_conformations)
        and (found := contest.value(one, metric, part)) is not None
        and found.value > 0
    ]
    claims: dict[tuple[str, int], Record] = {}
    for line in distinct_lines(published, contest.task.name):
        row = line.find(metric, part)
        if row is None or row.flag in _NOT_DRAWN:
            continue
        size, value = published.size(row), value_in(row, contest.task.units[metric])
        if size and value:
            name = f"{row.model} ({published.sources[row.source].year})"
            point = _learning_point(name, "published", size, value)
            claims.setdefault((name, size), point)
    points = [*ours, *claims.values()]
    if len({point["n"] for point in points}) <= 1:
        return None
    models = list(dict.fromkeys(point["model"] for point in points))
    x = quantity("n", "Training conformations", is_log=True, pattern="~s")
    y = quantity("error", axis_title(contest, metric), is_log=True)
    series = series_of(models)
    kind = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": ["scored here", "published"], "range": [[1, 0], [4, 3]]},
        "legend": None,
    }
    sized = {"field": "area", "type": "quantitative", "scale": None, "legend": None}
    spec = layered(
        points,
        layer=[
            {
                "mark": "line",
                "encoding": {"x": x, "y": y, "color": series["color"], "strokeDash": kind},
            },
            {
                "mark": "point",
                "encoding": {"x": x, "y": y, **series, "size": sized, **tooltip(x, y)},
            },
        ],
    )
    return Figure(
        slug=f"{contest.slug}-{part}-learning",
        title="Error against training set size",
        alt=f"{contest_title(contest, part)}. {metric_title(metric)} against the number of "
        f"training conformations, both axes logarithmic: {len(ours)} models scored here and "
        f"{len({name for name, _ in claims})} published curves.",
        note="Large marks: scored here. Small marks and dashed lines: published, on other test "
        "data; rows that did not converge or look misprinted are left out.",
        spec=spec,
        table=f"{contest.slug}-{part}-standings",
    )


def size_figure(contest: Contest, part: str) -> Figure | None:
    """Draw the first headline by number of atoms, with intervals."""
    metric = contest.task.headlines[0]
    points = [
        {
            "model": contest.label(one),
            "atoms": (low + high) / 2,
            "error": found.value,
            "low": found.low,
            "high": found.high,
        }
        for one in contest.in_part(part)
        for (low, high), found in size_values(contest, one, metric, part).items()
        if found.value > 0
    ]
    if len({point["atoms"] for point in points}) <= 1:
        return None
    return Figure(
        slug=f"{contest.slug}-{part}-sizes",
        title="Error by size of the molecule",
        alt=f"{contest_title(contest, part)}. {metric_title(metric)} against the number of atoms, "
        "a line for each model.",
        spec=lines_by_size(points, _names(contest, part), axis_title(contest, metric)),
        note="First training seed.",
        table=f"{contest.slug}-{part}-sizes",
    )


def element_figure(contest: Contest, part: str) -> Figure | None:
    """Draw the error by chemical element."""
    metric = element_metric(contest, part)
    if metric is None:
        return None
    points = [
        {"model": contest.label(one), "element": symbol, "error": value}
        for one in contest.in_part(part)
        for symbol, value in element_values(contest, one, metric, part).items()
        if value > 0
    ]
    if not points:
        return None
    symbols = element_symbols(contest, metric, part)
    return Figure(
        slug=f"{contest.slug}-{part}-elements",
        title=f"{metric_title(metric)} by element",
        alt=f"{contest_title(contest, part)}. {metric_title(metric)} at atoms of "
        f"{', '.join(symbols)}, a mark for each model.",
        spec=marks_by_element(points, symbols, _names(contest, part), axis_title(contest, metric)),
        note="First training seed.",
        table=f"{contest.slug}-{part}-elements",
    )


def contest_figures(contest: Contest, part: str, published: Published) -> list[Figure]:
    """Draw everything that there is of a part."""
    found: Iterable[Figure | None] = (
        cost_figure(contest, part, cost="prediction"),
        learning_figure(contest, part, published),
        cost_figure(contest, part, cost="training"),
        size_figure(contest, part),
        element_figure(contest, part),
    )
    return [figure for figure in found if figure is not None]


def _learning_point(model: str, kind: str, n: int, error: float) -> Record:
    area = 110 if kind == "scored here" else 40
    return {"model": model, "kind": kind, "area": area, "n": n, "error": error}


def _names(contest: Contest, part: str) -> list[str]:
    return [contest.label(one) for one in contest.in_part(part)]
