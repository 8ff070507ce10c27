"""From batches of predictions and labels to the terms of all metrics."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.orbitals import OrbitalOrder, reorder_orbitals
from nabladft.chemistry.packing import unpack_lower
from nabladft.metrics import (
    METRICS,
    Terms,
    block_errors,
    block_sizes,
    energy_mae,
    energy_mae_per_atom,
    forces_cosine,
    forces_mae,
    forces_mae_by_element,
    hamiltonian_mae,
    hamiltonian_mae_by_element,
    relative_energy_mae,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nabladft.chemistry.basis import BasisSet
    from nabladft.predictions import PredictedRecords
    from nabladft.storage.source import FlatRecords

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Orbitals:
    """How the matrices are to be read.

    Attributes:
        basis_set: Basis set of both.
        predicted_order: Orbital order of the predictions file.
        reference_order: Orbital order of the data, in which they are compared.
    """

    basis_set: BasisSet
    predicted_order: OrbitalOrder
    reference_order: OrbitalOrder


class Scores:
    """What is kept of each conformation while batches stream past.

    Args:
        fields: Quantities that are predicted.
        orbitals: Needed when a Hamiltonian is among them.
    """

    def __init__(self, fields: Sequence[str], *, orbitals: Orbitals | None) -> None:
        """Begin with nothing."""
        self._fields = tuple(fields)
        self._orbitals = orbitals
        self._n_atoms: list[IntArray] = []
        self._energies: list[tuple[FloatArray, FloatArray]] = []
        self._terms: dict[str, list[Terms]] = defaultdict(list)
        self._elements: dict[str, dict[int, FloatArray]] = defaultdict(
            lambda: defaultdict(lambda: np.zeros(2))
        )

    def add(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        """Take in one batch: the same conformations in the same order, with the same atoms."""
        self._n_atoms.append(np.diff(reference.atom_offsets))
        if "energy" in self._fields:
            self._energies.append((predicted.values["energy"], reference.values["energy"]))
        if "forces" in self._fields:
            self._add_forces(predicted, reference)
        if "hamiltonian" in self._fields:
            self._add_hamiltonians(predicted, reference)

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
        return {name: found[name] for name in METRICS if name in found}

    def sizes(self) -> IntArray:
        """Give the number of atoms of each conformation, shape (n,)."""
        return np.concatenate(self._n_atoms)

    def by_element(self) -> dict[str, dict[str, float]]:
        """Give the metrics that can be told by element."""
        return {
            name: {
                symbol_of(number): float(numerator / weight)
                for number, (numerator, weight) in sorted(table.items())
            }
            for name, table in self._elements.items()
        }

    def _add_forces(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        pair = {
            "predicted": predicted.values["forces"],
            "reference": reference.values["forces"],
            "atom_offsets": reference.atom_offsets,
        }
        self._terms["forces_mae"].append(forces_mae(**pair))
        self._terms["forces_cosine"].append(forces_cosine(**pair))
        found = forces_mae_by_element(**pair, atomic_numbers=reference.atomic_numbers)
        self._add_elements("forces_mae", found)

    def _add_hamiltonians(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        assert self._orbitals is not None
        assert predicted.hamiltonian_offsets is not None
        basis = self._orbitals.basis_set
        errors, sizes, numbers = [], [], []
        offsets = reference.value_offsets("hamiltonian")
        for k in range(len(reference)):
            atoms = _row(reference.atomic_numbers, reference.atom_offsets, k)
            values = _row(predicted.values["hamiltonian"], predicted.hamiltonian_offsets, k)
            truth = _row(reference.values["hamiltonian"], offsets, k)
            matrix = reorder_orbitals(
                unpack_lower(values),
                atoms,
                source=self._orbitals.predicted_order,
                target=self._orbitals.reference_order,
                basis_set=basis,
            )
            per_atom = basis.orbitals_per_atom(atoms)
            numbers.append(atoms)
            sizes.append(block_sizes(per_atom))
            errors.append(
                block_errors(
                    predicted=matrix, reference=unpack_lower(truth), orbitals_per_atom=per_atom
                )
            )
        for name, options in _HAMILTONIAN_METRICS.items():
            self._terms[name].append(hamiltonian_mae(errors, sizes, **options))
        found = hamiltonian_mae_by_element(errors, sizes, numbers)
        self._add_elements("hamiltonian_diagonal_mae_over_elements", found)

    def _add_elements(self, metric: str, found: Mapping[int, Terms]) -> None:
        for number, terms in found.items():
            self._elements[metric][number] += [terms.numerator.sum(), terms.weight.sum()]


#: Arguments of :func:`hamiltonian_mae` by name of the metric.
_HAMILTONIAN_METRICS: Final[Mapping[str, Mapping[str, Any]]] = {
    f"hamiltonian_{prefix}mae{suffix}": {"blocks": blocks, "over_elements": bool(suffix)}
    for prefix, blocks in (("", "all"), ("diagonal_", "diagonal"), ("offdiagonal_", "offdiagonal"))
    for suffix in ("", "_over_elements")
}


def _row(values: NDArray[Any], offsets: IntArray, k: int) -> NDArray[Any]:
    return values[offsets[k] : offsets[k + 1]]
