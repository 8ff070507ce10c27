"""QHNet: Hamiltonians from equivariant features of atoms and of pairs of atoms.

After the paper, from bottom to top: spherical features of atoms by convolution with the harmonics
of their neighbours (:class:`Convolution`), features of each atom and of each pair of atoms by
products of those (:class:`SelfInteraction`, :class:`PairInteraction`), and Clebsch-Gordan expansion
of these into the blocks of the matrix, with weights that depend on the two elements
(:mod:`nabladft.models.layers.element_weights`, :mod:`nabladft.models.layers.block_readout`). A
block is the mean of what is computed for (i, j) and the transpose of what is computed for (j, i),
so the matrix is symmetric by construction.

Where this differs from the published network, and what it adds, is listed in README.md.

Source:
    H. Yu, Z. Xu, X. Qian, X. Qian, S. Ji, "Efficient and Equivariant Graph Networks for Predicting
    Quantum Hamiltonian", ICML 2023, arXiv 2306.04922.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch
from e3nn.nn import FullyConnectedNet
from torch import nn

from nabladft.chemistry.elements import DATASET_ELEMENTS
from nabladft.errors import ConfigError
from nabladft.models.layers.block_readout import BlockReadout
from nabladft.models.layers.element_weights import ElementWeights
from nabladft.models.layers.radial import ExponentialBernstein
from nabladft.models.layers.spherical import (
    Irrep,
    Linear,
    NormGate,
    cut,
    invariants,
    normalised,
    orbital_irreps,
    perceptron,
    slices,
)
from nabladft.models.layers.summed_products import SummedChannelProduct, SummedHarmonicsProduct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from nabladft.data import Batch
    from nabladft.models.layers.pair_graph import PairGraph

#: Hidden width of the networks that give the weights of a convolution. Those of a pair interaction
#: are as wide as the features.
_CONVOLUTION_WIDTH: Final = 32


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters; the defaults are the published ones.

    Attributes:
        elements: Atomic numbers that the model knows.
        basis_set: Basis set of the Hamiltonians.
        lmax: Largest degree of the features of atoms.
        channels: Channels of the features.
        bottleneck: Channels of the features that are expanded into blocks.
        n_layers: Convolutions.
        n_pair_layers: Self and pair interactions, one after each of the last convolutions.
        cutoff: Range of a convolution, bohr. Pairs are not limited.
        n_radial: Radial functions of distances.
        reference: What is fitted in closed form first, for the network to correct: ``mean`` of the
            diagonal blocks of each element, or ``two_center`` terms as well.
        n_reference_radial: Radial functions of the two-centre terms.
        directed: Pairs that are computed: ``both`` directions, of which the mean is taken, or
            ``canonical`` ones, two thirds as many; see
            :class:`nabladft.models.layers.pair_graph.PairGraph`.
    """

    elements: tuple[int, ...] = DATASET_ELEMENTS
    basis_set: str = "def2-svp"
    lmax: int = 4
    channels: int = 128
    bottleneck: int = 32
    n_layers: int = 5
    n_pair_layers: int = 2
    cutoff: float = 12.0
    n_radial: int = 32
    reference: Literal["none", "mean", "two_center"] = "mean"
    n_reference_radial: int = 10
    directed: Literal["both", "canonical"] = "both"

    def __post_init__(self) -> None:
        """Check the values against each other."""
        if not 1 <= self.n_pair_layers <= self.n_layers:
            message = (
                f"n_pair_layers must be 1 to n_layers = {self.n_layers}, got {self.n_pair_layers}."
            )
            raise ConfigError(message)


def build(config: Config) -> QHNet:
    """Build the model, with random weights in the default dtype."""
    return QHNet(config)


