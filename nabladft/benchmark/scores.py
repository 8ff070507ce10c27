"""From batches of predictions and labels to the terms of all metrics."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from nabladft.benchmark.breakdown import Breakdown
from nabladft.benchmark.matrix_scores import HamiltonianScores, Orbitals, OverlapScores
from nabladft.chemistry.elements import symbol_of
from nabladft.metrics import (
    METRICS,
    Terms,
    energy_mae,
    energy_mae_per_atom,
    forces_cosine,
    forces_mae,
    forces_mae_by_element,
    relative_energy_mae,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.predictions import PredictedRecords
    from nabladft.storage.source import FlatRecords

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]


class Scores:
    """What is kept of each conformation while batches stream past.

    Args:
        fields: Quantities that are predicted.
        orbitals: Needed when a matrix is among them.
    """

    def __init__(self, fields: Sequence[str], *, orbitals: Orbitals | None) -> None:
        """Begin with nothing."""
        self._fields = tuple(fields)
        self._n_atoms: list[IntArray] = []
        self._energies: list[tuple[FloatArray, FloatArray]] = []
        self._terms: dict[str, list[Terms]] = defaultdict(list)
        self._by_element = Breakdown(symbol_of)
        self._hamiltonians: HamiltonianScores | None = None
        self._overlaps: OverlapScores | None = None
        if orbitals is not None and "hamiltonian" in self._fields:
            self._hamiltonians = HamiltonianScores(orbitals)
        if orbitals is not None and "overlap" in self._fields:
            self._overlaps = OverlapScores(orbitals)

    def add(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        """Take in one batch: the same conformations in the same order, with the same atoms."""
        self._n_atoms.append(np.diff(reference.atom_offsets))
        if "energy" in self._fields:
            self._energies.append((predicted.values["energy"], reference.values["energy"]))
        if "forces" in self._fields:
            self._add_forces(predicted, reference)
        for scores in (self._hamiltonians, self._overlaps):
            if scores is not None:
                scores.add(predicted, reference)

    def terms(self, *, molecule_id: IntArray) -> dict[str, Terms]:
        """Give all metrics, in the order of :data:`METRICS`."""
        found = {name: Terms.join(pieces) for name, pieces in self._terms.items()}
        if self._energies:
            predicted = np.concatenate([pair[0] for pair in self._energies])
            reference = np.concatenate([pair[1] for pair in self._energies])
            pair = {"predicted": predicted, "reference": reference}
            found["energy_mae"] = energy_mae(**pair)
            found["energy_mae_per_atom"] = energy_mae_per_atom(**pair, n_atoms=self.sizes())
            found["relative_energy_mae"] = relative_energy_mae(**pair, molecule_id=molecule_id)
        for scores in (self._hamiltonians, self._overlaps):
            if scores is not None:
                found |= scores.terms()
        return {name: found[name] for name in METRICS if name in found}

    def sizes(self) -> IntArray:
        """Give the number of atoms of each conformation, shape (n,)."""
        return np.concatenate(self._n_atoms)

    def by_element(self) -> dict[str, dict[str, float]]:
        """Give the metrics that can be told by element."""
        found = self._by_element.values()
        return (
            found if self._hamiltonians is None else found | self._hamiltonians.by_element.values()
        )

    def by_element_pair(self) -> dict[str, dict[str, float]]:
        """Give the metrics that can be told by pair of elements."""
        return {} if self._hamiltonians is None else self._hamiltonians.by_element_pair.values()

    def by_degrees(self) -> dict[str, dict[str, float]]:
        """Give the metrics that can be told by the angular degrees of two orbitals."""
        return {} if self._hamiltonians is None else self._hamiltonians.by_degrees.values()

    def _add_forces(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        pair = {
            "predicted": predicted.values["forces"],
            "reference": reference.values["forces"],
            "atom_offsets": reference.atom_offsets,
        }
        self._terms["forces_mae"].append(forces_mae(**pair))
        self._terms["forces_cosine"].append(forces_cosine(**pair))
        found = forces_mae_by_element(**pair, atomic_numbers=reference.atomic_numbers)
        self._by_element.add("forces_mae", found)
