"""What can be checked of predictions before a blind server scores them, without the labels.

The server says only that a file is wrong and in which way; here, beside the public copy of the
data, the place can be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nabladft.benchmark.evaluation import check_atoms, keys_to_score
from nabladft.errors import InputError, PredictionsError, suggestion
from nabladft.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nabladft.leaderboard.entry import Entry
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

_BATCH: Final = 256


@dataclass(frozen=True, kw_only=True)
class BlindFile:
    """A predictions file that can be sent.

    Attributes:
        path: The file.
        part: Part of the split that it predicts.
        seed: That it states, or None.
    """

    path: Path
    part: str
    seed: int | None


def choose_task(
    tasks: Sequence[Mapping[str, Any]], entry: Entry, paths: Sequence[Path], name: str | None = None
) -> Mapping[str, Any]:
    """Find the task of a server that predictions are for.

    Args:
        tasks: What the server lists.
        entry: What is submitted.
        paths: The predictions files.
        name: Of the task; None finds the one of the same kind and data.

    Raises:
        InputError: There is none, or several.
        NablaDFTError: A file is not a predictions file.
    """
    if name is not None:
        for task in tasks:
            if task["name"] == name:
                return task
        known = [str(task["name"]) for task in tasks]
        message = (
            f"The server has no task {name!r}.{suggestion(name, known)} Known: {', '.join(known)}."
        )
        raise InputError(message)
    data_hash = Predictions(paths[0]).info.data_hash
    fitting = [
        task for task in tasks if task["kind"] == entry.task and task["data_hash"] == data_hash
    ]
    if len(fitting) == 1:
        return fitting[0]
    listed = "; ".join(f"{t['name']} ({t['kind']}, data {t['data_hash'][:12]})" for t in tasks)
    count = "none" if not fitting else f"{len(fitting)}"
    message = (
        f"{paths[0].name} was made for data with hash {data_hash[:12]} and the entry is of task "
        f"{entry.task!r}; {count} of the tasks of the server are of that kind and data: {listed}. "
        "Predict for the public copy of the data of a task, or name the task with --task."
    )
    raise InputError(message)


def check_blind(
    paths: Sequence[Path],
    task: Mapping[str, Any],
    *,
    source: ConformationSource | None = None,
    split: Split | None = None,
) -> list[BlindFile]:
    """Check files for a task of a server.

    Args:
        paths: The predictions files.
        task: As the server lists it.
        source: The public copy of the data, to check ids, atoms and values as well.
        split: Its split; needed with ``source``.

    Raises:
        PredictionsError: A file is for something else, or its contents cannot be scored.
        NablaDFTError: A file is not a predictions file.
    """
    return [_checked(path, task, source, split) for path in paths]


def _checked(
    path: Path,
    task: Mapping[str, Any],
    source: ConformationSource | None,
    split: Split | None,
) -> BlindFile:
    predictions = Predictions(path)
    info, parts = predictions.info, [part["name"] for part in task["parts"]]
    for what, found, expected in (
        ("data", info.data_hash, task["data_hash"]),
        ("split", info.split_hash or "none", task["split_hash"]),
    ):
        if found != expected:
            message = (
                f"{path.name} was made for {what} with hash {found[:12]}, but task "
                f"{task['name']!r} has {expected[:12]}. Predict for the public copy of its data."
            )
            raise PredictionsError(message)
    if info.part not in parts:
        message = f"{path.name} predicts part {info.part!r}; the task has {', '.join(parts)}."
        raise PredictionsError(message)
    missing = sorted(set(task["required"]) - set(predictions.fields))
    stray = sorted(set(predictions.fields) - set(task["fields"]))
    if missing or stray:
        what = f"lacks {', '.join(missing)}" if missing else f"holds {', '.join(stray)} as well"
        message = f"{path.name} {what}; task {task['name']!r} takes {', '.join(task['fields'])}."
        raise PredictionsError(message)
    if source is not None:
        _check_contents(predictions, source, split)
    seed = info.details.get("seed")
    return BlindFile(path=path, part=str(info.part), seed=seed if isinstance(seed, int) else None)


def _check_contents(
    predictions: Predictions, source: ConformationSource, split: Split | None
) -> None:
    """Read everything: ids, atoms, and whether every value is a finite number."""
    keys, _ = keys_to_score(predictions, source, split, None)
    rows = source.rows_of(keys)
    for start in range(0, len(keys), _BATCH):
        reference = source.read_flat(rows[start : start + _BATCH], fields=())
        check_atoms(predictions.read(keys[start : start + _BATCH]), reference, predictions.path)
