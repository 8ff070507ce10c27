"""The files of a submission: which part and seed each is of, and whether all are there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.benchmark.evaluation import file_sha256
from nabladft.benchmark.tasks import task_named
from nabladft.errors import EntryError, InputError, NablaDFTError, PredictionsError
from nabladft.leaderboard.at_hand import open_named, split_named
from nabladft.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.benchmark.tasks import Task
    from nabladft.leaderboard.entry import Entry
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

#: Suffixes of what ``nabladft predict --from`` turns into predictions files.
_CONVERTIBLE: Final = (".npz", ".xyz", ".extxyz")


@dataclass(frozen=True, kw_only=True)
class SubmittedFile:
    """One predictions file of a submission.

    Attributes:
        path: The file.
        sha256: Hash of its bytes.
        n_bytes: Its size.
        part: Part of the split that it predicts.
        seed: Of the training, or None where nothing is random.
    """

    path: Path
    sha256: str
    n_bytes: int
    part: str
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Files that belong together, and what they are scored against.

    Attributes:
        entry: What was written by hand.
        task: Its task.
        source: The data.
        split: The split.
        files: In the order of seeds and parts.
    """

    entry: Entry
    task: Task
    source: ConformationSource
    split: Split
    files: tuple[SubmittedFile, ...]


def gather(
    predictions: Sequence[str | Path],
    entry: Entry,
    *,
    source: ConformationSource | None = None,
    split: Split | None = None,
    seeds: Sequence[int] | None = None,
    partial: bool = False,
) -> Bundle:
    """Put the files of a submission together, or say what is missing.

    Args:
        predictions: Files, or folders of which every ``predictions-*.h5`` is taken.
        entry: What was written by hand; scores of an earlier submission do not count.
        source: The data; by default those that the first file names, if they can be opened.
        split: The split; by default the one that the first file names.
        seeds: Seed of the training of each file, for files that do not say; by default the one in
            the ``details`` of the file, or the one seed of the entry.
        partial: Accept an entry that lacks parts of the task.

    Raises:
        InputError: There is no file, or the data that a file names cannot be opened.
        PredictionsError: A file cannot be used, or belongs to no part of the task.
        EntryError: Parts or seeds are missing, come twice, or are not those of the entry.
    """
    task = task_named(entry.task)
    paths = predictions_files(predictions)
    opened = [Predictions(path) for path in paths]
    given = list(seeds) if seeds is not None else [None] * len(paths)
    if len(given) != len(paths):
        message = f"{len(paths)} predictions files, but {len(given)} seeds."
        raise InputError(message)
    source = source if source is not None else _source_of(opened[0])
    split = split if split is not None else _split_of(opened[0])
    files = tuple(
        SubmittedFile(
            path=one.path,
            sha256=file_sha256(one.path),
            n_bytes=one.path.stat().st_size,
            part=_part_of(one, task),
            seed=_seed_of(one, entry, seed),
        )
        for one, seed in zip(opened, given, strict=True)
    )
    _check_complete(files, entry, [p for p in task.parts if p in split.parts], partial=partial)
    order: dict[int | None, int] = {
        seed: number for number, seed in enumerate(entry.training.seeds)
    }
    return Bundle(
        entry=entry,
        task=task,
        source=source,
        split=split,
        files=tuple(
            sorted(files, key=lambda one: (order.get(one.seed, 0), task.parts.index(one.part)))
        ),
    )


def predictions_files(predictions: Sequence[str | Path]) -> list[Path]:
    """List the files that are meant: files as they are, of folders every ``predictions-*.h5``.

    Raises:
        InputError: A folder has none, or there is nothing at all.
    """
    paths: list[Path] = []
    for given in map(Path, predictions):
        found = sorted(given.glob("predictions-*.h5")) if given.is_dir() else [given]
        if not found:
            message = f"There are no files predictions-*.h5 in {given}."
            raise InputError(message)
        paths += found
    for path in paths:
        if path.suffix.lower() in _CONVERTIBLE:
            message = (
                f"{path.name} has to be converted first: nabladft predict --from {path.name} "
                "--data DATA --part PART --out predictions.h5"
            )
            raise InputError(message)
    if not paths:
        message = "There is nothing to submit: give at least one predictions file."
        raise InputError(message)
    return paths


