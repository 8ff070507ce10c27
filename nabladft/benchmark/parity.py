"""Parity figures: predicted against reference, one row a baseline, one column a test part."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.benchmark.drawing import new_figure
from nabladft.benchmark.tables import UNIT_SYMBOLS, decimals_of, part_title
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.units import convert
from nabladft.fields import FIELDS
from nabladft.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nabladft.benchmark.drawing import Scene
    from nabladft.benchmark.tables import Row
    from nabladft.metrics import Estimate
    from nabladft.storage.source import ConformationSource

    FloatArray = NDArray[np.float64]

#: At most this many conformations and this many points of a panel; a figure needs no more.
_MOST_CONFORMATIONS: Final = 500
_MOST_POINTS: Final = 6000
#: More points than this are drawn smaller and lighter.
_DENSE: Final = 1000
#: Elements of Hamiltonians below this are on a linear scale, hartree.
_LINEAR_BELOW: Final = 0.1
#: Predictions that differ less are all the same up to round-off, in the unit of the figure.
_NO_VARIATION: Final = 1e-6

_TITLES: Final = {
    "energy": ("Formation energy", "hartree"),
    "forces": ("Force components", "hartree/angstrom"),
    "hamiltonian": ("Hamiltonian elements", "hartree"),
    "overlap": ("Overlap elements", "1"),
}
_HEADLINES: Final = {
    "energy": "energy_mae",
    "forces": "forces_mae",
    "hamiltonian": "hamiltonian_mae",
    "overlap": "overlap_mae",
}


def draw_parity(scene: Scene, *, field: str) -> Figure | None:
    """Draw predicted against reference values of one quantity.

    Args:
        scene: What is drawn.
        field: Quantity.

    Returns:
        The figure, or None when nobody predicts the quantity. Baselines that predict the same
        number for everything (no forces, no formation energy) are left out.
    """
    parts = [part for part in scene.task.parts if part in scene.split.parts]
    references = {part: _reference(scene, part, field) for part in parts}
    predicted = {row.name: _predictions(scene, row, field, references) for row in scene.rows}
    rows = [row for row in scene.rows if _varies(predicted[row.name])]
    if not rows:
        return None
    title, unit = _TITLES[field]
    suffix = f" [{UNIT_SYMBOLS[unit]}]" if UNIT_SYMBOLS[unit] else ""
    everything = np.concatenate([values for values, _ in references.values()])
    margin = 0.05 * float(np.ptp(everything))
    limits = (float(everything.min()) - margin, float(everything.max()) + margin)
    figure, axes = new_figure(
        len(rows), len(parts), width=2.3, height=2.2, share={"sharex": "all", "sharey": "all"}
    )
    for line, row in zip(axes, rows, strict=True):
        for axis, part in zip(line, parts, strict=True):
            axis.plot(limits, limits, color="#b0b0b0", linewidth=0.8, zorder=0)
            axis.set(xlim=limits, ylim=limits, aspect="equal")
            if field == "hamiltonian":
                _use_symmetric_logarithm(axis)
            if part in predicted[row.name]:
                _draw_points(axis, scene, row, references[part][0], predicted[row.name][part])
                _write_error(axis, scene, row.estimate(_HEADLINES[field], part), field)
        line[0].set_ylabel(f"{row.name}\npredicted{suffix}")
    for axis, part in zip(axes[0], parts, strict=True):
        axis.set_title(part_title(part))
    for axis in axes[-1]:
        axis.set_xlabel(f"reference{suffix}")
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_points(
    axis: Axes, scene: Scene, row: Row, reference: FloatArray, predicted: FloatArray
) -> None:
    shown = _sample(len(reference))
    is_dense = len(shown) > _DENSE
    axis.scatter(
        reference[shown],
        predicted[shown],
        s=4 if is_dense else 9,
        color=scene.looks[row.name]["color"],
        alpha=0.3 if is_dense else 0.6,
        linewidths=0,
    )


def _use_symmetric_logarithm(axis: Axes) -> None:
    """Show core levels (-500 Eh for Br) and the many elements near zero in one panel."""
    for scale, line in ((axis.set_xscale, axis.xaxis), (axis.set_yscale, axis.yaxis)):
        scale("symlog", linthresh=_LINEAR_BELOW)
        line.set_ticks([-100, -1, 0, 1], labels=["-100", "-1", "0", "1"])
        line.set_ticks([-10, -0.1, 0.1], minor=True)


def _write_error(axis: Axes, scene: Scene, found: Estimate | None, field: str) -> None:
    if found is None:
        return
    metric = _HEADLINES[field]
    error = float(scene.reported(found.value, metric))
    text = f"MAE {error:.{decimals_of(error)}f} {UNIT_SYMBOLS[scene.task.units[metric]]}"
    axis.text(0.05, 0.95, text, transform=axis.transAxes, va="top", fontsize=8)


def _predictions(
    scene: Scene,
    row: Row,
    field: str,
    references: Mapping[str, tuple[FloatArray, NDArray[np.int64]]],
) -> dict[str, FloatArray]:
    """Read what a baseline predicts for the parts it has results of."""
    found = {}
    for part, (_, keys) in references.items():
        if row.estimate(_HEADLINES[field], part) is not None:
            path = scene.folder / row.run_folder / f"predictions-{part}.h5"
            found[part] = _values(Predictions(path), scene.source, keys, field)
    return found


def _varies(values: Mapping[str, FloatArray]) -> bool:
    return any(float(np.ptp(array)) > _NO_VARIATION for array in values.values())


def _sample(n: int) -> NDArray[np.int64]:
    """Choose points to draw, the same for every baseline."""
    if n <= _MOST_POINTS:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, _MOST_POINTS, replace=False))


def _reference(scene: Scene, part: str, field: str) -> tuple[FloatArray, NDArray[np.int64]]:
    source, keys = scene.source, scene.split.part(part)
    if len(keys) > _MOST_CONFORMATIONS:
        chosen = np.random.default_rng(0).choice(len(keys), _MOST_CONFORMATIONS, replace=False)
        keys = keys[np.sort(chosen)]
    flat = source.read_flat(source.rows_of(keys), fields=[field])
    return _plotted(flat.values[field], field, flat.atomic_numbers, flat.atom_offsets), keys


def _values(
    predictions: Predictions, source: ConformationSource, keys: NDArray[np.int64], field: str
) -> FloatArray:
    found = predictions.read(keys, fields=[field])
    flat = source.read_flat(source.rows_of(keys), fields=())
    return _plotted(found.values[field], field, flat.atomic_numbers, flat.atom_offsets)


def _plotted(
    values: FloatArray, field: str, atomic_numbers: NDArray[Any], atom_offsets: NDArray[np.int64]
) -> FloatArray:
    """Turn a label into what is drawn: formation energies, components, in the figure's unit."""
    if field == "energy":
        isolated = [
            isolated_atoms_energy(atomic_numbers[start:stop])
            for start, stop in itertools.pairwise(atom_offsets.tolist())
        ]
        values = values - np.array(isolated)
    return convert(values.ravel(), source=FIELDS[field].unit, target=_TITLES[field][1])
