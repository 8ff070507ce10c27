"""Time and memory of training steps of one model of Hamiltonians: one case, one process.

``hamiltonian_models.py`` starts this file once for each case and reads one line of JSON:

    python benchmarks/training_steps.py '{"model": "qhnet", "n_atoms": 10, "batch_size": 2}'

A step is what training does: forward, loss, backward, clipping and optimiser as the configuration
of the model says.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from drug_molecules import batch_of_size

from nabladft.data.blocks import blocks_from_packed
from nabladft.data.references import ReferenceHamiltonians
from nabladft.models.contract import Preparable
from nabladft.resources import find_baseline
from nabladft.training.building import read_recipe
from nabladft.training.losses import Objective
from nabladft.training.memory import peak_memory, start_measuring
from nabladft.training.optimizers import build_optimizer

if TYPE_CHECKING:
    from nabladft.data.batch import Batch
    from nabladft.training.building import Recipe


@dataclass(frozen=True, kw_only=True)
class Case:
    """What to measure.

    Attributes:
        model: Folder or name of a baseline.
        config: Configuration files, of which the first that the folder has is taken.
        overrides: ``"model.lmax=2"`` and the like, put over it.
        n_atoms: Of each molecule.
        batch_size: Molecules of a step.
        device: ``cpu`` or ``cuda``.
        threads: Of the CPU.
        precision: ``float32``, or ``bfloat16`` for autocast.
        compiled: Whether the model goes through ``torch.compile``.
        seconds: How long to measure, at least three steps.
    """

    model: str
    config: tuple[str, ...] = ("config.toml",)
    overrides: tuple[str, ...] = ()
    n_atoms: int = 10
    batch_size: int = 1
    device: str = "cpu"
    threads: int = 1
    precision: str = "float32"
    compiled: bool = False
    seconds: float = 5.0


def recipe_of(case: Case) -> Recipe:
    """Read the configuration of a case.

    Raises:
        FileNotFoundError: The folder has none of the configuration files.
    """
    folder = find_baseline(case.model)
    for name in case.config:
        if (folder / name).is_file():
            return read_recipe(folder, folder / name, case.overrides)
    message = f"{folder.name} has no {' or '.join(case.config)}"
    raise FileNotFoundError(message)


def measure(case: Case) -> dict[str, Any]:
    """Train for a while on one batch.

    Returns:
        Seconds of a step (the shortest; CPU time for one thread, which what else runs on the
        machine does not lengthen), bytes at the peak and of those before the model was built,
        numbers of parameters and of blocks, and how far the prediction is from that of the same
        weights in full precision and not compiled, relative; None where that is zero.
    """
    torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    recipe = recipe_of(case)
    batch = batch_of_size(case.n_atoms, case.batch_size, dtype=torch.float32)
    assert batch.blocks is not None
    model = recipe.build()
    # The core Hamiltonian instead of labels: no worse to learn a few steps from.
    core = core_hamiltonians(batch)
    labels = {"hamiltonian": core, "overlap": core}
    labels["formation_energy"] = torch.zeros(case.batch_size, dtype=torch.float64)
    batch = replace(batch, labels={name: labels[name] for name in model.predicts})
    if isinstance(model, Preparable):
        model.prepare([batch])
    batch, model = batch.to(device), model.train()
    start_measuring(device)
    before = peak_memory(device) or 0
    model = model.to(device)
    objective = Objective(recipe.training.targets(model.predicts))
    optimizer = build_optimizer(model, recipe.training.optimizer)
    forward = torch.compile(model) if case.compiled else model
    clip = recipe.training.gradient_clip

    def predict() -> dict[str, torch.Tensor]:
        enabled = case.precision == "bfloat16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled):
            output: dict[str, torch.Tensor] = forward(batch)
        return {name: value.float() for name, value in output.items()}

    with torch.no_grad():
        exact = model(batch)["hamiltonian"]
        size = float(exact.norm())
        deviation = float((predict()["hamiltonian"] - exact).norm()) / size if size else None

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = objective.loss(predict(), batch)
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    for _ in range(3 if case.compiled or device.type == "cuda" else 1):
        step()
    is_alone = device.type == "cpu" and case.threads == 1
    clock = time.process_time if is_alone else time.perf_counter
    times: list[float] = []
    end = time.perf_counter() + case.seconds
    while len(times) < 3 or time.perf_counter() < end:
        _wait(device)
        started = clock()
        step()
        _wait(device)
        times.append(clock() - started)
    return {
        "case": asdict(case),
        "name": recipe.folder.name,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "step_seconds": min(times),
        "n_steps": len(times),
        "peak_bytes": peak_memory(device),
        "bytes_before": before,
        "n_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "n_blocks": batch.blocks.n_pairs,
        "n_orbitals": list(batch.blocks.n_orbitals),
        "relative_deviation": deviation,
    }


def core_hamiltonians(batch: Batch) -> torch.Tensor:
    """Compute the core Hamiltonians of a batch as block values."""
    assert batch.blocks is not None
    references = ReferenceHamiltonians("core", batch.blocks.basis_set)
    values = []
    for first, last in pairwise(batch.atom_offsets.tolist()):
        numbers, positions = batch.atomic_numbers[first:last], batch.positions[first:last]
        triangle = torch.from_numpy(references.triangle(numbers.numpy(), positions.numpy()))
        values.append(
            blocks_from_packed(
                triangle,
                numbers.tolist(),
                batch.blocks.basis_set,
                source="ascending",
                target=batch.blocks.orbital_order,
            )
        )
    return torch.cat(values).to(batch.positions)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    """Measure the case on the command line."""
    case = Case(**json.loads(sys.argv[1]))
    print(json.dumps(measure(case)))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
