"""Roots of the overlap matrix, and what to do when orbitals are linearly dependent.

Every quantity in an orthogonal basis needs S^½ or S^-½. If an eigenvalue of S is nearly zero, some
combination of the orbitals is nearly nothing, and its inverse root blows the errors of H up. Either
such a matrix is refused (the default: in def2-SVP it is a broken matrix far more often than a real
one), or the combinations are dropped (canonical orthogonalisation) and counted.

Example:
    >>> import numpy as np
    >>> nearly_twice = np.array([[1.0, 1.0, 0.0], [1.0, 1.0 + 1e-9, 0.0], [0.0, 0.0, 1.0]])
    >>> roots = overlap_roots(nearly_twice, dependent="drop")
    >>> roots.n_dropped, f"{roots.smallest_eigenvalue:.0e}", roots.orthonormal.shape
    (1, '5e-10', (3, 2))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.linalg import eigh

from nabladft.errors import InputError, OrbitalCountError, UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

#: What to do with linearly dependent orbitals.
Dependent = Literal["refuse", "drop"]

#: Below this eigenvalue of S, orbitals are linearly dependent. A float32 overlap matrix has errors
#: of 1e-7; 50 published geometries in def2-SVP have smallest eigenvalues of 1.4e-4 to 7.3e-4.
SMALLEST_OVERLAP_EIGENVALUE: Final = 1e-6


@dataclass(frozen=True)
class OverlapRoots:
    """Roots of an overlap matrix, without the combinations of orbitals that were dropped.

    Attributes:
        root: S^½, shape (n_orbitals, n_orbitals).
        orthonormal: Orthonormal combinations X of the orbitals, one a column, with XᵀSX = 1, shape
            (n_orbitals, n_orbitals - n_dropped): S^-½ (Loewdin) if orbitals may not be dropped,
            else the eigenvectors of S, scaled (canonical).
        n_dropped: Number of linearly dependent combinations that are left out.
        smallest_eigenvalue: Of S, before anything was dropped.
    """

    root: FloatArray
    orthonormal: FloatArray
    n_dropped: int
    smallest_eigenvalue: float


def overlap_roots(
    overlap: ArrayLike,
    *,
    dependent: Dependent = "refuse",
    smallest_overlap_eigenvalue: float = SMALLEST_OVERLAP_EIGENVALUE,
) -> OverlapRoots:
    """Take the roots of an overlap matrix.

    Args:
        overlap: Shape (n_orbitals, n_orbitals). Only its symmetric part counts.
        dependent: "refuse" an overlap matrix of linearly dependent orbitals, or "drop" those
            combinations of orbitals.
        smallest_overlap_eigenvalue: Combinations with a smaller eigenvalue are dependent.

    Raises:
        InputError: The overlap is singular and ``dependent`` is "refuse", it has no eigenvalue
            above the threshold, or one so negative that it is no overlap of any orbitals.
        UnknownNameError: ``dependent`` is neither.

    Source:
        Symmetric: P.-O. Loewdin, J. Chem. Phys. 18, 365 (1950). Canonical: P.-O. Loewdin, Adv.
        Quantum Chem. 5, 185 (1970).
    """
    if dependent not in ("refuse", "drop"):
        raise UnknownNameError("treatment of dependent orbitals", dependent, ("refuse", "drop"))
    S = np.asarray(overlap, dtype=np.float64)
    values, vectors = eigh(0.5 * (S + S.T))
    kept = values >= smallest_overlap_eigenvalue
    n_dropped = int((~kept).sum())
    if n_dropped and dependent == "refuse":
        message = (
            f"The overlap matrix is singular: {n_dropped} of {len(values)} eigenvalues are below "
            f"{smallest_overlap_eigenvalue:.0e}, the smallest is {values[0]:.1e}. The orbitals are "
            "linearly dependent, or the matrix is not the overlap of these orbitals; it can be "
            "recomputed with nabladft.chemistry.overlap.overlap_matrix. If they really are "
            'dependent, dependent="drop" leaves those combinations out.'
        )
        raise InputError(message)
    if values[0] < -smallest_overlap_eigenvalue or not kept.any():
        message = (
            f"The matrix is not an overlap of orbitals: its eigenvalues are {values[0]:.1e} to "
            f"{values[-1]:.1e}, and an overlap has none below zero. Recompute it with "
            "nabladft.chemistry.overlap.overlap_matrix."
        )
        raise InputError(message)
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    orthonormal = vectors / roots
    return OverlapRoots(
        root=(vectors * roots) @ vectors.T,
        orthonormal=orthonormal @ vectors.T if dependent == "refuse" else orthonormal,
        n_dropped=n_dropped,
        smallest_eigenvalue=float(values[0]),
    )


def checked_pair(matrix: ArrayLike, overlap: ArrayLike, name: str) -> tuple[FloatArray, FloatArray]:
    """Give an operator and its overlap matrix as float64, or refuse them.

    Args:
        matrix: Shape (n_orbitals, n_orbitals).
        overlap: Shape (n_orbitals, n_orbitals).
        name: What the operator is called in the message.

    Raises:
        InputError: A matrix is not finite.
        OrbitalCountError: The shapes differ or are not square.
    """
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
