"""Hamiltonians as blocks of atom pairs: one flat tensor of values and the layout that reads it.

A batch of matrices of different sizes is never padded to squares. Its values are those of the
blocks of all atom pairs (row, column) with row >= column, each block row by row. Diagonal blocks
(row == column) are stored whole and are symmetric; an off-diagonal block stands for two of the full
matrix, its transpose being the other (:func:`value_weights`).

Example:
    Two conformations: water and one hydrogen atom. The blocks of water are O-O, H-O, H-H, ...

    >>> numbers, offsets = torch.tensor([8, 1, 1, 1]), torch.tensor([0, 3, 4])
    >>> layout = block_layout(numbers, offsets, "def2-svp", "ascending")
    >>> layout.pairs.tolist()
    [[0, 1, 1, 2, 2, 2, 3], [0, 0, 1, 0, 1, 2, 3]]
    >>> layout.shapes[:3].tolist(), int(value_weights(layout).sum()) == 24**2 + 5**2
    ([[14, 14], [5, 14], [5, 5]], True)
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.data.block_index import block_index, check_packed_size, orbital_counts
from nabladft.errors import OrbitalCountError
from nabladft.storage.ragged import offsets_of, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockLayout:
    """The flat order of the values of all atom-pair blocks of a batch.

    Attributes:
        pairs: Shape (2, n_pairs), int64: atoms (row, column) of the batch, row >= column, of the
            same conformation; all such pairs, by row and then by column.
        shapes: Shape (n_pairs, 2), int64: orbitals of the row atom and of the column atom.
        offsets: Shape (n_pairs + 1,), int64: block p is
            ``values[offsets[p]:offsets[p + 1]].reshape(shapes[p])``.
        pair_conformation: Shape (n_pairs,), int64: conformation of the batch.
        off_diagonal: Shape (n_off_diagonal,), int64: the blocks of two different atoms, first those
            of two atoms of the same element, then the others.
        n_alike: How many of these are of the same element.
        n_values: Number of values of all blocks.
        n_atoms: Of each conformation.
        n_orbitals: Of each conformation.
        elements: Atomic numbers that occur, ascending.
        basis_set: Name of the basis set.
        orbital_order: Order of the orbitals of each atom.

    What is no tensor is known without asking a GPU, which would have to finish its work first.
    """

    pairs: Tensor
    shapes: Tensor
    offsets: Tensor
    pair_conformation: Tensor
    off_diagonal: Tensor
    n_alike: int
    n_values: int
    n_atoms: tuple[int, ...]
    n_orbitals: tuple[int, ...]
    elements: tuple[int, ...]
    basis_set: str
    orbital_order: str

    @property
    def n_pairs(self) -> int:
        """Number of blocks."""
        return int(self.pairs.shape[1])

    @cached_property
    def is_diagonal(self) -> Tensor:
        """Whether row and column are the same atom, shape (n_pairs,), bool."""
        return self.pairs[0] == self.pairs[1]

    @cached_property
    def value_pair(self) -> Tensor:
        """The block of each value, shape (n_values,), int64."""
        index = torch.arange(self.n_pairs, device=self.pairs.device)
        return torch.repeat_interleave(
            index, self.offsets[1:] - self.offsets[:-1], output_size=self.n_values
        )

    @cached_property
    def value_position(self) -> tuple[Tensor, Tensor]:
        """Row and column of each value within its block, each of shape (n_values,), int64."""
        columns = self.shapes[:, 1].index_select(0, self.value_pair)
        row = torch.div(self.value_number, columns, rounding_mode="floor")
        return row, self.value_number - row * columns

    @cached_property
    def value_number(self) -> Tensor:
        """Number of each value within its block, shape (n_values,), int64."""
        index = torch.arange(self.n_values, device=self.pairs.device)
        return index - self.offsets.index_select(0, self.value_pair)

    @cached_property
    def matrix_index(self) -> tuple[Tensor, ...]:
        """The value at each place of each full matrix, (n_orbitals, n_orbitals), int32.

        Half the memory of 64 bits, and read in less time; int64 for more than 2**31 values.
        """
        dtype = torch.int32 if self.n_values < 2**31 else torch.int64
        counts = self.shapes[:, 0].index_select(0, self._diagonal)
        atoms = torch.arange(len(counts), device=counts.device)
        n_orbitals = sum(self.n_orbitals)
        atom = torch.repeat_interleave(atoms, counts, output_size=n_orbitals)
        number = torch.arange(n_orbitals, device=atom.device) - _offsets(counts)[atom]
        # Pair (i, j) is j - i places before the diagonal one of i, whose row is complete.
        indices, start, first = [], 0, 0
        for n, n_atoms in zip(self.n_orbitals, self.n_atoms, strict=True):
            orbitals, rows = slice(start, start + n), slice(first, first + n_atoms)
            i, j, y = atoms[rows][:, None], atom[orbitals], number[orbitals]
            is_below = i >= j
            larger, smaller = torch.maximum(i, j), torch.minimum(i, j)
            begin = self.offsets[self._diagonal[larger] - larger + smaller].to(dtype)
            # Along a column the values of a block follow each other in steps of its width; those
            # of a transposed block are neighbours.
            step = torch.where(is_below, counts[j], 1).to(dtype)
            begin += (y * torch.where(is_below, 1, counts[i])).to(dtype)
            of_row = atom[orbitals] - first
            index = step.index_select(0, of_row).mul_(number[orbitals][:, None].to(dtype))
            indices.append(index.add_(begin.index_select(0, of_row)))
            start, first = start + n, first + n_atoms
        return tuple(indices)

    @cached_property
    def matrix_position(self) -> Tensor:
        """Where each value is in the full matrices, one after the other, (n_values,), int32.

        As in :attr:`matrix_index`.
        """
        counts = self.shapes[:, 0].index_select(0, self._diagonal)
        conformation = self.pair_conformation.index_select(0, self._diagonal)
        sizes = counts.new_zeros(len(self.n_orbitals)).index_add(0, conformation, counts)
        corner = _offsets(counts)
        starts = _offsets(sizes**2)[:-1] - _offsets(sizes)[:-1] * (sizes + 1)
        # Orbitals are counted over the batch; the start takes those of earlier matrices away.
        size, start = sizes[self.pair_conformation], starts[self.pair_conformation]
        begin = start + corner[self.pairs[0]] * size + corner[self.pairs[1]]
        # Row x of a block is x (size - width) further than its values are from each other.
        skip = (size - self.shapes[:, 1]).index_select(0, self.value_pair)
        row = self.value_position[0]
        begin = (begin - self.offsets[:-1]).index_select(0, self.value_pair)
        place = begin.add_(torch.arange(self.n_values, device=row.device)).addcmul_(skip, row)
        is_short = sum(n * n for n in self.n_orbitals) < 2**31
        return place.to(torch.int32) if is_short else place

    @cached_property
    def _diagonal(self) -> Tensor:
        """The diagonal block of each atom: the last of its row, shape (n_atoms_total,), int64."""
        n_atoms = self.n_pairs - len(self.off_diagonal)
        index = torch.arange(self.n_pairs, device=self.pairs.device)
        found = index.new_zeros(n_atoms)
        return found.scatter_reduce(0, self.pairs[0], index, "amax")

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> BlockLayout:
        """Return the layout on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> BlockLayout:
        """Return the layout in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> BlockLayout:
        tensors = {name: function(value) for name, value in self._tensors().items()}
        return replace(self, **cast(dict[str, Any], tensors))

    def _tensors(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v for k, v in values.items() if isinstance(v, torch.Tensor)}

    def __getstate__(self) -> dict[str, Any]:
        """Leave derived tensors behind when a worker sends the layout."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def block_layout(
    atomic_numbers: Tensor, atom_offsets: Tensor, basis_set: str, orbital_order: str
) -> BlockLayout:
    """Lay out the blocks of a batch.

    Args:
        atomic_numbers: Shape (n_atoms_total,).
        atom_offsets: Shape (n + 1,).
        basis_set: Name of the basis set, which fixes the orbitals of each atom.
        orbital_order: Order of the orbitals of each atom.

    Returns:
        The layout, on the device of ``atomic_numbers``.

    Raises:
        UnknownNameError: There is no such basis set.
        OrbitalOrderError: There is no such orbital order.
        UnsupportedElementError: An element has no shells in the basis set.
    """
    orbital_order_named(orbital_order)
    # Pairs are counted by NumPy: its small integer arrays cost a fraction of those of torch.
    offsets = atom_offsets.cpu().numpy()
    numbers = atomic_numbers.cpu().numpy()
    counts = orbital_counts(basis_set, numbers)
    n_atoms = np.diff(offsets)
    conformation = np.repeat(np.arange(len(n_atoms)), n_atoms)
    first_atom = np.repeat(offsets[:-1], n_atoms)
    atoms = np.arange(len(counts))
    # Atom number k of its conformation is the row of k + 1 pairs.
    n_columns = atoms - first_atom + 1
    rows = np.repeat(atoms, n_columns)
    columns = ranges(first_atom, n_columns)
    shapes = np.stack([counts[rows], counts[columns]], axis=1)
    block_offsets = offsets_of(shapes[:, 0] * shapes[:, 1])
    is_alike = numbers[rows] == numbers[columns]
    alike = np.flatnonzero(is_alike & (rows != columns))
    layout = BlockLayout(
        pairs=torch.from_numpy(np.stack([rows, columns])),
        shapes=torch.from_numpy(shapes),
        offsets=torch.from_numpy(block_offsets),
        pair_conformation=torch.from_numpy(conformation[rows]),
        off_diagonal=torch.from_numpy(np.concatenate([alike, np.flatnonzero(~is_alike)])),
        n_alike=len(alike),
        n_values=int(block_offsets[-1]),
        n_atoms=tuple(n_atoms.tolist()),
        n_orbitals=tuple(np.add.reduceat(counts, offsets[:-1]).tolist()),
        elements=tuple(np.unique(numbers).tolist()),
        basis_set=basis_set,
        orbital_order=orbital_order,
    )
    return layout if atomic_numbers.device.type == "cpu" else layout.to(atomic_numbers.device)


