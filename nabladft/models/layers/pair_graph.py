"""All pairs of atoms of a batch, and the way between its block values and padded blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nabladft.errors import InputError
from nabladft.models.layers.spherical import harmonics

if TYPE_CHECKING:
    from torch import Tensor

    from nabladft.data.batch import Batch
    from nabladft.models.layers.expansion import BlockExpansion


class PairGraph:
    """A batch as the model sees it: all ordered pairs of atoms, and where its values go.

    Pair k is (row, column) of the k-th off-diagonal block, and pair n + k the reverse of it, n
    being the number of those blocks.

    Attributes:
        elements: Shape (n_atoms_total,), index of the element of each atom.
        first: Shape (2n,), the row atom of each pair.
        second: Shape (2n,), the column atom.
        types: Shape (2n,), index of the first element times their number plus the second.
        vectors: Shape (2n, 3), from the first to the second atom, bohr.
        distances: Shape (2n,), bohr.
        harmonics: Shape (2n, components), of ``vectors``, in the ascending order.
    """

    def __init__(
        self,
        batch: Batch,
        expansion: BlockExpansion,
        *,
        lmax: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Find the pairs and their geometry, in ``dtype`` or that of the positions.

        Raises:
            InputError: The batch has no blocks, or blocks of another basis set or orbital order.
            UnsupportedElementError: An element is not among those of ``expansion``.
        """
        if batch.blocks is None:
            message = "The batch has no blocks to predict. Use a HamiltonianDataset."
            raise InputError(message)
        layout = batch.blocks
        positions = batch.positions.to(dtype or batch.positions.dtype)
        self.elements = expansion.element_index(batch.atomic_numbers)
        rows, columns = layout.pairs[:, ~layout.is_diagonal]
        self.first, self.second = torch.cat([rows, columns]), torch.cat([columns, rows])
        self.types = self.elements[self.first] * len(expansion.elements)
        self.types = self.types + self.elements[self.second]
        vectors = positions[self.second] - positions[self.first]
        self.distances = torch.linalg.vector_norm(vectors, dim=1)
        lmax = max(lmax, *(irrep.l for irrep in expansion.irreps))
        self.vectors = vectors
        self.harmonics = harmonics(vectors, lmax)
        # The padded block of each pair of the layout, and of the same pair reversed.
        n_atoms, n_blocks = batch.n_atoms, len(rows)
        number = torch.cumsum(~layout.is_diagonal, 0) - 1 + n_atoms
        forward = torch.where(layout.is_diagonal, layout.pairs[0], number)
        reverse = torch.where(layout.is_diagonal, layout.pairs[0], number + n_blocks)
        size = expansion.n_slot_orbitals**2
        place, mirrored = expansion.value_index(layout, self.elements)
        self.n_padded = (n_atoms + 2 * n_blocks, size)
        self._here = forward[layout.value_pair] * size + place
        self._there = reverse[layout.value_pair] * size + mirrored

    def gather(self, padded: Tensor) -> Tensor:
        """Read the values of all blocks out of padded ones, making them symmetric."""
        flat = padded.flatten()
        return 0.5 * (flat.index_select(0, self._here) + flat.index_select(0, self._there))

    def scatter(self, values: Tensor) -> Tensor:
        """Put values into padded blocks, the inverse of :meth:`gather`."""
        flat = values.new_zeros(self.n_padded[0] * self.n_padded[1])
        flat[self._here] = values
        flat[self._there] = values
        return flat.view(self.n_padded)
