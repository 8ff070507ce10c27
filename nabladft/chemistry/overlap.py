"""The overlap matrix of the atomic orbitals, from the geometry alone.

The overlap follows from the positions and the basis set, so that a store need not keep it, and a
file that does keep it can be asked in which orbital order its matrices are
(:mod:`nabladft.chemistry.orbital_detection`). How it is computed:
:mod:`nabladft.chemistry.two_centre`.

Example:
    >>> import numpy as np
    >>> hydrogen = overlap_matrix(np.array([1, 1]), np.array([[0, 0, 0.0], [0, 0, 1.4]]))
    >>> hydrogen.shape, round(float(hydrogen[0, 5]), 4)
    ((10, 10), 0.5701)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.packing import unpack_lower
from nabladft.chemistry.two_centre import two_centre_triangles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from nabladft.chemistry.orbitals import OrbitalOrder

    FloatArray = NDArray[np.float64]


def overlap_matrix(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute the overlap of all atomic orbitals of a molecule.

    For many molecules :func:`~nabladft.chemistry.two_centre.two_centre_triangles` is faster.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        basis_set: Basis set with known exponents, or a
            :class:`~nabladft.chemistry.gaussians.GaussianBasis`. Any angular degree.
        orbital_order: Order of rows and columns.

    Returns:
        Symmetric, dimensionless, shape (n_orbitals, n_orbitals), with ones on the diagonal.

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
        basis_set=basis_set,
        orbital_order=orbital_order,
    )
    return unpack_lower(packed)
