"""From predicted and reference matrices of orbitals to the terms of their metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from nabladft.benchmark.breakdown import Breakdown
from nabladft.chemistry.basis import SHELL_LETTERS
from nabladft.chemistry.electronic import n_electrons
from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.moments import dipole_integrals
from nabladft.chemistry.orbitals import OrbitalOrder, reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.packing import unpack_lower
from nabladft.metrics import (
    OrbitalBlock,
    OrbitalComparison,
    Terms,
    block_errors,
    block_sizes,
    compare_orbitals,
    degree_errors,
    density_error,
    dipole_error,
    displaced_electrons,
    gap_mae,
    hamiltonian_error_share,
    hamiltonian_mae,
    hamiltonian_mae_by_degrees,
    hamiltonian_mae_by_element,
    hamiltonian_mae_by_element_pair,
    hamiltonian_mae_in_orbitals,
    hamiltonian_mae_published_phisnet,
    hamiltonian_mae_published_qhnet,
    homo_energy_mae,
    lumo_energy_mae,
    lumo_intruder_rate,
    mulliken_charge_errors,
    mulliken_charges_mae,
    mulliken_charges_mae_by_element,
    occupied_intruder_rate,
    occupied_orbital_energies_mae,
    occupied_subspace_distance,
    occupied_subspace_largest_sine,
    overlap_mae,
    wavefunction_similarity_published_qh9,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@dataclass(frozen=True, kw_only=True)
class MatrixPair:
    """One matrix of one conformation, predicted and reference, in the order of the data.

    Attributes:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        predicted: Shape (n_orbitals, n_orbitals).
        reference: Shape (n_orbitals, n_orbitals).
    """

    atomic_numbers: NDArray[Any]
    positions: FloatArray
    predicted: FloatArray
    reference: FloatArray


def matrix_of(
    predicted: PredictedRecords,
    k: int,
    atomic_numbers: NDArray[Any],
    orbitals: Orbitals,
    *,
    name: str,
) -> FloatArray:
    """Unpack one predicted matrix, into the orbital order of the data.

    Args:
        predicted: Predictions.
        k: Which conformation of them.
        atomic_numbers: Its atoms, shape (n_atoms,).
        orbitals: How to read it.
        name: Which matrix.

    Returns:
        Shape (n_orbitals, n_orbitals).
    """
    return reorder_orbitals(
        unpack_lower(_row(predicted.values[name], getattr(predicted, f"{name}_offsets"), k)),
        atomic_numbers,
        source=orbitals.predicted_order,
        target=orbitals.reference_order,
        basis_set=orbitals.basis_set,
    )


def matrix_pairs(
    predicted: PredictedRecords, reference: FlatRecords, orbitals: Orbitals, *, name: str
) -> Iterator[MatrixPair]:
    """Unpack the matrices of a batch, one conformation after the other.

    The true overlap matrices are computed from the geometry, whether the data hold them or not.

    Args:
        predicted: Predictions.
        reference: The same conformations of the data, with their Hamiltonians where ``name`` says.
        orbitals: How to read them.
        name: "hamiltonian" or "overlap".
    """
    offsets = None if name == "overlap" else reference.value_offsets(name)
    for k in range(len(reference)):
        atoms = _row(reference.atomic_numbers, reference.atom_offsets, k)
        positions = _row(reference.positions, reference.atom_offsets, k)
        yield MatrixPair(
            atomic_numbers=atoms,
            positions=positions,
            predicted=matrix_of(predicted, k, atoms, orbitals, name=name),
            reference=overlap_matrix(
                atoms,
                positions,
                basis_set=orbitals.basis_set,
                orbital_order=orbitals.reference_order,
            )
            if offsets is None
            else unpack_lower(_row(reference.values[name], offsets, k)),
        )


class OverlapScores:
    """Metrics of predicted overlap matrices.

    Args:
        orbitals: How to read them.
    """

    def __init__(self, orbitals: Orbitals) -> None:
        """Begin with nothing."""
        self._orbitals = orbitals
        self._terms: dict[str, list[Terms]] = defaultdict(list)

    def add(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        """Take in one batch."""
        errors, sizes = [], []
        for pair in matrix_pairs(predicted, reference, self._orbitals, name="overlap"):
            error, size = _blocks(pair, self._orbitals.basis_set)
            errors.append(error)
            sizes.append(size)
        self._terms["overlap_mae"].append(overlap_mae(errors, sizes))
        self._terms["overlap_mae_over_elements"].append(
            overlap_mae(errors, sizes, over_elements=True)
        )

    def terms(self) -> dict[str, Terms]:
        """Give the metrics by name."""
        return {name: Terms.join(pieces) for name, pieces in self._terms.items()}


class HamiltonianScores:
    """Metrics of predicted Hamiltonians. Of each conformation a few numbers are kept.

    Args:
        orbitals: How to read them.
    """

    def __init__(self, orbitals: Orbitals) -> None:
        """Begin with nothing."""
        self._orbitals = orbitals
        self._terms: dict[str, list[Terms]] = defaultdict(list)
        #: Sum of errors and number of elements of each conformation.
        self._sums: list[float] = []
        self._counts: list[float] = []
        self.by_element = Breakdown(symbol_of)
        self.by_element_pair = Breakdown(lambda pair: "-".join(symbol_of(z) for z in pair))
        self.by_degrees = Breakdown(lambda pair: "-".join(SHELL_LETTERS[l] for l in pair))

    def add(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        """Take in one batch."""
        basis = self._orbitals.basis_set
        batch = _Batch()
        for pair in matrix_pairs(predicted, reference, self._orbitals, name="hamiltonian"):
            batch.add(pair, basis, self._orbitals.reference_order)
        for name, options in _BLOCK_METRICS.items():
            self._terms[name].append(hamiltonian_mae(batch.errors, batch.sizes, **options))
        for name, pieces in batch.terms.items():
            self._terms[name].append(Terms.join(pieces))
        self._terms["mulliken_charges_mae"].append(mulliken_charges_mae(batch.charges))
        self._sums += [float(error.sum()) for error in batch.errors]
        self._counts += [float(size.sum()) for size in batch.sizes]
        blocks = (batch.errors, batch.sizes, batch.numbers)
        self.by_element.add(
            "hamiltonian_diagonal_mae_over_elements", hamiltonian_mae_by_element(*blocks)
        )
        self.by_element.add(
            "mulliken_charges_mae", mulliken_charges_mae_by_element(batch.charges, batch.charged)
        )
        self.by_element_pair.add(
            "hamiltonian_offdiagonal_mae_over_elements", hamiltonian_mae_by_element_pair(*blocks)
        )
        self.by_degrees.add(
            "hamiltonian_mae_over_elements", hamiltonian_mae_by_degrees(batch.degrees)
        )

    def terms(self) -> dict[str, Terms]:
        """Give the metrics by name."""
        found = {name: Terms.join(pieces) for name, pieces in self._terms.items()}
        found["hamiltonian_mae_published_phisnet"] = hamiltonian_mae_published_phisnet(
            [np.array(value) for value in self._sums], [np.array(count) for count in self._counts]
        )
        return found


@dataclass
class _Batch:
    """What is kept of the matrices of a batch until its terms are made."""

    errors: list[FloatArray] = field(default_factory=list)
    sizes: list[FloatArray] = field(default_factory=list)
    numbers: list[NDArray[Any]] = field(default_factory=list)
    degrees: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)
    charges: list[FloatArray] = field(default_factory=list)
    charged: list[NDArray[Any]] = field(default_factory=list)
    terms: dict[str, list[Terms]] = field(default_factory=lambda: defaultdict(list))

    def add(self, pair: MatrixPair, basis: BasisSet, order: OrbitalOrder) -> None:
        error, size = _blocks(pair, basis)
        self.errors.append(error)
        self.sizes.append(size)
        self.numbers.append(pair.atomic_numbers)
        matrices = {"predicted": pair.predicted, "reference": pair.reference}
        degrees = basis.degrees(pair.atomic_numbers)
        self.degrees.append(degree_errors(**matrices, degrees=degrees))
        self.terms["hamiltonian_mae_published_qhnet"].append(
            hamiltonian_mae_published_qhnet(predicted=[pair.predicted], reference=[pair.reference])
        )
        self._add_orbitals(pair, basis, order)

    def _add_orbitals(self, pair: MatrixPair, basis: BasisSet, order: OrbitalOrder) -> None:
        electrons = n_electrons(pair.atomic_numbers)
        if electrons % 2:
            # No closed shell: the metrics of orbitals and densities are not defined.
            for name in _ALL_ORBITAL_METRICS:
                self.terms[name].append(_NOT_DEFINED)
            self.charges.append(np.zeros(0))
            self.charged.append(np.zeros(0, dtype=np.int64))
            return
        geometry = (pair.atomic_numbers, pair.positions)
        overlap = overlap_matrix(*geometry, basis_set=basis, orbital_order=order)
        one = compare_orbitals(
            predicted=pair.predicted,
            reference=pair.reference,
            overlap=overlap,
            n_electrons=electrons,
        )
        for name, metric in _ORBITAL_METRICS.items():
            self.terms[name].append(metric([one]))
        density = density_error(one)
        per_atom = basis.orbitals_per_atom(pair.atomic_numbers)
        self.charges.append(mulliken_charge_errors(density, overlap, per_atom))
        self.charged.append(pair.atomic_numbers)
        integrals = dipole_integrals(*geometry, basis_set=basis, orbital_order=order)
        self.terms["dipole_error"].append(dipole_error([density], [integrals]))


#: Arguments of :func:`hamiltonian_mae` by name of the metric.
_BLOCK_METRICS: Final[Mapping[str, Mapping[str, Any]]] = {
    f"hamiltonian_{prefix}mae{suffix}": {"blocks": blocks, "over_elements": bool(suffix)}
    for prefix, blocks in (("", "all"), ("diagonal_", "diagonal"), ("offdiagonal_", "offdiagonal"))
    for suffix in ("", "_over_elements")
}

_OrbitalMetric = Callable[[Sequence[OrbitalComparison]], Terms]

#: Metrics of one comparison of orbitals, by name.
_ORBITAL_METRICS: Final[Mapping[str, _OrbitalMetric]] = {
    **{
        f"hamiltonian_{block}_{kind}": partial(metric, block=block)
        for kind, metric in (
            ("mae", hamiltonian_mae_in_orbitals),
            ("share", hamiltonian_error_share),
        )
        for block in get_args(OrbitalBlock)
    },
    **{
        metric.__name__: metric
        for metric in (
            occupied_orbital_energies_mae,
            homo_energy_mae,
            lumo_energy_mae,
            gap_mae,
            occupied_subspace_distance,
            occupied_subspace_largest_sine,
            displaced_electrons,
            occupied_intruder_rate,
            lumo_intruder_rate,
            wavefunction_similarity_published_qh9,
        )
    },
}
_ALL_ORBITAL_METRICS: Final = (*_ORBITAL_METRICS, "dipole_error")
_NOT_DEFINED: Final = Terms(numerator=np.zeros(1), weight=np.zeros(1))


def _blocks(pair: MatrixPair, basis: BasisSet) -> tuple[FloatArray, FloatArray]:
    per_atom = basis.orbitals_per_atom(pair.atomic_numbers)
    errors = block_errors(
        predicted=pair.predicted, reference=pair.reference, orbitals_per_atom=per_atom
    )
    return errors, block_sizes(per_atom)


def _row(values: NDArray[Any], offsets: IntArray, k: int) -> NDArray[Any]:
    return values[offsets[k] : offsets[k + 1]]
