"""What a person sees while a model trains: one bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

from tqdm import tqdm

from nabladft.chemistry.units import convert

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TextIO

#: How each validation error is shown: name, unit inside, unit shown, its label.
_SHOWN: Final = {
    "formation_energy_mae": ("energy", "hartree", "millihartree", "mEh"),
    "forces_mae": ("forces", "hartree/bohr", "hartree/bohr", "mEh/bohr"),
    "hamiltonian_mae": ("hamiltonian", "hartree", "microhartree", "µEh"),
    "overlap_mae": ("overlap", "1", "1", "/ 1000"),
    "orbital_energy_mae": ("orbital energies", "hartree", "millihartree", "mEh"),
    "gap_mae": ("gap", "hartree", "millihartree", "mEh"),
}
_SECONDS_BETWEEN_LINES: Final = 15.0
_BAR: Final = "{desc} {percentage:3.0f}%|{bar:16}| {n:.0f}/{total} [{elapsed}<{remaining}]{postfix}"


class Progress(Protocol):
    """Listener of a training run."""

    def start(self, name: str, *, epoch: int, max_epochs: int) -> None:
        """Training starts, or continues after ``epoch`` epochs."""

    def step(self, epoch: float) -> None:
        """A step was made; ``epoch`` epochs are done, with the fraction of the present one."""

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """A row of the learning curve was made."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""

    def close(self) -> None:
        """Training ended, for whatever reason."""


class Silent:
    """Show nothing."""

    def start(self, name: str, *, epoch: int, max_epochs: int) -> None:
        """Show nothing."""

    def step(self, epoch: float) -> None:
        """Show nothing."""

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class Terminal:
    """One bar with epoch, loss, validation errors and the time left.

    Without a terminal (a log file, a pipe) it writes a line every quarter of a minute instead.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """See the class."""
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._bar: tqdm[None] | None = None
        self._name = ""
        self._max_epochs = 0
        self._last_line = 0.0

    def start(self, name: str, *, epoch: int, max_epochs: int) -> None:
        """Open the bar."""
        self._name, self._max_epochs = name, max_epochs
        self._last_line = time.monotonic()
        if self._is_terminal:
            self._bar = tqdm(
                total=max_epochs,
                initial=epoch,
                desc=name,
                unit="epoch",
                file=self._stream,
                dynamic_ncols=True,
                bar_format=_BAR,
            )

    def step(self, epoch: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(epoch - self._bar.n)

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """Show the errors."""
        text = describe(metrics)
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.note(f"{self._name}: epoch {metrics['epoch']}/{self._max_epochs}  {text}")

    def note(self, text: str) -> None:
        """Write a line, above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def describe(metrics: Mapping[str, Any]) -> str:
    """Write validation errors for people.

    Example:
        >>> describe({"train_loss": 0.01, "formation_energy_mae": 0.0021})
        'loss 1.0e-02  validation: energy 2.1 mEh'
        >>> describe({"overlap_mae": 0.0004})
        'validation: overlap 0.4 / 1000'
    """
    errors = []
    for key, (name, unit, shown, label) in _SHOWN.items():
        if key in metrics:
            factor = 1e3 if shown == unit else 1.0
            value = convert(float(metrics[key]), source=unit, target=shown) * factor
            errors.append(f"{name} {value:.3g} {label}")
    loss = float(metrics.get("train_loss", math.nan))
    start = [] if math.isnan(loss) else [f"loss {loss:.1e}"]
    return "  ".join([*start, f"validation: {', '.join(errors)}"])
