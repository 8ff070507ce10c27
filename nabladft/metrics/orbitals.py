"""Errors of what a Hamiltonian is for: orbital energies, occupied space, the orbitals at the gap.

Most elements of a Hamiltonian act on empty orbitals that no property depends on, so a small
``hamiltonian_mae`` neither promises right orbitals nor needs them. The metrics here look at one
conformation through the molecular orbitals of the reference, H C = S C ε with CᵀSC = 1, of which
the first n_occ are occupied (o) and the others virtual (v):

    Δ = Cᵀ (Ĥ - H) C       the error of the Hamiltonian in these orbitals
    ε̂, V                   eigenvalues and eigenvectors of diag(ε) + Δ: the predicted orbitals

V_o are the predicted occupied orbitals, W = (V_o)_v their part in the virtual space. The sines of
the principal angles θ between the two occupied spaces are the singular values of W. So they need no
arccos of a number near 1, are exactly zero for equal spaces, and do not depend on which orbitals
span a degenerate level. Closed shells only.

Each metric takes the mean of a conformation first and then the mean over conformations.

Example:
    >>> H, S = np.diag([-1.0, 0.5]), np.eye(2)
    >>> tilted = np.array([[-0.5, 0.75], [0.75, 0.0]])
    >>> one = compare_orbitals(predicted=tilted, reference=H, overlap=S, n_electrons=2)
    >>> round(homo_energy_mae([one]).value, 3), round(occupied_subspace_distance([one]).value, 3)
    (0.041, 0.585)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.linalg import eigh, svdvals

from nabladft.chemistry.electronic import n_occupied, orbital_energies_and_coefficients
from nabladft.chemistry.units import HARTREE_IN_EV
from nabladft.errors import OrbitalCountError
from nabladft.metrics.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

OrbitalBlock = Literal["occupied", "occupied_virtual", "virtual"]

#: Virtual orbitals of the reference this much above its LUMO still count as the LUMO, hartree.
LUMO_WINDOW: Final = 1 / HARTREE_IN_EV
#: An orbital with less than this share of its norm where it belongs is an intruder.
INTRUDER_SHARE: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class OrbitalComparison:
    """The orbitals of one conformation, predicted and reference.

    Attributes:
        n_occupied: Number of doubly occupied orbitals.
        reference_energies: ε, shape (n_orbitals,), hartree, ascending.
        reference_coefficients: C, shape (n_orbitals, n_orbitals), one orbital a column.
        error: Δ, shape (n_orbitals, n_orbitals), hartree.
        predicted_energies: The lowest n_occupied + 1 of ε̂ (fewer when there is no empty orbital),
            hartree, ascending.
        predicted_orbitals: The same columns of V, shape (n_orbitals, n_occupied + 1): predicted
            orbitals in terms of the reference orbitals.
    """

    n_occupied: int
    reference_energies: FloatArray
    reference_coefficients: FloatArray
    error: FloatArray
    predicted_energies: FloatArray
    predicted_orbitals: FloatArray

    @property
    def mixing(self) -> FloatArray:
        """W, the part of the predicted occupied orbitals in the virtual space of the reference."""
        return self.predicted_orbitals[self.n_occupied :, : self.n_occupied]

    @property
    def has_gap(self) -> bool:
        """Whether there is an occupied and an empty orbital."""
        return 0 < self.n_occupied < len(self.reference_energies)


def compare_orbitals(
    *, predicted: FloatArray, reference: FloatArray, overlap: FloatArray, n_electrons: int
) -> OrbitalComparison:
    """Solve the two eigenproblems of a conformation.

    Args:
        predicted: Ĥ, shape (n_orbitals, n_orbitals), hartree, in the order of ``reference``.
        reference: H, shape (n_orbitals, n_orbitals), hartree.
        overlap: S, shape (n_orbitals, n_orbitals).
        n_electrons: Even number of electrons.

    Raises:
        InputError: The overlap is singular, or the number of electrons is not of a closed shell.
        OrbitalCountError: The shapes differ.
    """
    if predicted.shape != reference.shape:
        message = f"The predicted matrix has shape {predicted.shape}, not {reference.shape}."
        raise OrbitalCountError(message)
    energies, coefficients = orbital_energies_and_coefficients(reference, overlap)
    filled = n_occupied(n_electrons, n_orbitals=len(energies))
    error = coefficients.T @ (predicted - reference) @ coefficients
    error = 0.5 * (error + error.T)
    found, orbitals = eigh(
        np.diag(energies) + error, subset_by_index=[0, min(filled, len(energies) - 1)]
    )
    return OrbitalComparison(
        n_occupied=filled,
        reference_energies=energies,
        reference_coefficients=coefficients,
        error=error,
        predicted_energies=found,
        predicted_orbitals=orbitals,
    )


def hamiltonian_mae_in_orbitals(
    comparisons: Sequence[OrbitalComparison], *, block: OrbitalBlock
) -> Terms:
    """Mean absolute error of the Hamiltonian between molecular orbitals of the reference.

    ``1/n sum_k mean |Δ_ij|`` over the elements of one block of each conformation: i and j occupied
    ("occupied", which shifts orbital energies), one of each ("occupied_virtual", which turns the
    occupied space and so changes density and energy), or both virtual ("virtual", which hardly
    matters). The value depends a little on which orbitals span a degenerate level.

    Args:
        comparisons: Of each conformation.
        block: Which elements.
    """
    return _mean(
        [
            float(np.abs(values).mean()) if values.size else None
            for values in (_block(one, block) for one in comparisons)
        ]
    )


def hamiltonian_error_share(
    comparisons: Sequence[OrbitalComparison], *, block: OrbitalBlock
) -> Terms:
    """Share of the squared error of the Hamiltonian that is in one block of orbitals.

    ``1/n sum_k sum_block Δ_ij² / sum_all Δ_ij²``. "occupied_virtual" counts both triangles, so the
    three shares add up to 1. They do not depend on which orbitals span a degenerate level.
    Conformations without any error do not count.

    Args:
        comparisons: Of each conformation.
        block: Which elements.
    """
    shares: list[float | None] = []
    for one in comparisons:
        whole = float((one.error**2).sum())
        twice = 2 if block == "occupied_virtual" else 1
        part = twice * float((_block(one, block) ** 2).sum())
        shares.append(part / whole if whole > 0 else None)
    return _mean(shares)


def occupied_orbital_energies_mae(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Mean absolute error of the energies of the occupied orbitals.

    ``1/n sum_k 1/n_occ sum_{i <= n_occ} |ε̂_i - ε_i|``, both in ascending order. Core orbitals count
    as much as others. The same as ε of the QH9 benchmark.

    Args:
        comparisons: Of each conformation.
    """
    return _mean(
        [
            float(np.abs(_energy_errors(one)[: one.n_occupied]).mean()) if one.n_occupied else None
            for one in comparisons
        ]
    )