def concatenate_layouts(layouts: Sequence[BlockLayout], n_atoms: Sequence[int]) -> BlockLayout:
    """Join layouts; ``n_atoms`` is the number of atoms of each, by which the next is shifted.

    Raises:
        OrbitalCountError: The layouts are of different basis sets or orbital orders.
    """
    kinds = {(layout.basis_set, layout.orbital_order) for layout in layouts}
    if len(kinds) != 1:
        message = f"Blocks of different bases or orbital orders cannot be joined: {sorted(kinds)}."
        raise OrbitalCountError(message)
    atoms = np.cumsum([0, *n_atoms[:-1]])
    sizes = np.cumsum([0, *(layout.n_values for layout in layouts[:-1])])
    conformations = np.cumsum([0, *(len(layout.n_orbitals) for layout in layouts[:-1])])
    ends = [layout.offsets[1:] + int(size) for layout, size in zip(layouts, sizes, strict=True)]
    first_pairs = np.cumsum([0, *(layout.n_pairs for layout in layouts[:-1])])
    off_diagonal = [x.off_diagonal + int(p) for x, p in zip(layouts, first_pairs, strict=True)]
    cuts = [
        (blocks[: x.n_alike], blocks[x.n_alike :])
        for x, blocks in zip(layouts, off_diagonal, strict=True)
    ]
    return BlockLayout(
        pairs=torch.cat([x.pairs + int(a) for x, a in zip(layouts, atoms, strict=True)], dim=1),
        shapes=torch.cat([x.shapes for x in layouts]),
        offsets=torch.cat([layouts[0].offsets[:1], *ends]),
        pair_conformation=torch.cat(
            [x.pair_conformation + int(c) for x, c in zip(layouts, conformations, strict=True)]
        ),
        off_diagonal=torch.cat([*(alike for alike, _ in cuts), *(others for _, others in cuts)]),
        n_alike=sum(layout.n_alike for layout in layouts),
        n_values=sum(layout.n_values for layout in layouts),
        n_atoms=tuple(n for layout in layouts for n in layout.n_atoms),
        n_orbitals=tuple(n for layout in layouts for n in layout.n_orbitals),
        elements=tuple(sorted({z for layout in layouts for z in layout.elements})),
        basis_set=layouts[0].basis_set,
        orbital_order=layouts[0].orbital_order,
    )


