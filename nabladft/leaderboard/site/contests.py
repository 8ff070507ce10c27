"""Who is compared with whom: entries of one task on the same data and the same split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nabladft.benchmark.tasks import Task, tasks
from nabladft.chemistry.units import convert
from nabladft.leaderboard.board import ALL_DATA
from nabladft.leaderboard.site.texts import part_title, unit_symbol
from nabladft.leaderboard.tables import Group, groups_of
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from nabladft.benchmark.tables import Row
    from nabladft.leaderboard.board import Board, ScoredEntry
    from nabladft.leaderboard.entry import ScoredData

#: Letters of names of data sets and splits that are kept in names of files.
_SAFE: Final = re.compile(r"[^a-z0-9]+")
_LONGEST_SLUG: Final = 40


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """An entry and its row of tables.

    Attributes:
        scored: The entry and its details.
        row: Means over seeds.
    """

    scored: ScoredEntry
    row: Row

    @property
    def title(self) -> str:
        """Name in tables."""
        return self.scored.entry.title

    @property
    def slug(self) -> str:
        """Name of its page, without the ending."""
        return f"{self.scored.entry.task}-{self.scored.entry.name}"

    @property
    def page(self) -> str:
        """Path of its page below the root of the site."""
        return f"models/{self.slug}.html"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A metric in the unit of tables.

    Attributes:
        value: The metric.
        low: Lower end of its interval, or None.
        high: Upper end, or None.
        spread: Standard deviation over seeds, or None.
    """

    value: float
    low: float | None
    high: float | None
    spread: float | None


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Entries that may be ranked, ready for pages.

    Attributes:
        group: What is compared.
        data: Data and split, with their hashes.
        contestants: The entries, by name.
        slug: Begins the names of its files.
    """

    group: Group
    data: ScoredData
    contestants: tuple[Contestant, ...]
    slug: str

    @property
    def task(self) -> Task:
        """The task."""
        return self.group.task

    @property
    def data_title(self) -> str:
        """Name of data and split for people."""
        if self.data.split in {None, self.data.dataset}:
            return self.data.dataset
        return f"{self.data.dataset}, split {self.data.split}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that somebody was scored on: those of the task first, in its order."""
        found = {part for one in self.contestants for part in one.row.results}
        known = [part for part in (*self.task.parts, ALL_DATA) if part in found]
        return (*known, *sorted(found - set(known)))

    def page(self, part: str) -> str:
        """Give the path of the page of a part below the root of the site."""
        return f"boards/{self.slug}-{slug_of(part)}.html"

    @property
    def hardest_part(self) -> str:
        """The last part of the task, the furthest from training."""
        known = [part for part in self.task.parts if part in self.parts]
        return known[-1] if known else self.parts[-1]

    def in_part(self, part: str) -> tuple[Contestant, ...]:
        """List those scored on a part, the best by the first headline first."""
        metric = self.task.headlines[0]
        sign = -1 if METRICS[metric].better == "higher" else 1
        inside = [one for one in self.contestants if part in one.row.results]

        def order(one: Contestant) -> tuple[bool, float, str]:
            found = self.value(one, metric, part)
            return (found is None, sign * found.value if found else 0.0, one.slug)

        return tuple(sorted(inside, key=order))

    def label(self, one: Contestant) -> str:
        """Name an entry so that no other has this name: the title, and more where it is taken."""
        if [other.title for other in self.contestants].count(one.title) == 1:
            return one.title
        return f"{one.title} ({one.scored.entry.name})"

    def value(self, one: Contestant, metric: str, part: str) -> Value | None:
        """Give a metric in the unit of tables, or None when there is no such number."""
        found = one.row.estimate(metric, part)
        if found is None or found.value is None:
            return None
        low, high, spread = (
            None if number is None else self.converted(metric, number)
            for number in (found.ci_low, found.ci_high, one.row.spread(metric, part))
        )
        return Value(value=self.converted(metric, found.value), low=low, high=high, spread=spread)

    def converted(self, metric: str, value: float) -> float:
        """Bring a value of a results file to the unit of tables."""
        return convert(value, source=METRICS[metric].unit, target=self.task.units[metric])

    def unit(self, metric: str) -> str:
        """Give the symbol of the unit of tables."""
        return unit_symbol(self.task.units[metric])

    def best(self, metric: str, part: str) -> Contestant | None:
        """Find who leads, or None where there is nothing to win."""
        better = better_of(metric)
        scored = [
            (found.value, k)
            for k, one in enumerate(self.contestants)
            if (found := self.value(one, metric, part)) is not None
        ]
        if better is None or len(scored) <= 1:
            return None
        choose = min if better == "lower" else max
        return self.contestants[choose(scored)[1]]

    @property
    def dummy(self) -> Contestant | None:
        """The entry that learns nothing, by whose error others are divided, if there is one."""
        return next((one for one in self.contestants if one.scored is self.group.dummy), None)

    def against_dummy(self, one: Contestant, metric: str, part: str) -> float | None:
        """Divide an error by that of the model that learns nothing; see :class:`Group`."""
        return self.group.over_dummy(one.scored, metric, part)

    def ranked(self) -> tuple[Contestant, ...]:
        """Order all by the first headline over all parts, the best first."""
        places = {
            id(scored): k for k, scored in enumerate(self.group.ranked(self.task.headlines[0]))
        }
        return tuple(sorted(self.contestants, key=lambda one: places[id(one.scored)]))

    def rank_ranges(self, metric: str, part: str) -> dict[str, tuple[int, int]]:
        """Give the ranks that intervals leave open, by slug: the best and the worst.

        A model is surely better than another when their intervals do not overlap. This is
        careful: both are scored on the same molecules, so a difference can be real before that.
        """
        sign = -1 if better_of(metric) == "higher" else 1
        ends: dict[str, tuple[float, float]] = {}
        for one in self.contestants:
            found = self.value(one, metric, part)
            if found is not None:
                low = found.value if found.low is None else found.low
                high = found.value if found.high is None else found.high
                ends[one.slug] = min(sign * low, sign * high), max(sign * low, sign * high)
        return {
            slug: (
                1 + sum(high < mine[0] for high in (other[1] for other in ends.values())),
                len(ends) - sum(low > mine[1] for low in (other[0] for other in ends.values())),
            )
            for slug, mine in ends.items()
        }


