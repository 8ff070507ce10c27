"""The overlap matrix of the atomic orbitals, from the geometry alone.

The overlap follows from the positions and the basis set, so that a store need not keep it, and a
file that does keep it can be asked in which orbital order its matrices are
(:mod:`nabladft.chemistry.orbital_detection`).

A solid harmonic Gaussian is a harmonic of the derivative with respect to its centre applied to an
s Gaussian (Hobson's theorem), and the product of two harmonics is a sum of harmonics. So the
overlap of two shells is a short sum, over the degree L of that product, of a radial number per pair
of shells times harmonics of the vector between the two atoms:

    S = Σ_L radial_L(|R|²) Σ_M G(la ma, lb mb, L M) Y_LM(R)

Example:
    >>> import numpy as np
    >>> hydrogen = overlap_matrix(np.array([1, 1]), np.array([[0, 0, 0.0], [0, 0, 1.4]]))
    >>> hydrogen.shape, round(float(hydrogen[0, 5]), 4)
    ((10, 10), 0.5701)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, pi
from typing import TYPE_CHECKING

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.gaussians import GaussianBasis, gaussian_basis
from nabladft.chemistry.harmonics import gaunt_coefficients, solid_harmonics
from nabladft.chemistry.orbitals import OrbitalOrder, reorder_orbitals
from nabladft.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    IndexArray = NDArray[np.intp]


def overlap_matrix(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute the overlap of all atomic orbitals of a molecule.

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

    Source:
        E. W. Hobson, Proc. London Math. Soc. 24, 55 (1892); T. J. Giese, D. M. York, J. Chem. Phys.
        128, 064104 (2008). Agrees with PySCF to 1e-13.
    """
    numbers = np.asarray(atomic_numbers)
    positions = np.asarray(positions, dtype=np.float64)
    if positions.shape != (len(numbers), 3) or not np.isfinite(positions).all():
        message = (
            f"positions must be finite, with shape (n_atoms, 3) = ({len(numbers)}, 3), got shape "
            f"{positions.shape}."
        )
        raise InputError(message)
    basis = gaussian_basis(basis_set)
    shells = _shells_by_degree(numbers, basis)
    vectors = positions[:, None] - positions
    squared = np.einsum("abx,abx->ab", vectors, vectors)
    degrees = sorted(shells)
    harmonics = {L: solid_harmonics(L, vectors) for L in range(2 * max(degrees) + 1)}

    n_orbitals = basis.n_orbitals(numbers)
    overlap = np.empty((n_orbitals, n_orbitals))
    for la in degrees:
        for lb in degrees[: degrees.index(la) + 1]:
            block = _degree_block(shells[la], shells[lb], squared, harmonics)
            if la == lb:
                block = 0.5 * (block + block.T)  # the last digit of the two triangles may differ
            rows, columns = shells[la].orbitals, shells[lb].orbitals
            overlap[rows[:, None], columns] = block
            overlap[columns[:, None], rows] = block.T
    return reorder_orbitals(
        overlap, numbers, source="ascending", target=orbital_order, basis_set=basis
    )


@dataclass(frozen=True)
class _Shells:
    """All shells of one angular degree in a molecule, flattened to their primitives."""

    l: int
    exponents: FloatArray  # (n_primitives,)
    weights: FloatArray  # (n_primitives,)
    primitive_atoms: IndexArray  # (n_primitives,)
    starts: IndexArray  # (n_shells,): first primitive of each shell
    atoms: IndexArray  # (n_shells,)
    orbitals: IndexArray  # (n_shells * (2l+1),): rows of the overlap matrix


