"""Refuse to score Hamiltonians that are recognised as something else than they are said to be.

A matrix in another orbital order, unit or basis set gets a score like any other, and nobody sees
why it is bad. See :mod:`nabladft.chemistry.hamiltonian_checks`; what a bad model predicts passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.chemistry.hamiltonian_checks import ORDER_TOLD_FROM, check_levels, check_order
from nabladft.chemistry.packing import orbitals_of_packed_size, unpack_lower
from nabladft.errors import NablaDFTError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nabladft.benchmark.matrix_scores import Orbitals
    from nabladft.chemistry.basis import BasisSet
    from nabladft.chemistry.orbitals import OrbitalOrder
    from nabladft.predictions import PredictedRecords
    from nabladft.storage.source import FlatRecords

    IntArray = NDArray[np.int64]


def check_hamiltonians(
    predicted: PredictedRecords,
    reference: FlatRecords,
    orbitals: Orbitals,
    *,
    predictions_name: str,
    data_name: str,
    is_first: bool,
) -> None:
    """Look at the Hamiltonians of a batch, both the predicted ones and those of the data.

    The diagonals of all are compared with what the elements must have; the orbital order is looked
    at in the first batch.

    Args:
        predicted: Predictions.
        reference: The same conformations of the data.
        orbitals: What the matrices are said to be.
        predictions_name: Name of the predictions file, for the message.
        data_name: Name of the data, for the message.
        is_first: Whether this is the first batch.

    Raises:
        UnitError: Matrices are in another unit than declared.
        OrbitalOrderError: They are in another orbital order.
        HamiltonianError: They are in another basis set, or their atoms in another sequence.
    """
    assert predicted.hamiltonian_offsets is not None
    sides = (
        (
            f"(predictions {predictions_name}",
            predicted.values["hamiltonian"],
            predicted.hamiltonian_offsets,
            orbitals.predicted_order,
        ),
        (
            f"(data {data_name!r}",
            reference.values["hamiltonian"],
            reference.value_offsets("hamiltonian"),
            orbitals.reference_order,
        ),
    )
    for place, values, offsets, order in sides:
        _check_diagonals(values, offsets, reference, orbitals.basis_set, place)
        if is_first:
            _check_orders(values, offsets, reference, orbitals.basis_set, order, place)


def _check_diagonals(
    values: NDArray[Any], offsets: IntArray, reference: FlatRecords, basis: BasisSet, place: str
) -> None:
    for k in range(len(reference)):
        triangle = values[offsets[k] : offsets[k + 1]]
        rows = np.arange(orbitals_of_packed_size(len(triangle)))
        try:
            check_levels(triangle[rows * (rows + 3) // 2], _numbers(reference, k), basis_set=basis)
        except NablaDFTError as error:
            key = f"{reference.molecule_id[k]}/{reference.conformation_id[k]}"
            error.add_note(f"{place}, conformation {key})")
            raise


def _check_orders(
    values: NDArray[Any],
    offsets: IntArray,
    reference: FlatRecords,
    basis: BasisSet,
    order: OrbitalOrder,
    place: str,
) -> None:
    some = range(len(reference))[:ORDER_TOLD_FROM]
    atoms = reference.atom_offsets
    try:
        check_order(
            [unpack_lower(values[offsets[k] : offsets[k + 1]]) for k in some],
            [_numbers(reference, k) for k in some],
            [reference.positions[atoms[k] : atoms[k + 1]] for k in some],
            basis_set=basis,
            orbital_order=order,
        )
    except NablaDFTError as error:
        error.add_note(f"{place}, the first {len(some)} conformations)")
        raise


def _numbers(reference: FlatRecords, k: int) -> NDArray[np.int32]:
    return reference.atomic_numbers[reference.atom_offsets[k] : reference.atom_offsets[k + 1]]