def _source_of(predictions: Predictions) -> ConformationSource:
    name = predictions.info.dataset
    try:
        return open_named(name)
    except NablaDFTError as error:
        message = (
            f"{predictions.path.name} was made for data {name!r}, which cannot be opened by that "
            f"name ({error}). Say where they are with --data."
        )
        raise InputError(message) from error


def _split_of(predictions: Predictions) -> Split:
    name = predictions.info.split
    if name is None:
        message = (
            f"{predictions.path.name} names no split. The leaderboard scores parts of splits: "
            "write 'split', 'split_hash' and 'part' (docs/predictions-format.md)."
        )
        raise PredictionsError(message)
    try:
        return split_named(name)
    except NablaDFTError as error:
        error.add_note(f"({predictions.path.name} was made with it; give its file with --split.)")
        raise


def _part_of(predictions: Predictions, task: Task) -> str:
    part = predictions.info.part
    if part not in task.parts:
        message = (
            f"{predictions.path.name} predicts part {part!r}; task {task.name!r} is scored on "
            f"{', '.join(task.parts)}."
        )
        raise PredictionsError(message)
    return part


def _seed_of(predictions: Predictions, entry: Entry, given: int | None) -> int | None:
    """Find the seed of a file: given, written in it, or the only one of the entry."""
    seeds = entry.training.seeds
    if not seeds:
        return None
    stated = predictions.info.details.get("seed")
    seed = given if given is not None else stated
    if seed is None and len(seeds) == 1:
        return seeds[0]
    if not isinstance(seed, int) or isinstance(seed, bool):
        message = (
            f"{predictions.path.name} does not say of which seed it is ('seed' in its details), "
            f"and the entry has {len(seeds)}. Give one for each file with --seeds."
        )
        raise EntryError(message)
    if seed not in seeds:
        message = (
            f"{predictions.path.name} is of seed {seed}, but training.seeds of the entry are "
            f"{list(seeds)}."
        )
        raise EntryError(message)
    return seed


def _check_complete(
    files: Sequence[SubmittedFile], entry: Entry, parts: Sequence[str], *, partial: bool
) -> None:
    """Refuse what is missing or comes twice; every cell of a table shall mean the same."""
    counts = Counter((file.part, file.seed) for file in files)
    for (part, seed), count in counts.items():
        if count > 1:
            names = [f.path.name for f in files if (f.part, f.seed) == (part, seed)]
            message = f"{', '.join(names)} are all of part {part!r}{_of_seed(seed)}; give one."
            raise EntryError(message)
    for sha256, count in Counter(file.sha256 for file in files).items():
        if count > 1:
            names = [file.path.name for file in files if file.sha256 == sha256]
            message = f"{', '.join(names)} are one and the same file, byte by byte."
            raise EntryError(message)
    seeds: tuple[int | None, ...] = entry.training.seeds or (None,)
    missing = [
        f"{part}{_of_seed(seed)}" for seed in seeds for part in parts if not counts[part, seed]
    ]
    absent = [seed for seed in seeds if all(file.seed != seed for file in files)]
    if absent and partial:
        message = f"There are no predictions of seeds {absent}, which training.seeds lists."
        raise EntryError(message)
    if missing and not partial:
        message = (
            f"Predictions are missing: {', '.join(missing)}. A row is compared on every part; "
            "submit them too, or allow gaps with --partial."
        )
        raise EntryError(message)


def _of_seed(seed: int | None) -> str:
    return "" if seed is None else f" of seed {seed}"