def better_of(metric: str) -> Literal["lower", "higher"] | None:
    """Say which way is better, None where neither is."""
    better = METRICS[metric].better
    return None if better == "neither" else better


def contests_of(board: Board) -> tuple[Contest, ...]:
    """Group the entries, in the order of the tasks."""
    order = list(tasks())
    taken: set[str] = set()
    contests = []
    for group in sorted(groups_of(board), key=lambda group: order.index(group.task.name)):
        members = sorted(group.entries, key=lambda scored: scored.entry.name)
        data = members[0].entry.data
        assert data is not None
        contests.append(
            Contest(
                group=group,
                data=data,
                contestants=tuple(Contestant(scored=one, row=one.row()) for one in members),
                slug=_free_slug(group.task.name, data, taken),
            )
        )
    return tuple(contests)


def slug_of(text: str) -> str:
    """Make a part of a file name of any text.

    Example:
        >>> slug_of("Train <2k>/../x"), slug_of("???")
        ('train-2k-x', 'x')
    """
    return _SAFE.sub("-", text.lower()).strip("-")[:_LONGEST_SLUG].rstrip("-") or "x"


def contest_title(contest: Contest, part: str) -> str:
    """Name a contest and a part for people."""
    return f"{contest.task.title}: {part_title(part)} of {contest.data_title}"


def _free_slug(task: str, data: ScoredData, taken: set[str]) -> str:
    """Name a contest by its data and split, with the hash where others have these names."""
    names = [data.dataset] if data.split in {None, data.dataset} else [data.dataset, data.split]
    slug = "-".join([task, *(slug_of(name) for name in names if name)])
    if slug in taken:
        slug = f"{slug}-{data.data_hash[:8]}-{(data.split_hash or 'all')[:8]}"
    taken.add(slug)
    return slug
