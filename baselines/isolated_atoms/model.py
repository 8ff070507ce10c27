"""No learning at all: a molecule is its isolated atoms.

The formation energy and the forces are zero, so the errors of this row are the mean size of the
labels: what any model must beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from nabladft.data.batch import Batch


@dataclass(frozen=True)
class Config:
    """There is nothing to choose."""


class IsolatedAtoms(torch.nn.Module):
    """Zero formation energy, zero forces."""

    predicts = frozenset({"formation_energy", "forces"})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict ``formation_energy`` (n,) in hartree and ``forces`` (n_atoms_total, 3)."""
        return {
            "formation_energy": torch.zeros_like(batch.molecule_id, dtype=torch.float64),
            "forces": torch.zeros_like(batch.positions),
        }


def build(config: Config) -> IsolatedAtoms:  # noqa: ARG001 - the contract's signature
    """Build the model."""
    return IsolatedAtoms()
