"""Compute the leaderboard again: every row whose predictions are at hand, and say which are not.

An entry is checked in two steps. What it says must agree with itself: schema, names, hashes, and
every number of the entry with the details. And where a predictions file with the hash of a score
is found, and the data can be opened, the score is computed again and compared to the last digit.
Libraries of other processors add numbers in another order, so a difference of round-off is told
apart from a difference.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import nabladft
from nabladft.benchmark.evaluation import file_sha256
from nabladft.benchmark.results import SCORER_VERSION
from nabladft.benchmark.tasks import task_named
from nabladft.errors import EntryError, NablaDFTError
from nabladft.leaderboard.at_hand import open_named, split_named
from nabladft.leaderboard.board import details_path_of, entry_paths, read_scored_entry
from nabladft.leaderboard.comparison import Difference, differences_between, is_round_off
from nabladft.leaderboard.published import read_published
from nabladft.leaderboard.submission import evaluate_with_samples, score_of, scored_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nabladft.benchmark.results import Results
    from nabladft.leaderboard.board import ScoredEntry
    from nabladft.leaderboard.entry import Score, ScoredData
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

Status = Literal["recomputed", "round-off", "claimed", "wrong"]


@dataclass(frozen=True, kw_only=True)
class RowReport:
    """What is known of one score.

    Attributes:
        entry: Name of the entry.
        task: Name of the task.
        part: Part of the split, or None.
        seed: Of the training, or None.
        status: "recomputed" to the last digit; "round-off" when it differs no more than that;
            "claimed" when it could not be computed again; "wrong".
        text: Why it could not be computed, or what is different.
    """

    entry: str
    task: str
    part: str | None
    seed: int | None
    status: Status
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What is known of a leaderboard.

    Attributes:
        rows: Scores of entries that could be read.
        problems: What is wrong with files: each names the file and what was expected.
        n_published: Published numbers; all of them are claims of their papers.
    """

    rows: tuple[RowReport, ...]
    problems: tuple[str, ...]
    n_published: int

    def count(self, status: Status) -> int:
        """Count the scores of a status."""
        return sum(row.status == status for row in self.rows)

    def is_sound(self, *, exact: bool = False) -> bool:
        """Tell whether nothing is wrong.

        Args:
            exact: Take a difference of round-off for one.
        """
        wrong = self.count("wrong") + (self.count("round-off") if exact else 0)
        return not wrong and not self.problems


