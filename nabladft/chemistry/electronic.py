"""Electronic structure from a Hamiltonian and its overlap matrix: no DFT program needed.

Everything here is for closed shells: each of the lowest n_electrons / 2 molecular orbitals holds
two electrons. Nothing depends on the orbital order, as long as H and S are in the same one.

Example:
    >>> import numpy as np
    >>> H, S = np.array([[-1.0, -0.9], [-0.9, -1.0]]), np.array([[1.0, 0.6], [0.6, 1.0]])
    >>> energies, coefficients = orbital_energies_and_coefficients(H, S)
    >>> energies.round(4).tolist(), round(homo_lumo_gap(energies, 2), 4)
    ([-1.1875, -0.25], 0.9375)
    >>> D = density_matrix(coefficients, 2)
    >>> round(electrons_in(D, S), 12)
    2.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.linalg import eigh

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.orbitals import check_operator_shape
from nabladft.errors import InputError, OrbitalCountError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

#: Below this eigenvalue of S, orbitals are linearly dependent. A float32 overlap matrix has errors
#: of 1e-7; 50 published geometries in def2-SVP have smallest eigenvalues of 1.4e-4 to 7.3e-4.
SMALLEST_OVERLAP_EIGENVALUE: Final = 1e-6


def n_electrons(atomic_numbers: NDArray[np.integer], *, charge: int = 0) -> int:
    """Count the electrons of a molecule (no effective core potentials).

    Args:
        atomic_numbers: Shape (n_atoms,).
        charge: Total charge, e.
    """
    return int(np.sum(atomic_numbers)) - charge


def orbital_energies_and_coefficients(
    hamiltonian: ArrayLike,
    overlap: ArrayLike,
    *,
    smallest_overlap_eigenvalue: float = SMALLEST_OVERLAP_EIGENVALUE,
) -> tuple[FloatArray, FloatArray]:
    """Solve H C = S C ε by Loewdin's symmetric orthogonalisation.

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
    H, S = _square_pair(hamiltonian, overlap, "Hamiltonian")
    inverse_root = _overlap_power(S, -0.5, smallest_overlap_eigenvalue)
    orthogonal = inverse_root @ (0.5 * (H + H.T)) @ inverse_root
    energies, vectors = eigh(0.5 * (orthogonal + orthogonal.T))
    return energies, inverse_root @ vectors


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
    D, S = _square_pair(density_matrix, overlap, "density matrix")
    return float(np.einsum("ij,ij->", D, S))


def mulliken_charges(
    density_matrix: ArrayLike,
    overlap: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> FloatArray:
    """Share the electrons out among the atoms by (D S)_ii.

    Args:
        density_matrix: Shape (n_orbitals, n_orbitals).
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order.
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns orbitals to each atom.

    Returns:
        Charges in e, shape (n_atoms,): nuclear charge minus electrons. They sum to the charge.

    Raises:
        OrbitalCountError: A matrix does not have the number of orbitals of these atoms.

    Source:
        R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955).
    """
    D, S = _square_pair(density_matrix, overlap, "density matrix")
    populations = np.einsum("ij,ij->i", D, S)
    return _charges(populations, D, atomic_numbers, basis_set)


def loewdin_charges(
    density_matrix: ArrayLike,
    overlap: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> FloatArray:
    """Share the electrons out among the atoms by (S^½ D S^½)_ii.

    Args:
        density_matrix: Shape (n_orbitals, n_orbitals).
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order.
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns orbitals to each atom.

    Returns:
        Charges in e, shape (n_atoms,): nuclear charge minus electrons. They sum to the charge.

    Raises:
        InputError: The overlap is singular.
        OrbitalCountError: A matrix does not have the number of orbitals of these atoms.

    Source:
        P.-O. Loewdin, J. Chem. Phys. 18, 365 (1950).
    """
    D, S = _square_pair(density_matrix, overlap, "density matrix")
    root = _overlap_power(S, 0.5, SMALLEST_OVERLAP_EIGENVALUE)
    populations = np.einsum("ij,ij->i", root @ D, root)
    return _charges(populations, D, atomic_numbers, basis_set)


def _charges(
    populations: FloatArray,
    density: FloatArray,
    atomic_numbers: NDArray[np.integer],
    basis_set: BasisSet,
) -> FloatArray:
    check_operator_shape(density, atomic_numbers, basis_set=basis_set)
    sizes = basis_set.orbitals_per_atom(atomic_numbers)
    starts = np.cumsum(sizes) - sizes
    charges: FloatArray = np.asarray(atomic_numbers) - np.add.reduceat(populations, starts)
    return charges


def _overlap_power(S: FloatArray, power: float, smallest: float) -> FloatArray:
    values, vectors = eigh(0.5 * (S + S.T))
    if values[0] < smallest:
        message = (
            f"The overlap matrix is singular: {int((values < smallest).sum())} of {len(values)} "
            f"eigenvalues are below {smallest:.0e}, the smallest is {values[0]:.1e}. The orbitals "
            "are linearly dependent, or the matrix is not the overlap of these orbitals; it can be "
            "recomputed with nabladft.chemistry.overlap.overlap_matrix."
        )
        raise InputError(message)
    result: FloatArray = (vectors * values**power) @ vectors.T
    return result


def _square_pair(matrix: ArrayLike, overlap: ArrayLike, name: str) -> tuple[FloatArray, FloatArray]:
    first = np.asarray(matrix, dtype=np.float64)
    S = np.asarray(overlap, dtype=np.float64)
    if first.ndim != 2 or first.shape[0] != first.shape[1] or first.shape != S.shape:
        message = (
            f"The {name} and the overlap matrix must both have shape (n_orbitals, n_orbitals), got "
            f"{first.shape} and {S.shape}."
        )
        raise OrbitalCountError(message)
    for label, values in ((name, first), ("overlap matrix", S)):
        if not np.isfinite(values).all():
            message = f"The {label} holds {int((~np.isfinite(values)).sum())} values not finite."
            raise InputError(message)
    return first, S
