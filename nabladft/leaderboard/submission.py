"""From predictions files and an entry to a scored entry, ready for a pull request.

Nothing of a submission is run: predictions are read, checked, and scored by the same code as
everything else. The same files give the same bytes, whoever submits them and where.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.benchmark.evaluation import evaluate, keys_to_score, orbitals_of
from nabladft.benchmark.results import write_atomically
from nabladft.errors import EntryError, PredictionsError
from nabladft.leaderboard.board import details_path_of
from nabladft.leaderboard.checking import Checked, check_predictions
from nabladft.leaderboard.details import Details, format_details, parse_details, sha256_of
from nabladft.leaderboard.entry import (
    Entry,
    PredictionsFile,
    Score,
    ScoredData,
    Scorer,
    format_entry,
    parse_entry,
    read_entry,
)
from nabladft.leaderboard.gathering import Bundle, SubmittedFile, gather
from nabladft.leaderboard.sampling import Sampler
from nabladft.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nabladft.benchmark.results import Results
    from nabladft.benchmark.tasks import Task
    from nabladft.leaderboard.details import ParitySample, WorstConformation
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

#: Predictions files that are kept in the repository beside the entry are at most so large.
LARGEST_KEPT_BYTES: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A scored entry.

    Attributes:
        entry: What people read.
        details: What pages show.
        files: The predictions files, in the order of the scores.
    """

    entry: Entry
    details: Details
    files: tuple[SubmittedFile, ...]


def check(
    bundle: Bundle, *, progress: Callable[[int, int], object] | None = None
) -> tuple[Checked, ...]:
    """Check everything that can be checked before scoring.

    Args:
        bundle: The submission.
        progress: Called with the number of the file and the number of its conformations done.

    Returns:
        What was found, of each file.

    Raises:
        NablaDFTError: A file is refused; see :func:`check_predictions`.
    """
    return tuple(
        check_predictions(
            Predictions(file.path),
            bundle.source,
            task=bundle.task,
            split=bundle.split,
            progress=progress and _counted(progress, number),
        )
        for number, file in enumerate(bundle.files)
    )


