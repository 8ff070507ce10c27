"""The training loop: steps, validation, checkpoints, interruption.

Devices, precision and processes are Lightning Fabric's; the loop itself is here, because a run
that continues from any step must give the same weights as one that was never interrupted. To that
end the state of a run is only what :meth:`Loop._state` lists: the order of the data is a function
of (seed, epoch), the random numbers of a step (dropout, rotations) are one of (seed, process,
step).
"""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from nabladft.data.augmentation import random_rotations, rotate
from nabladft.errors import RunError
from nabladft.models.contract import is_conservative
from nabladft.training.averaging import MovingAverage
from nabladft.training.optimizers import build_optimizer
from nabladft.training.run_folder import load_checkpoint, save_checkpoint
from nabladft.training.schedule import LearningRate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from lightning.fabric import Fabric
    from torch import Tensor

    from nabladft.data.batch import Batch
    from nabladft.training.config import TrainingConfig
    from nabladft.training.loaders import TrainingData
    from nabladft.training.loggers import Loggers
    from nabladft.training.losses import Objective
    from nabladft.training.progress import Progress
    from nabladft.training.run_folder import RunFolder

Status = Literal["finished", "stopped early", "out of time", "interrupted"]

#: Format of ``last.ckpt``; a change that old checkpoints do not survive raises it.
_VERSION: Final = 1


