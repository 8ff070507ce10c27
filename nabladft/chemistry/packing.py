"""Symmetric matrices as their lower triangles.

On disk and between modules a symmetric matrix is its lower triangle, row by row: element (i, j)
with ``i >= j`` is value ``i (i + 1) / 2 + j``, as in PySCF's ``pack_tril``.

Example:
    >>> import numpy as np
    >>> pack_lower(np.array([[1.0, 2.0], [2.0, 3.0]]))
    array([1., 2., 3.])
    >>> unpack_lower(np.array([1.0, 2.0, 3.0]))
    array([[1., 2.],
           [2., 3.]])
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nabladft.errors import OrbitalCountError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ScalarT = TypeVar("ScalarT", bound=np.generic)


def packed_size(n_orbitals: int) -> int:
    """Count the values of the lower triangle of an (n_orbitals, n_orbitals) matrix."""
    return n_orbitals * (n_orbitals + 1) // 2


def orbitals_of_packed_size(n_values: int) -> int:
    """Invert :func:`packed_size`.

    Raises:
        OrbitalCountError: No square matrix has a triangle of that many values.
    """
    n_orbitals = (isqrt(8 * n_values + 1) - 1) // 2 if n_values >= 0 else 0
    if packed_size(n_orbitals) != n_values:
        message = (
            f"{n_values} values are not the lower triangle of a square matrix; the nearest sizes "
            f"are {packed_size(n_orbitals)} and {packed_size(n_orbitals + 1)} "
            f"({n_orbitals} and {n_orbitals + 1} orbitals)."
        )
        raise OrbitalCountError(message)
    return n_orbitals


def pack_lower(matrix: NDArray[ScalarT]) -> NDArray[ScalarT]:
    """Take the lower triangle of a symmetric matrix, row by row.

    The upper triangle is not read; whoever accepts a matrix from outside checks its symmetry
    (:class:`nabladft.Conformation` does).

    Args:
        matrix: Shape (..., n_orbitals, n_orbitals). Any unit.

    Returns:
        New array, shape (..., n_orbitals (n_orbitals + 1) / 2), same dtype and unit.

    Raises:
        OrbitalCountError: The last two axes differ.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        message = f"A matrix of shape (..., n_orbitals, n_orbitals) expected, got {matrix.shape}."
        raise OrbitalCountError(message)
    n_orbitals = matrix.shape[-1]
    flat = matrix.reshape(*matrix.shape[:-2], n_orbitals * n_orbitals)
    return np.take(flat, _lower_positions(n_orbitals), axis=-1)


def unpack_lower(values: NDArray[ScalarT]) -> NDArray[ScalarT]:
    """Rebuild a symmetric matrix from its lower triangle; the inverse of :func:`pack_lower`.

    Args:
        values: Shape (..., n_orbitals (n_orbitals + 1) / 2). Any unit.

    Returns:
        New array, shape (..., n_orbitals, n_orbitals), exactly symmetric, same dtype and unit.

    Raises:
        OrbitalCountError: The last axis is not a triangle.
    """
    values = np.asarray(values)
    if values.ndim < 1:
        message = f"Values of shape (..., n_values) expected, got {values.shape}."
        raise OrbitalCountError(message)
    n_orbitals = orbitals_of_packed_size(values.shape[-1])
    return np.take(values, _packed_positions(n_orbitals), axis=-1)


@lru_cache(maxsize=16)
def _lower_positions(n_orbitals: int) -> NDArray[np.intp]:
    """Where each packed value is in the flattened matrix, shape (packed_size,)."""
    return np.flatnonzero(np.tri(n_orbitals, dtype=bool))


@lru_cache(maxsize=16)
def _packed_positions(n_orbitals: int) -> NDArray[np.intp]:
    """Where each matrix element is in the packed values, shape (n_orbitals, n_orbitals)."""
    index = np.arange(n_orbitals)
    row, column = np.maximum(index[:, None], index), np.minimum(index[:, None], index)
    positions: NDArray[np.intp] = row * (row + 1) // 2 + column
    return positions