def homo_energy_mae(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Mean absolute error of the energy of the highest occupied orbital: ``1/n sum_k |Δε_HOMO|``.

    Args:
        comparisons: Of each conformation.
    """
    return _mean(
        [
            abs(float(_energy_errors(one)[one.n_occupied - 1])) if one.n_occupied else None
            for one in comparisons
        ]
    )


def lumo_energy_mae(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Mean absolute error of the energy of the lowest empty orbital: ``1/n sum_k |Δε_LUMO|``.

    Args:
        comparisons: Of each conformation; one without an empty orbital does not count.
    """
    return _mean(
        [
            abs(float(_energy_errors(one)[one.n_occupied])) if one.has_gap else None
            for one in comparisons
        ]
    )


def gap_mae(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Mean absolute error of the gap: ``1/n sum_k |Δε_LUMO - Δε_HOMO|``.

    Args:
        comparisons: Of each conformation; one without an empty orbital does not count.
    """
    return _mean(
        [
            abs(float(np.diff(_energy_errors(one)[one.n_occupied - 1 :])[0]))
            if one.has_gap
            else None
            for one in comparisons
        ]
    )


def occupied_subspace_distance(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Distance of the two occupied spaces, 0 for equal and 1 for orthogonal ones.

    ``1/n sum_k sqrt(1/n_occ sum_i sin² θ_i) = 1/n sum_k ‖W‖ / sqrt(n_occ)``, the root mean square
    sine of the principal angles. It is also the error of the density matrix P: the norm of P̂ - P,
    sqrt(tr (P̂ - P) S (P̂ - P) S), is sqrt(8 n_occ) times the distance of the conformation.

    Args:
        comparisons: Of each conformation.

    Source:
        Principal angles: A. Bjoerck, G. H. Golub, Math. Comput. 27, 579 (1973).
    """
    return _mean(
        [
            float(np.linalg.norm(one.mixing) / np.sqrt(one.n_occupied)) if one.n_occupied else None
            for one in comparisons
        ]
    )


def occupied_subspace_largest_sine(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Sine of the largest principal angle of the occupied spaces: ``1/n sum_k max_i sin θ_i``.

    How wrong the worst combination of occupied orbitals is; 1 when one of them is an empty orbital
    of the reference.

    Args:
        comparisons: Of each conformation.
    """
    return _mean([_largest_sine(one) if one.n_occupied else None for one in comparisons])


def occupied_intruder_rate(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Share of conformations in which an orbital is occupied that should be empty.

    A conformation has an intruder when some combination of the predicted occupied orbitals has less
    than half of its norm in the occupied space of the reference: ``cos² θ < 0.5`` for the largest
    principal angle. Its density is then wrong by at least one electron, whatever the mean errors
    say.

    Args:
        comparisons: Of each conformation.
    """
    return _mean(
        [
            float(1 - _largest_sine(one) ** 2 < INTRUDER_SHARE) if one.n_occupied else None
            for one in comparisons
        ]
    )


def lumo_intruder_rate(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """Share of conformations in which another orbital is the lowest empty one.

    The predicted LUMO is an intruder when it has less than half of its norm in the virtual orbitals
    of the reference whose energy is at most 1 eV above that of the reference's LUMO. In published
    tests of QHNet this happened to 5.8 % of the molecules, by several eV, without a trace in the
    mean absolute error.

    Args:
        comparisons: Of each conformation; one without an empty orbital does not count.
    """
    found: list[float | None] = []
    for one in comparisons:
        if not one.has_gap:
            found.append(None)
            continue
        virtual = one.reference_energies[one.n_occupied :]
        near = virtual <= virtual[0] + LUMO_WINDOW
        lumo = one.predicted_orbitals[one.n_occupied :, one.n_occupied]
        found.append(float((lumo[near] ** 2).sum() < INTRUDER_SHARE))
    return _mean(found)


def _block(one: OrbitalComparison, block: OrbitalBlock) -> FloatArray:
    occupied, virtual = slice(0, one.n_occupied), slice(one.n_occupied, None)
    rows = virtual if block == "virtual" else occupied
    columns = occupied if block == "occupied" else virtual
    return one.error[rows, columns]


def _energy_errors(one: OrbitalComparison) -> FloatArray:
    n = len(one.predicted_energies)
    return one.predicted_energies - one.reference_energies[:n]


def _largest_sine(one: OrbitalComparison) -> float:
    return float(svdvals(one.mixing)[0]) if one.mixing.size else 0.0


def _mean(values: Sequence[float | None]) -> Terms:
    """Mean over those conformations that have a value."""
    return Terms(
        numerator=np.array([0.0 if value is None else value for value in values]),
        weight=np.array([float(value is not None) for value in values]),
    )
