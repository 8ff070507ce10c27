"""What a predicted Hamiltonian saves, or costs, when a self-consistent field starts from it.

Example:
    >>> predicted, guess = np.array([6, 14]), np.array([10, 10])
    >>> scf_cycle_ratio(predicted=predicted, guess=guess).value
    1.0
    >>> scf_worse_rate(predicted=predicted, guess=guess).value
    0.5
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.errors import InputError
from nabladft.metrics.terms import Terms

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]


def scf_cycle_ratio(*, predicted: ArrayLike, guess: ArrayLike) -> Terms:
    """Cycles to convergence from the prediction, as a share of those from a standard guess.

    ``sum_k cycles_k(prediction) / sum_k cycles_k(guess)``. A field that does not converge counts
    with the cycles after which it was given up. ``scf_guarded_cycle_ratio`` is the same with the
    cycles of a guarded start, which returns to the guess when the prediction is no good.

    Args:
        predicted: Cycles from the prediction, shape (n,).
        guess: Cycles from the guess, shape (n,).

    Raises:
        InputError: The shapes differ.
    """
    first, second = _pair(predicted, guess)
    return Terms(numerator=first, weight=second)


def scf_time_ratio(*, predicted: ArrayLike, guess: ArrayLike) -> Terms:
    """Time to convergence from the prediction, as a share of that from a standard guess.

    ``sum_k seconds_k(prediction) / sum_k seconds_k(guess)``, without the time that the prediction
    itself took. It depends on the machine; ``scf_cycle_ratio`` does not.

    Args:
        predicted: Seconds from the prediction, shape (n,).
        guess: Seconds from the guess, shape (n,).

    Raises:
        InputError: The shapes differ.
    """
    return scf_cycle_ratio(predicted=predicted, guess=guess)


def scf_worse_rate(*, predicted: ArrayLike, guess: ArrayLike) -> Terms:
    """Share of conformations that need more cycles from the prediction than from the guess.

    ``1/n #{k: cycles_k(prediction) > cycles_k(guess)}``; times the number of conformations it is
    how many were made worse. ``scf_guarded_worse_rate`` is the same with a guarded start.

    Args:
        predicted: Cycles from the prediction, shape (n,).
        guess: Cycles from the guess, shape (n,).

    Raises:
        InputError: The shapes differ.
    """
    first, second = _pair(predicted, guess)
    return Terms(numerator=(first > second).astype(float), weight=np.ones_like(first))


def density_energy_error(differences: ArrayLike) -> Terms:
    """Error of the total energy of the predicted density: ``1/n sum_k |E[P̂]_k - E[P]_k|``.

    E[P] is the functional's energy of a density matrix. The converged density has the lowest, so
    the error is of second order in the error of the density, and never negative but for round-off.

    Args:
        differences: E[P̂] - E[P] of each conformation, shape (n,), hartree.
    """
    values = np.abs(np.asarray(differences, dtype=np.float64))
    return Terms(numerator=values, weight=np.ones_like(values))


def _pair(predicted: ArrayLike, guess: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first: NDArray[Any] = np.asarray(predicted, dtype=np.float64)
    second: NDArray[Any] = np.asarray(guess, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        message = f"Both must have the same shape (n,), got {first.shape} and {second.shape}."
        raise InputError(message)
    return first, second
