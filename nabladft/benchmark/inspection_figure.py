"""The picture of one predicted Hamiltonian: error maps, orbital energies, cycles saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.benchmark.drawing import STYLE, new_figure, save, use_logarithm
from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.units import convert
from nabladft.errors import missing_extra

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from nabladft.benchmark.inspection import Inspection

    FloatArray = NDArray[np.float64]

#: Smallest error with a colour of its own, millihartree.
_DARKEST: Final = 1e-2
#: Orbitals below are of atomic cores, hartree; they would squeeze all others into one point.
_CORE: Final = -3.0
#: Orbitals above are far from anything that is occupied, hartree.
_HIGH: Final = 1.5
#: More atoms than this are named only now and then.
_MANY_ATOMS: Final = 24
_OCCUPIED, _VIRTUAL = "#0072B2", "#D55E00"
_GUESS, _PREDICTION, _GUARDED = "#a6a6a6", "#0072B2", "#009E73"


def draw_inspection(found: Inspection, path: Path) -> Path:
    """Draw an inspection into a PNG file.

    Args:
        found: What to draw.
        path: The file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context  # noqa: PLC0415 - optional
    except ImportError as error:
        raise missing_extra("Drawing figures", "train", error) from error
    with rc_context(STYLE):
        figure, axes = new_figure(2, 2, width=4.0, height=3.5)
        _draw_error_map(figure, axes[0, 0], found)
        _draw_orbital_map(figure, axes[0, 1], found)
        _draw_orbital_energies(axes[1, 0], found)
        if found.starts is None:
            _draw_errors_by_distance(axes[1, 1], found)
        else:
            _draw_cycles(axes[1, 1], found)
        name = found.smiles or f"molecule {found.molecule_id}"
        figure.suptitle(
            f"{found.model}: {name}, conformation {found.conformation_id}   (Hamiltonian MAE "
            f"{_milli(found.metrics['hamiltonian_mae']):.3g} mEh)",
            fontsize=10,
        )
        return save(figure, path)


def _draw_error_map(figure: Figure, axis: Axes, found: Inspection) -> None:
    """Every element of the error, in blocks of atoms."""
    ends = np.cumsum(found.orbitals_per_atom)
    starts = ends - found.orbitals_per_atom
    _draw_matrix(figure, axis, found.error)
    for end in ends[:-1]:
        axis.axhline(end - 0.5, color="white", linewidth=0.4)
        axis.axvline(end - 0.5, color="white", linewidth=0.4)
    step = -(-len(ends) // _MANY_ATOMS)
    names = [symbol_of(int(z)) for z in found.atomic_numbers][::step]
    centres = (0.5 * (starts + ends - 1))[::step]
    axis.set_xticks(centres, names, fontsize=6.5)
    axis.set_yticks(centres, names, fontsize=6.5)
    axis.tick_params(length=0)
    axis.set_title("error between atomic orbitals")


def _draw_orbital_map(figure: Figure, axis: Axes, found: Inspection) -> None:
    """The same error between the molecular orbitals of the reference."""
    _draw_matrix(figure, axis, found.orbitals.error)
    filled, n_orbitals = found.orbitals.n_occupied, len(found.error)
    axis.axhline(filled - 0.5, color="white", linewidth=0.8)
    axis.axvline(filled - 0.5, color="white", linewidth=0.8)
    centres = [0.5 * (filled - 1), 0.5 * (filled + n_orbitals - 1)]
    axis.set_xticks(centres, ["occupied", "virtual"])
    axis.set_yticks(centres, ["occupied", "virtual"], rotation=90, va="center")
    axis.tick_params(length=0)
    axis.set_title("error between molecular orbitals")


def _draw_matrix(figure: Figure, axis: Axes, error: FloatArray) -> None:
    from matplotlib.colors import LogNorm  # noqa: PLC0415 - optional

    values = np.clip(_milli(np.abs(error)), _DARKEST, None)
    largest = max(float(values.max()), 10 * _DARKEST)
    image = axis.imshow(
        values, norm=LogNorm(_DARKEST, largest), cmap="magma", interpolation="nearest"
    )
    for spine in axis.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axis, shrink=0.85, pad=0.02)
    bar.set_label("|error| [mEh]")
    bar.outline.set_visible(False)


