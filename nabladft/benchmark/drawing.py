"""What all figures share: style, colours, axes, saving."""

from __future__ import annotations

import io
import math
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.benchmark.results import write_atomically
from nabladft.benchmark.tables import UNIT_SYMBOLS
from nabladft.chemistry.units import convert
from nabladft.errors import missing_extra
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nabladft.benchmark.tables import Row
    from nabladft.benchmark.tasks import Task
    from nabladft.metrics import Estimate
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

#: Colours that colour-blind people can tell apart. Okabe and Ito, Color Universal Design (2008).
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREYS: Final = ("#757575", "#a6a6a6", "#4d4d4d")
_MARKERS: Final = "osD^vP*"
#: Axis labels longer than this go on in the next line.
_LABEL_WIDTH: Final = 23

STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "savefig.dpi": 160,
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the figures of one task are drawn from.

    Attributes:
        task: Gives parts, metrics and units.
        rows: Baselines of the task that have results.
        looks: Colour, marker and line of each baseline, by name.
        source: The data.
        split: The split.
        folder: The benchmark folder, with run folders and predictions files.
    """

    task: Task
    rows: Sequence[Row]
    looks: Mapping[str, Mapping[str, Any]]
    source: ConformationSource
    split: Split
    folder: Path

    def headlines(self) -> list[str]:
        """List the headline metrics that somebody has."""
        return [name for name in self.task.headlines if self.has(name)]

    def has(self, metric: str) -> bool:
        """Tell whether any baseline has a metric."""
        return any(row.estimate(metric, part) for row in self.rows for part in self.task.parts)

    def reported(self, values: Any, metric: str) -> NDArray[np.float64]:  # noqa: ANN401
        """Express values of a metric in the unit of tables and figures."""
        array = np.array(values, dtype=np.float64)
        return convert(array, source=METRICS[metric].unit, target=self.task.units[metric])

    def label(self, metric: str) -> str:
        """Name a metric with its unit, for an axis."""
        unit = UNIT_SYMBOLS[self.task.units[metric]]
        title = METRICS[metric].title
        return textwrap.fill(f"{title} [{unit}]" if unit else title, _LABEL_WIDTH)

    def draw_estimates(
        self,
        axis: Axes,
        points: Sequence[tuple[float, Estimate]],
        metric: str,
        row: Row,
    ) -> None:
        """Draw values with their intervals, in the look of a baseline.

        Args:
            axis: Where.
            points: Abscissa and estimate of each.
            metric: Name of the metric.
            row: The baseline.
        """
        if not points:
            return
        bounds = [(e.value, e.ci_low, e.ci_high) for _, e in points]
        values, low, high = self.reported(bounds, metric).T
        bars = np.clip(np.nan_to_num([values - low, high - values]), 0, None)
        axis.errorbar(
            [place for place, _ in points],
            values,
            yerr=bars,
            label=row.name,
            elinewidth=1.0,
            **self.looks[row.name],
        )


def baseline_looks(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Give each baseline a colour and a marker: the same in every figure, grey without learning.

    Rows of different tasks are in different figures, so each task begins with the darkest grey.
    """
    looks: dict[str, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        palette, group = (_COLOURS, "learned") if row.is_learned else (_GREYS, row.task)
        number = counts[group]
        counts[group] += 1
        looks[row.name] = {
            "color": palette[number % len(palette)],
            "marker": _MARKERS[number % len(_MARKERS)] if row.is_learned else "X",
            "linestyle": "-" if row.is_learned else (0, (4, 2)),
        }
    return looks


def new_figure(
    n_rows: int, n_columns: int, *, width: float, height: float, share: Mapping[str, Any] = {}
) -> tuple[Figure, NDArray[Any]]:
    """Make a figure with a grid of axes.

    Args:
        n_rows: Rows of the grid.
        n_columns: Columns of the grid.
        width: Of one panel, inches.
        height: Of one panel, inches.
        share: ``sharex`` and ``sharey`` as matplotlib takes them.

    Returns:
        The figure and its axes, an array of shape (n_rows, n_columns).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError as error:
        raise missing_extra("Drawing figures", "train", error) from error
    size = (width * n_columns + 0.5, height * n_rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(n_rows, n_columns, squeeze=False, **share)


def use_logarithm(axis: Axes) -> None:
    """Give an error axis a logarithmic scale with plain numbers."""
    from matplotlib.ticker import (  # noqa: PLC0415 - optional
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
    )

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    decades = math.log10(high / low) if low > 0 else 0
    steps = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 3.0, 5.0)
    # Within a third of a decade a logarithmic axis is nearly linear, and so are its ticks.
    few = decades < 0.8
    axis.yaxis.set_major_locator(
        MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)) if few else LogLocator(subs=steps, numticks=20)
    )
    axis.yaxis.set_minor_locator(NullLocator() if few else LogLocator(subs="auto", numticks=20))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(visible=True, axis="y", which="major")


def add_legend(figure: Figure, axes: NDArray[Any]) -> None:
    """Put one legend for all panels above them."""
    handles: dict[str, Any] = {}
    for axis in axes.ravel():
        found, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside upper center", ncols=min(len(handles), 6)
        )


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG in one step."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())
    return path
