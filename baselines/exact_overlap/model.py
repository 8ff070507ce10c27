"""The overlap matrix computed from the geometry: no learning, no error.

An overlap of two Gaussians is a closed formula of their distance, so a network that predicts
overlaps has to be faster than that formula to be of use. This row says how fast that is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from nabladft.chemistry.basis import DEF2_SVP, basis_set_named
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.chemistry.two_centre import two_centre_triangles
from nabladft.data.blocks import blocks_from_packed
from nabladft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nabladft.data import Batch


@dataclass(frozen=True, kw_only=True)
class Config:
    """There is nothing to choose but the basis set.

    Attributes:
        basis_set: Basis set of the matrices.
    """

    basis_set: str = DEF2_SVP.name


class ExactOverlap(nn.Module):
    """Computes on the CPU in float64, whatever the device and the type of the positions."""

    predicts = frozenset({"overlap"})
    orbital_order = "ascending"

    def __init__(self, config: Config) -> None:
        """See :class:`Config`."""
        super().__init__()
        self.basis_set = config.basis_set

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute ``overlap``, shape (n_values,), without unit.

        Raises:
            InputError: The batch has no blocks.
            UnsupportedElementError: An element is not in the basis set.
        """
        if batch.blocks is None:
            message = "The batch has no blocks to predict. Use a HamiltonianDataset."
            raise InputError(message)
        basis = basis_set_named(self.basis_set)
        numbers = batch.atomic_numbers.cpu().numpy()
        offsets = batch.atom_offsets.cpu().numpy()
        triangles = two_centre_triangles(
            numbers,
            batch.positions.double().cpu().numpy(),
            offsets,
            basis_set=basis,
            orbital_order=orbital_order_named(self.orbital_order),
        )
        values, start = [], 0
        for first, last in itertools.pairwise(offsets):
            n = basis.n_orbitals(numbers[first:last])
            size = n * (n + 1) // 2
            values.append(
                blocks_from_packed(
                    torch.from_numpy(triangles[start : start + size]),
                    numbers[first:last].tolist(),
                    self.basis_set,
                    source=self.orbital_order,
                    target=batch.blocks.orbital_order,
                )
            )
            start += size
        return {"overlap": torch.cat(values).to(batch.positions.device)}


def build(config: Config) -> ExactOverlap:
    """Build the model."""
    return ExactOverlap(config)
