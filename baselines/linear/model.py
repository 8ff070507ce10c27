"""Linear regression on the composition: the energy that needs no geometry.

E = Σ_Z n_Z c_Z does not depend on the positions, so it has nothing to say about forces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nabladft.models.layers.composition import CompositionEnergy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from nabladft.data.batch import Batch


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        ridge: Penalty of large coefficients.
    """

    ridge: float = 1e-6


class Linear(torch.nn.Module):
    """Energies per element, fitted in closed form; no parameters for an optimiser."""

    predicts = frozenset({"formation_energy"})

    def __init__(self, config: Config) -> None:
        """See the class."""
        super().__init__()
        self.composition = CompositionEnergy(ridge=config.ridge)

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit to the training part."""
        self.composition.fit(batches)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict ``formation_energy`` (n,) in hartree."""
        return {"formation_energy": self.composition(batch)}


def build(config: Config) -> Linear:
    """Build the model."""
    return Linear(config)
