"""Overlap and kinetic energy between the orbitals of atom pairs, for many molecules at once.

An integral between two atoms depends on the vector between them and on their elements
(:mod:`nabladft.chemistry.shell_pairs`). So all pairs of atoms of two elements, of however many
molecules, are one exponential and one matrix product. The kinetic energy is the same sum as the
overlap with one Laplacian more.

Example:
    >>> import numpy as np
    >>> hydrogen = np.array([1, 1])
    >>> packed = two_centre_triangles(hydrogen, np.array([[0, 0, 0.0], [0, 0, 1.4]]), [0, 2])
    >>> packed.shape, round(float(packed[15]), 4)
    ((55,), 0.5701)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.gaussians import GaussianBasis, gaussian_basis
from nabladft.chemistry.harmonics import solid_harmonics
from nabladft.chemistry.orbitals import OrbitalOrder, orbital_permutation
from nabladft.chemistry.shell_pairs import ShellPairs, degree_shells
from nabladft.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

Operator = Literal["overlap", "kinetic"]

#: Pairs of atoms worked on together: enough to hide the overhead of a call, few enough for caches.
_PAIRS_AT_ONCE: Final = 16384


def two_centre_triangles(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    atom_offsets: ArrayLike,
    *,
    operator: Operator = "overlap",
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> FloatArray:
    """Compute the overlap or kinetic-energy matrices of several molecules.

    Args:
        atomic_numbers: Of all molecules, one after the other, shape (sum n_atoms,).
        positions: Shape (sum n_atoms, 3), bohr.
        atom_offsets: Where each molecule begins, shape (n + 1,).
        operator: "overlap" (dimensionless) or "kinetic" (hartree).
        basis_set: Basis set with known exponents, or a
            :class:`~nabladft.chemistry.gaussians.GaussianBasis`. Any angular degree.
        orbital_order: Order of rows and columns.

    Returns:
        Packed lower triangles, one after the other: element (i, j), i >= j, of one matrix is value
        i (i + 1) / 2 + j of its triangle.

    Raises:
        InputError: The positions do not have shape (sum n_atoms, 3), or are not finite.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: The exponents of ``basis_set`` are not known here.
        UnsupportedElementError: An element is not in the basis set.

    Source:
        E. W. Hobson, Proc. London Math. Soc. 24, 55 (1892); T. J. Giese, D. M. York, J. Chem. Phys.
        128, 064104 (2008). Agrees with PySCF to 1e-12.
    """
    numbers = np.asarray(atomic_numbers)
    places = checked_positions(numbers, positions)
    offsets = np.asarray(atom_offsets, dtype=np.int64)
    basis = gaussian_basis(basis_set)
    layout = _Layout.of(numbers, offsets, basis)
    values = np.empty(layout.n_values)
    elements = np.unique(numbers).tolist()
    for number in elements:
        atoms = np.flatnonzero(numbers == number)
        values[layout.diagonal_places(atoms)] = _pair(
            basis_set, number, number, operator, orbital_order
        ).own_block()[np.tril_indices(layout.sizes[atoms[0]])]
    highest = max((2 * l for z in elements for l in basis.shells_of(z)), default=0)
    for some in _molecules_together(offsets):
        above, below = _atom_pairs(offsets[some.start : some.stop + 1])
        # Of two elements the heavier comes first; what that turns round goes into its place as the
        # transpose. Pairs of the same two elements, and of one sense, lie side by side.
        swapped = numbers[above] < numbers[below]
        first, second = np.where(swapped, [below, above], [above, below])
        kinds = (numbers[first].astype(np.int64) * 1000 + numbers[second]) * 2 + swapped
        order = np.argsort(kinds, kind="stable")
        first, second, kinds = first[order], second[order], kinds[order]
        vectors = places[first] - places[second]
        squared = np.einsum("nx,nx->n", vectors, vectors)
        harmonics = [solid_harmonics(L, vectors) for L in range(highest + 1)]
        for kind in np.unique(kinds // 2).tolist():
            start, turn, stop = np.searchsorted(kinds, [2 * kind, 2 * kind + 1, 2 * kind + 2])
            heavy, light = divmod(kind, 1000)
            pair = _pair(basis_set, heavy, light, operator, orbital_order)
            blocks = pair.blocks(
                squared[start:stop], [values_of[start:stop] for values_of in harmonics]
            )
            if turn > start:
                straight = layout.block_places(first[start:turn], second[start:turn])
                values[straight] = blocks[: turn - start]
            if stop > turn:
                turned = layout.block_places(second[turn:stop], first[turn:stop])
                values[turned] = blocks[turn - start :].transpose(0, 2, 1)
    return values


def checked_positions(numbers: NDArray[np.integer], positions: ArrayLike) -> FloatArray:
    """Give positions as float64, or refuse them.

    Raises:
        InputError: They do not have shape (n_atoms, 3), or are not finite.
    """
    places = np.asarray(positions, dtype=np.float64)
    if places.shape != (len(numbers), 3) or not np.isfinite(places).all():
        message = (
            f"positions must be finite, with shape (n_atoms, 3) = ({len(numbers)}, 3), got shape "
            f"{places.shape}."
        )
        raise InputError(message)
    return places


@dataclass(frozen=True)
class _Layout:
    """Where the block of two atoms lies in the packed triangles."""

    sizes: IntArray  # orbitals of each atom
    first: IntArray  # first orbital of each atom within its molecule
    base: IntArray  # where the triangle of the atom's molecule begins
    n_values: int

    @classmethod
    def of(cls, numbers: NDArray[np.integer], atom_offsets: IntArray, basis: BasisSet) -> _Layout:
        sizes = np.zeros(len(numbers), dtype=np.int64)
        for number in np.unique(numbers).tolist():
            sizes[numbers == number] = sum(2 * l + 1 for l in basis.shells_of(number))
        before = np.concatenate([[0], np.cumsum(sizes)])
        n_orbitals = np.diff(before[atom_offsets])
        triangles = np.concatenate([[0], np.cumsum(n_orbitals * (n_orbitals + 1) // 2)])
        molecule = np.repeat(np.arange(len(atom_offsets) - 1), np.diff(atom_offsets))
        return cls(
            sizes=sizes,
            first=before[:-1] - before[atom_offsets[molecule]],
            base=triangles[molecule],
            n_values=int(triangles[-1]),
        )

    def block_places(self, above: IntArray, below: IntArray) -> IntArray:
        """Places of the blocks of atom pairs, all of the same two elements."""
        rows = self.first[above][:, None] + np.arange(self.sizes[above[0]])
        columns = self.first[below][:, None] + np.arange(self.sizes[below[0]])
        starts = self.base[above][:, None] + rows * (rows + 1) // 2
        places: IntArray = starts[:, :, None] + columns[:, None, :]
        return places

    def diagonal_places(self, atoms: IntArray) -> IntArray:
        """Places of the lower triangles of the blocks of atoms of one element with themselves."""
        row, column = np.tril_indices(self.sizes[atoms[0]])
        rows = self.first[atoms][:, None] + row
        columns = self.first[atoms][:, None] + column
        places: IntArray = self.base[atoms][:, None] + rows * (rows + 1) // 2 + columns
        return places


def _molecules_together(offsets: IntArray) -> Iterator[range]:
    n_atoms = np.diff(offsets)
    ends = np.cumsum(n_atoms * (n_atoms - 1) // 2)
    start, done = 0, 0
    while start < len(n_atoms):
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        yield range(start, stop)
        start, done = stop, int(ends[stop - 1])


def _atom_pairs(offsets: IntArray) -> tuple[IntArray, IntArray]:
    """List all pairs of different atoms of a molecule, the later one first."""
    pairs = [_lower_pairs(n) for n in np.diff(offsets).tolist()]
    shift = np.repeat(offsets[:-1], [len(rows) for rows, _ in pairs])
    above = np.concatenate([rows for rows, _ in pairs]) + shift
    return above, np.concatenate([columns for _, columns in pairs]) + shift


@lru_cache(maxsize=256)
def _lower_pairs(n: int) -> tuple[IntArray, IntArray]:
    rows, columns = np.tril_indices(n, -1)
    return rows.astype(np.int64), columns.astype(np.int64)


def _pair(
    basis_set: BasisSet, first: int, second: int, operator: Operator, order: OrbitalOrder
) -> _ElementPair:
    if isinstance(basis_set, GaussianBasis):
        return _ElementPair(basis_set, first, second, operator, order)
    return _named_pair(basis_set.name, first, second, operator, order)


@lru_cache(maxsize=4096)
def _named_pair(
    name: str, first: int, second: int, operator: Operator, order: OrbitalOrder
) -> _ElementPair:
    basis = gaussian_basis(BasisSet(name, {}))  # found by its name
    return _ElementPair(basis, first, second, operator, order)


class _ElementPair:
    """The integrals between an atom of one element and an atom of another, by their distance."""

    def __init__(
        self,
        basis: GaussianBasis,
        first: int,
        second: int,
        operator: Operator,
        orbital_order: OrbitalOrder,
    ) -> None:
        laplacians, prefactor = {"overlap": (0, 1.0), "kinetic": (1, -0.5)}[operator]
        self._groups = [
            ShellPairs(a, b, laplacians=laplacians, prefactor=prefactor)
            for a in degree_shells(basis.contractions_of(first))
            for b in degree_shells(basis.contractions_of(second))
        ]
        self._highest = max(group.highest for group in self._groups)
        self._orders = [
            orbital_permutation(
                np.array([z]), source="ascending", target=orbital_order, basis_set=basis
            )
            for z in (first, second)
        ]
        self._moves = orbital_order != "ascending"

    def blocks(self, squared: FloatArray, harmonics: Sequence[FloatArray]) -> FloatArray:
        """Give the integrals of pairs of atoms, shape (n, rows, columns).

        Args:
            squared: Squared distances, shape (n,).
            harmonics: Of the differences of positions, by degree, each (n, 2L + 1).
        """
        (rows, row_signs), (columns, column_signs) = self._orders
        values = np.empty((len(squared), len(rows), len(columns)))
        for group in self._groups:
            values[:, group.rows, group.columns] = group.integrals(squared, harmonics)
        if self._moves:
            values = values[:, rows[:, None], columns] * (row_signs[:, None] * column_signs)
        return values

    def own_block(self) -> FloatArray:
        """Integrals between the orbitals of one atom."""
        vector = np.zeros((1, 3))
        harmonics = [solid_harmonics(L, vector) for L in range(self._highest + 1)]
        block: FloatArray = self.blocks(np.zeros(1), harmonics)[0]
        return 0.5 * (block + block.T)  # the last digit of the two triangles may differ