def _draw_orbital_energies(axis: Axes, found: Inspection) -> None:
    """Predicted against reference orbital energies, cores left out."""
    reference, filled = found.orbitals.reference_energies, found.orbitals.n_occupied
    shown = (reference > _CORE) & (reference < _HIGH)
    limits = (float(reference[shown].min()) - 0.1, float(reference[shown].max()) + 0.1)
    axis.plot(limits, limits, color="#b0b0b0", linewidth=0.8, zorder=0)
    is_occupied = np.arange(len(reference)) < filled
    for mask, colour, label in (
        (is_occupied, _OCCUPIED, "occupied"),
        (~is_occupied, _VIRTUAL, "virtual"),
    ):
        axis.scatter(
            reference[shown & mask],
            found.predicted_energies[shown & mask],
            s=11,
            color=colour,
            alpha=0.75,
            linewidths=0,
            label=label,
        )
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    axis.set_xlabel("reference [Eh]")
    axis.set_ylabel("predicted [Eh]")
    axis.legend(loc="upper left", handletextpad=0.2)
    lines = [
        f"{title}  {_milli(found.metrics[name]):.3g} mEh"
        for title, name in (
            ("HOMO", "homo_energy_mae"),
            ("LUMO", "lumo_energy_mae"),
            ("gap", "gap_mae"),
        )
        if name in found.metrics
    ]
    axis.text(
        *(0.98, 0.03),
        "error of\n" + "\n".join(lines),
        transform=axis.transAxes,
        ha="right",
        va="bottom",
        fontsize=8,
    )
    axis.set_title("orbital energies")


def _draw_errors_by_distance(axis: Axes, found: Inspection) -> None:
    """Mean error of each block against the distance of its atoms."""
    rows, columns = np.tril_indices(len(found.atomic_numbers), -1)
    distances = convert(found.distances[rows, columns], source="bohr", target="angstrom")
    axis.scatter(
        distances,
        _milli(found.block_mae[rows, columns]),
        s=9,
        color=_PREDICTION,
        alpha=0.6,
        linewidths=0,
        label="two atoms",
    )
    axis.scatter(
        np.zeros(len(found.atomic_numbers)),
        _milli(np.diag(found.block_mae)),
        s=14,
        marker="D",
        color=_VIRTUAL,
        alpha=0.75,
        linewidths=0,
        label="one atom",
        clip_on=False,
    )
    use_logarithm(axis)
    axis.set_xlim(left=0.0)
    axis.set_xlabel("distance [Å]")
    axis.set_ylabel("MAE of a block [mEh]")
    axis.legend(loc="upper right", handletextpad=0.2)
    axis.set_title("error against distance")


def _draw_cycles(axis: Axes, found: Inspection) -> None:
    """Fock matrices until the field converges."""
    starts = found.starts
    assert starts is not None
    bars = [
        (f"from the guess\n({starts.guess})", starts.guess_cycles, _GUESS),
        ("from the\nprediction", starts.predicted_cycles, _PREDICTION),
        ("guarded", starts.guarded_cycles, _GUARDED),
    ]
    names, cycles, colours = zip(*bars, strict=True)
    drawn: Any = axis.bar(range(len(bars)), cycles, color=colours, width=0.6)
    axis.bar_label(drawn, padding=2)
    axis.set_xticks(range(len(bars)), names)
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel("Fock matrices until converged")
    axis.set_title("self-consistent field")


def _milli(values: Any) -> Any:  # noqa: ANN401 - a number or an array
    return convert(values, source="hartree", target="millihartree")
