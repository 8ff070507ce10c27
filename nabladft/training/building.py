"""From a model folder and a configuration file to a module."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from nabladft.data.references import check_reference_method
from nabladft.models.contract import check_attributes, load_model_module
from nabladft.models.corrected import CorrectedReference
from nabladft.training.config import TrainingConfig, read_config_file
from nabladft.training.options import as_table, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Entries of ``[training]`` without influence on the result: a run may continue with others.
_WITHOUT_INFLUENCE: Final = (
    "max_minutes",
    "checkpoint_minutes",
    "cpu_threads",
    "num_workers",
    "in_memory",
    "loggers",
    "accelerator",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model folder with a complete, checked configuration.

    Attributes:
        folder: Folder with ``model.py``.
        model: Instance of the folder's ``Config``.
        training: The table ``[training]``.
    """

    folder: Path
    model: Any
    training: TrainingConfig

    @property
    def dtype(self) -> torch.dtype:
        """Type of the positions that the model gets."""
        return torch.float64 if self.training.precision == "64-true" else torch.float32

    def tables(self) -> dict[str, dict[str, Any]]:
        """Give the complete configuration as tables."""
        return {"model": as_table(self.model), "training": as_table(self.training)}

    def influential_tables(self) -> dict[str, dict[str, Any]]:
        """Give the part of the configuration that decides the result."""
        tables = self.tables()
        for name in _WITHOUT_INFLUENCE:
            del tables["training"][name]
        return tables

    def code_hash(self) -> str:
        """Give the SHA-256 of the model's code, tests left out."""
        digest = hashlib.sha256()
        for file in code_files(self.folder):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def build(self) -> torch.nn.Module:
        """Build the model with initial weights drawn from the seed.

        With ``training.subtract``, what is built is the model of the remainder within a
        :class:`~nabladft.models.corrected.CorrectedReference`.

        Raises:
            ModelError: ``build`` gives no module, or one that states no known ``predicts``.
            MissingExtraError: It, or the reference, needs a package that is not installed.
            ConfigError: A reference shall be subtracted from something else than Hamiltonians.
        """
        torch.manual_seed(self.training.seed)
        module = load_model_module(self.folder).build(self.model)
        check_attributes(module)
        if self.training.subtract != "none":
            check_reference_method(self.training.subtract)
            module = CorrectedReference(module, self.training.subtract)
        return module.to(torch.float64) if self.dtype == torch.float64 else module  # type: ignore[no-any-return]


def read_recipe(model_folder: Path, file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a configuration file for a model folder.

    Args:
        model_folder: Folder with ``model.py``.
        file: Configuration file.
        overrides: ``"training.max_epochs=3"`` and the like, put over the file.

    Raises:
        InputError: There is no such file.
        ConfigError: It is not TOML, or a table, key, type or value is not allowed.
        ModelError: The folder is no model.
    """
    options, training = read_config_file(file, overrides)
    config = load_model_module(model_folder).Config
    return Recipe(
        folder=model_folder,
        model=read_table(config, options, table="model", place=str(file)),
        training=training,
    )


def code_files(model_folder: Path) -> list[Path]:
    """List the Python files of a model folder, tests left out."""
    return [f for f in sorted(model_folder.glob("*.py")) if not f.name.startswith("test_")]