def value_weights(layout: BlockLayout) -> Tensor:
    """How often each value occurs in the full matrices, shape (n_values,): 1 or 2.

    The weights sum to the number of elements of all full matrices, so a weighted mean over values
    is the mean over matrix elements.
    """
    return (2.0 - layout.is_diagonal.to(torch.get_default_dtype()))[layout.value_pair]


def diagonal_mask(layout: BlockLayout) -> Tensor:
    """Which values are of diagonal (same-atom) blocks, shape (n_values,), bool."""
    return layout.is_diagonal[layout.value_pair]


def value_conformation(layout: BlockLayout) -> Tensor:
    """The conformation of each value, shape (n_values,), int64."""
    return layout.pair_conformation[layout.value_pair]


def symmetrise_diagonal(values: Tensor, layout: BlockLayout) -> Tensor:
    """Average the diagonal blocks with their transposes.

    Args:
        values: Shape (n_values,).
        layout: The layout of ``values``.

    Returns:
        New values, shape (n_values,); off-diagonal blocks are unchanged.
    """
    pair = layout.value_pair
    row, column = layout.value_position
    transposed = layout.offsets[pair] + column * layout.shapes[pair, 1] + row
    itself = torch.arange(layout.n_values, device=pair.device)
    other = torch.where(layout.is_diagonal[pair], transposed, itself)
    return 0.5 * (values + values[other])


