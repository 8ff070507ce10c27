"""The core Hamiltonian, kinetic energy plus attraction by the nuclei, from the geometry alone.

It depends on no density, so that a store need not keep it, and a file that leaves it out has lost
nothing.

Example:
    >>> import numpy as np
    >>> core = core_hamiltonian_matrix(np.array([1, 1]), np.array([[0, 0, 0.0], [0, 0, 1.4]]))
    >>> core.shape, round(float(core[0, 0]), 4)
    ((10, 10), -1.0931)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nabladft.chemistry.attraction import attraction_matrix
from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.packing import unpack_lower
from nabladft.chemistry.two_centre import two_centre_triangles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from nabladft.chemistry.orbitals import OrbitalOrder

    FloatArray = NDArray[np.float64]


def core_hamiltonian_matrix(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute the core Hamiltonian of a molecule.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        basis_set: Basis set with known exponents, or a
            :class:`~nabladft.chemistry.gaussians.GaussianBasis`. Any angular degree.
        orbital_order: Order of rows and columns.

    Returns:
        Symmetric, hartree, shape (n_orbitals, n_orbitals).

    Raises:
        InputError: The positions do not have shape (n_atoms, 3), or are not finite.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: The exponents of ``basis_set`` are not known here.
        UnsupportedElementError: An element is not in the basis set.
    """
    kinetic = kinetic_matrix(
        atomic_numbers, positions, basis_set=basis_set, orbital_order=orbital_order
    )
    return kinetic + attraction_matrix(
        atomic_numbers, positions, basis_set=basis_set, orbital_order=orbital_order
    )


def kinetic_matrix(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute the kinetic energy of the electrons; arguments as for the core Hamiltonian.

    Returns:
        Symmetric, hartree, shape (n_orbitals, n_orbitals).

    Raises:
        InputError: The positions do not have shape (n_atoms, 3), or are not finite.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: The exponents of ``basis_set`` are not known here.
        UnsupportedElementError: An element is not in the basis set.
    """
    packed = two_centre_triangles(
        atomic_numbers,
        positions,
        [0, len(atomic_numbers)],
        operator="kinetic",
        basis_set=basis_set,
        orbital_order=orbital_order,
    )
    return unpack_lower(packed)
