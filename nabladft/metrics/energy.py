"""Errors of energies. All take total energies (or any energies with a common zero) in hartree.

Example:
    >>> predicted, reference = np.array([-1.0, -3.0]), np.array([-1.5, -3.1])
    >>> round(energy_mae(predicted=predicted, reference=reference).value, 12)
    0.3
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.errors import InputError
from nabladft.metrics.terms import Terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]


def energy_mae(*, predicted: FloatArray, reference: FloatArray) -> Terms:
    """Mean absolute error of the energy of a conformation: ``1/n sum_k |Ê_k - E_k|``.

    Per molecule, not per atom: the number is the error of a whole molecule's energy. The same for
    total and for formation energies, which differ by a constant of the molecule.

    Args:
        predicted: Energies Ê, shape (n,), hartree.
        reference: Energies E, shape (n,), hartree.

    Raises:
        InputError: The shapes differ.
    """
    error = _error(predicted, reference)
    return Terms(numerator=np.abs(error), weight=np.ones_like(error))


def energy_mae_per_atom(
    *, predicted: FloatArray, reference: FloatArray, n_atoms: NDArray[Any]
) -> Terms:
    """Mean over conformations of the error per atom: ``1/n sum_k |Ê_k - E_k| / n_atoms_k``.

    Args:
        predicted: Shape (n,), hartree.
        reference: Shape (n,), hartree.
        n_atoms: Shape (n,).

    Raises:
        InputError: The shapes differ.
    """
    error = _error(predicted, reference)
    return Terms(numerator=np.abs(error) / n_atoms, weight=np.ones_like(error))


def relative_energy_mae(
    *, predicted: FloatArray, reference: FloatArray, molecule_id: IntArray
) -> Terms:
    """Mean absolute error of energy differences between conformations of one molecule.

    Over all pairs, so that no conformation is the special zero of the others::

        1/n_molecules sum_m  2 / (n_m (n_m - 1))  sum_{i < j in m} |(Ê_i - Ê_j) - (E_i - E_j)|

    The mean runs over pairs first and molecules second, so each molecule counts once however many
    conformations it has; molecules with a single conformation do not count. Half the inner sum
    of pairs is assigned to each of the two conformations, and each has the weight 1 / n_m.

    Args:
        predicted: Shape (n,), hartree. All conformations of a molecule that are to be compared.
        reference: Shape (n,), hartree.
        molecule_id: Shape (n,).

    Raises:
        InputError: The shapes differ.
    """
    error = _error(predicted, reference)
    numerator, weight = np.zeros_like(error), np.zeros_like(error)
    order = np.argsort(molecule_id, kind="stable")
    bounds = np.flatnonzero(np.diff(molecule_id[order])) + 1
    for members in np.split(order, bounds):
        n = len(members)
        if n > 1:
            gaps = np.abs(error[members, None] - error[members])
            numerator[members] = gaps.sum(axis=1) / (n * (n - 1))
            weight[members] = 1 / n
    return Terms(numerator=numerator, weight=weight)


def _error(predicted: FloatArray, reference: FloatArray) -> FloatArray:
    predicted, reference = np.asarray(predicted, float), np.asarray(reference, float)
    if predicted.shape != reference.shape or predicted.ndim != 1:
        message = (
            f"Predicted and reference energies must have the same shape (n,), got "
            f"{predicted.shape} and {reference.shape}."
        )
        raise InputError(message)
    return predicted - reference
