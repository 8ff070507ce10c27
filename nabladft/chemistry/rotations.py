"""How atomic orbitals, and with them every operator, turn with the molecule.

If the geometry is turned by R (every position x becomes R x), an operator of the molecule becomes

    H(R x) = D H(x) Dᵀ

where D has one block per shell: the real Wigner matrix of the shell's degree, in the orbital order
of H. R may be a proper rotation, a reflection or the inversion.

In e3nn, the same blocks are ``Irrep(l, (-1)**l).D_from_matrix(P R Pᵀ)`` with P = (x, y, z) -> (y,
z, x): the ascending order is e3nn's order for positions that are fed in as (y, z, x).

Example:
    >>> import numpy as np
    >>> quarter_turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x to y, about z
    >>> bool(np.allclose(wigner_d_real(1, quarter_turn, "pyscf"), quarter_turn))
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.linalg import block_diag

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.harmonics import solid_harmonics, sphere_quadrature
from nabladft.chemistry.orbitals import OrbitalOrder, shell_orbitals
from nabladft.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

#: Largest deviation of R Rᵀ from the identity; D deviates as much, times about l.
_ORTHOGONALITY_TOLERANCE: Final = 1e-9


def wigner_d_real(
    l: int, rotation: ArrayLike, orbital_order: OrbitalOrder = "ascending"
) -> FloatArray:
    """Give the matrix by which the orbitals of one shell turn, of one rotation or of many.

    It represents the group: D(A B) = D(A) D(B), D(Rᵀ) = D(R)ᵀ, D(-1) = (-1)^l, and for l = 1 in the
    order of PySCF (x, y, z) it is R itself.

    Args:
        l: Angular degree, 0 or more.
        rotation: Orthogonal matrices R, shape (..., 3, 3), which turn a position x into R x. Their
            determinant is 1 (rotation) or -1 (reflection, inversion, ...).
        orbital_order: Order of rows and columns.

    Returns:
        Orthogonal matrices, shape (..., 2l+1, 2l+1), with Y(R r) = D Y(r) for the real harmonics Y.

    Raises:
        InputError: A matrix of ``rotation`` is not an orthogonal (3, 3) one.
        OrbitalOrderError: The order is unknown, or not documented for such an l.
    """
    rotation = _checked_rotation(rotation)
    # D = ∫ Y(R r) Y(r)ᵀ over the unit sphere; the quadrature is exact for this degree.
    points, weights = sphere_quadrature(2 * l)
    turned = solid_harmonics(l, points @ np.swapaxes(rotation, -1, -2))
    ascending = np.swapaxes(turned, -1, -2) @ (weights[:, None] * solid_harmonics(l, points))
    orbitals = shell_orbitals(l, orbital_order)
    places = np.array([l + m for m, _ in orbitals])
    signs = np.array([sign for _, sign in orbitals], dtype=np.float64)
    matrix: FloatArray = ascending[..., places[:, None], places] * np.multiply.outer(signs, signs)
    return matrix


def orbital_rotation(
    atomic_numbers: NDArray[np.integer],
    rotation: ArrayLike,
    *,
    orbital_order: OrbitalOrder = "ascending",
    basis_set: BasisSet = DEF2_SVP,
) -> FloatArray:
    """Give the matrix D by which the operators of a molecule turn: H(R x) = D H(x) Dᵀ.

    Args:
        atomic_numbers: Shape (n_atoms,).
        rotation: Orthogonal matrix R, shape (3, 3), proper or improper.
        orbital_order: Order of the operators.
        basis_set: Assigns shells to each element.

    Returns:
        Block-diagonal orthogonal matrix, shape (n_orbitals, n_orbitals).

    Raises:
        InputError: ``rotation`` is not an orthogonal (3, 3) matrix.
        OrbitalOrderError: The order is unknown.
        UnsupportedElementError: An element has no shells in the basis set.
    """
    shells = [l for number in atomic_numbers for l in basis_set.shells_of(int(number))]
    matrices = {l: wigner_d_real(l, rotation, orbital_order) for l in sorted(set(shells))}
    blocks: FloatArray = block_diag(*(matrices[l] for l in shells))
    return blocks


def _checked_rotation(rotation: ArrayLike) -> FloatArray:
    matrix = np.asarray(rotation, dtype=np.float64)
    if matrix.shape[-2:] != (3, 3):
        message = f"A rotation must have shape (3, 3), got {matrix.shape}."
        raise InputError(message)
    product = matrix @ np.swapaxes(matrix, -1, -2)
    deviation = float(np.abs(product - np.eye(3)).max(initial=0.0))
    if not deviation <= _ORTHOGONALITY_TOLERANCE:  # also true of NaN
        message = (
            f"A rotation must be orthogonal, but R R^T differs from 1 by {deviation:.1e} (at most "
            f"{_ORTHOGONALITY_TOLERANCE:.0e}). A float32 matrix is made orthogonal by its singular "
            "vectors: u, _, v = numpy.linalg.svd(R); R = u @ v."
        )
        raise InputError(message)
    return matrix
