"""What losses of orbitals gain and cost: one network, fine-tuned with each for an equal time.

``qhnet`` in its small configuration is trained on `nano` with the loss of its config, and then
trained further from there with the same loss, with a little or much of the loss of orbital energies
added, with the loss of alignment with the reference orbitals added, and with both. Each gets as
many epochs as fit into the processor time of the first, by the time of a step measured beforehand,
all losses in turns on the same batches. Each keeps its best epoch by its own validation score.
Errors are those of ``nabladft evaluate`` (docs/metrics.md).

    python benchmarks/hamiltonian_losses.py --seeds 3 --out losses.json
    python benchmarks/hamiltonian_losses.py --epochs 4 --tune-epochs 2          to try it
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Final

import torch

import nabladft
from nabladft.benchmark.evaluation import evaluate
from nabladft.data import HamiltonianDataset
from nabladft.splits import read_split
from nabladft.training.building import read_recipe
from nabladft.training.config import OrbitalLossConfig
from nabladft.training.losses import Objective
from nabladft.training.predict import load_run, write_predictions
from nabladft.training.record import code_version, hardware
from nabladft.training.train import train

if TYPE_CHECKING:
    from nabladft.data.batch import Batch
    from nabladft.training.config import TrainingConfig

#: Options of ``[training.loss.orbitals]`` of each way to go on.
LOSSES: Final[dict[str, dict[str, float]]] = {
    "H only": {},
    "+ 0.01 energies": {"energy_weight": 0.01},
    "+ 0.5 energies": {"energy_weight": 0.5},
    "+ 0.5 alignment": {"alignment_weight": 0.5},
    "+ 0.1 energies + 0.02 alignment": {"energy_weight": 0.1, "alignment_weight": 0.02},
}
#: Metrics that are shown: title, factor from atomic units.
COLUMNS: Final = {
    "hamiltonian_mae": ("H [µEh]", 1e6),
    "occupied_orbital_energies_mae": ("occupied ε [mEh]", 1e3),
    "homo_energy_mae": ("HOMO [mEh]", 1e3),
    "lumo_energy_mae": ("LUMO [mEh]", 1e3),
    "gap_mae": ("gap [mEh]", 1e3),
    "displaced_electrons": ("electrons displaced", 1.0),
    "occupied_intruder_rate": ("intruders [%]", 100.0),
}
PARTS: Final = ("test_conformations", "test_structures")
_TIMED_BATCHES: Final = 8


def main() -> None:
    """Train, fine-tune, measure, print a table for each part."""
    args = _arguments()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.runs or temporary)
        for seed in range(1, args.seeds + 1):
            rows += _one_seed(folder / str(seed), seed, args)
            # After each seed, because all of them take long.
            if args.out:
                _write(Path(args.out), rows, args)
    for part in PARTS:
        print(f"\n{_table(rows, part)}")


def _write(path: Path, rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    chosen = ("epochs", "tune_epochs", "learning_rate")
    content = {
        "settings": {name: getattr(args, name) for name in chosen},
        "losses": LOSSES,
        "code": code_version(),
        "hardware": hardware(),
        "load": os.getloadavg(),
        "rows": rows,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="repetitions (default: 1)")
    parser.add_argument("--epochs", type=int, default=40, help="of the first training")
    parser.add_argument(
        "--tune-epochs", type=int, default=12, help="of going on with the same loss"
    )
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of going on")
    parser.add_argument("--runs", help="keep the run folders here (default: do not keep them)")
    parser.add_argument("--out", help="JSON file to write")
    return parser.parse_args()


def _one_seed(folder: Path, seed: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    source, split = nabladft.open("nano"), read_split("nano")
    common = [f"training.seed={seed}", "training.accelerator=cpu"]
    first = train(
        "qhnet",
        source,
        split,
        run_folder=folder / "first",
        overrides=[*common, f"training.max_epochs={args.epochs}"],
        progress=False,
    )
    # The copy of the code in the run folder, so that nobody changes it in between.
    model, config = first.folder / "model", first.folder / "config.toml"
    seconds = _seconds_per_step(first.folder, read_recipe(model, config).training)
    rows: list[dict[str, Any]] = [{"seed": seed, "loss": "before", "scores": measure(first.folder)}]
    for number, (name, options) in enumerate(LOSSES.items()):
        epochs = max(1, round(args.tune_epochs * seconds["H only"] / seconds[name]))
        result = train(
            model,
            source,
            split,
            run_folder=folder / f"tuned-{number}",
            config=config,
            overrides=[
                *common,
                f"training.max_epochs={epochs}",
                f"training.optimizer.learning_rate={args.learning_rate}",
                *(f"training.loss.orbitals.{key}={value}" for key, value in options.items()),
            ],
            start_from=first.folder,
            progress=False,
        )
        row = {"seed": seed, "loss": name, "epochs": epochs, "seconds_per_step": seconds[name]}
        rows.append({**row, "best": result.best, "scores": measure(result.folder)})
    return rows


def _seconds_per_step(run_folder: Path, config: TrainingConfig) -> dict[str, float]:
    """Time a step of each loss in processor seconds, in turns, reference orbitals being known."""
    model = load_run(run_folder).train()
    targets = config.targets(frozenset({"hamiltonian"}))
    objectives = {
        name: Objective(targets, OrbitalLossConfig(**options) if options else None)
        for name, options in LOSSES.items()
    }
    batches = _batches(config.batch_size)
    spent: dict[str, list[float]] = {name: [] for name in LOSSES}
    for turn in range(4):
        for batch, (name, objective) in itertools.product(batches, objectives.items()):
            start = time.process_time()
            objective.loss(model(batch), batch).backward()
            if turn > 0:  # the first computes the reference orbitals
                spent[name].append(time.process_time() - start)
    return {name: mean(values) for name, values in spent.items()}


def measure(run_folder: Path) -> dict[str, dict[str, float]]:
    """Score a run on parts of the split: part, metric, value in atomic units."""
    source, split = nabladft.open("nano"), read_split("nano")
    scores = {}
    for part in PARTS:
        path = run_folder / f"{part}.h5"
        write_predictions(run_folder, source, path, part=part, device="cpu")
        metrics = evaluate(path, source, split=split).metrics
        scores[part] = {name: metrics[name].value for name in COLUMNS}
    return scores


def _batches(size: int) -> list[Batch]:
    keys = read_split("nano").part("train")[: size * _TIMED_BATCHES]
    data = HamiltonianDataset("nano", keys=keys, fields=("hamiltonian", "overlap"))
    return [
        data.collate(data.__getitems__(range(start, start + size)))
        for start in range(0, len(data), size)
    ]


def _table(rows: list[dict[str, Any]], part: str) -> str:
    titles = [title for title, _ in COLUMNS.values()]
    lines = [
        f"| {part} | {' | '.join(titles)} | epochs | time of a step |",
        f"|---|{'--:|' * (len(titles) + 2)}",
    ]
    plain = mean(row["seconds_per_step"] for row in rows if row["loss"] == "H only")
    for name in ("before", *LOSSES):
        chosen = [row for row in rows if row["loss"] == name]
        cells = [
            _cell([factor * row["scores"][part][key] for row in chosen])
            for key, (_, factor) in COLUMNS.items()
        ]
        if name == "before":
            cells += ["", ""]
        else:
            ratio = mean(row["seconds_per_step"] for row in chosen) / plain
            cells += [f"{mean(row['epochs'] for row in chosen):.0f}", f"x {ratio:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    spread = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
    return f"{mean(values):.4g}{spread}"


if __name__ == "__main__":
    main()