class QHNet(nn.Module):
    """Predicts all blocks of the Hamiltonians of a batch, see the module's documentation.

    Equivariant under rotations and reflections, invariant under translations; permuting atoms
    permutes blocks. Continuous in the positions: convolutions fade out at the cutoff.
    """

    predicts = frozenset({"hamiltonian"})
    orbital_order = "ascending"

    def __init__(self, config: Config) -> None:
        """See :class:`Config`."""
        super().__init__()
        self.config = config
        self.basis_set = config.basis_set
        self.readout = BlockReadout(
            config.elements,
            config.basis_set,
            reference=config.reference,
            n_radial=config.n_reference_radial,
        )
        expansion = self.readout.expansion
        n_elements, irreps = len(expansion.elements), expansion.irreps
        nodes = orbital_irreps(config.lmax)
        self.radial = ExponentialBernstein(config.n_radial, config.cutoff)
        self.embedding = nn.Embedding(n_elements, config.channels)
        self.convolutions = nn.ModuleList(
            Convolution(nodes[:1] if layer == 0 else nodes, nodes, config.channels, config.n_radial)
            for layer in range(config.n_layers)
        )
        self.self_interactions = nn.ModuleList(
            SelfInteraction(nodes, irreps, config.channels) for _ in range(config.n_pair_layers)
        )
        self.pair_interactions = nn.ModuleList(
            PairInteraction(nodes, irreps, config.channels, config.n_radial)
            for _ in range(config.n_pair_layers)
        )
        sizes = (config.channels, config.bottleneck)
        self.atom_output = ElementWeights(expansion, *sizes, n_embeddings=1)
        self.pair_output = ElementWeights(expansion, *sizes, n_embeddings=2)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict.

        Args:
            batch: With ``blocks`` in this model's basis set and orbital order.

        Returns:
            ``hamiltonian``, shape (n_values,), hartree, in the order of ``batch.blocks``.

        Raises:
            InputError: The batch has no blocks, or blocks of another kind.
            UnsupportedElementError: An element is not among ``elements``.
        """
        graph = self.readout.graph(batch, lmax=self.config.lmax, directed=self.config.directed)
        atoms, pairs = self._features(graph)
        table = self.embedding.weight
        diagonal = self.atom_output(atoms, table, graph.elements)
        off_diagonal = self.pair_output(pairs, table, graph.types)
        return {"hamiltonian": self.readout(graph, diagonal, off_diagonal)}

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit the reference and the scale of what remains.

        Args:
            batches: The training split; it is visited twice.
        """
        self.readout.prepare(batches, cutoff=self.config.cutoff)

    def _features(self, graph: PairGraph) -> tuple[Tensor, Tensor]:
        """Features of atoms and of the graph's pairs of atoms, over the irreps of a block."""
        ordered = graph.ordered
        radial = self.radial(ordered.distances)
        near = torch.nonzero(ordered.distances < self.config.cutoff).flatten()
        receiver, sender = ordered.first[near], ordered.second[near]
        directions = ordered.harmonics[near, : (self.config.lmax + 1) ** 2]
        edge_radial, pair_radial = radial[near], radial[: len(graph.first)]
        features = self.embedding(graph.elements)[:, None, :]
        atoms = pairs = None
        n_before = self.config.n_layers - self.config.n_pair_layers
        for layer, convolution in enumerate(self.convolutions):
            features = convolution(
                features, receiver, sender, directions, edge_radial, self.readout.mean_neighbours
            )
            if layer >= n_before:
                atom_update = self.self_interactions[layer - n_before](features)
                pair_update = self.pair_interactions[layer - n_before](
                    features, graph.first, graph.second, pair_radial
                )
                atoms = atom_update if atoms is None else atoms + atom_update
                pairs = pair_update if pairs is None else pairs + pair_update
        assert atoms is not None
        assert pairs is not None
        return atoms, pairs


class Convolution(nn.Module):
    """Messages from neighbours: features times harmonics of the direction (paper, section 4.1).

    The weight of each path and channel is a function of the distance times a function of inner
    products of the two atoms' features.
    """

    def __init__(
        self, irreps_in: Sequence[Irrep], irreps: Sequence[Irrep], channels: int, n_radial: int
    ) -> None:
        """Make a layer from ``irreps_in`` to ``irreps``."""
        super().__init__()
        self.irreps_in = tuple(irreps_in)
        self.gated = len(irreps_in) > 1
        self.before = Linear(irreps_in, channels, channels)
        self.gate = NormGate(irreps_in, channels) if self.gated else nn.Identity()
        self.inner = Linear(irreps_in, channels, channels)
        self.product = SummedHarmonicsProduct(irreps_in, irreps, irreps)
        sizes = (n_radial, _CONVOLUTION_WIDTH, self.product.n_paths)
        self.weights = PairWeights(irreps_in, channels, *sizes)
        self.after = Linear(irreps, channels, channels)
        self.onward = Linear(irreps_in, channels, channels, bias=False)

    def forward(
        self,
        features: Tensor,
        receiver: Tensor,
        sender: Tensor,
        directions: Tensor,
        radial: Tensor,
        mean_neighbours: Tensor,
    ) -> Tensor:
        """Update features of shape (n_atoms, components, channels)."""
        before, features = features, normalised(features)
        inner = self.inner(cut(features, self.irreps_in))
        weights = self.weights(inner, receiver, sender, radial)
        sent = self.before(cut(self.gate(features), self.irreps_in))
        messages = self.product(sent.index_select(0, sender), directions, weights)
        summed = messages.new_zeros(len(features), *messages.shape[1:])
        summed = summed.index_add(0, receiver, messages) / torch.sqrt(mean_neighbours)
        update = self.after(cut(summed, self.product.out))
        kept = self.onward(cut(sent, self.irreps_in)) + before
        n_kept = kept.shape[1]
        return torch.cat([update[:, :n_kept] + kept, update[:, n_kept:]], dim=1)


