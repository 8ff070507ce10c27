"""Find the orbital order of Hamiltonians that come without their overlap.

Neighbouring orbitals interact the more the more they overlap: off-diagonal elements of a Fock
matrix follow those of the overlap, H_ij ~ S_ij (H_ii + H_jj) / 2 (Wolfsberg and Helmholz). The
overlap is recomputed in every known order; in the right one the two correlate, in a wrong one the
elements of different orbitals are compared and they hardly do. For conformations of the embedded
data the correlation is 0.84 to 0.91 in the right order and at most 0.46 in any other.

With the overlap at hand, :mod:`nabladft.chemistry.orbital_detection` compares it exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, OrbitalOrder, check_operator_shape
from nabladft.chemistry.overlap import overlap_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

#: Smallest correlation that counts as agreement, and how far the others must be behind.
_AGREEMENT: Final = 0.7
_MARGIN: Final = 0.2


def order_of_hamiltonians(
    hamiltonians: Sequence[FloatArray],
    molecules: Sequence[NDArray[np.integer]],
    geometries: Sequence[FloatArray],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> OrbitalOrder | None:
    """Tell the orbital order of some Fock matrices of one file.

    Args:
        hamiltonians: Each of shape (n_orbitals, n_orbitals), hartree.
        molecules: Atomic numbers of each.
        geometries: Positions of each, shape (n_atoms, 3), bohr.
        basis_set: Basis set of the matrices.

    Returns:
        The order, or None when no order agrees well and clearly better than the others. Of orders
        that are the same for this basis set the first one.

    Raises:
        OrbitalCountError: A matrix does not have the number of orbitals of its molecule.
    """
    found = order_agreements(hamiltonians, molecules, geometries, basis_set=basis_set)
    best = max(ORBITAL_ORDERS, key=lambda order: found[order])
    behind = [value for value in found.values() if abs(value - found[best]) > 1e-9]
    if found[best] < _AGREEMENT or (behind and found[best] - max(behind) < _MARGIN):
        return None
    return best


def order_agreements(
    hamiltonians: Sequence[FloatArray],
    molecules: Sequence[NDArray[np.integer]],
    geometries: Sequence[FloatArray],
    *,
    basis_set: BasisSet = DEF2_SVP,
    orders: Sequence[OrbitalOrder] = ORBITAL_ORDERS,
) -> dict[OrbitalOrder, float]:
    """Correlate Hamiltonians with the estimate from the overlap, in each orbital order.

    Args:
        hamiltonians: Each of shape (n_orbitals, n_orbitals), hartree.
        molecules: Atomic numbers of each.
        geometries: Positions of each, shape (n_atoms, 3), bohr.
        basis_set: Basis set of the matrices.
        orders: Which orders to try.

    Returns:
        Pearson's correlation over all elements between orbitals of different atoms, by order; 0
        where there are none.

    Raises:
        OrbitalCountError: A matrix does not have the number of orbitals of its molecule.

    Source:
        M. Wolfsberg, L. Helmholz, J. Chem. Phys. 20, 837 (1952).
    """
    agreements: dict[OrbitalOrder, float] = {}
    for order in orders:
        values: list[FloatArray] = [np.zeros(0)]
        estimates: list[FloatArray] = [np.zeros(0)]
        for hamiltonian, numbers, positions in zip(
            hamiltonians, molecules, geometries, strict=True
        ):
            check_operator_shape(hamiltonian, numbers, basis_set=basis_set)
            overlap = overlap_matrix(numbers, positions, basis_set=basis_set, orbital_order=order)
            atoms = np.repeat(np.arange(len(numbers)), basis_set.orbitals_per_atom(numbers))
            row, column = np.nonzero(atoms[:, None] > atoms)
            levels = np.diag(hamiltonian)
            values.append(hamiltonian[row, column])
            estimates.append(overlap[row, column] * (levels[row] + levels[column]) / 2)
        agreements[order] = _correlation(np.concatenate(values), np.concatenate(estimates))
    return agreements


def _correlation(first: FloatArray, second: FloatArray) -> float:
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
