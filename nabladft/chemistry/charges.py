"""Charges of the atoms in a molecule, from a density matrix and the overlap matrix.

The electrons of a density are shared out among the orbitals, and each orbital belongs to an atom.
Mulliken takes the orbitals as they are, Loewdin the orthogonal ones nearest to them. Both depend on
the basis set; both are unchanged when the molecule is moved or turned.

Example:
    >>> import numpy as np
    >>> from nabladft.chemistry.overlap import overlap_matrix
    >>> hydrogen = np.array([1, 1])
    >>> S = overlap_matrix(hydrogen, np.array([[0, 0, 0.0], [0, 0, 1.4]]))
    >>> bond = np.zeros(10)
    >>> bond[[0, 5]] = 1  # the sum of one s orbital of each
    >>> D = 2 * np.outer(bond, bond) / (bond @ S @ bond)
    >>> mulliken_charges(D, S, hydrogen).round(6) + 0.0
    array([0., 0.])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.orbitals import check_operator_shape
from nabladft.chemistry.orthogonalisation import Dependent, checked_pair, overlap_roots

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]


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
        InputError: A matrix is not finite.
        OrbitalCountError: A matrix does not have the number of orbitals of these atoms.

    Source:
        R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955).
    """
    D, S = checked_pair(density_matrix, overlap, "density matrix")
    check_operator_shape(D, atomic_numbers, basis_set=basis_set)
    return _charges(np.einsum("ij,ij->i", D, S), atomic_numbers, basis_set)


def loewdin_charges(
    density_matrix: ArrayLike,
    overlap: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
    dependent: Dependent = "refuse",
) -> FloatArray:
    """Share the electrons out among the atoms by (S^½ D S^½)_ii.

    Args:
        density_matrix: Shape (n_orbitals, n_orbitals).
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order.
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns orbitals to each atom.
        dependent: "refuse" linearly dependent orbitals, or "drop" those combinations, in which a
            density made of :func:`~nabladft.chemistry.molecular_orbitals.molecular_orbitals` has
            no electrons.

    Returns:
        Charges in e, shape (n_atoms,): nuclear charge minus electrons. They sum to the charge.

    Raises:
        InputError: A matrix is not finite, or the overlap is singular.
        OrbitalCountError: A matrix does not have the number of orbitals of these atoms.

    Source:
        P.-O. Loewdin, J. Chem. Phys. 18, 365 (1950).
    """
    D, S = checked_pair(density_matrix, overlap, "density matrix")
    check_operator_shape(D, atomic_numbers, basis_set=basis_set)
    root = overlap_roots(S, dependent=dependent).root
    return charges_of_orthogonal(root @ D @ root, atomic_numbers, basis_set=basis_set)


def charges_of_orthogonal(
    orthogonal_density: FloatArray,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> FloatArray:
    """Share the electrons out by the diagonal of a density matrix of orthogonal orbitals.

    Args:
        orthogonal_density: S^½ D S^½, shape (n_orbitals, n_orbitals).
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns orbitals to each atom.

    Returns:
        Charges in e, shape (n_atoms,).
    """
    return _charges(np.diag(orthogonal_density), atomic_numbers, basis_set)


def _charges(
    populations: FloatArray, atomic_numbers: NDArray[np.integer], basis_set: BasisSet
) -> FloatArray:
    electrons = np.add.reduceat(populations, basis_set.first_orbitals(atomic_numbers))
    charges: FloatArray = np.asarray(atomic_numbers) - electrons
    return charges
