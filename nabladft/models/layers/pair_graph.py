"""All pairs of atoms of a batch, and the way between coefficients, block values and matrices.

Example:
    Coefficients of atoms and pairs become values of blocks, and those matrices; and back.

    >>> graph = PairGraph(batch, expansion, directed="canonical")  # doctest: +SKIP
    >>> values = graph.assemble(atoms, pairs)  # doctest: +SKIP
    >>> matrices = dense_from_blocks(values, batch.blocks)  # doctest: +SKIP
    >>> atoms, pairs = graph.disassemble(values)  # doctest: +SKIP

Nothing here loops over atoms or pairs, or waits for a GPU: how many there are of everything is
known to the layout of the blocks, which the loader made on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch

from nabladft.errors import ConfigError, InputError
from nabladft.models.layers.spherical import harmonics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from nabladft.data.batch import Batch
    from nabladft.models.layers.expansion import BlockExpansion

Directed = Literal["both", "canonical"]
_DIRECTED: Final = ("both", "canonical")


@dataclass(frozen=True, kw_only=True)
class OrderedPairs:
    """Pairs of two different atoms of one conformation.

    Attributes:
        first: Shape (n,), an atom.
        second: Shape (n,), another one.
        types: Shape (n,), index of the first element times their number plus the second.
        vectors: Shape (n, 3), from the first to the second atom, bohr.
        distances: Shape (n,), bohr.
        harmonics: Shape (n, components), of ``vectors``, in the ascending order.
    """

    first: Tensor
    second: Tensor
    types: Tensor
    vectors: Tensor
    distances: Tensor
    harmonics: Tensor

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.first)

    def head(self, n: int) -> OrderedPairs:
        """Give the first ``n`` of them, without a copy."""
        return OrderedPairs(**{name: value[:n] for name, value in vars(self).items()})


class PairGraph:
    """A batch as the model sees it: pairs of atoms, and where its values go.

    A model predicts padded blocks of the pairs ``first`` to ``second``. With ``directed="both"``
    these are all ordered pairs, and a value is the mean of what is predicted for (i, j) and for
    (j, i). With ``directed="canonical"`` two atoms of different elements are listed once, from the
    lighter to the heavier, and only those of one element twice. Either way the matrix is symmetric
    and turns around with the order of the atoms exactly; canonical pairs are about two thirds as
    many in organic molecules.

    Pairs are listed in this order: one for each off-diagonal block, as ``layout.off_diagonal``
    lists them, from the lighter to the heavier atom; the reverse of those of one element; and the
    reverse of all others, which canonical pairs do without.

    Attributes:
        elements: Shape (n_atoms_total,), index of the element of each atom.
        ordered: All ordered pairs, whatever ``directed``: for sums over neighbours.
        first: Shape (n,), the row atom of each pair to predict.
        second: Shape (n,), the column atom.
        types: Shape (n,), index of the first element times their number plus the second.
        vectors: Shape (n, 3), from the first to the second atom, bohr.
        distances: Shape (n,), bohr.
        harmonics: Shape (n, components), of ``vectors``, in the ascending order.
        n_padded: Number of padded blocks, atoms first, and size of each.
    """

    def __init__(
        self,
        batch: Batch,
        expansion: BlockExpansion,
        *,
        lmax: int = 0,
        dtype: torch.dtype | None = None,
        directed: Directed = "both",
    ) -> None:
        """Find the pairs and their geometry, in ``dtype`` or that of the positions.

        Raises:
            InputError: The batch has no blocks, or blocks of another basis set or orbital order.
            UnsupportedElementError: An element is not among those of ``expansion``.
            ConfigError: There is no such ``directed``.
        """
        if directed not in _DIRECTED:
            message = f"directed must be one of {', '.join(_DIRECTED)}, got {directed!r}."
            raise ConfigError(message)
        if batch.blocks is None:
            message = "The batch has no blocks to predict. Use a HamiltonianDataset."
            raise InputError(message)
        layout = batch.blocks
        expansion.check_elements(layout.elements)
        self.expansion = expansion
        self.elements = expansion.element_of.index_select(0, batch.atomic_numbers)
        blocks, n_alike = layout.off_diagonal, layout.n_alike
        rows, columns = layout.pairs.index_select(1, blocks)
        is_turned = self.elements[rows] > self.elements[columns]
        lighter = torch.where(is_turned, columns, rows)
        heavier = torch.where(is_turned, rows, columns)
        # Those of one element come first, so the first few of all ordered pairs are canonical.
        self.ordered = _ordered_pairs(
            torch.cat([lighter, heavier]),
            torch.cat([heavier, lighter]),
            self.elements,
            batch.positions.to(dtype or batch.positions.dtype),
            n_elements=len(expansion.elements),
            lmax=max(lmax, *(irrep.l for irrep in expansion.irreps)),
        )
        n_blocks = len(blocks)
        n_twice = n_alike if directed == "canonical" else n_blocks
        listed = self.ordered.head(n_blocks + n_twice)
        self.first, self.second, self.types = listed.first, listed.second, listed.types
        self.vectors, self.distances = listed.vectors, listed.distances
        self.harmonics = listed.harmonics
        self.n_atoms = batch.n_atoms
        self.n_padded = (batch.n_atoms + len(listed), expansion.n_slot_orbitals**2)
        # The padded block that holds each block of the layout, and the one that holds its reverse.
        number = torch.arange(len(listed), device=rows.device) + batch.n_atoms
        forward = layout.pairs[0].index_copy(0, blocks, number[:n_blocks])
        reverse = forward.index_copy(0, blocks[:n_twice], number[n_blocks:])
        turned = torch.zeros_like(forward).index_copy(0, blocks, is_turned.long())
        # The mirror image of a value: in the same block of an atom, or in the reversed pair, or,
        # where the reverse is not listed, the value itself.
        is_mirrored = (reverse != forward) | (forward < batch.n_atoms)
        starts, mirrored = expansion.starts(layout, self.elements), expansion.mirrored
        here = starts + turned * mirrored
        there = starts + (turned ^ is_mirrored.long()) * mirrored
        pair, size = layout.value_pair, self.n_padded[1]
        self._here = expansion.values_from(here, layout)
        self._here += (forward * size).index_select(0, pair)
        self._there = expansion.values_from(there, layout)
        self._there += (reverse * size).index_select(0, pair)

    def assemble(self, atoms: Sequence[Tensor], pairs: Sequence[Tensor]) -> Tensor:
        """Turn coefficients of representations into values of blocks, making them symmetric.

        Args:
            atoms: For each representation, shape (n_atoms_total, 2l + 1, width).
            pairs: For each representation, shape (n, 2l + 1, width), of the pairs listed.

        Returns:
            Values in the order of the batch's blocks, shape (n_values,).
        """
        padded = [self.expansion.expand(atoms), self.expansion.expand(pairs)]
        return self.gather(torch.cat(padded))

    def disassemble(self, values: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Turn values of blocks into coefficients of atoms and pairs, as :meth:`assemble` takes."""
        padded = self.scatter(values)
        atoms = self.expansion.project(padded[: self.n_atoms])
        return atoms, self.expansion.project(padded[self.n_atoms :])

    def gather(self, padded: Tensor) -> Tensor:
        """Read the values of all blocks out of padded ones, making them symmetric."""
        flat = padded.flatten()
        values = flat.index_select(0, self._here)
        # In place: on the CPU, new memory for every step would cost as much as the step.
        return values.add_(flat.index_select(0, self._there)).mul_(0.5)

    def scatter(self, values: Tensor) -> Tensor:
        """Put values into padded blocks, the inverse of :meth:`gather`."""
        flat = values.new_zeros(self.n_padded[0] * self.n_padded[1])
        flat[self._here] = values
        flat[self._there] = values
        return flat.view(self.n_padded)


def _ordered_pairs(
    first: Tensor,
    second: Tensor,
    elements: Tensor,
    positions: Tensor,
    *,
    n_elements: int,
    lmax: int,
) -> OrderedPairs:
    vectors = positions.index_select(0, second) - positions.index_select(0, first)
    return OrderedPairs(
        first=first,
        second=second,
        types=elements.index_select(0, first) * n_elements + elements.index_select(0, second),
        vectors=vectors,
        distances=torch.linalg.vector_norm(vectors, dim=1),
        harmonics=harmonics(vectors, lmax),
    )
