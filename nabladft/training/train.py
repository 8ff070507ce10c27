"""Train a model folder on a split of a data set, into a run folder."""

from __future__ import annotations

import contextlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

import nabladft
from nabladft.errors import ConfigError, NablaDFTError, missing_extra
from nabladft.models.contract import Preparable, is_trainable
from nabladft.resources import find_baseline
from nabladft.splits import read_split
from nabladft.storage.source import ConformationSource
from nabladft.training.building import code_files, read_recipe
from nabladft.training.loaders import TrainingData, open_dataset, plain_batches
from nabladft.training.loggers import Loggers
from nabladft.training.loop import Loop, Position, save_weights, validate
from nabladft.training.losses import Objective
from nabladft.training.memory import peak_memory, start_measuring
from nabladft.training.options import write_toml
from nabladft.training.plots import plot_learning_curve
from nabladft.training.progress import Silent, Terminal
from nabladft.training.record import code_version, hardware, hash_of, now, packages
from nabladft.training.run_folder import RunFolder
from nabladft.training.starting import find_start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning.fabric import Fabric

    from nabladft.splits import Split
    from nabladft.training.building import Recipe
    from nabladft.training.config import TrainingConfig
    from nabladft.training.progress import Progress
    from nabladft.training.starting import Start

#: Ends after which the same call has nothing left to do; "out of time" may go on with more time.
_COMPLETE: Final = ("finished", "stopped early")
_PREPARE_BATCH_SIZE: Final = 64


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What came out of a run.

    Attributes:
        folder: The run folder.
        status: "finished", "stopped early" or "out of time".
        best: Epoch, step, mean absolute errors (atomic units) and score of the best validation.
        epochs: Epochs done.
        steps: Optimiser steps done.
        seconds: Training time of all sessions.
        n_parameters: Trainable parameters.
        is_first_process: False on the further processes of a distributed run, which report nothing.
    """

    folder: Path
    status: str
    best: dict[str, float]
    epochs: int
    steps: int
    seconds: float
    n_parameters: int
    peak_memory_bytes: int | None = None
    is_first_process: bool = True


def train(
    model_folder: str | Path,
    source: ConformationSource | str | Path,
    split: Split | str | Path,
    *,
    run_folder: str | Path,
    config: str | Path = "config.toml",
    overrides: Sequence[str] = (),
    start_from: str | Path | None = None,
    progress: Progress | bool = True,
) -> TrainingResult:
    """Train a model, or continue where an earlier call with the same arguments stopped.

    A run that is complete already is not repeated. Without trainable parameters, the model's
    ``prepare`` is all there is to do.

    Args:
        model_folder: Folder with ``model.py`` and ``config.toml``, or the name of a baseline.
        source: The data, or a path or name for :func:`nabladft.open`.
        split: The split, or a path or name for :func:`nabladft.splits.read_split`.
        run_folder: Where the run goes; see :mod:`nabladft.training.run_folder`.
        config: Configuration file; looked for in the model folder, then as a path.
        overrides: ``"training.max_epochs=3"`` and the like, put over the file.
        start_from: Run folder whose best weights are the initial ones, for fine-tuning; ``prepare``
            is not called. The first validation is before the first step.
        progress: Whether to show progress on stderr, or a listener.

    Raises:
        ConfigError: The configuration has an unknown key or a value out of its domain.
        ModelError: The folder is no model, or the model breaks its contract.
        MissingExtraError: The model, or a logger, needs a package that is not installed.
        SplitError: The split does not belong to the data, or a part is too small.
        RunError: The run folder holds another run, the run to start from is of another model or
            has no weights, or training diverged.
        LeakageError: The run to start from has seen conformations of this split's tests.
        KeyboardInterrupt: After Ctrl-C; the run is saved and the same call continues it.
    """
    model_folder = find_baseline(model_folder)
    source = source if isinstance(source, ConformationSource) else nabladft.open(source)
    split = read_split(split) if isinstance(split, str | Path) else split
    split.check_belongs_to(source)
    inside = model_folder / config
    recipe = read_recipe(model_folder, inside if inside.is_file() else Path(config), overrides)
    start = None if start_from is None else find_start(start_from, recipe, split)
    folder = RunFolder(Path(run_folder))
    with _quiet(), _threads(recipe.training.cpu_threads), torch.random.fork_rng(devices=[]):
        fabric = _launch(recipe.training)
        model = recipe.build()
        session = _Session(fabric, recipe, model, source, split, folder, start)
        record = session.open_folder()
        if record.get("status") in _COMPLETE and folder.best.is_file():
            return _result(folder, record, fabric)
        listener = _listener(progress) if fabric.is_global_zero else Silent()
        try:
            record = session.run(record, listener)
        finally:
            listener.close()
        if record["status"] == "interrupted":
            # One message is enough: the further processes leave without a word.
            raise KeyboardInterrupt if fabric.is_global_zero else SystemExit(130)
        return _result(folder, record, fabric)


@dataclass(frozen=True)
class _Session:
    """One call of :func:`train`, on one process."""

    fabric: Fabric
    recipe: Recipe
    model: torch.nn.Module
    source: ConformationSource
    split: Split
    folder: RunFolder
    start: Start | None

    def open_folder(self) -> dict[str, Any]:
        """Begin or find the run; only the first process touches the folder."""
        record = self._new_record()
        if self.fabric.is_global_zero:
            try:
                record = self.folder.start(
                    record,
                    config=write_toml(self.recipe.tables()),
                    code=code_files(self.recipe.folder),
                    split=self.split,
                )
            except (NablaDFTError, OSError):
                self.fabric.broadcast({})
                raise
        record = self.fabric.broadcast(record)
        if not record:
            # The first process says what is wrong.
            raise SystemExit(2)
        return record

    def run(self, record: dict[str, Any], listener: Progress) -> dict[str, Any]:
        """Train, and write down what happened; returns the new record."""
        name, started = str(record["model"]), now()
        start_measuring(self.fabric.device)
        position, status = self._fit(name, listener)
        record = {
            **record,
            "status": status,
            "epochs": position.epoch,
            "steps": position.step,
            "seconds": round(position.seconds, 3),
            "peak_memory_bytes": peak_memory(self.fabric.device),
            "best": position.best,
            "sessions": [
                *record["sessions"],
                {
                    "start": started,
                    "end": now(),
                    "code": code_version(),
                    "hardware": hardware(),
                    "packages": packages(),
                },
            ],
        }
        if self.fabric.is_global_zero:
            self.folder.write_record(record)
            if position.history:
                plot_learning_curve(
                    position.history,
                    self.folder.figure,
                    title=name,
                    best_epoch=int(position.best["epoch"]),
                )
        return record

    def _fit(self, name: str, listener: Progress) -> tuple[Position, str]:
        training = self.recipe.training
        targets = training.targets(self.model.predicts)  # type: ignore[arg-type]
        objective = Objective(targets, training.loss.orbitals)
        data = self._data(objective)
        continues = self.folder.last.is_file()
        if self.start is not None and not continues:
            self.start.load_into(self.model)
        elif isinstance(self.model, Preparable) and not continues:
            self.model.prepare(plain_batches(data.train, _PREPARE_BATCH_SIZE))
        if not is_trainable(self.model):
            self.model.to(self.fabric.device)
            metrics = validate(self.fabric, self.model, objective, data)
            position = Position(best={"epoch": 0, "step": 0, **metrics})
            save_weights(self.fabric, self.model, position.best, self.folder)
            return position, "finished"
        loggers = Loggers(
            training.loggers if self.fabric.is_global_zero else (),
            folder=self.folder.path,
            config=self.recipe.tables(),
        )
        loop = Loop(
            fabric=self.fabric,
            model=self.model,
            objective=objective,
            data=data,
            config=training,
            folder=self.folder,
            progress=listener,
            loggers=loggers,
        )
        if continues:
            loop.restore()
        listener.start(name, epoch=loop.position.epoch, max_epochs=training.max_epochs)
        try:
            return loop.position, loop.run(validate_first=self.start is not None)
        finally:
            loggers.close()

    def _data(self, objective: Objective) -> TrainingData:
        training = self.recipe.training
        train, validation = (
            open_dataset(
                self.model,
                self.source,
                self.split.part(part),
                fields=objective.fields,
                dtype=self.recipe.dtype,
                in_memory=training.in_memory,
                reference_folder=self.folder.references,
            )
            for part in ("train", "validation")
        )
        return TrainingData(
            train,
            validation,
            training,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            pin_memory=self.fabric.device.type == "cuda",
        )

    def _new_record(self) -> dict[str, Any]:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return {
            "status": "started",
            "model": self.recipe.folder.resolve().name,
            "predicts": sorted(self.model.predicts),  # type: ignore[arg-type]
            "n_parameters": sum(parameter.numel() for parameter in parameters),
            "seed": self.recipe.training.seed,
            "subtract": self.recipe.training.subtract,
            "data": {"name": self.source.info.name, "hash": self.source.data_hash},
            "split": {
                "name": self.split.name,
                "hash": self.split.sha256,
                "counts": self.split.counts(),
            },
            "start": None if self.start is None else self.start.record(),
            "identity": {
                "configuration": hash_of(self.recipe.influential_tables()),
                "model code": self.recipe.code_hash(),
                "data": self.source.data_hash,
                "split": self.split.sha256,
                "start": None if self.start is None else self.start.sha256,
            },
            "sessions": [],
        }


def _launch(config: TrainingConfig) -> Fabric:
    """Start the devices, and with several of them the further processes.

    Raises:
        MissingExtraError: Lightning is not installed.
        ConfigError: This machine does not have the devices.
    """
    try:
        from lightning.fabric import Fabric  # noqa: PLC0415 - optional, and seconds to import
    except ImportError as error:
        raise missing_extra("Training a model", "train", error) from error
    n_gpus = torch.cuda.device_count()
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if n_gpus else "cpu"
    if accelerator == "cuda" and config.devices > n_gpus:
        message = (
            f"training.devices = {config.devices}, but this machine has {n_gpus} CUDA devices. "
            "Set training.devices, or training.accelerator=cpu."
        )
        raise ConfigError(message)
    is_distributed = config.devices * config.nodes > 1
    strategy = "ddp" if config.strategy == "auto" and is_distributed else config.strategy
    fabric = Fabric(
        accelerator=accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=strategy,
        precision=config.precision,
    )
    fabric.launch()
    return fabric


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Limit the threads of torch's operations for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's announcements and torch's known warnings off the screen."""
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # A gradient taken inside the model (forces) while DDP listens to gradients.
            warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view.*")
            warnings.filterwarnings(
                "ignore", message=".*find_unused_parameters=True was specified.*"
            )
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _listener(progress: Progress | bool) -> Progress:
    if isinstance(progress, bool):
        return Terminal() if progress else Silent()
    return progress


def _result(folder: RunFolder, record: dict[str, Any], fabric: Fabric) -> TrainingResult:
    return TrainingResult(
        folder=folder.path,
        status=record["status"],
        best=record["best"],
        epochs=record["epochs"],
        steps=record["steps"],
        seconds=record["seconds"],
        n_parameters=record["n_parameters"],
        peak_memory_bytes=record.get("peak_memory_bytes"),
        is_first_process=fabric.is_global_zero,
    )
