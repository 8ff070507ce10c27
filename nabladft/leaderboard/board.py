"""The leaderboard as a folder: entries that we scored, and published rows beside them.

The folder::

    entries/<task>/<name>.toml            what people read, see nabladft.leaderboard.entry
    entries/<task>/<name>.details.json    what pages show, see nabladft.leaderboard.details
    predictions/                          predictions files small enough to be kept here
    published/                            what papers say, see nabladft.leaderboard.published
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nabladft.benchmark.tables import Row
from nabladft.errors import EntryError
from nabladft.leaderboard.details import Details, parse_details, read_limited, sha256_of
from nabladft.leaderboard.entry import Entry, read_entry
from nabladft.leaderboard.published import PublishedRow, read_published
from nabladft.resources import resource_folder

if TYPE_CHECKING:
    from nabladft.benchmark.results import Results

#: Key of the results of an entry that was scored on all data, without a split.
ALL_DATA = "all"


@dataclass(frozen=True, kw_only=True)
class ScoredEntry:
    """An entry with its details.

    Attributes:
        entry: What people read; scored.
        details: What pages show.
        path: The TOML file.
    """

    entry: Entry
    details: Details
    path: Path

    @property
    def data_key(self) -> tuple[str, str, str | None]:
        """Task and hashes of data and split: only entries with the same are compared."""
        assert self.entry.data is not None
        return (self.entry.task, self.entry.data.data_hash, self.entry.data.split_hash)

    def results_of_seeds(self) -> tuple[dict[str, Results], ...]:
        """Give the results by part, of each seed in the order of the entry."""
        found: dict[int | None, dict[str, Results]] = {}
        for score, results in zip(self.entry.scores, self.details.results, strict=True):
            found.setdefault(score.seed, {})[score.part or ALL_DATA] = results
        return tuple(found.values())

    def row(self) -> Row:
        """Make the row of tables: means over seeds, intervals, costs."""
        first, *others = self.results_of_seeds()
        training = self.entry.training
        return Row(
            name=self.entry.title,
            task=self.entry.task,
            is_learned=bool(training.data),
            results=first,
            repeats=tuple(others),
            run_folder=self.entry.name,
            minutes=60 * training.hours,
            n_parameters=self.entry.model.n_parameters,
        )


@dataclass(frozen=True, kw_only=True)
class Board:
    """All of the leaderboard.

    Attributes:
        entries: Rows that we scored, by task and name.
        published: Rows of papers; shown beside ours, never ranked with them.
    """

    entries: tuple[ScoredEntry, ...]
    published: tuple[PublishedRow, ...] = ()


def board_folder() -> Path:
    """Find the leaderboard that comes with the package.

    Raises:
        InputError: It is not there; the installation is damaged.
    """
    return resource_folder("leaderboard")


def entry_paths(folder: str | Path) -> list[Path]:
    """List the entries of a leaderboard, by task and name."""
    return sorted(Path(folder).glob("entries/*/*.toml"))


def read_board(folder: str | Path) -> Board:
    """Read a leaderboard.

    Raises:
        EntryError: An entry, or its details, are not what they have to be; see
            :func:`read_scored_entry`.
    """
    folder = Path(folder)
    published = folder / "published"
    return Board(
        entries=tuple(read_scored_entry(path) for path in entry_paths(folder)),
        published=read_published(published) if published.is_dir() else (),
    )


def read_scored_entry(path: str | Path) -> ScoredEntry:
    """Read an entry and its details, and check that they belong together.

    Raises:
        EntryError: One of them is against its schema, the entry is not scored, lies under another
            name or task than it says, or the details are not those that it names.
    """
    path = Path(path)
    entry = read_entry(path)
    if entry.data is None or entry.details_sha256 is None:
        message = f"{path.name} is not scored. `nabladft submit` scores it."
        raise EntryError(message)
    if (path.parent.name, path.stem) != (entry.task, entry.name):
        message = (
            f"{path} holds entry {entry.name!r} of task {entry.task!r}: it belongs in "
            f"{entry.task}/{entry.name}.toml."
        )
        raise EntryError(message)
    details_path = details_path_of(path)
    content = read_limited(details_path)
    found = sha256_of(content)
    if found != entry.details_sha256:
        message = (
            f"{details_path.name} has sha256 {found[:12]}..., but {path.name} names "
            f"{entry.details_sha256[:12]}...; `nabladft submit` writes both together."
        )
        raise EntryError(message)
    details = parse_details(content, where=details_path.name)
    if (details.name, details.task) != (entry.name, entry.task):
        message = f"{details_path.name} is of entry {details.name!r}, task {details.task!r}."
        raise EntryError(message)
    if len(details.results) != len(entry.scores):
        message = (
            f"{details_path.name} has {len(details.results)} results, {path.name} "
            f"{len(entry.scores)} scores."
        )
        raise EntryError(message)
    return ScoredEntry(entry=entry, details=details, path=path)


def details_path_of(path: Path) -> Path:
    """Give the file of details that belongs to an entry."""
    return path.with_name(f"{path.stem}.details.json")
