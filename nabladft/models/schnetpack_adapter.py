"""Energies and forces from a representation of SchNetPack, without its data pipeline.

SchNetPack brings the published implementations of SchNet and PaiNN. Here they get the batches and
neighbour pairs of this package; units, offsets and forces are ours.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

import torch

from nabladft.errors import MissingExtraError
from nabladft.models.layers.composition import CompositionEnergy
from nabladft.models.layers.neighbours import neighbour_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from torch import Tensor

    from nabladft.data.batch import Batch

_INSTALL: Final = 'pip install "nabladft[schnetpack]"'
#: SchNetPack 2.2 runs on Python 3.11 but does not declare it, and 2.1 refuses today's torch.
_INSTALL_BELOW_312: Final = (
    f"{_INSTALL} && pip install --no-deps --ignore-requires-python schnetpack==2.2.0"
)


def import_schnetpack(module: str) -> ModuleType:
    """Import ``schnetpack.<module>``, or say how to install it.

    Raises:
        MissingExtraError: SchNetPack, or something it imports, is not installed.
    """
    try:
        return importlib.import_module(f"schnetpack.{module}")
    except ImportError as error:
        command = _INSTALL if sys.version_info >= (3, 12) else _INSTALL_BELOW_312
        message = f"SchNet and PaiNN need {error.name or 'schnetpack'}. Install it with: {command}"
        raise MissingExtraError(message) from error


class RepresentationModel(torch.nn.Module):
    """Formation energy as a sum over atoms, forces as its gradient.

    E = Σ_Z n_Z c_Z + s Σ_i f(x_i) with the features x of the representation, a two-layer network f,
    the energies per element c fitted to the training part, and s the root mean square of the
    training forces times one bohr, which brings the targets of f to the order of one.

    Args:
        representation: Module of SchNetPack: from atomic numbers and pair vectors to
            ``scalar_representation`` (n_atoms_total, n_features).
        n_features: Width of the representation.
        cutoff: Of the neighbour pairs, bohr.
    """

    predicts = frozenset({"formation_energy", "forces"})
    is_conservative = True

    scale: Tensor

    def __init__(self, representation: torch.nn.Module, *, n_features: int, cutoff: float) -> None:
        """See the class."""
        super().__init__()
        self.representation = representation
        self.output: torch.nn.Module = import_schnetpack("nn").build_mlp(
            n_in=n_features, n_out=1, n_layers=2, activation=torch.nn.functional.silu
        )
        # Training starts at the energies per element and no forces, not at random ones.
        *_, last = (m for m in self.output.modules() if isinstance(m, torch.nn.Linear))
        torch.nn.init.zeros_(last.weight)
        self.composition = CompositionEnergy()
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self._cutoff = cutoff
        names = import_schnetpack("properties")
        self._names = (names.Z, names.Rij, names.idx_i, names.idx_j)

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit the energies per element and measure the forces of the training part."""
        self.composition.fit(batches)
        total, count = 0.0, 0
        for batch in batches:
            forces = batch.labels["forces"].double()
            total += float((forces**2).sum())
            count += forces.numel()
        self.scale.fill_((total / count) ** 0.5)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict ``formation_energy`` (n,) in hartree and ``forces`` (n_atoms_total, 3)."""
        # Under no_grad too: the forces are a gradient.
        with torch.enable_grad():
            positions = batch.positions.detach().requires_grad_()
            energy = self._energy(batch, positions)
            (gradient,) = torch.autograd.grad(
                energy.sum(), positions, create_graph=self.training, retain_graph=self.training
            )
        return {"formation_energy": energy, "forces": -gradient}

    def _energy(self, batch: Batch, positions: Tensor) -> Tensor:
        pairs = neighbour_pairs(positions, batch.atom_offsets, self._cutoff)
        values = (batch.atomic_numbers, pairs.vectors, pairs.receiver, pairs.sender)
        inputs = dict(zip(self._names, values, strict=True))
        features = self.representation(inputs)["scalar_representation"]
        atomic = self.output(features).squeeze(-1).double() * self.scale
        composition: Tensor = self.composition(batch)
        return composition.index_add(0, batch.conformation_index, atomic)
