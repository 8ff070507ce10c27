"""Which bytes of a file are there, and in which parts to fetch the others. Arithmetic only.

Example:
    >>> done = Ranges([(0, 40), (60, 70)])
    >>> list(plan_parts(done.gaps(100), part_bytes=32))
    [(40, 60), (70, 96), (96, 100)]
    >>> done.add(40, 60)
    >>> done.prefix, done.total, list(done)
    (70, 70, [(0, 70)])
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SMALLEST_PART: Final = 1 << 20
LARGEST_PART: Final = 64 << 20


class Ranges:
    """A set of byte positions, kept as few half-open intervals."""

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        """Start with these intervals."""
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in intervals:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Add positions ``start`` to ``stop``; some may be there already."""
        if stop <= start:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Go through the intervals, ascending."""
        return zip(list(self._starts), list(self._stops), strict=True)

    @property
    def prefix(self) -> int:
        """How many bytes are there without a gap from the start."""
        return self._stops[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def total(self) -> int:
        """How many bytes are there."""
        return sum(self._stops) - sum(self._starts)

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """Go through the intervals below ``size`` that are not there, ascending."""
        position = 0
        for start, stop in self:
            if start >= size:
                break
            if start > position:
                yield position, start
            position = stop
        if position < size:
            yield position, size


def plan_parts(gaps: Iterable[tuple[int, int]], *, part_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut gaps at the multiples of ``part_bytes``, so that parts of all runs fit together."""
    for start, stop in gaps:
        position = start
        while position < stop:
            end = min(stop, (position // part_bytes + 1) * part_bytes)
            yield position, end
            position = end


def part_bytes_for(size: int, *, connections: int) -> int:
    """Choose the size of a part: what a power cut may cost, and what one disk sync confirms.

    Eight parts for each connection keep all of them busy to the end; below a mebibyte requests
    cost more than they give, and 64 MiB are enough for any speed.

    Example:
        >>> part_bytes_for(15_118_426_112, connections=8), part_bytes_for(50_000, connections=8)
        (67108864, 1048576)
    """
    share = size // (8 * connections)
    whole = share >> 20 << 20
    return max(SMALLEST_PART, min(LARGEST_PART, whole))
