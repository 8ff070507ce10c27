"""Pieces of Vega-Lite specifications: axes, series, and whole figures of one kind.

Texts of entries are data or titles in them, never part of an expression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nabladft.leaderboard.site.drawing import SERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 440
_HEIGHT: Final = 280
_SHAPES: Final = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")

Record = dict[str, Any]
Spec = dict[str, Any]


def parity_spec(reference: Sequence[float], predicted: Sequence[float], unit: str) -> Spec:
    """Draw predicted against reference values, with the diagonal on which they agree."""
    points = [{"x": x, "y": y} for x, y in zip(reference, predicted, strict=True)]
    low, high = (choose([*reference, *predicted]) for choose in (min, max))
    margin = 0.04 * (high - low) or 1.0
    ends = [low - margin, high + margin]
    scale = {"domain": ends, "nice": False, "zero": False}
    suffix = f" [{unit}]" if unit else ""
    x, y = (
        {
            "field": field,
            "type": "quantitative",
            "title": f"{title}{suffix}",
            "scale": scale,
            "axis": {"tickCount": 5},
        }
        for field, title in (("x", "DFT"), ("y", "Predicted"))
    )
    return layered(
        points,
        width=260,
        height=260,
        layer=[
            {
                "data": {"values": [{"x": end, "y": end} for end in ends]},
                "mark": {"type": "line", "strokeWidth": 1},
                "encoding": {"x": x, "y": y, "color": {"value": SERIES[-1]}},
            },
            {
                "mark": {"type": "point", "size": 26, "opacity": 0.65},
                "encoding": {"x": x, "y": y, "color": {"value": SERIES[0]}, **tooltip(x, y)},
            },
        ],
    )


def lines_by_size(points: Sequence[Record], names: Sequence[str], title: str) -> Spec:
    """Draw errors against the number of atoms, with their intervals, a line for each name.

    Args:
        points: Records of ``model``, ``atoms``, ``error``, ``low``, ``high``.
        names: Of all lines, in their order.
        title: Of the axis of errors.
    """
    x = quantity("atoms", "Atoms", is_log=False)
    y = quantity("error", title, is_log=True)
    series = series_of(_present(names, points))
    bars = [point for point in points if point.get("low") and point.get("high")]
    return layered(
        points,
        layer=[
            {"mark": "line", "encoding": {"x": x, "y": y, "color": series["color"]}},
            {
                "data": {"values": bars},
                "mark": {"type": "rule", "opacity": 0.6},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "low"},
                    "y2": {"field": "high"},
                    "color": series["color"],
                },
            },
            {"mark": "point", "encoding": {"x": x, "y": y, **series, **tooltip(x, y)}},
        ],
    )


def marks_by_element(
    points: Sequence[Record], symbols: Sequence[str], names: Sequence[str], title: str
) -> Spec:
    """Draw errors by chemical element, a mark for each name.

    Args:
        points: Records of ``model``, ``element``, ``error``.
        symbols: Of all elements, in their order.
        names: Of all marks, in their order.
        title: Of the axis of errors.
    """
    x = {
        "field": "element",
        "type": "nominal",
        "title": None,
        "sort": list(symbols),
        "axis": {"labelAngle": 0, "grid": True},
    }
    y = quantity("error", title, is_log=True)
    series = series_of(_present(names, points))
    encoding = {"x": x, "y": y, **series, **tooltip(x | {"title": "Element"}, y)}
    return layered(points, layer=[{"mark": "point", "encoding": encoding}])


def _present(names: Sequence[str], points: Sequence[Record]) -> list[str]:
    there = {point["model"] for point in points}
    return [name for name in dict.fromkeys(names) if name in there]


def layered(
    points: Sequence[Record], *, layer: list[Spec], width: int = _WIDTH, height: int = _HEIGHT
) -> Spec:
    """Put layers over each other that share data and legend."""
    return {
        "width": width,
        "height": height,
        "data": {"values": list(points)},
        "layer": layer,
        "resolve": {"legend": {"color": "shared"}},
    }


def quantity(field: str, title: str, *, is_log: bool, pattern: str = "~g") -> Spec:
    """Encode a number along an axis."""
    scale: Spec = {"type": "log"} if is_log else {"zero": False}
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": scale | {"nice": not is_log, "padding": 12},
        "axis": {"format": pattern, "tickCount": 6},
    }


def series_of(models: Sequence[str]) -> dict[str, Spec]:
    """Give each model a colour and a shape, so that colour is never alone."""
    names = list(dict.fromkeys(models))
    colours = [SERIES[k % len(SERIES)] for k in range(len(names))]
    shapes = [_SHAPES[k % len(_SHAPES)] for k in range(len(names))]
    legend = {"symbolLimit": len(names)}
    field = {"field": "model", "type": "nominal", "legend": legend}
    return {
        "color": field | {"scale": {"domain": names, "range": colours}},
        "shape": field | {"scale": {"domain": names, "range": shapes}},
    }


def tooltip(x: Spec, y: Spec) -> dict[str, list[Spec]]:
    """Show the name and both values of what the pointer is on."""
    fields = [
        {"field": axis["field"], "type": axis["type"], "title": axis["title"]} for axis in (x, y)
    ]
    for field in fields:
        if field["type"] == "quantitative":
            field["format"] = ".4~g"
    name = {"field": "model", "type": "nominal", "title": "Model"}
    return {"tooltip": [name, *fields]}
