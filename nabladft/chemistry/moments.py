"""The dipole moment of a molecule, from its density matrix and geometry.

A coordinate relative to the centre of a shell is a harmonic of degree 1, and its product with the
harmonic of the shell is a sum of two,

    r Y_l = G(1, l, l+1) Y_l+1 + G(1, l, l-1) r² Y_l-1,
    r² Y_l exp(-b r²) = (∇² / 4b² + (2l + 3) / 2b) Y_l exp(-b r²),

so that an integral of the dipole is a sum of overlaps and of one Laplacian, which are in
:mod:`nabladft.chemistry.shell_pairs`.

Example:
    >>> import numpy as np
    >>> proton = np.array([1])
    >>> round(float(dipole_moment(np.zeros((5, 5)), proton, [[0, 0, 2.0]])[2]), 12)
    2.0
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import combinations_with_replacement
from math import pi
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.gaussians import GaussianBasis, gaussian_basis
from nabladft.chemistry.harmonics import gaunt_coefficients, solid_harmonics
from nabladft.chemistry.orbitals import OrbitalOrder, check_operator_shape, reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.shell_pairs import DegreeShells, ShellPairs, degree_shells
from nabladft.chemistry.two_centre import checked_positions
from nabladft.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

#: Where x, y and z are among the harmonics of degree 1, which are (y, z, x).
_X_Y_Z: Final = [2, 0, 1]


def dipole_moment(
    density_matrix: ArrayLike,
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute the dipole moment of nuclei and electrons, about the origin of the positions.

    The dipole moment of an ion depends on that origin, the one of a neutral molecule does not.

    Args:
        density_matrix: Shape (n_orbitals, n_orbitals).
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        basis_set: As for :func:`dipole_integrals`.
        orbital_order: Order of the rows and columns of the density matrix.

    Returns:
        Shape (3,), e·bohr, from minus to plus: Σ_a Z_a R_a - tr(D r).

    Raises:
        InputError: The density or the positions are not finite, or the latter not (n_atoms, 3).
        OrbitalCountError: The density does not have the number of orbitals of these atoms.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: The exponents of ``basis_set`` are not known here.
        UnsupportedElementError: An element is not in the basis set.
    """
    D = np.asarray(density_matrix, dtype=np.float64)
    check_operator_shape(D, atomic_numbers, basis_set=basis_set)
    if not np.isfinite(D).all():
        message = f"The density matrix holds {int((~np.isfinite(D)).sum())} values not finite."
        raise InputError(message)
    integrals = dipole_integrals(
        atomic_numbers, positions, basis_set=basis_set, orbital_order=orbital_order
    )
    nuclei = np.asarray(atomic_numbers, dtype=np.float64) @ np.asarray(positions, dtype=np.float64)
    moment: FloatArray = nuclei - np.einsum("xij,ij->x", integrals, D)
    return moment


