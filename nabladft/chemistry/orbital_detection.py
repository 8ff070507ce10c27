"""Find out in which orbital order the matrices of a file are.

Files of Hamiltonians rarely say. If the file also holds the overlap matrix (as the published
Hamiltonian files do), the order follows: the overlap is recomputed from the geometry and compared
in each order. A Hamiltonian alone does not tell.

Example:
    >>> import numpy as np
    >>> from nabladft.chemistry.overlap import overlap_matrix
    >>> water = np.array([8, 1, 1])
    >>> positions = np.array([[0, 0, 0.22], [0, 1.43, -0.89], [0, -1.43, -0.89]])
    >>> overlap = overlap_matrix(water, positions, orbital_order="pyscf")
    >>> detect_orbital_order(overlap, water, positions)
    'pyscf'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.elements import formula
from nabladft.chemistry.orbitals import (
    ORBITAL_ORDERS,
    OrbitalOrder,
    check_operator_shape,
    orbital_permutation,
)
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.errors import OrbitalCountError, OrbitalOrderError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]


def detect_orbital_order(
    overlap: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    tolerance: float = 1e-4,
) -> OrbitalOrder:
    """Find the orbital order of an overlap matrix, and so of the matrices stored with it.

    Orders that are the same for this basis set (psi4 and orca, without f shells) count as one; the
    first of them in :data:`~nabladft.chemistry.orbitals.ORBITAL_ORDERS` is returned. Orders that
    differ but fit equally well (a lone atom fits all) are refused.

    Args:
        overlap: Overlap matrix of unknown order, shape (n_orbitals, n_orbitals).
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        basis_set: Basis set of the matrix.
        tolerance: Largest difference, of any element, that counts as the same matrix. The default
            allows for positions rounded to 1e-5 bohr; float32 files agree to 1e-6.

    Returns:
        The order, such that ``reorder_orbitals(..., source=order, ...)`` is right.

    Raises:
        OrbitalCountError: The matrix does not have the number of orbitals of the basis set.
        OrbitalOrderError: No order fits, or several fit; the message has the residual of each and,
            where one is found, the reason (units, normalisation, order of the atoms).
    """
    overlap = np.asarray(overlap, dtype=np.float64)
    positions = np.asarray(positions, dtype=np.float64)
    residuals = orbital_order_residuals(overlap, atomic_numbers, positions, basis_set=basis_set)
    fitting = [order for order in ORBITAL_ORDERS if residuals[order] <= tolerance]
    listed = ", ".join(f"{order} {residual:.1e}" for order, residual in residuals.items())
    where = f"{formula(atomic_numbers)} in {basis_set.name}"
    if not fitting:
        reason = _reason_for_misfit(overlap, atomic_numbers, positions, basis_set, tolerance)
        message = (
            f"The overlap of {where} fits no known orbital order within {tolerance:.0e}; largest "
            f"differences: {listed}. {reason}"
        )
        raise OrbitalOrderError(message)
    first = fitting[0]
    for other in fitting[1:]:
        permutation, signs = orbital_permutation(
            atomic_numbers, source=other, target=first, basis_set=basis_set
        )
        if (permutation != np.arange(len(permutation))).any() or (signs < 0).any():
            message = (
                f"The overlap of {where} fits several orbital orders within {tolerance:.0e}: "
                f"{', '.join(fitting)} (largest differences: {listed}). This geometry does not "
                "tell them apart; use another molecule of the same file."
            )
            raise OrbitalOrderError(message)
    return first


def orbital_order_residuals(
    overlap: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> dict[OrbitalOrder, float]:
    """Compare an overlap matrix with the recomputed one, in each orbital order.

    Args:
        overlap: Shape (n_orbitals, n_orbitals).
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        basis_set: Basis set of the matrix.

    Returns:
        Largest absolute difference of an element, by order.

    Raises:
        OrbitalCountError: The matrix does not have the number of orbitals of the basis set.
    """
    overlap = np.asarray(overlap, dtype=np.float64)
    _check_size(overlap, atomic_numbers, basis_set)
    reference = overlap_matrix(atomic_numbers, positions, basis_set=basis_set)
    return _residuals(overlap, reference, atomic_numbers, basis_set)


def _residuals(
    overlap: FloatArray,
    ascending_reference: FloatArray,
    atomic_numbers: NDArray[np.integer],
    basis_set: BasisSet,
) -> dict[OrbitalOrder, float]:
    residuals: dict[OrbitalOrder, float] = {}
    for order in ORBITAL_ORDERS:
        permutation, signs = orbital_permutation(
            atomic_numbers, source="ascending", target=order, basis_set=basis_set
        )
        reference = ascending_reference[np.ix_(permutation, permutation)]
        difference = overlap - reference * np.multiply.outer(signs, signs)
        residuals[order] = float(np.abs(difference).max())
    return residuals


def _check_size(
    overlap: FloatArray, atomic_numbers: NDArray[np.integer], basis_set: BasisSet
) -> None:
    try:
        check_operator_shape(overlap, atomic_numbers, basis_set=basis_set)
    except OrbitalCountError as error:
        shells = [l for number in atomic_numbers for l in basis_set.shells_of(int(number))]
        cartesian = sum((l + 1) * (l + 2) // 2 for l in shells)
        if overlap.shape == (cartesian, cartesian):
            message = (
                f"{error} {cartesian} is the number of Cartesian orbitals of {basis_set.name}: the "
                "matrix was computed with 6d (10f) shells; spherical shells are needed."
            )
            raise OrbitalCountError(message) from None
        raise


def _reason_for_misfit(
    overlap: FloatArray,
    atomic_numbers: NDArray[np.integer],
    positions: FloatArray,
    basis_set: BasisSet,
    tolerance: float,
) -> str:
    """Say why no order fits, as far as that can be found out."""
    units = {
        "The positions are in angstrom; convert them to bohr": 1 / BOHR_IN_ANGSTROM,
        "The positions were converted to bohr twice": BOHR_IN_ANGSTROM,
    }
    for reason, factor in units.items():
        reference = overlap_matrix(atomic_numbers, positions * factor, basis_set=basis_set)
        residuals = _residuals(overlap, reference, atomic_numbers, basis_set)
        order = min(residuals, key=lambda name: residuals[name])
        if residuals[order] <= tolerance:
            return f"{reason} (then {order} fits, {residuals[order]:.1e})."
    if np.abs(np.diag(overlap) - 1).max() > tolerance:
        return (
            "Its diagonal is not 1: the orbitals are not normalised, or this is not an overlap "
            "matrix."
        )
    return (
        "The matrix may belong to another geometry, another sequence of the atoms, or another "
        "basis set of the same size."
    )
