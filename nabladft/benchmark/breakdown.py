"""A metric told apart by kinds: elements, pairs of elements, pairs of angular degrees."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nabladft.metrics import Terms


class Breakdown:
    """Sums up the terms of each kind while batches stream past.

    Args:
        label: Names a kind for results files.
    """

    def __init__(self, label: Callable[[Any], str]) -> None:
        """Begin with nothing."""
        self._label = label
        self._sums: dict[str, dict[Any, tuple[float, float]]] = defaultdict(dict)

    def add(self, metric: str, found: Mapping[Any, Terms]) -> None:
        """Add the terms of a batch, by kind."""
        sums = self._sums[metric]
        for kind, terms in found.items():
            numerator, weight = sums.get(kind, (0.0, 0.0))
            sums[kind] = (
                numerator + float(np.sum(terms.numerator)),
                weight + float(np.sum(terms.weight)),
            )

    def values(self) -> dict[str, dict[str, float]]:
        """Give the value of each metric by label, in the order of the kinds."""
        return {
            metric: {
                self._label(kind): numerator / weight
                for kind, (numerator, weight) in sorted(sums.items())
                if weight > 0
            }
            for metric, sums in self._sums.items()
        }