def verify_board(
    folder: str | Path,
    *,
    predictions: Sequence[str | Path] = (),
    data: Sequence[str] = (),
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Verify a leaderboard.

    Args:
        folder: The leaderboard.
        predictions: Folders with predictions files, beside ``predictions/`` of the leaderboard.
            What a file is called does not matter: it is found by its hash.
        data: Names or paths of data, beside those that can be opened by the name in the entries.
        progress: Called with the number of scores done and of all.
    """
    folder = Path(folder)
    entries, problems = [], [*_strays(folder)]
    for path in entry_paths(folder):
        try:
            entries.append(read_scored_entry(path))
        except NablaDFTError as error:
            problems.append(_told(error, path.name))
    n_published = 0
    if (folder / "published").is_dir():
        try:
            n_published = len(read_published(folder / "published"))
        except NablaDFTError as error:
            problems.append(_told(error, "published"))
    scores = [score for entry in entries for score in entry.entry.scores]
    shelf = _Shelf(
        files=_files_by_hash([folder / "predictions", *map(Path, predictions)], scores),
        given=tuple(map(nabladft.open, data)),
    )
    rows: list[RowReport] = []
    for entry in entries:
        try:
            check_consistency(entry)
        except EntryError as error:
            problems.append(_told(error, entry.path.name))
            continue
        for number in range(len(entry.entry.scores)):
            rows.append(_verify_score(entry, number, shelf))
            if progress is not None:
                progress(len(rows), len(scores))
    return Verification(rows=tuple(rows), problems=tuple(problems), n_published=n_published)


def check_consistency(scored: ScoredEntry) -> None:
    """Compare every number of an entry with its details.

    Raises:
        EntryError: They differ: the entry was changed by hand.
    """
    entry, details = scored.entry, scored.details
    for score, results in zip(entry.scores, details.results, strict=True):
        file = score.predictions
        expected = score_of(results, seed=score.seed, n_bytes=file.n_bytes, url=file.url)
        differences = list(differences_between(expected, score, "score"))
        if differences:
            message = (
                f"{_named(score)}: {differences[0].place} is {differences[0].found} in the entry "
                f"and {differences[0].expected} in the details."
            )
            raise EntryError(message)
    expected_entry = scored_entry(entry, details, entry.scores)
    # The hash is of the file's bytes, which read_scored_entry compared.
    expected_entry = dataclasses.replace(expected_entry, details_sha256=entry.details_sha256)
    for results in details.results:
        same = (results.data_hash, results.split_hash, results.scorer_version, results.bootstrap)
        first = details.results[0]
        if same != (first.data_hash, first.split_hash, first.scorer_version, first.bootstrap):
            message = "its scores are of different data, splits or scorers."
            raise EntryError(message)
    for difference in differences_between(expected_entry, entry, "entry"):
        message = (
            f"{difference.place} is {difference.found} in the entry and {difference.expected} in "
            "the details."
        )
        raise EntryError(message)
    cells = [(score.part, score.seed) for score in entry.scores]
    if len(set(cells)) < len(cells):
        message = "it has two scores of one part and seed."
        raise EntryError(message)
    shown = {(one.part, one.seed) for one in details.parity}
    shown |= {(one.part, one.seed) for one in details.worst}
    if not shown <= set(cells):
        message = "its details show parts or seeds that it has no score of."
        raise EntryError(message)


@dataclass(kw_only=True)
class _Shelf:
    """What is at hand to compute with."""

    files: dict[str, Path]
    given: tuple[ConformationSource, ...] = ()
    _sources: dict[str, ConformationSource | None] = field(default_factory=dict)
    _splits: dict[str, Split | None] = field(default_factory=dict)

    def source(self, name: str, data_hash: str) -> ConformationSource | None:
        """Open data with a hash; None when they are not at hand."""
        for source in self.given:
            if source.data_hash == data_hash:
                return source
        if name not in self._sources:
            try:
                self._sources[name] = open_named(name)
            except (NablaDFTError, OSError):
                self._sources[name] = None
        return self._sources[name]

    def split(self, name: str) -> Split | None:
        """Read a split by name; None when it is not at hand."""
        if name not in self._splits:
            try:
                self._splits[name] = split_named(name)
            except (NablaDFTError, OSError):
                self._splits[name] = None
        return self._splits[name]


def _verify_score(scored: ScoredEntry, number: int, shelf: _Shelf) -> RowReport:
    score = scored.entry.scores[number]
    try:
        status, text = _recompute(scored, number, shelf)
    except NablaDFTError as error:
        status, text = "wrong", _told(error, "the predictions are refused")
    return RowReport(
        entry=scored.entry.name,
        task=scored.entry.task,
        part=score.part,
        seed=score.seed,
        status=status,
        text=text,
    )


def _recompute(scored: ScoredEntry, number: int, shelf: _Shelf) -> tuple[Status, str]:
    data, score = scored.entry.data, scored.entry.scores[number]
    assert data is not None
    source = shelf.source(data.dataset, data.data_hash)
    split = shelf.split(data.split) if data.split else None
    recorded = scored.details.results[number]
    changed = _what_changed(data, recorded, source, split)
    if changed:
        return "wrong", f"{changed}; submit it again"
    path = shelf.files.get(score.predictions.sha256)
    absent = _what_is_absent(data, score, source, split, path)
    if source is None or path is None or absent:
        return "claimed", absent
    found, sampler = evaluate_with_samples(
        path,
        source,
        task=task_named(scored.entry.task),
        split=split,
        part=score.part,
        bootstrap_seed=int(recorded.bootstrap["seed"]),
    )
    # Which version of the package it was does not matter as long as the metrics are the same.
    found = dataclasses.replace(found, scorer_version=recorded.scorer_version)
    differences = list(differences_between(found, recorded, "results"))
    if score.seed == scored.entry.scores[0].seed:
        where = {"part": score.part, "seed": score.seed}
        for name, computed in (
            ("parity", sampler.parity(part=score.part, seed=score.seed)),
            ("worst", sampler.worst(source, part=score.part, seed=score.seed)),
        ):
            shown = tuple(
                one
                for one in getattr(scored.details, name)
                if {"part": one.part, "seed": one.seed} == where
            )
            differences += differences_between(computed, shown, name)
    return _judged(differences)


def _what_changed(
    data: ScoredData, recorded: Results, source: ConformationSource | None, split: Split | None
) -> str:
    """Tell what is not what it was when the entry was scored, or nothing."""
    if source is not None and source.data_hash != data.data_hash:
        return (
            f"it was scored on data {data.dataset!r} with hash {data.data_hash[:12]}, but those "
            f"here have {source.data_hash[:12]}"
        )
    if split is not None and split.sha256 != data.split_hash:
        return (
            f"it was scored on split {data.split!r} with hash {str(data.split_hash)[:12]}, but "
            f"that here has {split.sha256[:12]}"
        )
    if not recorded.scorer_version.endswith(f"metrics {SCORER_VERSION}"):
        return (
            f"it was scored by {recorded.scorer_version!r}, but the metrics here are of version "
            f"{SCORER_VERSION}"
        )
    return ""


def _what_is_absent(
    data: ScoredData,
    score: Score,
    source: ConformationSource | None,
    split: Split | None,
    path: Path | None,
) -> str:
    """Tell what is not at hand to compute with, or nothing."""
    if source is None:
        return f"the data {data.dataset!r} are not at hand"
    if data.split and split is None:
        return f"the split {data.split!r} is not at hand"
    if path is None:
        url = score.predictions.url
        return f"its predictions are {f'at {url}' if url else 'not published'}"
    return ""


def _judged(differences: Sequence[Difference]) -> tuple[Status, str]:
    if not differences:
        return "recomputed", ""
    real = [one for one in differences if not is_round_off(one)]
    if not real:
        return "round-off", f"{len(differences)} numbers differ in the last digits"
    first = real[0]
    more = f", and {len(real) - 1} more differ" if len(real) > 1 else ""
    return "wrong", f"{first.place} is {first.found}, computed again {first.expected}{more}"


def _files_by_hash(folders: Iterable[Path], scores: Sequence[Score]) -> dict[str, Path]:
    """Find the predictions of scores; only files of the right size are hashed."""
    sizes = {score.predictions.n_bytes for score in scores}
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if path.is_file() and path.stat().st_size in sizes:
                found.setdefault(file_sha256(path), path)
    return found


def _strays(folder: Path) -> Iterator[str]:
    """Name files of ``entries/`` that belong to no entry."""
    paths = entry_paths(folder)
    expected = {*paths, *map(details_path_of, paths)}
    for path in sorted((folder / "entries").rglob("*")):
        if path.is_file() and path not in expected:
            yield f"{path.relative_to(folder)} belongs to no entry; remove it"


def _named(score: Score) -> str:
    seed = "" if score.seed is None else f", seed {score.seed}"
    return f"part {score.part}{seed}"


def _told(error: Exception, place: str) -> str:
    notes = getattr(error, "__notes__", [])
    return " ".join([f"{place}: {error}", *notes])