class PairWeights(nn.Module):
    """Weights of a product: a function of the distance times one of inner products."""

    def __init__(
        self, irreps: Sequence[Irrep], channels: int, n_radial: int, width: int, n_paths: int
    ) -> None:
        """Make the two functions, with ``width`` hidden units each."""
        super().__init__()
        self.irreps = tuple(irreps)
        self._shape = (n_paths, channels)
        activation = torch.nn.functional.silu
        n_invariants = (len(irreps) + 1) * channels
        self.of_distance = FullyConnectedNet([n_radial, width, n_paths * channels], activation)
        self.of_features = perceptron(n_invariants, width, n_paths * channels)

    def forward(self, features: Tensor, first: Tensor, second: Tensor, radial: Tensor) -> Tensor:
        """Evaluate for pairs of atoms, shape (n_pairs, n_paths, channels)."""
        left, right = features.index_select(0, first), features.index_select(0, second)
        products = invariants(left, right, self.irreps)[:, 1:].flatten(1)
        scalars = torch.cat([left[:, 0], right[:, 0], products], dim=1)
        weights: Tensor = self.of_distance(radial) * self.of_features(scalars)
        return weights.view(-1, *self._shape)


class SelfInteraction(nn.Module):
    """Features of the diagonal blocks: products of an atom's features (paper, section 4.2).

    The features themselves are added to their products.
    """

    def __init__(self, nodes: Sequence[Irrep], irreps: Sequence[Irrep], channels: int) -> None:
        """Make a layer from the irreps of atoms to those of blocks."""
        super().__init__()
        self.nodes = tuple(nodes)
        self.gates = nn.ModuleList(NormGate(nodes, channels) for _ in range(2))
        self.linears = nn.ModuleList(Linear(nodes, channels, channels) for _ in range(2))
        self.product = SummedChannelProduct(nodes, nodes, irreps)
        self.weights = nn.Parameter(torch.randn(self.product.n_paths, channels))
        self.after = _AfterProduct(self.product, irreps, channels)
        # Where the atom's own features are among those of the block, and which of them.
        places = dict(zip(irreps, slices(irreps), strict=True))
        kept = [
            (component, place)
            for irrep, here in zip(nodes, slices(nodes), strict=True)
            if irrep in places
            for component, place in zip(_indices(here), _indices(places[irrep]), strict=True)
        ]
        self.register_buffer("_kept", torch.tensor(kept).T.contiguous(), persistent=False)

    _kept: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Give features of shape (n_atoms, components of a block, channels)."""
        features = normalised(features)
        left, right = (
            linear(cut(gate(features), self.nodes))
            for gate, linear in zip(self.gates, self.linears, strict=True)
        )
        product = self.product(left, right, self.weights)
        own = features.index_select(1, self._kept[0]).to(product.dtype)
        result: Tensor = self.after(product.index_add(1, self._kept[1], own))
        return result


class PairInteraction(nn.Module):
    """Features of the off-diagonal blocks: products of two atoms' features (section 4.2)."""

    def __init__(
        self, nodes: Sequence[Irrep], irreps: Sequence[Irrep], channels: int, n_radial: int
    ) -> None:
        """Make a layer from the irreps of atoms to those of blocks."""
        super().__init__()
        self.nodes = tuple(nodes)
        self.inner = Linear(nodes, channels, channels)
        self.gate = NormGate(nodes, channels)
        self.before = Linear(nodes, channels, channels)
        self.product = SummedChannelProduct(nodes, nodes, irreps)
        sizes = (n_radial, channels, self.product.n_paths)
        self.weights = PairWeights(nodes, channels, *sizes)
        self.after = _AfterProduct(self.product, irreps, channels)

    def forward(self, features: Tensor, first: Tensor, second: Tensor, radial: Tensor) -> Tensor:
        """Give features of shape (n_pairs, components of a block, channels)."""
        features = normalised(features)
        inner = self.inner(cut(features, self.nodes))
        weights = self.weights(inner, first, second, radial)
        ready = self.before(cut(self.gate(features), self.nodes))
        left, right = ready.index_select(0, first), ready.index_select(0, second)
        result: Tensor = self.after(self.product(left, right, weights))
        return result


class _AfterProduct(nn.Module):
    """Gates the result of a product and mixes its channels."""

    def __init__(
        self, product: SummedChannelProduct, irreps: Sequence[Irrep], channels: int
    ) -> None:
        super().__init__()
        missing = [irrep for irrep in irreps if irrep not in product.out]
        if missing:
            message = (
                f"Blocks need degree {max(irrep.l for irrep in missing)}, which products of "
                "features up to lmax do not reach. Choose a larger lmax."
            )
            raise ConfigError(message)
        self.irreps = tuple(irreps)
        self.gate = NormGate(irreps, channels, by_degree=True)
        self.linear = Linear(irreps, channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.linear(cut(self.gate(features), self.irreps))
        return result


def _indices(where: slice) -> range:
    return range(where.start, where.stop)