def _shells_by_degree(numbers: NDArray[np.integer], basis: GaussianBasis) -> dict[int, _Shells]:
    """Sort the shells of all atoms by angular degree."""
    contractions = [basis.contractions_of(int(number)) for number in numbers]
    atoms: dict[int, list[int]] = {}
    orbitals: dict[int, list[int]] = {}
    members: dict[int, list[tuple[FloatArray, FloatArray]]] = {}
    n_orbitals = 0
    for atom, shells in enumerate(contractions):
        for shell in shells:
            atoms.setdefault(shell.l, []).append(atom)
            members.setdefault(shell.l, []).append((shell.exponents, shell.weights))
            orbitals.setdefault(shell.l, []).extend(range(n_orbitals, n_orbitals + 2 * shell.l + 1))
            n_orbitals += 2 * shell.l + 1
    found = {}
    for l, own in members.items():
        sizes = [len(exponents) for exponents, _ in own]
        found[l] = _Shells(
            l=l,
            exponents=np.concatenate([exponents for exponents, _ in own]),
            weights=np.concatenate([weights for _, weights in own]),
            primitive_atoms=np.repeat(np.array(atoms[l]), sizes),
            starts=np.cumsum([0, *sizes[:-1]]),
            atoms=np.array(atoms[l]),
            orbitals=np.array(orbitals[l]),
        )
    return found


def _degree_block(
    a: _Shells, b: _Shells, squared: FloatArray, harmonics: dict[int, FloatArray]
) -> FloatArray:
    """Compute the overlap between all shells of two degrees, shape (rows of a, columns of b)."""
    inverse_sums = 1 / np.add.outer(a.exponents, b.exponents)
    reduced = np.multiply.outer(a.exponents, b.exponents) * inverse_sums
    x = reduced * squared[a.primitive_atoms[:, None], b.primitive_atoms]
    # S of two s Gaussians, with the factors that turn derivatives into harmonics. Powers are
    # written as products, which are many times faster than NumPy's power.
    base = np.exp(-x)
    base *= inverse_sums
    base *= np.sqrt(inverse_sums)
    base *= (pi**1.5 * a.weights / (2 * a.exponents) ** a.l)[:, None]
    base *= b.weights / (-2 * b.exponents) ** b.l
    for _ in range(max(a.l, b.l)):  # the power of μ that all L have in common
        base *= reduced

    block = np.zeros((len(a.atoms), len(b.atoms), (2 * a.l + 1) * (2 * b.l + 1)))
    a_centres, a_sites = np.unique(a.atoms, return_inverse=True)
    b_centres, b_sites = np.unique(b.atoms, return_inverse=True)
    for L in range(abs(a.l - b.l), a.l + b.l + 1, 2):
        k = (a.l + b.l - L) // 2
        # ∇^2k Y_L(∇) exp(-μ r²) = (-2μ)^L (-4μ)^k k! L_k^(L+1/2)(μ r²) Y_L(r) exp(-μ r²)
        radial = base * ((-2) ** L * (-4) ** k * factorial(k))
        for _ in range(L + k - max(a.l, b.l)):
            radial *= reduced
        if k:
            radial *= _laguerre(k, L + 0.5, x)
        contracted = np.add.reduceat(np.add.reduceat(radial, a.starts, axis=0), b.starts, axis=1)
        gaunt = gaunt_coefficients(a.l, b.l, L).reshape(-1, 2 * L + 1)
        angular = harmonics[L][a_centres[:, None], b_centres] @ gaunt.T
        block += contracted[:, :, None] * angular[a_sites[:, None], b_sites]
    by_shell = block.reshape(len(a.atoms), len(b.atoms), 2 * a.l + 1, 2 * b.l + 1)
    return by_shell.transpose(0, 2, 1, 3).reshape(len(a.orbitals), len(b.orbitals))


def _laguerre(k: int, alpha: float, x: FloatArray) -> FloatArray:
    """Evaluate the generalised Laguerre polynomial L_k^(alpha)."""
    below, value = np.zeros_like(x), np.ones_like(x)
    for n in range(1, k + 1):
        above = ((2 * n - 1 + alpha - x) * value - (n - 1 + alpha) * below) / n
        below, value = value, above
    return value
