"""The attraction of the electrons by the nuclei, in the atomic-orbital basis.

The product of two s Gaussians is a Gaussian about a point P between their centres A and B, and the
potential of a Gaussian is a Boys function, so that for s Gaussians

    V = -Σ_C Z_C (2π / p) exp(-μ |A-B|²) F_0(p |P-C|²),  p = a + b,  μ = ab / p.

As for the overlap (:mod:`nabladft.chemistry.two_centre`), any other shell is a harmonic of the
derivative with respect to its centre. Here a centre moves two vectors, R = A - B and P:

    ∇_A = ∇_R + (a/p) ∇_P,   ∇_B = -∇_R + (b/p) ∇_P,

the addition theorem of the solid harmonics splits each harmonic between the two, and the factors of
R and of P are derived separately: harmonics of R times Gaussians, harmonics of P - C times Boys
functions (or, where a Laplacian is left, Gaussians, because the potential of a Gaussian charge has
that charge as its Laplacian).

Example:
    >>> import numpy as np
    >>> hydrogen = attraction_matrix(np.array([1]), np.zeros((1, 3)))
    >>> round(float(hydrogen[0, 0]), 4)
    -1.3777
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import factorial, pi
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import binom, gamma, gammainc

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.gaussians import GaussianBasis, gaussian_basis
from nabladft.chemistry.harmonics import gaunt_coefficients, solid_harmonics, sphere_quadrature
from nabladft.chemistry.orbitals import OrbitalOrder, reorder_orbitals
from nabladft.chemistry.shell_pairs import DegreeShells, degree_shells
from nabladft.chemistry.two_centre import checked_positions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

#: Pairs of primitives whose product is smaller than exp(-this) at its largest are left out.
_NEGLIGIBLE: Final = 46.0

#: Pairs of primitives times nuclei worked on together, so that arrays stay in the caches.
_AT_ONCE: Final = 1 << 15


def attraction_matrix(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute the potential energy of the electrons in the field of the bare nuclei.

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

    Source:
        S. F. Boys, Proc. R. Soc. A 200, 542 (1950); E. W. Hobson, Proc. London Math. Soc. 24, 55
        (1892). Agrees with PySCF to 1e-10.
    """
    numbers = np.asarray(atomic_numbers)
    places = checked_positions(numbers, positions)
    basis = gaussian_basis(basis_set)
    shells = _shells_by_degree(numbers, basis)
    n_orbitals = basis.n_orbitals(numbers)
    matrix = np.empty((n_orbitals, n_orbitals))
    for la, a in shells.items():
        for lb, b in shells.items():
            if lb > la:
                continue
            block = _block(a, b, numbers, places)
            rows, columns = a.orbitals.ravel(), b.orbitals.ravel()
            matrix[rows[:, None], columns] = block
            matrix[columns[:, None], rows] = block.T
    lower = np.tril(matrix)  # two triangles of one degree may differ in the last digit
    matrix = lower + np.tril(matrix, -1).T
    return reorder_orbitals(
        matrix, numbers, source="ascending", target=orbital_order, basis_set=basis
    )


@dataclass(frozen=True)
class _Shells:
    """All shells of one angular degree in a molecule, flattened to their primitives."""

    l: int
    exponents: FloatArray  # (n_primitives,)
    weights: FloatArray  # (n_primitives,)
    atoms: IntArray  # (n_primitives,)
    shells: IntArray  # (n_primitives,)
    orbitals: IntArray  # (n_shells, 2l+1): rows of the matrix


def _shells_by_degree(numbers: NDArray[np.integer], basis: GaussianBasis) -> dict[int, _Shells]:
    """Sort the shells of all atoms by angular degree."""
    parts: dict[int, list[tuple[int, int, DegreeShells]]] = {}
    first = 0
    for atom, number in enumerate(numbers.tolist()):
        for own in degree_shells(basis.contractions_of(number)):
            parts.setdefault(own.l, []).append((atom, first, own))
        first += sum(2 * l + 1 for l in basis.shells_of(number))
    found = {}
    for l, members in sorted(parts.items()):
        n_shells = np.cumsum([0, *(own.weights.shape[1] for _, _, own in members)])
        shell_in_atom = [np.argmax(own.weights != 0, axis=1) for _, _, own in members]
        found[l] = _Shells(
            l=l,
            exponents=np.concatenate([own.exponents for _, _, own in members]),
            weights=np.concatenate([own.weights.sum(axis=1) for _, _, own in members]),
            atoms=np.repeat(
                [atom for atom, _, _ in members], [len(own.exponents) for _, _, own in members]
            ),
            shells=np.concatenate(
                [shell + start for shell, start in zip(shell_in_atom, n_shells[:-1], strict=True)]
            ),
            orbitals=np.concatenate(
                [np.arange(start, start + _width(own)) for _, start, own in _placed(members)]
            ).reshape(-1, 2 * l + 1),
        )
    return found


