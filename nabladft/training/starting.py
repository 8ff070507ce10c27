"""Weights of another run to start from: fine-tuning with another loss, rate or data.

Only weights and buffers are taken over. Optimiser, schedule, moving average and epochs begin anew,
which is what distinguishes this from continuing a run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.errors import LeakageError, RunError
from nabladft.splits import read_split
from nabladft.splits.split import pack_keys
from nabladft.training.building import read_recipe
from nabladft.training.options import as_table
from nabladft.training.run_folder import RunFolder, load_checkpoint

if TYPE_CHECKING:
    import torch

    from nabladft.splits import Split
    from nabladft.training.building import Recipe


@dataclass(frozen=True, kw_only=True)
class Start:
    """The best weights of a run.

    Attributes:
        folder: The run folder they are in.
        sha256: Hash of the checkpoint.
    """

    folder: RunFolder
    sha256: str

    def record(self) -> dict[str, Any]:
        """Say where the weights come from, for the record of the new run."""
        other = self.folder.read_record() or {}
        return {
            "run": self.folder.path.resolve().name,
            "sha256": self.sha256,
            "best": other.get("best"),
            "identity": other.get("identity"),
        }

    def load_into(self, model: torch.nn.Module) -> None:
        """Put the weights into a model.

        Raises:
            RunError: The checkpoint is damaged or of other weights.
        """
        weights = load_checkpoint(self.folder.best)["model"]
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            message = f"{self.folder.best} does not fit the model: {error}"
            raise RunError(message) from error


def find_start(run_folder: str | Path, recipe: Recipe, split: Split) -> Start:
    """Find the weights of another run, and check that a new run may start from them.

    Args:
        run_folder: The other run, validated at least once.
        recipe: Of the new run. Model code and ``[model]`` must be those of the other run;
            ``[training]`` may differ.
        split: Of the new run.

    Raises:
        RunError: The folder holds no run with weights, or one of another model.
        LeakageError: The other run was trained or chosen with conformations of a test part.
    """
    folder = RunFolder(Path(run_folder))
    record = folder.read_record()
    if record is None:
        message = f"{folder.path} is no run folder to start from: it has no run.json."
        raise RunError(message)
    if not folder.best.is_file():
        message = f"{folder.path} has no weights to start from yet: it was never validated."
        raise RunError(message)
    _check_model(folder, record, recipe)
    _check_leakage(folder, record, split)
    return Start(folder=folder, sha256=hashlib.sha256(folder.best.read_bytes()).hexdigest())


def _check_model(folder: RunFolder, record: dict[str, Any], recipe: Recipe) -> None:
    if record["identity"]["model code"] != recipe.code_hash():
        message = (
            f"{folder.path} is a run of {record['model']!r} with other code than {recipe.folder}, "
            "so its weights may mean something else. Its own code can be trained further: "
            f"nabladft train {folder.model} --config {folder.config}"
        )
        raise RunError(message)
    other = read_recipe(recipe.folder, folder.config)
    there = {**as_table(other.model), "subtract": other.training.subtract}
    here = {**as_table(recipe.model), "subtract": recipe.training.subtract}
    differences = [
        f"{name} = {there[name]!r} there and {here[name]!r} here"
        for name in here
        if there[name] != here[name]
    ]
    if differences:
        message = (
            f"{folder.path} is a run of a model of another size or kind: {'; '.join(differences)}. "
            f"Give its configuration, --config {folder.config}, or --set model.NAME=VALUE."
        )
        raise RunError(message)


def _check_leakage(folder: RunFolder, record: dict[str, Any], split: Split) -> None:
    """Refuse weights that have seen what the new run would be tested on."""
    seen = read_split(folder.split)
    if seen.dataset != split.dataset or record["identity"]["split"] == split.sha256:
        return
    used = np.concatenate([seen.part("train"), seen.part("validation")])
    for name in set(split.parts) - {"train", "validation"}:
        known, tested = pack_keys(used, split.part(name))
        n_known = int(np.isin(tested, known).sum())
        if n_known:
            message = (
                f"{folder.path} was trained with another split of {split.dataset}: {n_known} "
                f"conformations of the part {name!r} of {split.name!r} were in its training or "
                "validation. Use its split, or weights that have not seen them."
            )
            raise LeakageError(message)
