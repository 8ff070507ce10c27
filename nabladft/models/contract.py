"""What a model is: attributes and methods the harness asks for, and how a folder is loaded.

A baseline, ours or anybody's, is one folder with ``model.py``, which exports a frozen dataclass
``Config`` and a function ``build(config)``. The module that ``build`` returns says with attributes
what it can do; nothing outside ever asks for its name. The executable form of this contract is in
:mod:`nabladft.testing`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import torch

from nabladft.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from torch import Tensor

    from nabladft.data.batch import Batch

#: Quantities that a model may predict. Their shapes and units are in docs/architecture.md.
PREDICTABLE: Final = frozenset({"formation_energy", "forces", "hamiltonian", "overlap"})

#: Those of them that are matrices of orbitals, predicted as blocks.
PREDICTABLE_MATRICES: Final = frozenset({"hamiltonian", "overlap"})


@runtime_checkable
class Model(Protocol):
    """A ``torch.nn.Module`` that predicts labels of conformations.

    Attributes:
        predicts: Names out of :data:`PREDICTABLE`.
    """

    predicts: frozenset[str]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Predict: ``formation_energy`` (n,) in hartree, ``forces`` (n_atoms_total, 3) in
        hartree/bohr, ``hamiltonian`` (n_values,) in hartree and ``overlap`` (n_values,), both
        aligned with ``batch.blocks``.
        """  # noqa: D205 - one sentence, with its units
        ...


@runtime_checkable
class HamiltonianModel(Model, Protocol):
    """A model whose blocks are in a declared orbital order and basis set."""

    orbital_order: str
    basis_set: str


@runtime_checkable
class Preparable(Protocol):
    """A model with statistics or a closed-form fit to make before gradient training."""

    def prepare(self, batches: Iterable[Batch]) -> None:
        """See the training split once. May be iterated more than once by the model."""
        ...


def is_conservative(model: torch.nn.Module) -> bool:
    """Tell whether the forces are the gradient of the energy, so that predicting needs autograd."""
    return bool(getattr(model, "is_conservative", False))


def is_equivariant(model: torch.nn.Module) -> bool:
    """Tell whether its matrices turn with the molecule, up to rounding, whatever its weights."""
    return bool(getattr(model, "is_equivariant", True))


def is_trainable(model: torch.nn.Module) -> bool:
    """Tell whether the model has parameters for an optimiser; without, ``prepare`` completes it."""
    return any(parameter.requires_grad for parameter in model.parameters())


def load_model_module(folder: str | Path) -> ModuleType:
    """Import ``model.py`` of a model folder by its path.

    Two folders never collide, whatever their names: the module is registered under a name that
    holds a hash of the path. A folder is imported once per process.

    Args:
        folder: Folder with ``model.py``.

    Returns:
        The module, with ``Config`` and ``build``.

    Raises:
        ModelError: There is no ``model.py``, importing it fails, or it lacks ``Config`` (a
            dataclass) or ``build`` (a function).
        MissingExtraError: It needs a package that is not installed.
    """
    path = Path(folder).resolve() / "model.py"
    if not path.is_file():
        message = f"{folder} has no model.py. A model is a folder with model.py and config.toml."
        raise ModelError(message)
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    name = f"nabladft_model_{path.parent.name.replace('-', '_')}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    module = _import_file(name, path)
    config = getattr(module, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        del sys.modules[name]
        message = f"{path} must export Config, a dataclass of the hyperparameters."
        raise ModelError(message)
    if not callable(getattr(module, "build", None)):
        del sys.modules[name]
        message = f"{path} must export build(config) -> torch.nn.Module."
        raise ModelError(message)
    return module


def load_model_folder(folder: str | Path, options: Mapping[str, Any]) -> torch.nn.Module:
    """Build the model of a folder.

    Args:
        folder: Folder with ``model.py``.
        options: Attributes of its ``Config``; the rest keep their defaults.

    Raises:
        ModelError: As :func:`load_model_module`; or what ``build`` gives is not a module that
            states what it predicts.
    """
    module = load_model_module(folder)
    model: torch.nn.Module = module.build(module.Config(**options))
    check_attributes(model)
    return model


def check_attributes(model: object) -> None:
    """Check that a model states what it predicts, and in which orbital order and basis set.

    Raises:
        ModelError: It does not.
    """
    if not isinstance(model, torch.nn.Module):
        message = f"build(config) must return a torch.nn.Module, got {type(model).__name__}."
        raise ModelError(message)
    name = type(model).__name__
    predicts = getattr(model, "predicts", None)
    if not isinstance(predicts, frozenset) or not predicts or not predicts <= PREDICTABLE:
        message = (
            f"{name}.predicts must be a non-empty frozenset out of {sorted(PREDICTABLE)}, "
            f"got {predicts!r}."
        )
        raise ModelError(message)
    if predicts & PREDICTABLE_MATRICES:
        for attribute in ("orbital_order", "basis_set"):
            if not isinstance(getattr(model, attribute, None), str):
                message = f"{name} predicts matrices, so it must state {attribute} as a string."
                raise ModelError(message)


def _import_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses look their module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[name]
        message = f"{path} needs {error.name}, which is not installed. See {path.parent}/README.md."
        raise MissingExtraError(message) from error
    except Exception as error:
        del sys.modules[name]
        message = f"{path} cannot be imported: {type(error).__name__}: {error}"
        raise ModelError(message) from error
    return module
