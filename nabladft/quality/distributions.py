"""Distributions of numbers that pass by once: bounded memory, whatever their number and range.

Example:
    >>> ages = Distribution("age", "1")
    >>> ages.add(np.array([3.0, 1.0, 2.0]))
    >>> ages.add(np.array([40.0]))
    >>> ages.n, ages.mean, ages.largest
    (4, 11.5, 40.0)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

#: Bins of a histogram; quantiles are good to one of them.
_BINS: Final = 4096

#: Molecules whose counts wait before they are merged with those known.
_WAITING: Final = 1_000_000


class Distribution:
    """Count, moments, extremes and a histogram whose range grows as needed.

    Attributes:
        name: What is distributed.
        unit: Its unit.
        n: How many numbers there were.
        smallest: Of them; infinity before the first.
        largest: Of them; minus infinity before the first.
        are_whole: Whether all of them are whole numbers.
    """

    def __init__(self, name: str, unit: str) -> None:
        """Begin empty."""
        self.name = name
        self.unit = unit
        self.n = 0
        self.smallest = math.inf
        self.largest = -math.inf
        self._mean = 0.0
        self._squares = 0.0
        self._low = 0.0
        self._width = 0.0
        self._counts: IntArray = np.zeros(_BINS, dtype=np.int64)
        self.are_whole = True

    def add(self, values: NDArray[Any]) -> None:
        """Take numbers, all finite."""
        values = np.asarray(values, dtype=np.float64).ravel()
        if not len(values):
            return
        n, mean = len(values), float(values.mean())
        total = self.n + n
        shift = mean - self._mean
        self._squares += float(((values - mean) ** 2).sum()) + shift**2 * self.n * n / total
        self._mean += shift * n / total
        self.n = total
        self.smallest = min(self.smallest, float(values.min()))
        self.largest = max(self.largest, float(values.max()))
        self.are_whole = self.are_whole and bool((values == np.rint(values)).all())
        self._cover()
        places = ((values - self._low) / self._width).astype(np.int64)
        self._counts += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)

    @property
    def mean(self) -> float:
        """Arithmetic mean; NaN before the first number."""
        return self._mean if self.n else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation; NaN before the first number."""
        return math.sqrt(self._squares / self.n) if self.n else math.nan

    def quantile(self, share: float) -> float:
        """Give the number below which a share of all lies, to within one bin."""
        if not self.n:
            return math.nan
        reached = np.cumsum(self._counts)
        place = int(np.searchsorted(reached, share * self.n))
        before = int(reached[place - 1]) if place else 0
        inside = (share * self.n - before) / max(int(self._counts[place]), 1)
        value = self._low + (place + inside) * self._width
        value = min(max(value, self.smallest), self.largest)
        return float(round(value)) if self.are_whole else value

    def histogram(self, n_bins: int = 64) -> tuple[FloatArray, IntArray]:
        """Give bin edges (n_bins + 1,) and counts (n_bins,) between the extremes.

        Whole numbers get bins of whole width around them, so the number of bins may be smaller.
        """
        low, high = self.smallest, self.largest
        if self.are_whole:
            step = max(1, math.ceil((high - low + 1) / n_bins))
            n_bins = math.ceil((high - low + 1) / step)
            low, high = low - 0.5, low - 0.5 + n_bins * step
        edges = np.linspace(low, high, n_bins + 1)
        centres = self._low + (np.arange(_BINS) + 0.5) * self._width
        places = np.clip(np.searchsorted(edges, centres, side="right") - 1, 0, n_bins - 1)
        return edges, np.bincount(places, weights=self._counts, minlength=n_bins).astype(np.int64)

    def summary(self) -> dict[str, Any]:
        """Describe as JSON can hold it."""
        if not self.n:
            return {"unit": self.unit, "n": 0}
        quantiles = {f"{share:g}": self.quantile(share) for share in (0.01, 0.05, 0.5, 0.95, 0.99)}
        return {
            "unit": self.unit,
            "n": self.n,
            "smallest": self.smallest,
            "largest": self.largest,
            "mean": self.mean,
            "standard_deviation": self.deviation,
            "quantiles": quantiles,
        }

    def _cover(self) -> None:
        """Widen the range, by doubling bins, until it holds the extremes."""
        if self._width == 0.0:
            spread = self.largest - self.smallest
            self._width = (spread or max(abs(self.smallest), 1.0) * 1e-6) / (_BINS - 2)
            self._low = self.smallest
        while self.smallest < self._low or self.largest >= self._low + _BINS * self._width:
            paired = self._counts.reshape(-1, 2).sum(axis=1)
            empty = np.zeros(_BINS // 2, dtype=np.int64)
            if self.smallest < self._low:
                self._low -= _BINS * self._width
                self._counts = np.concatenate([empty, paired])
            else:
                self._counts = np.concatenate([paired, empty])
            self._width *= 2.0


class MoleculeCounter:
    """How many conformations each molecule has: 16 bytes a molecule."""

    def __init__(self) -> None:
        """Begin empty."""
        self._ids: IntArray = np.zeros(0, dtype=np.int64)
        self._counts: IntArray = np.zeros(0, dtype=np.int64)
        self._waiting: list[IntArray] = []
        self._n_waiting = 0

    def add(self, molecule_ids: IntArray) -> None:
        """Take the molecules of some conformations."""
        self._waiting.append(np.array(molecule_ids, dtype=np.int64))
        self._n_waiting += len(molecule_ids)
        if self._n_waiting >= _WAITING:
            self.counts()

    def counts(self) -> IntArray:
        """Give the number of conformations of each molecule."""
        ids = np.concatenate([self._ids, *self._waiting])
        ones = np.ones(self._n_waiting, dtype=np.int64)
        weights = np.concatenate([self._counts, ones])
        self._ids, place = np.unique(ids, return_inverse=True)
        self._counts = np.bincount(place, weights=weights).astype(np.int64)
        self._waiting, self._n_waiting = [], 0
        return self._counts
