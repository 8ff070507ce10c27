"""Molecular orbitals and the density of a closed shell, from a Hamiltonian and its overlap matrix.

Each of the lowest n_electrons / 2 molecular orbitals holds two electrons. Nothing here depends on
the orbital order, as long as H and S are in the same one.

Example:
    >>> import numpy as np
    >>> H, S = np.array([[-1.0, -0.9], [-0.9, -1.0]]), np.array([[1.0, 0.6], [0.6, 1.0]])
    >>> orbitals = molecular_orbitals(H, S)
    >>> orbitals.energies.round(4).tolist(), round(homo_lumo_gap(orbitals.energies, 2), 4)
    ([-1.1875, -0.25], 0.9375)
    >>> D = density_matrix(orbitals.coefficients, 2)
    >>> round(electrons_in(D, S), 12)
    2.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from nabladft.chemistry.orthogonalisation import (
    SMALLEST_OVERLAP_EIGENVALUE,
    Dependent,
    OverlapRoots,
    checked_pair,
    overlap_roots,
)
from nabladft.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MolecularOrbitals:
    """The solution of H C = S C ε.

    Attributes:
        energies: ε in hartree, ascending, shape (n_orbitals - n_dropped,).
        coefficients: C, one molecular orbital a column, with CᵀSC = 1, shape
            (n_orbitals, n_orbitals - n_dropped).
        n_dropped: Number of linearly dependent combinations of atomic orbitals that were left out.
        smallest_overlap_eigenvalue: Of the overlap matrix, before anything was left out.
    """

    energies: FloatArray
    coefficients: FloatArray
    n_dropped: int
    smallest_overlap_eigenvalue: float


def n_electrons(atomic_numbers: NDArray[np.integer], *, charge: int = 0) -> int:
    """Count the electrons of a molecule (no effective core potentials).

    Args:
        atomic_numbers: Shape (n_atoms,).
        charge: Total charge, e.
    """
    return int(np.sum(atomic_numbers)) - charge


def molecular_orbitals(
    hamiltonian: ArrayLike,
    overlap: ArrayLike,
    *,
    dependent: Dependent = "refuse",
    smallest_overlap_eigenvalue: float = SMALLEST_OVERLAP_EIGENVALUE,
) -> MolecularOrbitals:
    """Solve H C = S C ε, and say how near to singular S is.

    Args:
        hamiltonian: Shape (n_orbitals, n_orbitals), hartree. Only its symmetric part counts.
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order.
        dependent: What to do if orbitals are linearly dependent: "refuse", with Loewdin's symmetric
            orthogonalisation, or "drop" those combinations, with the canonical one.
        smallest_overlap_eigenvalue: Combinations with a smaller eigenvalue are dependent.

    Raises:
        InputError: A matrix is not finite, or the overlap is singular and nothing may be dropped.
        OrbitalCountError: The shapes differ or are not square.
    """
    H, S = checked_pair(hamiltonian, overlap, "Hamiltonian")
    roots = overlap_roots(
        S, dependent=dependent, smallest_overlap_eigenvalue=smallest_overlap_eigenvalue
    )
    return orbitals_in(roots, H)


def orbitals_in(roots: OverlapRoots, hamiltonian: FloatArray) -> MolecularOrbitals:
    """Solve H C = S C ε for an overlap matrix whose roots are known.

    Args:
        roots: Of the overlap matrix.
        hamiltonian: Shape (n_orbitals, n_orbitals), hartree, finite.
    """
    X = roots.orthonormal
    orthogonal = X.T @ hamiltonian @ X
    energies, vectors = eigh(0.5 * (orthogonal + orthogonal.T))
    return MolecularOrbitals(
        energies=energies,
        coefficients=X @ vectors,
        n_dropped=roots.n_dropped,
        smallest_overlap_eigenvalue=roots.smallest_eigenvalue,
    )


def orbital_energies_and_coefficients(
    hamiltonian: ArrayLike,
    overlap: ArrayLike,
    *,
    smallest_overlap_eigenvalue: float = SMALLEST_OVERLAP_EIGENVALUE,
) -> tuple[FloatArray, FloatArray]:
    """Solve H C = S C ε by Loewdin's symmetric orthogonalisation; the plain pair of arrays.

    Args:
        hamiltonian: Shape (n_orbitals, n_orbitals), hartree. Only its symmetric part counts.
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order.
        smallest_overlap_eigenvalue: Refuse an overlap matrix with a smaller eigenvalue.

    Returns:
        Orbital energies ε in hartree, ascending, shape (n_orbitals,), and the coefficients C, one
        molecular orbital a column, shape (n_orbitals, n_orbitals), with CᵀSC = 1.

    Raises:
        InputError: A matrix is not finite, or the overlap is singular (linearly dependent
            orbitals, or not the overlap of these orbitals).
        OrbitalCountError: The shapes differ or are not square.
    """
    orbitals = molecular_orbitals(
        hamiltonian, overlap, smallest_overlap_eigenvalue=smallest_overlap_eigenvalue
    )
    return orbitals.energies, orbitals.coefficients


def density_matrix(orbital_coefficients: ArrayLike, n_electrons: int) -> FloatArray:
    """Fill the lowest orbitals with two electrons each.

    Args:
        orbital_coefficients: Shape (n_orbitals, n_molecular_orbitals), by ascending energy.
        n_electrons: Even number of electrons.

    Returns:
        Density matrix D = 2 C_occ C_occᵀ, shape (n_orbitals, n_orbitals).

    Raises:
        InputError: The number of electrons is odd, negative or more than the orbitals hold.
    """
    coefficients = np.asarray(orbital_coefficients, dtype=np.float64)
    occupied = coefficients[:, : n_occupied(n_electrons, n_orbitals=coefficients.shape[1])]
    return 2.0 * occupied @ occupied.T


def n_occupied(n_electrons: int, *, n_orbitals: int) -> int:
    """Count the doubly occupied orbitals of a closed shell.

    Raises:
        InputError: The number of electrons is odd, negative or more than the orbitals hold.
    """
    if n_electrons % 2 or not 0 <= n_electrons <= 2 * n_orbitals:
        message = (
            f"A closed shell in {n_orbitals} orbitals has an even number of electrons from 0 to "
            f"{2 * n_orbitals}, got {n_electrons}."
        )
        raise InputError(message)
    return n_electrons // 2


def homo_lumo(orbital_energies: ArrayLike, n_electrons: int) -> tuple[float, float]:
    """Pick the energies of the highest occupied and the lowest empty orbital.

    Args:
        orbital_energies: Shape (n_orbitals,), hartree, ascending.
        n_electrons: Even number of electrons.

    Returns:
        HOMO and LUMO energy, hartree.

    Raises:
        InputError: The number of electrons is odd, or there is no occupied or no empty orbital.
    """
    energies = np.asarray(orbital_energies, dtype=np.float64)
    filled = n_occupied(n_electrons, n_orbitals=len(energies))
    if filled in (0, len(energies)):
        message = f"{n_electrons} electrons in {len(energies)} orbitals have no HOMO or no LUMO."
        raise InputError(message)
    return float(energies[filled - 1]), float(energies[filled])


def homo_lumo_gap(orbital_energies: ArrayLike, n_electrons: int) -> float:
    """Give the energy between the highest occupied and the lowest empty orbital, hartree.

    Args:
        orbital_energies: Shape (n_orbitals,), hartree, ascending.
        n_electrons: Even number of electrons.

    Raises:
        InputError: The number of electrons is odd, or there is no occupied or no empty orbital.
    """
    homo, lumo = homo_lumo(orbital_energies, n_electrons)
    return lumo - homo


def electrons_in(density_matrix: ArrayLike, overlap: ArrayLike) -> float:
    """Count the electrons of a density: the trace of D S.

    Raises:
        OrbitalCountError: The shapes differ or are not square.
    """
    D, S = checked_pair(density_matrix, overlap, "density matrix")
    return float(np.einsum("ij,ij->", D, S))
