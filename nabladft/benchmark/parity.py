"""Parity figures: predicted against reference, one row a baseline, one column a test part."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.benchmark.drawing import new_figure
from nabladft.benchmark.tables import UNIT_SYMBOLS, part_title
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.units import convert
from nabladft.fields import FIELDS
from nabladft.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nabladft.benchmark.drawing import Scene
    from nabladft.benchmark.tables import Row
    from nabladft.storage.source import ConformationSource

    FloatArray = NDArray[np.float64]

#: At most this many conformations and this many points of a panel; a figure needs no more.
_MOST_CONFORMATIONS: Final = 500
_MOST_POINTS: Final = 6000
#: More points than this are drawn smaller and lighter.
_DENSE: Final = 1000

_TITLES: Final = {
    "energy": ("Formation energy", "hartree"),
    "forces": ("Force components", "hartree/angstrom"),
    "hamiltonian": ("Hamiltonian elements", "hartree"),
}
_HEADLINES: Final = {
    "energy": "energy_mae",
    "forces": "forces_mae",
    "hamiltonian": "hamiltonian_mae",
}


def draw_parity(scene: Scene, *, field: str) -> Figure | None:
    """Draw predicted against reference values of one quantity.

    Args:
        scene: What is drawn.
        field: Quantity.

    Returns:
        The figure, or None when nobody predicts the quantity.
    """
    rows, parts = [row for row in scene.rows if _predicts(row, field)], scene.task.parts
    if not rows:
        return None
    title, unit = _TITLES[field]
    references = {part: _reference(scene, part, field) for part in parts}
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
            if part in row.results:
                reference, keys = references[part]
                _draw_panel(
                    axis, scene, row, part=part, field=field, reference=reference, keys=keys
                )
        line[0].set_ylabel(f"{row.name}\npredicted [{UNIT_SYMBOLS[unit]}]")
    for axis, part in zip(axes[0], parts, strict=True):
        axis.set_title(part_title(part))
    for axis in axes[-1]:
        axis.set_xlabel(f"reference [{UNIT_SYMBOLS[unit]}]")
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_panel(
    axis: Axes,
    scene: Scene,
    row: Row,
    *,
    part: str,
    field: str,
    reference: FloatArray,
    keys: NDArray[np.int64],
) -> None:
    path = scene.folder / row.name / f"predictions-{part}.h5"
    predicted = _values(Predictions(path), scene.source, keys, field)
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
    metric = _HEADLINES[field]
    found = row.estimate(metric, part)
    if found is not None:
        unit = UNIT_SYMBOLS[scene.task.units[metric]]
        text = f"MAE {float(scene.reported(found.value, metric)):.3g} {unit}"
        axis.text(0.05, 0.95, text, transform=axis.transAxes, va="top", fontsize=8)


def _predicts(row: Row, field: str) -> bool:
    return any(_HEADLINES[field] in results.metrics for results in row.results.values())


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