def _placed(
    members: list[tuple[int, int, DegreeShells]],
) -> list[tuple[int, int, DegreeShells]]:
    return [(atom, first + own.orbitals.start, own) for atom, first, own in members]


def _width(own: DegreeShells) -> int:
    return int(own.orbitals.stop - own.orbitals.start)


def _block(a: _Shells, b: _Shells, numbers: NDArray[np.integer], places: FloatArray) -> FloatArray:
    """Compute the attraction between all shells of two degrees, shape (rows of a, columns of b)."""
    n_a, n_b = len(a.orbitals), len(b.orbitals)
    values = np.zeros((n_a * n_b, (2 * a.l + 1) * (2 * b.l + 1)))
    first, second = _pairs_that_matter(a, b, places)
    step = max(1, _AT_ONCE // len(numbers))
    for start in range(0, len(first), step):
        i, j = first[start : start + step], second[start : start + step]
        integrals = _primitives(a, b, i, j, numbers, places)
        shell_pairs = a.shells[i] * n_b + b.shells[j]
        # Primitives of one pair of shells lie together, so that sums over them are few.
        order = np.argsort(shell_pairs, kind="stable")
        unique, starts = np.unique(shell_pairs[order], return_index=True)
        values[unique] += np.add.reduceat(integrals[order], starts, axis=0)
    shape = (n_a, n_b, 2 * a.l + 1, 2 * b.l + 1)
    by_shell = values.reshape(shape)
    if a is b:  # only one sense of each pair was computed
        missing = np.triu_indices(n_a, 1)
        by_shell[missing] = by_shell[missing[::-1]].transpose(0, 2, 1)
    return by_shell.transpose(0, 2, 1, 3).reshape(a.orbitals.size, b.orbitals.size)


def _pairs_that_matter(a: _Shells, b: _Shells, places: FloatArray) -> tuple[IntArray, IntArray]:
    """List the pairs of primitives whose product is not negligible everywhere."""
    between = places[:, None] - places
    squared = np.einsum("abx,abx->ab", between, between)[a.atoms[:, None], b.atoms]
    reduced = np.multiply.outer(a.exponents, b.exponents) / np.add.outer(a.exponents, b.exponents)
    matters = reduced * squared < _NEGLIGIBLE
    if a is b:
        matters &= a.shells[:, None] >= b.shells
    first, second = np.nonzero(matters)
    return first, second


def _primitives(
    a: _Shells,
    b: _Shells,
    i: IntArray,
    j: IntArray,
    numbers: NDArray[np.integer],
    places: FloatArray,
) -> FloatArray:
    """Compute the attraction between pairs of primitives, shape (n_pairs, (2la+1) (2lb+1))."""
    alpha, beta = a.exponents[i], b.exponents[j]
    total = alpha + beta
    centre_a, centre_b = places[a.atoms[i]], places[b.atoms[j]]
    middle = (alpha[:, None] * centre_a + beta[:, None] * centre_b) / total[:, None]
    of_distance = _derivatives_of_gaussian(centre_a - centre_b, alpha * beta / total, a.l, b.l)
    of_middle = _derivatives_of_potential(middle, total, a.l + b.l, numbers, places)
    values = np.zeros((len(i), (2 * a.l + 1) * (2 * b.l + 1)))
    for la in range(a.l + 1):
        for lb in range(b.l + 1):
            g = _product(la, lb, of_distance)
            h = _product(a.l - la, b.l - lb, of_middle)
            h *= ((alpha / total) ** (a.l - la) * (beta / total) ** (b.l - lb) * (-1) ** lb)[
                :, None
            ]
            outer = (g[:, :, None] * h[:, None, :]).reshape(len(i), -1)
            values += outer @ _addition_matrix(a.l, la, b.l, lb)
    # The factors that turn derivatives into harmonics.
    scale = a.weights[i] * b.weights[j] / ((2 * alpha) ** a.l * (2 * beta) ** b.l)
    values *= scale[:, None]
    return values


def _product(la: int, lb: int, derivatives: dict[tuple[int, int], FloatArray]) -> FloatArray:
    """Apply the product of two harmonics of the gradient, shape (n, (2la+1) (2lb+1))."""
    parts = [
        derivatives[L, (la + lb - L) // 2] @ gaunt_coefficients(la, lb, L).reshape(-1, 2 * L + 1).T
        for L in range(abs(la - lb), la + lb + 1, 2)
    ]
    total: FloatArray = np.sum(parts, axis=0)
    return total


def _derivatives_of_gaussian(
    vectors: FloatArray, exponents: FloatArray, la: int, lb: int
) -> dict[tuple[int, int], FloatArray]:
    """Give ∇^2k Y_LM(∇) exp(-μ r²) by (L, k), each of shape (n, 2L + 1)."""
    x = exponents * np.einsum("nx,nx->n", vectors, vectors)
    gaussian = np.exp(-x)
    found = {}
    for L in range(la + lb + 1):
        harmonics = solid_harmonics(L, vectors)
        for k in range((la + lb - L) // 2 + 1):
            radial = _gaussian_radial(L, k, x, exponents) * gaussian
            found[L, k] = radial[:, None] * harmonics
    return found


def _gaussian_radial(L: int, k: int, x: FloatArray, exponents: FloatArray) -> FloatArray:
    """Give what ∇^2k Y_L(∇) makes of exp(-a r²), over Y_L(r) exp(-a r²), with x = a r²."""
    # The generalised Laguerre polynomial L_k^(L+1/2).
    laguerre = np.zeros_like(x)
    for j in range(k + 1):
        laguerre += (-1) ** j * binom(k + L + 0.5, k - j) / factorial(j) * x**j
    laguerre *= (-2 * exponents) ** L * (-4 * exponents) ** k * factorial(k)
    return laguerre


def _derivatives_of_potential(
    points: FloatArray,
    exponents: FloatArray,
    highest: int,
    numbers: NDArray[np.integer],
    places: FloatArray,
) -> dict[tuple[int, int], FloatArray]:
    """Give ∇^2k Y_LM(∇) of -Σ_C Z_C (2π/p) F_0(p |P-C|²) by (L, k), each of shape (n, 2L + 1)."""
    vectors = points[:, None] - places
    x = exponents[:, None] * np.einsum("ncx,ncx->nc", vectors, vectors)
    boys = _boys(highest, x)
    gaussian = np.exp(-x) if highest >= 2 else x
    charges = -numbers.astype(np.float64)
    found = {}
    for L in range(highest + 1):
        harmonics = solid_harmonics(L, vectors)
        for k in range((highest - L) // 2 + 1):
            if k == 0:
                radial = (-2 * exponents[:, None]) ** L * boys[L]
                radial *= 2 * pi / exponents[:, None]
            else:
                # ∇² (2π/p) F_0(p r²) = -4π exp(-p r²)
                radial = _gaussian_radial(L, k - 1, x, exponents[:, None]) * gaussian
                radial *= -4 * pi
            radial *= charges
            found[L, k] = np.einsum("nc,ncm->nm", radial, harmonics)
    return found


def _boys(highest: int, x: FloatArray) -> list[FloatArray]:
    """Evaluate the Boys functions F_0 to F_highest, F_m(x) = ∫ t^2m exp(-x t²) dt from 0 to 1."""
    order = highest + 0.5
    safe = np.maximum(x, 1e-16)  # F_m(0) = 1 / (2m + 1), reached to the last digit
    functions = [gammainc(order, safe) * gamma(order) / (2 * safe**order)]
    if highest:
        gaussian = np.exp(-safe)
        for m in range(highest, 0, -1):  # downwards, where nothing cancels
            functions.append((2 * safe * functions[-1] + gaussian) / (2 * m - 1))
    return functions[::-1]


@lru_cache(maxsize=256)
def _addition_coefficients(l: int, k: int) -> FloatArray:
    """Expand Y_l(u + v) in products Y_k(u) Y_(l-k)(v), shape (2l+1, 2k+1, 2(l-k)+1).

    The part of Y_l(u + v) of degree k in u is harmonic in u and in v, so that projecting on unit
    vectors gives its coefficients.
    """
    points, weights = sphere_quadrature(2 * l)
    values = solid_harmonics(l, points[:, None] + points)
    in_u = solid_harmonics(k, points) * weights[:, None]
    in_v = solid_harmonics(l - k, points) * weights[:, None]
    coefficients: FloatArray = np.einsum("uvm,ua,vb->mab", values, in_u, in_v, optimize=True)
    return coefficients


@lru_cache(maxsize=256)
def _addition_matrix(la: int, ka: int, lb: int, kb: int) -> FloatArray:
    """Join the expansions of two harmonics: from (u a, u b, v a, v b) to (m a, m b)."""
    both = np.einsum(
        "mac,nbd->abcdmn", _addition_coefficients(la, ka), _addition_coefficients(lb, kb)
    )
    matrix: FloatArray = both.reshape(-1, (2 * la + 1) * (2 * lb + 1))
    return matrix
