"""Start self-consistent fields from some predicted Hamiltonians, and count what that saves.

Each is a DFT calculation or two of seconds to minutes, so only the first conformations of an order
that a hash of their ids fixes are done: the same ones for all models, and more of them without
repeating the others.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.benchmark.matrix_scores import matrix_of
from nabladft.errors import InputError, NablaDFTError
from nabladft.labels.restart import compare_starts
from nabladft.metrics import (
    Terms,
    density_energy_error,
    scf_cycle_ratio,
    scf_time_ratio,
    scf_worse_rate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nabladft.benchmark.matrix_scores import Orbitals
    from nabladft.labels.restart import StartComparison
    from nabladft.predictions import Predictions
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

#: Differences and ratios hardly depend on grid and convergence.
_SETTINGS: Final = "quick"


def restart_terms(
    predictions: Predictions,
    source: ConformationSource,
    keys: IntArray,
    orbitals: Orbitals | None,
    *,
    limit: int,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Terms]:
    """Compare starts from predicted Hamiltonians with starts from PySCF's guess "minao".

    Args:
        predictions: The file.
        source: The data, for the geometries.
        keys: All conformations that are scored, shape (n, 2).
        orbitals: How to read the matrices; None when none are predicted.
        limit: How many of them.
        progress: Called after each with the number done.

    Returns:
        The metrics of :mod:`nabladft.metrics.convergence` by name. Conformations that were not
        chosen have no weight.

    Raises:
        InputError: No Hamiltonians are predicted, or ``limit`` is negative.
        ConvergenceError: A field does not converge from the guess.
        MissingExtraError: PySCF is not installed.
    """
    if orbitals is None or "hamiltonian" not in predictions.fields:
        message = f"{predictions.path.name} has no Hamiltonians to start a field from."
        raise InputError(message)
    if limit < 0:
        message = f"The number of fields must not be negative, got {limit}."
        raise InputError(message)
    chosen = chosen_by_hash(keys, limit)
    comparisons = []
    for done, row in enumerate(chosen, start=1):
        comparisons.append(_compare(predictions, source, keys[row : row + 1], orbitals))
        if progress is not None:
            progress(done)
    found = _terms(comparisons)
    return {name: _spread(terms, chosen, len(keys)) for name, terms in found.items()}


def chosen_by_hash(keys: IntArray, limit: int) -> IntArray:
    """Choose conformations in the order of a hash of their ids.

    Args:
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
        limit: How many at most.

    Returns:
        Their rows; those of a smaller limit are the first of those of a larger one.
    """
    digests = [hashlib.sha256(f"{m}/{c}".encode()).digest() for m, c in keys.tolist()]
    order = sorted(range(len(digests)), key=lambda row: digests[row])
    return np.array(order[:limit], dtype=np.int64)


def _compare(
    predictions: Predictions, source: ConformationSource, key: IntArray, orbitals: Orbitals
) -> StartComparison:
    predicted = predictions.read(key, fields=["hamiltonian"])
    reference = source.read_flat(source.rows_of(key), fields=())
    numbers = reference.atomic_numbers
    hamiltonian = matrix_of(predicted, 0, numbers, orbitals, name="hamiltonian")
    try:
        return compare_starts(
            numbers,
            reference.positions,
            hamiltonian,
            orbital_order=orbitals.reference_order,
            settings=_SETTINGS,
        )
    except NablaDFTError as error:
        error.add_note(f"(conformation {key[0, 0]}/{key[0, 1]})")
        raise


def _terms(comparisons: list[StartComparison]) -> dict[str, Terms]:
    guess_cycles = [one.guess_cycles for one in comparisons]
    guess_seconds = [one.guess_seconds for one in comparisons]
    differences = [one.density_energy - one.energy for one in comparisons]
    found = {"density_energy_error": density_energy_error(differences)}
    for prefix, cycles, seconds in (
        (
            "scf",
            [one.predicted_cycles for one in comparisons],
            [one.predicted_seconds for one in comparisons],
        ),
        (
            "scf_guarded",
            [one.guarded_cycles for one in comparisons],
            [one.guarded_seconds for one in comparisons],
        ),
    ):
        pair = {"predicted": cycles, "guess": guess_cycles}
        found[f"{prefix}_cycle_ratio"] = scf_cycle_ratio(**pair)
        found[f"{prefix}_time_ratio"] = scf_time_ratio(predicted=seconds, guess=guess_seconds)
        found[f"{prefix}_worse_rate"] = scf_worse_rate(**pair)
    return found


def _spread(terms: Terms, rows: IntArray, n: int) -> Terms:
    """Put the terms of some conformations among all, the others without weight."""
    numerator, weight = np.zeros(n), np.zeros(n)
    numerator[rows], weight[rows] = terms.numerator, terms.weight
    return Terms(numerator=numerator, weight=weight)
