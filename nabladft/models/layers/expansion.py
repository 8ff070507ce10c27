"""Between features and blocks of atom pairs: Clebsch-Gordan expansion and the slots of shells.

A block of orbitals of two atoms is a sum over pairs of shells, and the (2 l1 + 1) x (2 l2 + 1)
values of a pair of shells are the product of two representations, so they are a sum of
representations l = |l1 - l2| ... l1 + l2 of parity (-1)^(l1 + l2). All elements share the same
*slots*: as many shells of each degree as the element with most of them has. What an element lacks
is computed and never read, which keeps every operation batched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.elements import symbol_of
from nabladft.errors import InputError, UnsupportedElementError
from nabladft.models.layers.spherical import Irrep, clebsch_gordan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from nabladft.data.blocks import BlockLayout


class BlockExpansion(nn.Module):
    """Turns coefficients of representations into values of blocks, and back.

    Attributes:
        elements: Atomic numbers, ascending.
        slots: Number of slots of each degree: (5, 4, 3) for H to Br in def2-SVP.
        irreps: Representations that occur in a block.
        widths: Number of slot pairs (columns) of each representation.
    """

    def __init__(self, elements: Sequence[int], basis_set: str) -> None:
        """Make the expansion of some elements in a basis set.

        Raises:
            UnknownNameError: There is no such basis set.
            UnsupportedElementError: An element is not in it.
        """
        super().__init__()
        self.elements = tuple(sorted(set(elements)))
        self.basis_set = basis_set
        shells = {z: basis_set_named(basis_set).shells_of(z) for z in self.elements}
        lmax = max(max(degrees) for degrees in shells.values())
        self.slots = tuple(max(d.count(l) for d in shells.values()) for l in range(lmax + 1))
        pairs = [(l1, l2) for l1 in range(lmax + 1) for l2 in range(lmax + 1)]
        orbital = [Irrep(l, (-1) ** l) for l in range(lmax + 1)]
        self.irreps = tuple(
            sorted({irrep for l1, l2 in pairs for irrep in orbital[l1].times(orbital[l2])})
        )
        #: The representations of each pair of degrees, and the columns of each representation.
        self._pieces = {
            (l1, l2): [self.irreps.index(irrep) for irrep in orbital[l1].times(orbital[l2])]
            for l1, l2 in pairs
        }
        self._columns = [
            (
                [pair for pair in pairs if k in self._pieces[pair]],
                [self.slots[l1] * self.slots[l2] for l1, l2 in pairs if k in self._pieces[l1, l2]],
            )
            for k in range(len(self.irreps))
        ]
        self.widths = tuple(sum(sizes) for _, sizes in self._columns)
        self._register_tables(shells)

    element_of: Tensor
    _start_of_type: Tensor
    _places: Tensor

    @property
    def n_slot_orbitals(self) -> int:
        """Number of orbitals of all slots."""
        return sum(count * (2 * l + 1) for l, count in enumerate(self.slots))

    def element_index(self, atomic_numbers: Tensor) -> Tensor:
        """Number the elements 0, 1, ... in the order of :attr:`elements`, shape (n_atoms,).

        Raises:
            UnsupportedElementError: An element is not among them.
        """
        self.check_elements(set(atomic_numbers.tolist()))
        return self.element_of[atomic_numbers]

    def check_elements(self, atomic_numbers: Iterable[int]) -> None:
        """Refuse elements that are not among :attr:`elements`.

        Raises:
            UnsupportedElementError: One is not.
        """
        absent = sorted(set(atomic_numbers) - set(self.elements))
        if absent:
            message = (
                f"This model has no {', '.join(symbol_of(z) for z in absent)}. It was built for "
                f"{', '.join(symbol_of(z) for z in self.elements)}: add to `elements` of its "
                "configuration and train again."
            )
            raise UnsupportedElementError(message)

    def expand(self, coefficients: Sequence[Tensor]) -> Tensor:
        """Turn coefficients into padded blocks.

        Args:
            coefficients: For each of :attr:`irreps`, shape (n, 2l + 1, width).

        Returns:
            Shape (n, n_slot_orbitals²); what is where, only :meth:`value_index` knows.
        """
        blocks = []
        columns = [
            dict(zip(pairs, torch.split(values, sizes, dim=2), strict=True))
            for values, (pairs, sizes) in zip(coefficients, self._columns, strict=True)
        ]
        for (l1, l2), occurring in self._pieces.items():
            parts = torch.cat([columns[k][l1, l2] for k in occurring], dim=1)
            blocks.append((self._matrix(l1, l2, parts).T @ parts).flatten(1))
        return torch.cat(blocks, dim=1)

    def project(self, padded: Tensor) -> list[Tensor]:
        """Turn padded blocks into coefficients; the inverse of :meth:`expand`."""
        n, start = len(padded), 0
        columns: list[list[Tensor]] = [[] for _ in self.irreps]
        for (l1, l2), pieces in self._pieces.items():
            size = (2 * l1 + 1) * (2 * l2 + 1)
            width = self.slots[l1] * self.slots[l2]
            block = padded[:, start : start + size * width].reshape(n, size, width)
            parts = self._matrix(l1, l2, block) @ block
            sizes = [self.irreps[k].dim for k in pieces]
            for k, part in zip(pieces, torch.split(parts, sizes, dim=1), strict=True):
                columns[k].append(part)
            start += size * width
        return [torch.cat(parts, dim=2) for parts in columns]

    def value_index(self, layout: BlockLayout, element: Tensor) -> tuple[Tensor, Tensor]:
        """Find each value of a batch within its padded block, and its mirror image.

        Args:
            layout: Blocks of the batch.
            element: Shape (n_atoms_total,), from :meth:`element_index`.

        Returns:
            Position in the padded block of (row, column), and in that of (column, row), each of
            shape (n_values,).

        Raises:
            InputError: The blocks are of another basis set or orbital order.
        """
        starts = self.starts(layout, element)
        return (
            self.values_from(starts, layout),
            self.values_from(starts + self.mirrored, layout),
        )

    def starts(self, layout: BlockLayout, element: Tensor) -> Tensor:
        """Find where the places of each block begin in the table, shape (n_pairs,), int64.

        Those of its mirror image begin :attr:`mirrored` later.

        Raises:
            InputError: The blocks are of another basis set or orbital order.
        """
        if layout.basis_set != self.basis_set or layout.orbital_order != "ascending":
            message = (
                f"This model predicts {self.basis_set} in the order 'ascending', but the batch is "
                f"{layout.basis_set} in the order {layout.orbital_order!r}."
            )
            raise InputError(message)
        row, column = element[layout.pairs[0]], element[layout.pairs[1]]
        return self._start_of_type[row * len(self.elements) + column]

    @property
    def mirrored(self) -> int:
        """Distance of a mirrored block from the block in the table of places."""
        return len(self._places) // 2

    def values_from(self, starts: Tensor, layout: BlockLayout) -> Tensor:
        """Read the place of every value, (n_values,), from the table, given :meth:`starts`."""
        index = (starts - layout.offsets[:-1]).index_select(0, layout.value_pair)
        index += torch.arange(layout.n_values, device=index.device)
        return self._places.index_select(0, index)

    def places(self, row: int, column: int) -> Tensor:
        """Find the block of two elements in a padded block.

        Args:
            row: Atomic number.
            column: Atomic number.

        Returns:
            Shape (orbitals of ``row``, orbitals of ``column``), int64.
        """
        kinds = [self.elements.index(z) for z in (row, column)]
        basis = basis_set_named(self.basis_set)
        height, width = (sum(2 * l + 1 for l in basis.shells_of(z)) for z in (row, column))
        start = int(self._start_of_type[kinds[0] * len(self.elements) + kinds[1]])
        return self._places[start : start + height * width].view(height, width)

    def _matrix(self, l1: int, l2: int, like: Tensor) -> Tensor:
        degrees = range(abs(l1 - l2), l1 + l2 + 1)
        blocks = [clebsch_gordan(l1, l2, l, like.dtype, like.device) for l in degrees]
        return torch.cat([block.flatten(0, 1).T for block in blocks])

    def _register_tables(self, shells: dict[int, tuple[int, ...]]) -> None:
        first_slot_orbital = [
            sum(self.slots[k] * (2 * k + 1) for k in range(l)) for l in range(len(self.slots))
        ]
        element_of = torch.full((max(self.elements) + 1,), -1)
        slots_of_element = []
        for k, (number, degrees) in enumerate(shells.items()):
            element_of[number] = k
            seen = [0] * len(self.slots)
            orbitals: list[int] = []
            for l in degrees:
                first = first_slot_orbital[l] + seen[l] * (2 * l + 1)
                orbitals += range(first, first + 2 * l + 1)
                seen[l] += 1
            slots_of_element.append(torch.tensor(orbitals))
        slot_orbitals = [
            (l, slot, m)
            for l, count in enumerate(self.slots)
            for slot in range(count)
            for m in range(2 * l + 1)
        ]
        starts, start = {}, 0
        for l1, l2 in self._pieces:
            starts[l1, l2] = start
            start += (2 * l1 + 1) * (2 * l2 + 1) * self.slots[l1] * self.slots[l2]
        place_table = torch.tensor(
            [
                [
                    starts[l1, l2]
                    + ((m1 * (2 * l2 + 1) + m2) * self.slots[l1] + i1) * self.slots[l2]
                    + i2
                    for l2, i2, m2 in slot_orbitals
                ]
                for l1, i1, m1 in slot_orbitals
            ]
        )
        # The place of every value of the block of every pair of elements, one after the other, and
        # then those of all their mirror images.
        types = [(row, column) for row in slots_of_element for column in slots_of_element]
        places = [place_table[row[:, None], column].flatten() for row, column in types]
        mirrored = [place_table[column, row[:, None]].flatten() for row, column in types]
        starts_of_type = torch.tensor([0, *map(len, places)]).cumsum(0)[:-1]
        self.register_buffer("element_of", element_of, persistent=False)
        self.register_buffer("_start_of_type", starts_of_type, persistent=False)
        self.register_buffer("_places", torch.cat(places + mirrored), persistent=False)
