"""A first version of an entry, filled in from the folder of a training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nabladft.errors import InputError
from nabladft.leaderboard.entry import (
    Entry,
    ModelCard,
    TrainingCard,
    Who,
    format_entry,
    parse_entry,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def draft_entry(run_folders: Sequence[str | Path], *, who: Who | None = None) -> str:
    """Write an entry of runs of ``nabladft train`` or ``nabladft benchmark``, as TOML.

    Task, parameters, data, seeds, hardware and hours are those of the run records. Title, authors,
    description, licence and addresses are for a person to write: what is there is to be replaced.

    Args:
        run_folders: One for each seed.
        who: Authors; by default a placeholder.

    Raises:
        InputError: A folder holds no run, or they are of different models.
        EntryError: What the records say does not fit into an entry.
    """
    records = [_read_record(Path(folder)) for folder in run_folders]
    first = records[0]
    models = sorted({str(record.get("model")) for record in records})
    if len(models) > 1:
        message = f"The runs are of different models: {', '.join(models)}. An entry is of one."
        raise InputError(message)
    seeds = tuple(sorted({int(record["seed"]) for record in records}))
    is_trained = int(first.get("steps", 0)) > 0
    learns = is_trained or int(first["n_parameters"]) > 0
    data = str(first["data"]["name"])
    name = f"{models[0]}-{data}".lower()
    counts = first["split"]["counts"]["train"]
    entry = Entry(
        name=name,
        title=models[0],
        task=_task_of(first["predicts"]),
        who=who or Who(authors=("Your Name",)),
        model=ModelCard(
            description="What it is, in a few sentences.",
            licence="MIT",
            n_parameters=int(first["n_parameters"]),
        ),
        training=TrainingCard(
            data=(data,),
            subset="train",
            n_conformations=int(counts["conformations"]),
            # Where no step was taken nothing was drawn at random.
            seeds=seeds if learns else (),
            hardware=_hardware_of(first),
            hours=_hours_of(records),
        ),
    )
    text = format_entry(entry)
    parse_entry(text, where=f"draft of {name}.toml")
    return text


def _read_record(folder: Path) -> Mapping[str, Any]:
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{folder} is no run folder: {path.name} cannot be read ({error})."
        raise InputError(message) from error
    needed = {"model", "predicts", "n_parameters", "seed", "data", "split", "sessions", "seconds"}
    absent = sorted(needed - set(record)) if isinstance(record, dict) else sorted(needed)
    if absent:
        message = f"{path} has no {', '.join(absent)}; was the training finished?"
        raise InputError(message)
    found: Mapping[str, Any] = record
    return found


def _task_of(predicts: Sequence[str]) -> str:
    return next((one for one in ("hamiltonian", "overlap") if one in predicts), "energy")


def _hardware_of(record: Mapping[str, Any]) -> str:
    machine = record["sessions"][-1]["hardware"]
    gpus = machine.get("gpus") or []
    if gpus:
        return f"{len(gpus)} x {gpus[0]}"
    return f"{machine.get('cpu_count')} x {machine.get('machine')} CPU core"


def _hours_of(records: Sequence[Mapping[str, Any]]) -> float:
    """Give the mean wall time of a training, to three digits."""
    hours = sum(float(record["seconds"]) for record in records) / len(records) / 3600
    return float(f"{hours:.3g}")
