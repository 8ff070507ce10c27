"""Predict with a trained run, or with any module that keeps the model contract."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import nabladft
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.data.blocks import packed_from_blocks
from nabladft.errors import InputError, ModelError, RunError
from nabladft.models.contract import PREDICTABLE_MATRICES, check_attributes, is_conservative
from nabladft.predictions import PredictionsInfo, PredictionsWriter
from nabladft.splits import read_split
from nabladft.storage.source import ConformationSource
from nabladft.training.building import read_recipe
from nabladft.training.loaders import open_dataset, plain_batches
from nabladft.training.run_folder import RunFolder, load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nabladft.data.batch import Batch

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PredictedBatch:
    """Predictions of some conformations, as :meth:`PredictionsWriter.append` takes them.

    Attributes:
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
        atomic_numbers: Shape (sum n_atoms,).
        n_atoms: Shape (n,).
        energy: Total energy, shape (n,), hartree, or None when the model predicts none.
        forces: Shape (sum n_atoms, 3), hartree/bohr, or None.
        hamiltonian: Concatenated packed lower triangles, hartree, in the model's orbital order, or
            None.
        overlap: Likewise, without unit, or None.
        n_orbitals: Shape (n,), or None without matrices.
    """

    keys: IntArray
    atomic_numbers: IntArray
    n_atoms: IntArray
    energy: FloatArray | None = None
    forces: FloatArray | None = None
    hamiltonian: NDArray[np.floating[Any]] | None = None
    overlap: NDArray[np.floating[Any]] | None = None
    n_orbitals: IntArray | None = None


def load_run(run_folder: str | Path) -> torch.nn.Module:
    """Build the model of a run with its best weights, in evaluation mode, on the CPU.

    The code is the copy in the run folder, as it was trained.

    Raises:
        RunError: The folder holds no run, or training has not come to a first validation.
        ModelError: The code cannot be imported any more.
        MissingExtraError: It needs a package that is not installed.
    """
    folder = RunFolder(Path(run_folder))
    if folder.read_record() is None:
        message = (
            f"{folder.path} is no run folder: it has no run.json. Train with `nabladft train`."
        )
        raise RunError(message)
    recipe = read_recipe(folder.model, folder.config)
    weights = load_checkpoint(folder.best)["model"]
    with torch.random.fork_rng(devices=[]):
        model = recipe.build()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        message = f"{folder.best} does not fit the model in {folder.model}: {error}"
        raise RunError(message) from error
    return model.eval()


def predict(
    model: torch.nn.Module | str | Path,
    source: ConformationSource | str | Path,
    keys: Sequence[tuple[int, int]] | IntArray | None = None,
    *,
    batch_size: int = 32,
    device: torch.device | str | None = None,
) -> Iterator[PredictedBatch]:
    """Predict conformations, batch by batch, in the order asked for.

    The total energy is the predicted formation energy plus the isolated atoms, added in float64.

    Args:
        model: A module that keeps the model contract, or a run folder.
        source: The data, or a path or name for :func:`nabladft.open`. Only geometries are used.
        keys: Pairs (molecule_id, conformation_id), shape (n, 2); None predicts all.
        batch_size: Conformations of a batch.
        device: Where to compute; by default a GPU where there is one.

    Raises:
        RunError: The run folder cannot be used.
        ModelError: The module does not state what it predicts, or predicts something else.
        InputError: A key is not in the data, or there is no such device.
    """
    module = load_run(model) if isinstance(model, str | Path) else model
    check_attributes(module)
    source = source if isinstance(source, ConformationSource) else nabladft.open(source)
    where = _device(device)
    module = module.to(where).eval()
    data = open_dataset(module, source, keys, fields=(), dtype=_dtype_of(module))
    for batch in plain_batches(data, batch_size):
        with torch.set_grad_enabled(is_conservative(module)):
            output = module(batch.to(where))
        yield _collect(batch, output, module)


def write_predictions(
    run_folder: str | Path,
    source: ConformationSource | str | Path,
    path: str | Path,
    *,
    part: str | None = None,
    batch_size: int = 32,
    device: torch.device | str | None = None,
) -> int:
    """Predict with a run into a predictions file.

    Args:
        run_folder: A trained run.
        source: The data, or a path or name for :func:`nabladft.open`.
        path: HDF5 file to write, in one atomic step.
        part: Part of the split that the run was trained with ("test_structures", ...); None
            predicts all conformations of any data.
        batch_size: Conformations of a batch.
        device: Where to compute; by default a GPU where there is one.

    Returns:
        Number of conformations.

    Raises:
        RunError: The run folder cannot be used.
        SplitError: The data are not those of the run's split, of which a part is asked for.
        UnknownNameError: The split has no such part.
        PredictionsError: A prediction is not finite.
    """
    folder = RunFolder(Path(run_folder))
    module = load_run(run_folder)
    source = source if isinstance(source, ConformationSource) else nabladft.open(source)
    record = folder.read_record() or {}
    split = None if part is None else read_split(folder.split)
    keys = None
    if split is not None and part is not None:
        split.check_belongs_to(source)
        keys = split.part(part)
    info = PredictionsInfo(
        dataset=source.info.name,
        data_hash=source.data_hash,
        model=str(record["model"]),
        split=None if split is None else split.name,
        split_hash=None if split is None else split.sha256,
        part=part,
        orbital_order=getattr(module, "orbital_order", None),
        basis_set=getattr(module, "basis_set", None),
        details={
            name: record[name]
            for name in (
                "identity",
                "seed",
                "subtract",
                "epochs",
                "n_parameters",
                "split",
                "data",
            )
            if name in record
        },
    )
    n_predicted, seconds = 0, 0.0
    with PredictionsWriter(path, info) as writer:
        started = time.perf_counter()
        for batch in predict(module, source, keys, batch_size=batch_size, device=device):
            # What a batch returns is on the CPU, so a GPU has finished it; writing does not count.
            seconds += time.perf_counter() - started
            writer.append(**vars(batch))
            n_predicted += len(batch.keys)
            started = time.perf_counter()
        timed = {"prediction_seconds": seconds / max(1, n_predicted)}
        writer.info = replace(info, details={**info.details, **timed})
    return n_predicted


def _collect(
    batch: Batch, output: dict[str, torch.Tensor], model: torch.nn.Module
) -> PredictedBatch:
    absent = sorted(model.predicts - set(output))  # type: ignore[operator]
    if absent:
        message = f"The model declares {', '.join(absent)} but returned {sorted(output)}."
        raise ModelError(message)
    offsets = batch.atom_offsets.numpy()
    numbers = batch.atomic_numbers.numpy()
    values = {name: value.detach().cpu() for name, value in output.items()}
    columns: dict[str, Any] = {}
    if "formation_energy" in values:
        isolated = [isolated_atoms_energy(numbers[i:j]) for i, j in itertools.pairwise(offsets)]
        columns["energy"] = values["formation_energy"].double().numpy() + np.array(isolated)
    if "forces" in values:
        columns["forces"] = values["forces"].double().numpy()
    for name in PREDICTABLE_MATRICES & set(values):
        assert batch.blocks is not None
        packed, starts = packed_from_blocks(values[name], batch.blocks)
        columns[name] = packed.numpy()
        # n (n + 1) / 2 values are the triangle of n orbitals.
        columns["n_orbitals"] = np.sqrt(2 * np.diff(starts.numpy())).astype(np.int64)
    return PredictedBatch(
        keys=torch.stack([batch.molecule_id, batch.conformation_id], dim=1).numpy(),
        atomic_numbers=numbers,
        n_atoms=np.diff(offsets),
        **columns,
    )


def _device(device: torch.device | str | None) -> torch.device:
    n_gpus = torch.cuda.device_count()
    try:
        found = torch.device(device or ("cuda" if n_gpus else "cpu"))
    except RuntimeError:
        message = f"There is no device {str(device)!r}. Examples: cpu, cuda, cuda:1."
        raise InputError(message) from None
    if found.type == "cuda" and (found.index or 0) >= n_gpus:
        message = f"There is no device {str(device)!r}: this machine has {n_gpus} CUDA devices."
        raise InputError(message)
    return found


def _dtype_of(module: torch.nn.Module) -> torch.dtype:
    """Type of positions for a module: that of its parameters; without any, float64."""
    floating = [p.dtype for p in module.parameters() if p.is_floating_point()]
    return floating[0] if floating else torch.float64
