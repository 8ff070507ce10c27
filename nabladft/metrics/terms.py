"""A metric as a ratio of sums over conformations, and its bootstrap interval over molecules.

Every metric here is ``sum_k numerator_k / sum_k weight_k`` over conformations k. So it does not
depend on how the records are ordered or split into batches, and a resample of molecules is a
resample of two columns of numbers.

Example:
    >>> terms = Terms(numerator=np.array([1.0, 2.0, 6.0]), weight=np.array([1.0, 1.0, 2.0]))
    >>> terms.value
    2.25
    >>> estimate({"error": terms}, molecule_id=np.array([7, 7, 8]))["error"].n_molecules
    2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

N_RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95

#: Numbers of one block of resamples, so that memory does not grow with the data.
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What each conformation adds to a metric.

    Attributes:
        numerator: Shape (n,), in the unit of the metric times that of the weight.
        weight: Shape (n,), not negative. A conformation for which the metric is not defined (a
            relative energy of a molecule with one conformation) has weight 0.
    """

    numerator: FloatArray
    weight: FloatArray

    @property
    def value(self) -> float | None:
        """The metric, ``sum numerator / sum weight``; None when no conformation has a weight."""
        total = float(self.weight.sum())
        return float(self.numerator.sum()) / total if total > 0 else None

    def take(self, which: NDArray[Any]) -> Terms:
        """Keep some conformations, by index or mask."""
        return Terms(numerator=self.numerator[which], weight=self.weight[which])

    @staticmethod
    def join(pieces: Sequence[Terms]) -> Terms:
        """Put batches together."""
        return Terms(
            numerator=np.concatenate([piece.numerator for piece in pieces]),
            weight=np.concatenate([piece.weight for piece in pieces]),
        )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric with its uncertainty from the choice of molecules.

    Attributes:
        value: The metric, or None when it is defined for no conformation.
        ci_low: Lower end of the 95 % interval, or None with fewer than two molecules.
        ci_high: Upper end.
        n_conformations: Conformations that count, those with a weight.
        n_molecules: Molecules that count.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n_conformations: int
    n_molecules: int


def estimate(
    terms: Mapping[str, Terms],
    *,
    molecule_id: IntArray,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> dict[str, Estimate]:
    """Give metrics with their bootstrap intervals over molecules.

    Conformations of one molecule err together, so molecules, not conformations, are drawn with
    replacement, as many as there are; each resample gives one value of each metric, and the
    interval is between the percentiles (1 - confidence) / 2 and (1 + confidence) / 2 of them. Equal
    seeds and molecules draw equal resamples, so all metrics and all models are of the same draws.

    Args:
        terms: Metrics by name, each over the same n conformations.
        molecule_id: Shape (n,).
        seed: Seed of the resamples.
        n_resamples: Number of resamples.
        confidence: Share of the resamples inside the interval.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), sections 8 and 13 (clusters
        as units, percentile interval).
    """
    molecules, owner = np.unique(molecule_id, return_inverse=True)
    sums = np.zeros((len(molecules), 2, len(terms)))
    for column, term in enumerate(terms.values()):
        np.add.at(sums[:, 0, column], owner, term.numerator)
        np.add.at(sums[:, 1, column], owner, term.weight)
    values = _resampled(sums, np.random.default_rng(seed), n_resamples)
    tail = 50 * (1 - confidence)
    found = {}
    for column, (name, term) in enumerate(terms.items()):
        n_molecules = int((sums[:, 1, column] > 0).sum())
        ends: list[float | None] = [None, None]
        if n_molecules > 1:
            ends = np.nanpercentile(values[:, column], [tail, 100 - tail]).tolist()
        found[name] = Estimate(
            value=term.value,
            ci_low=ends[0],
            ci_high=ends[1],
            n_conformations=int((term.weight > 0).sum()),
            n_molecules=n_molecules,
        )
    return found


def _resampled(sums: FloatArray, rng: np.random.Generator, n_resamples: int) -> FloatArray:
    """Draw molecules with replacement, some resamples at a time.

    Args:
        sums: Numerator and weight of each molecule and metric, shape (n_molecules, 2, n_metrics).
        rng: Where the draws come from.
        n_resamples: Number of resamples.

    Returns:
        Shape (n_resamples, n_metrics); NaN where all molecules drawn have weight 0.
    """
    n, _, n_metrics = sums.shape
    flat = sums.reshape(n, -1)
    step = max(1, _BLOCK // max(n, 1))
    values = np.empty((n_resamples, n_metrics))
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        numerator, weight = (counts.astype(float) @ flat).reshape(size, 2, n_metrics).swapaxes(0, 1)
        ratio = np.full_like(numerator, np.nan)
        values[start : start + size] = np.divide(numerator, weight, out=ratio, where=weight > 0)
    return values
