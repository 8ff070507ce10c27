"""The learning rate as a function of progress."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nabladft.training.config import OptimizerConfig, ScheduleConfig


class LearningRate:
    """Warm-up, then constant, cosine or plateau.

    Only ``plateau`` has a memory; the others are functions of the step alone.

    Args:
        schedule: What to do, see :class:`~nabladft.training.config.ScheduleConfig`.
        optimizer: Gives the largest learning rate.
        max_epochs: Where ``cosine`` ends.
    """

    def __init__(
        self, schedule: ScheduleConfig, optimizer: OptimizerConfig, *, max_epochs: int
    ) -> None:
        """See the class."""
        self._schedule = schedule
        self._peak = optimizer.learning_rate
        self._max_epochs = max_epochs
        self._reduction = 1.0
        self._best = math.inf
        self._n_bad = 0

    def at(self, *, step: int, epoch: float) -> float:
        """Give the learning rate of a step.

        Args:
            step: Steps done before this one.
            epoch: Epochs done, with the fraction of the present one.
        """
        schedule, factor = self._schedule, 1.0
        if schedule.name == "cosine":
            done = min(epoch / self._max_epochs, 1.0)
            final = schedule.final_fraction
            factor = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * done))
        elif schedule.name == "plateau":
            lowest = min(1.0, schedule.minimum_learning_rate / self._peak)
            factor = max(self._reduction, lowest)
        if step < schedule.warmup_steps:
            factor *= (step + 1) / (schedule.warmup_steps + 1)
        return self._peak * factor

    def validated(self, score: float) -> None:
        """Take a validation score in, which ``plateau`` reacts to."""
        if score < self._best:
            self._best, self._n_bad = score, 0
            return
        self._n_bad += 1
        if self._n_bad > self._schedule.patience:
            self._reduction *= self._schedule.factor
            self._n_bad = 0

    def state_dict(self) -> dict[str, Any]:
        """Give the memory of ``plateau``."""
        return {"reduction": self._reduction, "best": self._best, "n_bad": self._n_bad}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._reduction, self._best, self._n_bad = (
            state["reduction"],
            state["best"],
            state["n_bad"],
        )
