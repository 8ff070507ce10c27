"""Errors of the electron density that a Hamiltonian implies.

The density matrix is P = 2 C_o C_oᵀ with the occupied orbitals C_o, as in
:mod:`nabladft.metrics.orbitals`. Predicted and reference hold the same number of electrons, so the
errors here do not depend on an origin. The norm of the error of P itself is
:func:`~nabladft.metrics.orbitals.occupied_subspace_distance` but for a factor.

Example:
    >>> from nabladft.metrics.orbitals import compare_orbitals
    >>> H, S = np.diag([-1.0, 0.5]), np.eye(2)
    >>> swapped = np.diag([0.5, -1.0])
    >>> one = compare_orbitals(predicted=swapped, reference=H, overlap=S, n_electrons=2)
    >>> displaced_electrons([one]).value
    2.0
    >>> density_error(one).tolist()
    [[-2.0, 0.0], [0.0, 2.0]]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.metrics.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.metrics.orbitals import OrbitalComparison

    FloatArray = NDArray[np.float64]


def density_error(comparison: OrbitalComparison) -> FloatArray:
    """Give P̂ - P of a conformation in atomic orbitals, shape (n_orbitals, n_orbitals)."""
    filled = comparison.n_occupied
    coefficients = comparison.reference_coefficients
    predicted = coefficients @ comparison.predicted_orbitals[:, :filled]
    reference = coefficients[:, :filled]
    error: FloatArray = 2 * (predicted @ predicted.T - reference @ reference.T)
    return error


def mulliken_charge_errors(
    error: FloatArray, overlap: FloatArray, orbitals_per_atom: NDArray[Any]
) -> FloatArray:
    """Give the errors of the Mulliken charges, -Σ_{i of a} ((P̂ - P) S)_ii, shape (n_atoms,), e.

    Args:
        error: :func:`density_error`, shape (n_orbitals, n_orbitals).
        overlap: Shape (n_orbitals, n_orbitals).
        orbitals_per_atom: Shape (n_atoms,).
    """
    counts = np.asarray(orbitals_per_atom)
    populations = np.einsum("ij,ij->i", error, overlap)
    charges: FloatArray = -np.add.reduceat(populations, np.cumsum(counts) - counts)
    return charges


def displaced_electrons(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Electrons of the predicted density outside of the occupied space of the reference.

    ``1/n sum_k 2 sum_i sin² θ_i``, with the principal angles θ of the occupied spaces: the trace of
    the predicted density with the projector on the virtual orbitals of the reference. From 0 to the
    number of electrons; it grows with the size of the molecule.

    Args:
        comparisons: Of each conformation.
    """
    values = np.array([2 * float((one.mixing**2).sum()) for one in comparisons])
    return Terms(numerator=values, weight=np.ones_like(values))


def mulliken_charges_mae(errors: Sequence[FloatArray]) -> Terms:
    """Mean absolute error of a Mulliken charge, over all atoms of all conformations.

    ``sum_k sum_a |q̂_a - q_a|  /  sum_k n_atoms_k``.

    Args:
        errors: :func:`mulliken_charge_errors` of each conformation, e.
    """
    return Terms(
        numerator=np.array([np.abs(one).sum() for one in errors], dtype=np.float64),
        weight=np.array([len(one) for one in errors], dtype=np.float64),
    )


def mulliken_charges_mae_by_element(
    errors: Sequence[FloatArray], atomic_numbers: Sequence[NDArray[Any]]
) -> dict[int, Terms]:
    """Mean absolute error of a Mulliken charge on the atoms of one element, by atomic number.

    Args:
        errors: :func:`mulliken_charge_errors` of each conformation, e.
        atomic_numbers: Of each conformation, shape (n_atoms,).
    """
    pairs = list(zip(errors, atomic_numbers, strict=True))
    return {
        int(number): mulliken_charges_mae([one[numbers == number] for one, numbers in pairs])
        for number in np.unique(np.concatenate(list(atomic_numbers)))
    }


def dipole_error(errors: Sequence[FloatArray], integrals: Sequence[FloatArray]) -> Terms:
    """Mean length of the error of the dipole vector: ``1/n sum_k |μ̂ - μ|``.

    ``μ̂ - μ = -sum_ij (P̂ - P)_ij <i| r |j>``: the nuclei add nothing to the difference.

    Args:
        errors: :func:`density_error` of each conformation.
        integrals: Dipole integrals of each, shape (3, n_orbitals, n_orbitals), bohr
            (:func:`nabladft.chemistry.moments.dipole_integrals`).
    """
    lengths = np.array(
        [
            float(np.linalg.norm(np.einsum("xij,ij->x", r, error)))
            for error, r in zip(errors, integrals, strict=True)
        ]
    )
    return Terms(numerator=lengths, weight=np.ones_like(lengths))
