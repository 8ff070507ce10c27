"""Which value of a packed triangle each value of the atom-pair blocks is.

A shuffled batch of a large data set has as many molecules as records, so most indices are made
anew, in the time of two copies of the matrix, from what the order of atoms and orbitals leaves
together; the last few are kept, and serve all molecules with the same sequence of shells. A row of
a block is a piece of a row of the triangle; only the blocks on the diagonal, which are stored
whole, need their upper halves from elsewhere.

Example:
    Two hydrogen atoms with two orbitals each would give the blocks (0, 0), (1, 0), (1, 1):

    >>> numbers = np.array([1, 1])
    >>> index, signs = block_index(numbers, "def2-svp", source="psi4", target="psi4")
    >>> len(index), index[:5].tolist(), signs is None
    (75, [0, 1, 3, 6, 10], True)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.orbitals import OrbitalOrder, orbital_permutation
from nabladft.errors import OrbitalCountError
from nabladft.storage.ragged import offsets_of, ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords

    IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Element:
    """One element in one basis set, between two orbital orders.

    Attributes:
        order: Position in the source of each orbital of the target, shape (m,).
        signs: Their signs, shape (m,).
        larger: Larger source position of each element of the diagonal block, shape (m * m,).
        packed: Its place in the packed triangle of the block, shape (m * m,).
    """

    order: IntArray
    signs: NDArray[np.int8]
    larger: IntArray
    packed: IntArray


def block_index(
    atomic_numbers: NDArray[np.integer], basis_set: str, *, source: str, target: str
) -> tuple[NDArray[np.int32], NDArray[np.int8] | None]:
    """Say where each block value of one conformation is in its packed triangle.

    Args:
        atomic_numbers: Shape (n_atoms,).
        basis_set: Name of the basis set.
        source: Orbital order of the triangle.
        target: Orbital order of the blocks.

    Returns:
        The index, shape (n_values,), in the layout of :func:`nabladft.data.blocks.block_layout`,
        and the signs to multiply with, or None where all are 1. Not to be written to.

    Raises:
        UnknownNameError: There is no such basis set.
        OrbitalOrderError: There is no such orbital order.
        UnsupportedElementError: An element has no shells in the basis set.
    """
    orbital_counts(basis_set, atomic_numbers)  # refuses elements that the basis set does not have
    return _index(_alike(basis_set)[atomic_numbers].tobytes(), basis_set, source, target)


def blocks_of_records(
    flat: FlatRecords, name: str, basis_set: str, *, source: str, target: str, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], IntArray]:
    """Turn the packed triangles of a field into block values, record by record.

    Args:
        flat: Records with the field.
        name: A symmetric matrix.
        basis_set: Name of the basis set.
        source: Orbital order of the records.
        target: Orbital order wanted.
        dtype: Type of the values wanted.

    Returns:
        The values, shape (sum n_values,), and where those of each record begin, shape (n + 1,).

    Raises:
        OrbitalCountError: A triangle does not have the size that the basis set gives its atoms.
    """
    packed, starts = flat.values[name], flat.value_offsets(name).tolist()
    triangles = [packed[start:stop] for start, stop in pairwise(starts)]
    kinds = {"source": source, "target": target}
    return blocks_of_triangles(triangles, flat, basis_set, dtype=dtype, **kinds)


def blocks_of_triangles(
    triangles: Sequence[NDArray[Any]],
    flat: FlatRecords,
    basis_set: str,
    *,
    source: str,
    target: str,
    dtype: np.dtype[Any],
) -> tuple[NDArray[Any], IntArray]:
    """Turn one packed triangle for each record into block values.

    Args:
        triangles: Lower triangles, row by row, as many as records.
        flat: The records.
        basis_set: Name of the basis set.
        source: Orbital order of the triangles.
        target: Orbital order wanted.
        dtype: Type of the values wanted.

    Returns:
        As :func:`blocks_of_records`.

    Raises:
        OrbitalCountError: A triangle does not have the size that the basis set gives its atoms.
    """
    atoms = flat.atom_offsets.tolist()
    molecules = [flat.atomic_numbers[first:last] for first, last in pairwise(atoms)]
    sizes = [_n_values(numbers, basis_set) for numbers in molecules]
    offsets = offsets_of(np.array([n_values for n_values, _ in sizes], dtype=np.int64))
    values = np.empty(int(offsets[-1]), dtype=dtype)
    # One buffer for all: new memory for each record would cost as much as filling it.
    rounded = np.empty(max(map(len, triangles), default=0), dtype=dtype)
    from_tensor, to_tensor = torch.from_numpy(rounded), torch.from_numpy(values)
    for k, (start, stop) in enumerate(pairwise(offsets.tolist())):
        triangle = triangles[k]
        check_packed_size(len(triangle), sizes[k][1], molecules[k], basis_set)
        where, signs = block_index(molecules[k], basis_set, source=source, target=target)
        # Rounded first, the triangle is half as large, and so are the jumps in memory.
        rounded[: len(triangle)] = triangle
        # torch gathers faster than NumPy, and from 32-bit places without widening them.
        index = torch.from_numpy(where)
        torch.index_select(from_tensor, 0, index, out=to_tensor[start:stop])
        if signs is not None:
            values[start:stop] *= signs
    return values, offsets


def check_packed_size(
    n_values: int, n_orbitals: int, atomic_numbers: NDArray[np.integer], basis_set: str
) -> None:
    """Refuse a triangle of another size than the basis set gives these atoms.

    Raises:
        OrbitalCountError: It is of another size.
    """
    expected = n_orbitals * (n_orbitals + 1) // 2
    if n_values != expected:
        message = (
            f"{expected} packed values expected for {n_orbitals} orbitals of "
            f"{[int(z) for z in atomic_numbers]} in {basis_set}, got {n_values}."
        )
        raise OrbitalCountError(message)


def orbital_counts(basis_set: str, atomic_numbers: NDArray[np.integer]) -> IntArray:
    """Count the orbitals of each atom, shape (n_atoms,).

    Raises:
        UnknownNameError: There is no such basis set.
        UnsupportedElementError: An element has no shells in the basis set.
    """
    # The ends of the table, where there is no element, stand for all that is outside.
    counts = _count_table(basis_set).take(atomic_numbers, mode="clip")
    if len(counts) and counts.min() < 0:
        basis_set_named(basis_set).orbitals_per_atom(atomic_numbers)
    return counts


@lru_cache(maxsize=8)
def _count_table(basis_set: str) -> IntArray:
    """Number of orbitals by atomic number; -1 where the basis set has no such element."""
    shells = basis_set_named(basis_set).shells
    table = np.full(max(shells) + 2, -1, dtype=np.int64)
    for number, degrees in shells.items():
        table[number] = sum(2 * l + 1 for l in degrees)
    return table


def _n_values(numbers: NDArray[np.integer], basis_set: str) -> tuple[int, int]:
    """Count block values and orbitals of one conformation."""
    counts = orbital_counts(basis_set, numbers)
    n_orbitals = int(counts.sum())
    return (n_orbitals**2 + int(counts @ counts)) // 2, n_orbitals


@lru_cache(maxsize=8)
def _alike(basis_set: str) -> IntArray:
    """For each atomic number the smallest one with the same shells.

    Carbon, nitrogen, oxygen and fluorine have the same shells in most basis sets, and most files
    list hydrogens last, so that many molecules share one index.
    """
    shells = basis_set_named(basis_set).shells
    first: dict[tuple[int, ...], int] = {}
    table = np.zeros(max(shells) + 1, dtype=np.int64)
    for number in sorted(shells):
        table[number] = first.setdefault(shells[number], number)
    return table


@lru_cache(maxsize=64)
def _index(
    key: bytes, basis_set: str, source: str, target: str
) -> tuple[NDArray[np.int32], NDArray[np.int8] | None]:
    numbers = np.frombuffer(key, dtype=np.int64)
    elements = [_element(number, basis_set, source, target) for number in numbers.tolist()]
    counts = orbital_counts(basis_set, numbers)
    first = offsets_of(counts)[:-1]
    order = np.arange(int(counts.sum()), dtype=np.int64)
    if source != target:
        within = np.concatenate([element.order for element in elements])
        order = np.repeat(first, counts) + within
    row_atom, column_atom = _pairs(len(numbers))
    heights, widths = counts[row_atom], counts[column_atom]
    # Every row of every block: its row in the triangle, where it begins there, and its length.
    row = order[ranges(first[row_atom], heights)]
    begin = np.repeat(first[column_atom], heights)
    length = np.repeat(widths, heights)
    triangle_row = row * (row + 1) // 2
    if source == target:
        index = _short_ranges(triangle_row + begin, length)
    else:
        index = np.repeat(triangle_row.astype(np.int32), length)
        index += order.astype(np.int32)[_short_ranges(begin, length)]
    block_offsets = offsets_of(heights * widths)[:-1]
    is_diagonal = row_atom == column_atom
    # Element (x, y) of the diagonal block of an atom is (first + x, first + y) of the matrix.
    squares = counts * counts
    larger = np.concatenate([element.larger for element in elements])
    within = np.concatenate([element.packed for element in elements])
    corner = np.repeat(first * (first + 1) // 2 + first, squares)
    index[ranges(block_offsets[is_diagonal], squares)] = (
        corner + np.repeat(first, squares) * larger + within
    )
    signs = np.concatenate([element.signs for element in elements])
    if (signs == 1).all():
        return index, None
    row_sign = np.repeat(signs[ranges(first[row_atom], heights)], length)
    return index, row_sign * signs[ranges(begin, length)]


def _short_ranges(starts: IntArray, counts: IntArray) -> NDArray[np.int32]:
    """Concatenate the ranges as 32-bit integers: half the memory, and a triangle is no larger."""
    offsets = offsets_of(counts)
    found: NDArray[np.int32] = np.repeat((starts - offsets[:-1]).astype(np.int32), counts)
    found += np.arange(offsets[-1], dtype=np.int32)
    return found


@lru_cache(maxsize=256)
def _element(number: int, basis_set: str, source: str, target: str) -> _Element:
    order, signs = orbital_permutation(
        np.array([number]),
        source=cast("OrbitalOrder", source),
        target=cast("OrbitalOrder", target),
        basis_set=basis_set_named(basis_set),
    )
    larger = np.maximum(order[:, None], order)
    packed = larger * (larger + 1) // 2 + np.minimum(order[:, None], order)
    return _Element(order=order, signs=signs, larger=larger.reshape(-1), packed=packed.reshape(-1))


@lru_cache(maxsize=64)
def _pairs(n_atoms: int) -> tuple[IntArray, IntArray]:
    """All pairs (row, column) of atoms with row >= column, by row and then by column."""
    row, column = np.tril_indices(n_atoms)
    return row, column
