"""Bond orders between the atoms of a molecule, from a density matrix and the overlap matrix.

Both count the pairs of electrons that two atoms share: about 1 for a single bond, 2 for a double
bond, 1.4 in benzene. Mayer's take the orbitals as they are, Wiberg's the orthogonal ones nearest to
them (Loewdin's). Both are unchanged when the molecule is moved or turned.

Example:
    >>> import numpy as np
    >>> from nabladft.chemistry.overlap import overlap_matrix
    >>> hydrogen = np.array([1, 1])
    >>> S = overlap_matrix(hydrogen, np.array([[0, 0, 0.0], [0, 0, 1.4]]))
    >>> bond = np.zeros(10)
    >>> bond[[0, 5]] = 1  # the sum of one s orbital of each
    >>> D = 2 * np.outer(bond, bond) / (bond @ S @ bond)
    >>> mayer_bond_orders(D, S, hydrogen).round(6)
    array([[0., 1.],
           [1., 0.]])
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


def mayer_bond_orders(
    density_matrix: ArrayLike,
    overlap: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> FloatArray:
    """Add (D S)_ij (D S)_ji over the orbitals i of one atom and j of another.

    Args:
        density_matrix: Of a closed shell, shape (n_orbitals, n_orbitals).
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order.
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns orbitals to each atom.

    Returns:
        Symmetric, shape (n_atoms, n_atoms), zero on the diagonal: the sum of a row is the valence
        of the atom.

    Raises:
        InputError: A matrix is not finite.
        OrbitalCountError: A matrix does not have the number of orbitals of these atoms.

    Source:
        I. Mayer, Chem. Phys. Lett. 97, 270 (1983).
    """
    D, S = checked_pair(density_matrix, overlap, "density matrix")
    check_operator_shape(D, atomic_numbers, basis_set=basis_set)
    shared = D @ S
    return _between_atoms(shared * shared.T, atomic_numbers, basis_set)


def wiberg_bond_orders(
    density_matrix: ArrayLike,
    overlap: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
    dependent: Dependent = "refuse",
) -> FloatArray:
    """Add (S^½ D S^½)_ij² over the orbitals i of one atom and j of another.

    Wiberg's index is for orthogonal orbitals; this is the index in Loewdin's orbitals, as other
    programs print it, and not the one in natural atomic orbitals.

    Args:
        density_matrix: Of a closed shell, shape (n_orbitals, n_orbitals).
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order.
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns orbitals to each atom.
        dependent: "refuse" linearly dependent orbitals, or "drop" those combinations.

    Returns:
        Symmetric, shape (n_atoms, n_atoms), zero on the diagonal: the sum of a row is the valence
        of the atom.

    Raises:
        InputError: A matrix is not finite, or the overlap is singular.
        OrbitalCountError: A matrix does not have the number of orbitals of these atoms.

    Source:
        K. B. Wiberg, Tetrahedron 24, 1083 (1968).
    """
    D, S = checked_pair(density_matrix, overlap, "density matrix")
    check_operator_shape(D, atomic_numbers, basis_set=basis_set)
    root = overlap_roots(S, dependent=dependent).root
    return bond_orders_of_orthogonal(root @ D @ root, atomic_numbers, basis_set=basis_set)


def bond_orders_of_orthogonal(
    orthogonal_density: FloatArray,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> FloatArray:
    """Give Wiberg's bond orders from a density matrix of orthogonal orbitals.

    Args:
        orthogonal_density: S^½ D S^½, shape (n_orbitals, n_orbitals).
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns orbitals to each atom.

    Returns:
        Symmetric, shape (n_atoms, n_atoms), zero on the diagonal.
    """
    return _between_atoms(orthogonal_density**2, atomic_numbers, basis_set)


def _between_atoms(
    contributions: FloatArray, atomic_numbers: NDArray[np.integer], basis_set: BasisSet
) -> FloatArray:
    starts = basis_set.first_orbitals(atomic_numbers)
    sums = np.add.reduceat(np.add.reduceat(contributions, starts, axis=0), starts, axis=1)
    np.fill_diagonal(sums, 0.0)
    orders: FloatArray = 0.5 * (sums + sums.T)  # their last digits may differ
    return orders