def score(
    bundle: Bundle,
    *,
    predictions_url: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Submission:
    """Score a submission. Check it first.

    Args:
        bundle: The submission.
        predictions_url: Where the files can be had, https: the address of the one file, or of a
            folder (ending in ``/``) that has them under their names.
        progress: Called with the number of the file and the number of its conformations done.

    Raises:
        PredictionsError: A file changed since it was gathered, or cannot be scored.
        EntryError: What came out cannot be an entry: the address is none, or a text of a
            predictions file is not plain.
    """
    scores, results = [], []
    parity: list[ParitySample] = []
    worst: list[WorstConformation] = []
    for number, file in enumerate(bundle.files):
        found, sampler = evaluate_with_samples(
            file.path,
            bundle.source,
            task=bundle.task,
            split=bundle.split,
            part=file.part,
            progress=progress and _counted(progress, number),
        )
        if found.predictions_sha256 != file.sha256:
            message = f"{file.path} changed while it was scored. Submit it again."
            raise PredictionsError(message)
        results.append(found)
        url = _url_of(predictions_url, file, n_files=len(bundle.files))
        scores.append(score_of(found, seed=file.seed, n_bytes=file.n_bytes, url=url))
        if file.seed == bundle.files[0].seed:
            parity += sampler.parity(part=found.part, seed=file.seed)
            worst += sampler.worst(bundle.source, part=found.part, seed=file.seed)
    entry = bundle.entry
    details = Details(
        name=entry.name,
        task=entry.task,
        results=tuple(results),
        parity=tuple(parity),
        worst=tuple(worst),
    )
    scored = scored_entry(entry, details, tuple(scores))
    # What is written must be what can be read: texts of predictions files come from anywhere.
    parse_details(format_details(details).encode(), where=f"{entry.name}.details.json")
    parse_entry(format_entry(scored), where=f"{entry.name}.toml")
    return Submission(entry=scored, details=details, files=bundle.files)


def submit(
    predictions: Sequence[str | Path],
    entry: Entry,
    *,
    source: ConformationSource | None = None,
    split: Split | None = None,
    seeds: Sequence[int] | None = None,
    partial: bool = False,
    predictions_url: str | None = None,
) -> Submission:
    """Gather, check and score: the three steps of a submission in one.

    Args:
        predictions: See :func:`gather`.
        entry: See :func:`gather`.
        source: See :func:`gather`.
        split: See :func:`gather`.
        seeds: See :func:`gather`.
        partial: See :func:`gather`.
        predictions_url: See :func:`score`.

    Raises:
        NablaDFTError: The submission is refused; see the three functions.
    """
    bundle = gather(predictions, entry, source=source, split=split, seeds=seeds, partial=partial)
    check(bundle)
    return score(bundle, predictions_url=predictions_url)


def evaluate_with_samples(
    path: Path,
    source: ConformationSource,
    *,
    task: Task,
    split: Split | None,
    part: str | None,
    bootstrap_seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> tuple[Results, Sampler]:
    """Score a predictions file, and keep what pages show of it.

    Args:
        path: The file.
        source: The data.
        task: Task of the entry.
        split: The split, or None.
        part: Part of the split.
        bootstrap_seed: Seed of the bootstrap.
        progress: Called with the number of conformations done.

    Raises:
        NablaDFTError: It cannot be scored; see :func:`nabladft.benchmark.evaluation.evaluate`.
    """
    predictions = Predictions(path, most=len(source))
    keys, part = keys_to_score(predictions, source, split, part)
    sampler = Sampler(task, keys, orbitals_of(predictions, source))
    results = evaluate(
        predictions,
        source,
        split=split,
        part=part,
        seed=bootstrap_seed,
        observe=sampler.observe,
        progress=progress,
    )
    return results, sampler


def score_of(results: Results, *, seed: int | None, n_bytes: int, url: str | None = None) -> Score:
    """Turn a results file into what an entry says of it.

    Args:
        results: Of one predictions file.
        seed: Of the training.
        n_bytes: Size of the predictions file.
        url: Where it can be had.
    """
    return Score(
        n_conformations=results.n_conformations,
        n_molecules=results.n_molecules,
        predictions=PredictionsFile(sha256=results.predictions_sha256, n_bytes=n_bytes, url=url),
        metrics=results.metrics,
        part=results.part,
        seed=seed,
        prediction_seconds=results.prediction_seconds,
    )


def scored_entry(entry: Entry, details: Details, scores: tuple[Score, ...]) -> Entry:
    """Complete an entry with what scoring found.

    Args:
        entry: What was written by hand.
        details: With the results of all files, at least one.
        scores: Of the same files.
    """
    first = details.results[0]
    return dataclasses.replace(
        entry,
        scores=scores,
        data=ScoredData(
            dataset=first.dataset,
            data_hash=first.data_hash,
            split=first.split,
            split_hash=first.split_hash,
        ),
        scorer=Scorer(
            version=first.scorer_version,
            bootstrap_seed=int(first.bootstrap["seed"]),
            n_resamples=int(first.bootstrap["n_resamples"]),
            confidence=float(first.bootstrap["confidence"]),
        ),
        details_sha256=sha256_of(format_details(details).encode()),
    )


def write_submission(
    submission: Submission, folder: str | Path, *, keep: bool = False, replace: bool = False
) -> Path:
    """Write a scored entry where the leaderboard keeps it.

    Args:
        submission: What was scored.
        folder: Folder of the leaderboard; ``entries/<task>/`` is made in it.
        keep: Copy the predictions to ``predictions/<task>/<name>/``, so that anyone can score them
            again.
        replace: Replace an entry of the same name that says something else.

    Returns:
        The entry's file.

    Raises:
        EntryError: There is another entry of this name, or a file to be kept is too large.
    """
    folder, entry = Path(folder), submission.entry
    path = folder / "entries" / entry.task / f"{entry.name}.toml"
    content = format_entry(entry).encode()
    if path.exists() and path.read_bytes() != content and not replace:
        old = read_entry(path)
        message = (
            f"{path} exists and is of {', '.join(old.who.authors)}. Choose another name, or "
            "replace it with --replace if it is yours."
        )
        raise EntryError(message)
    if keep:
        _keep(submission, folder / "predictions" / entry.task / entry.name)
    # The entry comes last: it names the details, not the other way round.
    write_atomically(details_path_of(path), format_details(submission.details).encode())
    write_atomically(path, content)
    return path


def _keep(submission: Submission, folder: Path) -> None:
    for file in submission.files:
        if file.n_bytes > LARGEST_KEPT_BYTES:
            message = (
                f"{file.path} has {file.n_bytes:,} bytes; files of at most "
                f"{LARGEST_KEPT_BYTES:,} are kept in the repository. Publish it and give its "
                "address with --predictions-url."
            )
            raise EntryError(message)
    folder.mkdir(parents=True, exist_ok=True)
    for file in submission.files:
        seed = "" if file.seed is None else f"-seed{file.seed}"
        target = folder / f"{file.part}{seed}.h5"
        if not target.exists() or not target.samefile(file.path):
            temporary = target.with_suffix(".part")
            shutil.copyfile(file.path, temporary)
            temporary.replace(target)


def _url_of(url: str | None, file: SubmittedFile, *, n_files: int) -> str | None:
    if url is None:
        return None
    if url.endswith("/"):
        return url + file.path.name
    if n_files > 1:
        message = (
            f"{url} is the address of one file, but {n_files} are submitted. Give the address of "
            "their folder, ending in '/'."
        )
        raise EntryError(message)
    return url


def _counted(progress: Callable[[int, int], object], number: int) -> Callable[[int], object]:
    return lambda done: progress(number, done)