def blocks_from_packed(
    packed: Tensor,
    atomic_numbers: Sequence[int],
    basis_set: str,
    *,
    source: str,
    target: str,
) -> Tensor:
    """Turn the packed lower triangle of one conformation into block values.

    Args:
        packed: Shape (..., n_orbitals (n_orbitals + 1) / 2), any unit.
        atomic_numbers: Of the conformation.
        basis_set: Name of the basis set.
        source: Orbital order of ``packed``.
        target: Orbital order wanted.

    Returns:
        Shape (..., n_values), in the layout of :func:`block_layout`.

    Raises:
        OrbitalCountError: ``packed`` does not have the size that the basis set gives these atoms.
    """
    numbers = np.asarray(atomic_numbers)
    n_orbitals = basis_set_named(basis_set).n_orbitals(numbers)
    check_packed_size(packed.shape[-1], n_orbitals, numbers, basis_set)
    index, signs = block_index(numbers, basis_set, source=source, target=target)
    values = packed[..., torch.tensor(index, device=packed.device)]
    return values if signs is None else values * torch.tensor(signs).to(values)


def packed_from_blocks(values: Tensor, layout: BlockLayout) -> tuple[Tensor, Tensor]:
    """Turn block values into packed lower triangles, one after the other.

    Diagonal blocks are read in their lower triangle; make them symmetric first
    (:func:`symmetrise_diagonal`) if they may not be.

    Args:
        values: Shape (n_values,).
        layout: The layout of ``values``; the result keeps its orbital order.

    Returns:
        The triangles, shape (sum of sizes,), and where each begins, shape (n + 1,).
    """
    sizes = [n * (n + 1) // 2 for n in layout.n_orbitals]
    triangles = [
        matrix.reshape(-1).index_select(0, _triangle(len(matrix), values.device))
        for matrix in dense_from_blocks(values, layout)
    ]
    return torch.cat(triangles), torch.tensor([0, *sizes], device=values.device).cumsum(0)


def dense_from_blocks(values: Tensor, layout: BlockLayout) -> list[Tensor]:
    """Build the full matrix of each conformation, for those who ask for it.

    Args:
        values: Shape (n_values,). Gradients flow through.
        layout: The layout of ``values``; the result keeps its orbital order.

    Returns:
        One tensor of shape (n_orbitals, n_orbitals) per conformation.
    """
    return [
        values.index_select(0, index.view(-1)).view(index.shape) for index in layout.matrix_index
    ]


def blocks_from_dense(matrices: Sequence[Tensor], layout: BlockLayout) -> Tensor:
    """Take block values out of full matrices, the inverse of :func:`dense_from_blocks`.

    Args:
        matrices: One of shape (n_orbitals, n_orbitals) for each conformation; the upper triangle
            is read within diagonal blocks only. Gradients flow through.
        layout: The layout of the result, in the orbital order of the matrices.

    Returns:
        Shape (n_values,).

    Raises:
        OrbitalCountError: A matrix is of another size than the layout.
    """
    found = tuple(tuple(matrix.shape) for matrix in matrices)
    if found != tuple((n, n) for n in layout.n_orbitals):
        message = (
            f"The layout is of matrices of {list(layout.n_orbitals)} orbitals, got matrices of "
            f"shape {list(found)}."
        )
        raise OrbitalCountError(message)
    flat = torch.cat([matrix.reshape(-1) for matrix in matrices])
    return flat.index_select(0, layout.matrix_position)


def _triangle(n: int, device: torch.device) -> Tensor:
    """Places of the lower triangle in a matrix of n rows, row by row."""
    row, column = torch.tril_indices(n, n, device=device)
    place: Tensor = row * n + column
    return place


def _offsets(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))
