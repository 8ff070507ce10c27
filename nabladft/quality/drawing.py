"""The pictures of a report: distributions with the thresholds of the checks.

matplotlib is imported at the first call; it comes with ``pip install "nabladft[plot]"``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.units import convert
from nabladft.errors import missing_extra

if TYPE_CHECKING:
    from pathlib import Path

    from nabladft.quality.distributions import Distribution
    from nabladft.quality.examining import Report

#: Title, unit shown and whether counts are logarithmic, of each distribution.
PANELS: Final = {
    "n_atoms": ("atoms", "", False),
    "conformations_per_molecule": ("conformations of a molecule", "", False),
    "formation_energy_per_atom": ("formation energy per atom", "eV", False),
    "energy_per_atom_residual": ("energy per atom beyond composition fit", "meV", True),
    "energy_z": ("the same, |z|", "", True),
    "force_norm": ("force on an atom", "eV/angstrom", True),
    "force_maximum": ("largest force of a conformation", "eV/angstrom", True),
    "net_force": ("net force", "eV/angstrom", True),
    "closest_contact": ("closest contact / covalent radii", "", True),
    "gap": ("HOMO-LUMO gap", "eV", False),
}

_SYMBOLS: Final = {"eV/angstrom": "eV/Å"}

# Okabe and Ito, Color Universal Design (2008).
_BLUE, _RED, _GREEN = "#0072B2", "#D55E00", "#009E73"

_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "savefig.dpi": 150,
}

_COLUMNS: Final = 3


def draw_report(report: Report, path: Path) -> None:
    """Draw all distributions into one PNG file, atomically.

    Args:
        report: What was found.
        path: File to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context  # noqa: PLC0415 - optional
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("Drawing distributions", "plot", error) from error
    shown = [name for name in report.distributions if report.distributions[name].n]
    n_rows = -(-(len(shown) + 1) // _COLUMNS)
    with rc_context(_STYLE):
        figure = Figure(figsize=(3.5 * _COLUMNS, 2.5 * n_rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
        _draw_elements(axes[0], report)
        for axis, name in zip(axes[1:], shown, strict=False):
            _draw(axis, report, report.distributions[name])
        for axis in axes[len(shown) + 1 :]:
            axis.set_axis_off()
        figure.suptitle(
            f"{report.name}: {report.n_conformations:,} conformations",
            fontsize=11,
            x=0.01,
            ha="left",
        )
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        figure.savefig(temporary, format="png")
    temporary.replace(path)


def _draw_elements(axis: Any, report: Report) -> None:  # noqa: ANN401 - matplotlib is optional
    symbols = sorted(report.element_conformations, key=lambda s: -report.element_conformations[s])
    shares = [report.element_conformations[s] / report.n_conformations for s in symbols]
    places = np.arange(len(symbols))
    axis.bar(places, shares, color=_GREEN, width=0.7)
    for place, share in zip(places, shares, strict=True):
        axis.text(place, share, f" {100 * share:.3g}", ha="center", va="bottom", fontsize=7)
    axis.set_xticks(places, symbols)
    axis.set_ylim(0, 1.12)
    axis.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axis.set_title("conformations with an element, %", loc="left")


def _draw(axis: Any, report: Report, distribution: Distribution) -> None:  # noqa: ANN401
    title, unit, is_logarithmic = PANELS[distribution.name]
    factor = convert(1.0, source=distribution.unit, target=unit) if unit else 1.0
    edges, counts = distribution.histogram(int(np.clip(2 * np.sqrt(distribution.n), 16, 64)))
    edges = edges * factor
    axis.stairs(counts, edges, fill=True, color=_BLUE, alpha=0.85)
    if is_logarithmic:
        axis.set_yscale("log")
        # Room for at least two powers of ten, so that the axis has labels.
        axis.set_ylim(0.7, max(30.0, 2.0 * float(counts.max())))
    low, high = edges[0], edges[-1]
    for check in report.checks.values():
        if check.measure == distribution.name and check.threshold is not None:
            limit = check.threshold * factor
            axis.axvline(limit, color=_RED, linestyle="--", linewidth=1.2)
            n = report.counts[check.name]
            side = {"rotation": 90, "va": "top", "color": _RED, "fontsize": 7.5}
            align = "right" if check.side == "above" else "left"
            pad = " " if align == "left" else ""
            axis.text(
                limit,
                0.97,
                f"{pad}{n} flagged",
                transform=axis.get_xaxis_transform(),
                ha=align,
                **side,
            )
            low, high = min(low, limit), max(high, limit)
    margin = 0.03 * ((high - low) or 1.0)
    axis.set_xlim(low - margin, high + margin)
    axis.locator_params(axis="x", nbins=6, integer=distribution.are_whole)
    label = _SYMBOLS.get(unit, unit)
    axis.set_title(title + (f" [{label}]" if label else ""), loc="left")
