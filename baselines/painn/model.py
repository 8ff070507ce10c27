"""PaiNN: equivariant message passing with scalars and vectors (through SchNetPack).

Schütt, Unke, Gastegger, ICML 2021 (arXiv 2102.03150). Each atom carries scalar and vector features;
messages mix them with the directions to the neighbours; the energy is a sum over atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

from nabladft.chemistry.units import convert
from nabladft.models.schnetpack_adapter import RepresentationModel, import_schnetpack


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        n_features: Width of the features of an atom.
        n_interactions: Interaction blocks.
        n_radial: Gaussian radial basis functions.
        cutoff_angstrom: Range of an interaction.
    """

    n_features: int = 128
    n_interactions: int = 6
    n_radial: int = 100
    cutoff_angstrom: float = 5.0


def build(config: Config) -> RepresentationModel:
    """Build the model.

    Raises:
        MissingExtraError: SchNetPack is not installed.
    """
    cutoff = convert(config.cutoff_angstrom, source="angstrom", target="bohr")
    nn = import_schnetpack("nn")
    representation = import_schnetpack("representation").PaiNN(
        n_atom_basis=config.n_features,
        n_interactions=config.n_interactions,
        radial_basis=nn.GaussianRBF(n_rbf=config.n_radial, cutoff=cutoff),
        cutoff_fn=nn.CosineCutoff(cutoff),
    )
    return RepresentationModel(representation, n_features=config.n_features, cutoff=cutoff)