@dataclass
class Position:
    """Where a run is.

    Attributes:
        epoch: Epochs done.
        batch: Batches done of the present epoch.
        step: Optimiser steps done.
        seconds: Training time, of all sessions.
        loss_sum: Sum of the losses of the present epoch, on the first process.
        best: Metrics of the best validation so far; empty before the first one.
        n_bad: Validations since then.
        history: One row for each validation.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    n_bad: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Loop:
    """Train a model until its epochs are done, it stops improving, or somebody interrupts.

    Args:
        fabric: Devices and precision, launched.
        model: The model, prepared, on the CPU.
        objective: Loss and errors.
        data: Batches.
        config: See :class:`~nabladft.training.config.TrainingConfig`.
        folder: Where checkpoints and the learning curve go.
        progress: Listener.
        loggers: Further listeners of the learning curve.
    """

    def __init__(
        self,
        *,
        fabric: Fabric,
        model: torch.nn.Module,
        objective: Objective,
        data: TrainingData,
        config: TrainingConfig,
        folder: RunFolder,
        progress: Progress,
        loggers: Loggers,
    ) -> None:
        """See the class."""
        self._fabric = fabric
        self._model = model
        self._objective = objective
        self._data = data
        self._config = config
        self._folder = folder
        self._progress = progress
        self._loggers = loggers
        self.position = Position()
        self._rate = LearningRate(config.schedule, config.optimizer, max_epochs=config.max_epochs)
        self._training, self._optimizer = fabric.setup(
            _Training(model, objective), build_optimizer(model, config.optimizer)
        )
        self._average = MovingAverage(model, config.ema.decay) if config.ema.decay else None
        self._interrupted = False
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        """Continue from ``last.ckpt``.

        Raises:
            RunError: The checkpoint is damaged or of another version.
        """
        state = load_checkpoint(self._folder.last)
        if state.get("version") != _VERSION:
            message = (
                f"{self._folder.last} is of version {state.get('version')}, this code reads "
                f"{_VERSION}. Train anew in another folder."
            )
            raise RunError(message)
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rate.load_state_dict(state["learning_rate"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.position = Position(**state["position"])

    def run(self, *, validate_first: bool = False) -> Status:
        """Train to the end, or until interrupted.

        Args:
            validate_first: Whether to validate before the first step, so that weights which were
                good to start with are kept when training makes them worse.

        Returns:
            Why it ended; "interrupted" after Ctrl-C, with everything saved.

        Raises:
            RunError: Training diverged, or had no time for one validation.
        """
        started = time.monotonic() - self.position.seconds
        status: Status = "finished"
        with self._catch_signals():
            if validate_first and self.position.step == 0:
                self._validate(math.nan, started)
            while self.position.epoch < self._config.max_epochs:
                reason = self._run_epoch(started)
                if reason is not None:
                    status = reason
                    break
        self._save()
        if status == "out of time" and not self.position.best:
            message = (
                f"training.max_minutes = {self._config.max_minutes} passed before the first "
                "validation. Everything is saved: call again with more minutes to continue."
            )
            raise RunError(message)
        return status

    def _run_epoch(self, started: float) -> Status | None:
        """Do the rest of the present epoch; returns a reason to stop, if there is one."""
        here = self.position
        if here.batch == 0:
            here.loss_sum = 0.0
        n_batches = self._data.n_batches(here.epoch)
        losses: list[Tensor] = []
        for batch in self._data.training_batches(here.epoch, start=here.batch):
            losses.append(self._step(batch.to(self._fabric.device), n_batches))
            here.batch += 1
            here.seconds = time.monotonic() - started
            self._progress.step(here.epoch + here.batch / n_batches)
            if here.batch < n_batches:
                reason = self._reason_to_stop()
                if reason is not None or self._is_time_to_save():
                    here.loss_sum += _sum(losses)
                    losses = []
                    self._save()
                if reason is not None:
                    return reason
        here.loss_sum += _sum(losses)
        train_loss = here.loss_sum / n_batches
        here.epoch, here.batch = here.epoch + 1, 0
        is_last = here.epoch == self._config.max_epochs
        if here.epoch % self._config.validate_every == 0 or is_last:
            self._validate(train_loss, started)
            patience = self._config.early_stopping
            if patience is not None and here.n_bad > patience:
                return "stopped early"
        if self._is_time_to_save():
            self._save()
        return self._reason_to_stop() if not is_last else None

    def _step(self, batch: Batch, n_batches: int) -> Tensor:
        """Make one optimiser step; returns the loss, scalar, detached."""
        here = self.position
        rate = self._rate.at(step=here.step, epoch=here.epoch + here.batch / n_batches)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        torch.manual_seed(_step_seed(self._config.seed, self._fabric.global_rank, here.step))
        if self._config.augmentation == "rotations":
            batch = rotate(batch, random_rotations(batch.n_conformations))
        self._training.train()
        self._optimizer.zero_grad(set_to_none=True)
        loss: Tensor = self._training(_Wrapped(batch))
        self._fabric.backward(loss)
        if self._config.gradient_clip is not None:
            self._fabric.clip_gradients(
                self._training,
                self._optimizer,
                max_norm=self._config.gradient_clip,
                error_if_nonfinite=False,
            )
        self._optimizer.step()
        here.step += 1
        if self._average is not None:
            self._average.update(here.step)
        return loss.detach()

    def _validate(self, train_loss: float, started: float) -> None:
        here = self.position
        with self._average.applied() if self._average is not None else nullcontext():
            metrics = validate(self._fabric, self._model, self._objective, self._data)
            is_better = metrics["score"] < here.best.get("score", math.inf)
            if is_better:
                here.best = {"epoch": here.epoch, "step": here.step, **metrics}
                save_weights(self._fabric, self._model, here.best, self._folder)
        here.n_bad = 0 if is_better else here.n_bad + 1
        self._rate.validated(metrics["score"])
        here.seconds = time.monotonic() - started
        row = {
            "epoch": here.epoch,
            "step": here.step,
            "seconds": round(here.seconds, 3),
            "learning_rate": self._optimizer.param_groups[-1]["lr"],
            "train_loss": train_loss,
            **metrics,
        }
        here.history.append(row)
        self._progress.validated(row)
        if self._fabric.is_global_zero:
            self._folder.write_metrics(here.history)
            self._loggers.log(row)

    def _reason_to_stop(self) -> Status | None:
        """Agree with the other processes on whether to stop here."""
        minutes = self._config.max_minutes
        late = minutes is not None and self.position.seconds > 60 * minutes
        votes = torch.tensor([float(self._interrupted), float(late)])
        if self._fabric.world_size > 1:
            votes = _sum_over_processes(self._fabric, votes.to(self._fabric.device))
        interrupted, late = (vote > 0 for vote in votes.tolist())
        if interrupted:
            return "interrupted"
        return "out of time" if late else None

    def _is_time_to_save(self) -> bool:
        return time.monotonic() - self._saved_at > 60 * self._config.checkpoint_minutes

    def _state(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "position": vars(self.position),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "learning_rate": self._rate.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }

    def _save(self) -> None:
        if self._fabric.is_global_zero:
            save_checkpoint(self._state(), self._folder.last)
        self._saved_at = time.monotonic()

    @contextmanager
    def _catch_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM finish the present step; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            self._progress.note("Finishing the present step, then saving. Again: stop at once.")

        kept = {number: signal.signal(number, remember) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def validate(
    fabric: Fabric, model: torch.nn.Module, objective: Objective, data: TrainingData
) -> dict[str, float]:
    """Compute the mean absolute errors and the score on the validation part, over all processes.

    Raises:
        RunError: An error is not finite.
    """
    model.eval()
    sums = torch.zeros(len(objective.reported), 2, dtype=torch.float64, device=fabric.device)
    with torch.set_grad_enabled(is_conservative(model)), fabric.autocast():
        for batch in data.validation_batches():
            on_device = batch.to(fabric.device)
            sums += objective.absolute_errors(model(on_device), on_device)
    if fabric.world_size > 1:
        sums = _sum_over_processes(fabric, sums)
    return objective.summarise(sums)


def save_weights(
    fabric: Fabric, model: torch.nn.Module, metrics: Mapping[str, float], folder: RunFolder
) -> None:
    """Write ``best.ckpt``: the weights to predict with."""
    if fabric.is_global_zero:
        content = {"version": _VERSION, "metrics": dict(metrics), "model": model.state_dict()}
        save_checkpoint(content, folder.best)


class _Wrapped:
    """Hides a batch from the input conversions of Fabric and DDP, which know no dataclasses."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class _Training(torch.nn.Module):
    """From a batch to its loss, so that DDP sees one module with one output."""

    def __init__(self, model: torch.nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, wrapped: _Wrapped) -> Tensor:
        return self._objective.loss(self.model(wrapped.batch), wrapped.batch)


def _sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    total = fabric.all_reduce(values, reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return total


def _step_seed(seed: int, rank: int, step: int) -> int:
    return (seed * 1_000_003 + rank) * 1_000_000_007 % 2**31 * 2**31 + step


def _sum(losses: list[Tensor]) -> float:
    """Add losses up with one transfer from the device."""
    return float(torch.stack(losses).double().sum()) if losses else 0.0
