"""The learning curve of a run as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nabladft.errors import missing_extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LABELS: Final = {
    "formation_energy_mae": ("energy MAE", "hartree"),
    "forces_mae": ("forces MAE", "hartree/bohr"),
    "hamiltonian_mae": ("Hamiltonian MAE", "hartree"),
    "overlap_mae": ("overlap MAE", "1"),
    "orbital_energy_mae": ("orbital energy MAE", "hartree"),
    "gap_mae": ("HOMO-LUMO gap MAE", "hartree"),
}


def plot_learning_curve(
    history: Sequence[Mapping[str, float]], path: Path, *, title: str, best_epoch: int
) -> None:
    """Draw the training loss and the validation errors over the epochs, logarithmic.

    Args:
        history: Rows of the learning curve.
        path: PNG file to write.
        title: Name of the run.
        best_epoch: Marked with a line.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("Drawing learning curves", "train", error) from error
    shown = [(key, *labels) for key, labels in _LABELS.items() if key in history[0]]
    panels = [("train_loss", "training loss", "atomic units"), *shown]
    figure = Figure(figsize=(3.6 * len(panels), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in history]
    for axis, (key, label, unit) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        axis.semilogy(epochs, [row[key] for row in history], color="#1f5a8b", linewidth=1.5)
        axis.axvline(best_epoch, color="#c8553d", linewidth=1.0, linestyle=":")
        axis.set_xlabel("epoch")
        axis.set_title(f"{label} [{unit}]", fontsize=10)
        axis.grid(visible=True, which="both", alpha=0.2)
    figure.suptitle(f"{title} (dotted: the epoch used to predict)", fontsize=11)
    temporary = path.with_name(f".{path.name}.part")
    figure.savefig(temporary, dpi=130, format="png")
    temporary.replace(path)
