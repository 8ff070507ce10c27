"""One line for a whole benchmark: which baseline, what is going on, how much time is left."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from tqdm import tqdm

from nabladft.training.progress import describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

_SECONDS_BETWEEN_LINES: Final = 30.0
#: Share of a run's time that is training; the rest is predicting and scoring.
_TRAINING_SHARE: Final = 0.9
#: Before this much of the work is done the speed of the machine is not known.
_KNOWN_AFTER: Final = 0.02


class Listener(Protocol):
    """Where the overview writes."""

    def show(self, fraction: float, text: str, *, is_news: bool) -> None:
        """Show the present line; ``is_news`` when a new step begins."""

    def note(self, text: str) -> None:
        """Show a line that stays."""

    def close(self) -> None:
        """Stop showing."""


class Silent:
    """Show nothing."""

    def show(self, fraction: float, text: str, *, is_news: bool) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class Terminal:
    """A bar on a terminal; elsewhere a line for each baseline and every half minute.

    Args:
        stream: Where to write; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """See the class."""
        self._stream = stream or sys.stderr
        self._last_line = 0.0
        self._bar: tqdm[None] | None = None
        if self._stream.isatty():
            # A terminal that does not know its size would get no bar at all.
            size = shutil.get_terminal_size((100, 24))
            self._bar = tqdm(
                total=100.0,
                file=self._stream,
                ncols=size.columns,
                nrows=size.lines,
                bar_format="{percentage:3.0f}%|{bar:14}| {desc}",
            )

    def show(self, fraction: float, text: str, *, is_news: bool) -> None:
        """Move the bar, or write a line."""
        if self._bar is not None:
            self._bar.n = 100 * fraction
            self._bar.set_description_str(text)
        elif is_news or time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.note(f"{100 * fraction:3.0f}%  {text}")

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.leave = False
            self._bar.close()
            self._bar = None


class Overview:
    """Follows a benchmark and says where it is.

    It is also the listener of each training run (see :mod:`nabladft.training.progress`).

    Args:
        listener: Where to write.
        clock: Gives seconds.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        clock: Any = time.monotonic,  # noqa: ANN401
    ) -> None:
        """Begin with nothing done."""
        self._minutes: list[float] = []
        self._listener = listener
        self._clock = clock
        self._started = clock()
        self._skipped = 0.0
        self._current = -1
        self._name = ""
        self._within = 0.0
        self._from = 0.0
        self._what = ""
        self._max_epochs = 0
        self._errors = ""
        self._is_new = False

    @property
    def fraction(self) -> float:
        """Share of the expected time that is behind."""
        done = sum(self._minutes[: max(0, self._current)])
        if 0 <= self._current < len(self._minutes):
            done += self._within * self._minutes[self._current]
        return min(1.0, done / sum(self._minutes)) if self._minutes else 1.0

    def expect(self, minutes: Sequence[float]) -> None:
        """Tell the expected minutes of each training, in order.

        Only their ratios matter once some time has passed.
        """
        self._minutes = list(minutes)

    def baseline(self, name: str) -> None:
        """The next training begins; all before it are done."""
        self._current += 1
        self._name, self._within, self._errors = name, 0.0, ""
        self._is_new = True

    def skip(self) -> None:
        """The present baseline costs nothing: it was done before, or cannot be run."""
        self._skipped += self._minutes[self._current] * (1 - self._within)
        self._within = 1.0

    def doing(self, what: str, within: float) -> None:
        """The present baseline does something, with the share ``within`` of its time behind."""
        self._what, self._within, self._errors = what, max(self._within, within), ""
        self._show(is_news=self._is_new)
        self._is_new = False

    def start(self, name: str, *, epoch: int, max_epochs: int) -> None:  # noqa: ARG002
        """Training starts, or continues after ``epoch`` epochs."""
        self._max_epochs = max_epochs
        share = _TRAINING_SHARE * epoch / max_epochs
        # What an earlier session did cost no time in this one.
        self._skipped += self._minutes[self._current] * max(0.0, share - self._within)
        self._within = max(self._within, share)
        self._what = f"training, epoch {epoch}/{max_epochs}"
        self._show(is_news=False)

    def step(self, epoch: float) -> None:
        """A training step was made."""
        self._within = _TRAINING_SHARE * epoch / self._max_epochs
        self._what = f"training, epoch {int(epoch)}/{self._max_epochs}"
        self._show(is_news=False)

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """A row of the learning curve was made."""
        self._errors = describe(metrics)

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._listener.note(text)

    def close(self) -> None:
        """Training ended."""
        self._within = max(self._within, _TRAINING_SHARE)

    def finish(self) -> None:
        """The benchmark ended, for whatever reason."""
        self._listener.close()

    def _show(self, *, is_news: bool) -> None:
        step = f"[{self._current + 1}/{len(self._minutes)}] {self._name}"
        # What a narrow terminal cuts off is at the end.
        text = "  ".join(part for part in (step, self._left(), self._what, self._errors) if part)
        self._listener.show(self.fraction, text, is_news=is_news)

    def _left(self) -> str:
        total = sum(self._minutes)
        spent = self.fraction - self._skipped / total
        if spent > _KNOWN_AFTER:
            seconds = (self._clock() - self._started) * (1 - self.fraction) / spent
        else:
            seconds = 60 * total * (1 - self.fraction)
        return "less than a minute left" if seconds < 60 else f"{seconds / 60:.0f} min left"
