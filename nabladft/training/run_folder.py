"""The folder of a training run: what is in it, and whether it may be continued.

::

    config.toml         the complete configuration, every default filled in
    run.json            code, configuration, split and data hashes, seed, hardware, packages, times
    split.json          the split
    metrics.csv         the learning curve, in atomic units
    learning_curve.png  the same as a picture
    model/              the model's code as it was trained
    checkpoints/        best.ckpt: the weights to predict with; last.ckpt: everything to continue
    references/         with training.subtract: what is subtracted, computed once; may be deleted

Every file is replaced in one step, so a crash leaves the last complete version.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from nabladft.errors import RunError
from nabladft.splits import write_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nabladft.splits import Split

_FORMAT: Final = "nabladft-run"
_FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and how its files are read and written.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The complete configuration."""
        return self.path / "config.toml"

    @property
    def record(self) -> Path:
        """The run record."""
        return self.path / "run.json"

    @property
    def split(self) -> Path:
        """The split it was trained with."""
        return self.path / "split.json"

    @property
    def metrics(self) -> Path:
        """The learning curve as a table."""
        return self.path / "metrics.csv"

    @property
    def figure(self) -> Path:
        """The learning curve as a picture."""
        return self.path / "learning_curve.png"

    @property
    def model(self) -> Path:
        """The model's code."""
        return self.path / "model"

    @property
    def best(self) -> Path:
        """The weights to predict with."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Everything that is needed to continue."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def references(self) -> Path:
        """Reference Hamiltonians of the training data, which can be computed again."""
        return self.path / "references"

    def read_record(self) -> dict[str, Any] | None:
        """Read the run record; None when there is no run yet.

        Raises:
            RunError: The file is not a run record.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            message = f"{self.record} is not a run record: {error}."
            raise RunError(message) from error
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            message = f"{self.record} is not a run record of nabladft."
            raise RunError(message)
        return record

    def start(
        self, record: Mapping[str, Any], *, config: str, code: Sequence[Path], split: Split
    ) -> dict[str, Any]:
        """Begin a run, or find that this folder holds the same run already.

        Args:
            record: The record of a new run. ``record["identity"]`` says what makes it the same
                run: hashes of configuration, code, data and split.
            config: Text of the complete configuration.
            code: Files of the model, to be copied.
            split: The split, to be copied.

        Returns:
            The new record, or the one that was found.

        Raises:
            RunError: The folder holds another run, or other files.
        """
        found = self.read_record()
        if found is not None:
            self._check_same(found.get("identity", {}), record["identity"])
            return found
        ours = {f.name for f in (self.model, self.config, self.split, self.best.parent)}
        if self.path.exists() and not {entry.name for entry in self.path.iterdir()} <= ours:
            message = (
                f"{self.path} holds other files and no training run. Choose another folder with "
                "--out, or remove it."
            )
            raise RunError(message)
        self.model.mkdir(parents=True, exist_ok=True)
        self.best.parent.mkdir(exist_ok=True)
        for file in code:
            shutil.copy(file, self.model / file.name)
        write_text(self.config, config)
        write_split(split, self.split)
        # Last, because a folder with a record is a run.
        new = {"format": _FORMAT, "format_version": _FORMAT_VERSION, **record}
        self.write_record(new)
        return new

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace the run record."""
        write_text(self.record, json.dumps(record, indent=2) + "\n")

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Replace the learning curve; one row for each validation."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_text(self.metrics, text.getvalue())

    def _check_same(self, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        other = [name for name, value in wanted.items() if found.get(name) != value]
        if other:
            message = (
                f"{self.path} holds a run with another {', '.join(other)}. Choose another folder "
                "with --out, or remove it to train anew."
            )
            raise RunError(message)


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint in one step."""
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Only tensors and plain values are read, no code is run.

    Raises:
        RunError: There is none, or the file is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        message = f"There is no checkpoint {path}. Train first: `nabladft train`."
        raise RunError(message) from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        message = f"The checkpoint {path} is damaged: {error}"
        raise RunError(message) from error
    return dict(content)


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    temporary = _temporary(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