def dipole_integrals(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute ⟨i| r |j⟩ between all atomic orbitals, about the origin of the positions.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        basis_set: Basis set with known exponents, or a
            :class:`~nabladft.chemistry.gaussians.GaussianBasis`. Any angular degree.
        orbital_order: Order of rows and columns.

    Returns:
        Of x, y and z, symmetric, shape (3, n_orbitals, n_orbitals), bohr.

    Raises:
        InputError: The positions do not have shape (n_atoms, 3), or are not finite.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: The exponents of ``basis_set`` are not known here.
        UnsupportedElementError: An element is not in the basis set.
    """
    numbers = np.asarray(atomic_numbers)
    places = checked_positions(numbers, positions)
    basis = gaussian_basis(basis_set)
    starts, sizes = basis.first_orbitals(numbers), basis.orbitals_per_atom(numbers)
    overlap = overlap_matrix(numbers, places, basis_set=basis_set)
    integrals = np.empty((3, *overlap.shape))
    for first, second in combinations_with_replacement(np.unique(numbers).tolist(), 2):
        above, below = np.flatnonzero(numbers == first), np.flatnonzero(numbers == second)
        rows = (starts[above][:, None] + np.arange(sizes[above[0]])).ravel()[:, None]
        columns = (starts[below][:, None] + np.arange(sizes[below[0]])).ravel()
        vectors = (places[above][:, None] - places[below]).reshape(-1, 3)
        blocks = _dipoles_between(basis_set, first, second).about_second(vectors)
        by_atoms = blocks.reshape(3, len(above), len(below), *blocks.shape[2:]).swapaxes(2, 3)
        block = by_atoms.reshape(3, len(rows), len(columns))
        centres = np.repeat(places[below], sizes[below[0]], axis=0).T
        block += centres[:, None, :] * overlap[rows, columns]
        if first == second:
            block = 0.5 * (block + block.swapaxes(1, 2))  # the last digits may differ
        integrals[:, rows, columns] = block
        integrals[:, columns[:, None], rows.T] = block.swapaxes(1, 2)
    return reorder_orbitals(
        integrals, numbers, source="ascending", target=orbital_order, basis_set=basis
    )


def _dipoles_between(basis_set: BasisSet, first: int, second: int) -> _ElementDipoles:
    if isinstance(basis_set, GaussianBasis):
        return _ElementDipoles(basis_set, first, second)
    return _named_dipoles(basis_set.name, first, second)


@lru_cache(maxsize=1024)
def _named_dipoles(name: str, first: int, second: int) -> _ElementDipoles:
    return _ElementDipoles(gaussian_basis(BasisSet(name, {})), first, second)


class _ElementDipoles:
    """⟨i| r |j⟩ between an atom of one element and one of another, by the vector between them."""

    def __init__(self, basis: GaussianBasis, first: int, second: int) -> None:
        above = degree_shells(basis.contractions_of(first))
        below = degree_shells(basis.contractions_of(second))
        self._shape = (above[-1].orbitals.stop, below[-1].orbitals.stop)
        self._terms = [term for a in above for b in below for term in _terms_of_dipole(a, b)]
        self._highest = max(pairs.highest for pairs, _ in self._terms)

    def about_second(self, vectors: FloatArray) -> FloatArray:
        """Give the integrals about the second atom, shape (3, n, rows, columns).

        Args:
            vectors: From the second atom to the first, shape (n, 3), bohr.
        """
        squared = np.einsum("nx,nx->n", vectors, vectors)
        harmonics = [solid_harmonics(L, vectors) for L in range(self._highest + 1)]
        blocks = np.zeros((3, len(vectors), *self._shape))
        for pairs, gaunt in self._terms:
            n_moved = gaunt.shape[2]
            values = pairs.integrals(squared, harmonics)
            n, n_rows, n_columns = values.shape
            moved = values.reshape(n, n_rows, n_columns // n_moved, n_moved)
            for axis in range(3):
                part = moved @ gaunt[axis].T
                blocks[axis, :, pairs.rows, pairs.columns] += part.reshape(n, n_rows, -1)
        return blocks


def _terms_of_dipole(a: DegreeShells, b: DegreeShells) -> list[tuple[ShellPairs, FloatArray]]:
    """Integrals with moved shells, and the coefficients that make dipoles of them."""
    terms = [(ShellPairs(a, replace(b, l=b.l + 1)), _coordinates_times(b.l, b.l + 1))]
    if b.l:
        l = b.l - 1
        twice = 2 * b.exponents[:, None]
        curved = replace(b, l=l, weights=b.weights / twice**2)
        plain = replace(b, l=l, weights=b.weights * (2 * l + 3) / twice)
        gaunt = _coordinates_times(b.l, l)
        terms += [(ShellPairs(a, curved, laplacians=1), gaunt), (ShellPairs(a, plain), gaunt)]
    return terms


def _coordinates_times(l: int, into: int) -> FloatArray:
    """Coefficients of x, y, z times a harmonic of degree l, shape (3, 2l+1, 2 into + 1)."""
    coefficients: FloatArray = np.sqrt(4 * pi / 3) * gaunt_coefficients(1, l, into)[_X_Y_Z]
    return coefficients
