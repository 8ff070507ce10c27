"""QHNet: Hamiltonians from equivariant features of atoms and of pairs of atoms.

After the paper, from bottom to top: spherical features of atoms by convolution with the harmonics
of their neighbours (:class:`Convolution`), features of each atom and of each pair of atoms by
products of those (:class:`SelfInteraction`, :class:`PairInteraction`), and Clebsch-Gordan expansion
of these into the blocks of the matrix, with weights that depend on the two elements
(:class:`ElementWeights`). A block is the mean of what is computed for (i, j) and the transpose of
what is computed for (j, i), so the matrix is symmetric by construction.

Where this differs from the published network, and what it adds, is listed in README.md.

Source:
    H. Yu, Z. Xu, X. Qian, X. Qian, S. Ji, "Efficient and Equivariant Graph Networks for Predicting
    Quantum Hamiltonian", ICML 2023, arXiv 2306.04922.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch
from e3nn.nn import FullyConnectedNet
from torch import nn

from nabladft.chemistry.elements import DATASET_ELEMENTS
from nabladft.errors import ConfigError, InputError
from nabladft.models.layers.expansion import BlockExpansion
from nabladft.models.layers.products import ChannelProduct, HarmonicsProduct
from nabladft.models.layers.spherical import (
    Irrep,
    Linear,
    NormGate,
    cut,
    harmonics,
    invariants,
    normalised,
    orbital_irreps,
    perceptron,
)
from nabladft.models.layers.two_center import TwoCenterReference, TwoCenterSample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from nabladft.data import Batch

#: Hidden width of the networks that give the weights of a product.
_WEIGHT_WIDTH: Final = 32
#: What the network adds to a pair is scaled by exp(-decay r); 1/bohr. Chosen, not tuned: the
#: residual of the two-centre terms on nano falls off faster, with about 0.6 from 4 to 9 bohr.
RESIDUAL_DECAY: Final = 0.25
#: A scale counts as measured from this many blocks on; below, it leans on that of all elements.
_ENOUGH: Final = 20.0


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
    reference: Literal["mean", "two_center"] = "mean"
    n_reference_radial: int = 10

    def __post_init__(self) -> None:
        """Check the values against each other."""
        if not 1 <= self.n_pair_layers <= self.n_layers:
            message = (
                f"n_pair_layers must be 1 to n_layers = {self.n_layers}, got {self.n_pair_layers}."
            )
            raise ConfigError(message)
        if self.reference not in {"mean", "two_center"}:
            message = f"reference must be 'mean' or 'two_center', got {self.reference!r}."
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
        self.expansion = BlockExpansion(config.elements, config.basis_set)
        n_elements = len(self.expansion.elements)
        irreps = self.expansion.irreps
        nodes = orbital_irreps(config.lmax)
        self.reference = TwoCenterReference(
            irreps,
            self.expansion.widths,
            n_elements=n_elements,
            n_radial=config.n_reference_radial if config.reference == "two_center" else 0,
        )
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
        self.atom_output = ElementWeights(self.expansion, config, n_embeddings=1)
        self.pair_output = ElementWeights(self.expansion, config, n_embeddings=2)
        self.register_buffer("mean_neighbours", torch.ones(()))

    mean_neighbours: Tensor

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
        graph = Graph(batch, self.expansion, self.config)
        atoms, pairs = self._features(graph)
        atom_reference, pair_reference = self._references(graph)
        table = self.embedding.weight
        envelope = torch.exp(-RESIDUAL_DECAY * graph.distances)
        diagonal = self.atom_output(atoms, table, graph.elements, atom_reference)
        off_diagonal = self.pair_output(pairs, table, graph.types, pair_reference, envelope)
        padded = torch.cat([self.expansion.expand(diagonal), self.expansion.expand(off_diagonal)])
        return {"hamiltonian": graph.gather(padded)}

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit the reference and the scale of what remains.

        Args:
            batches: The training split; it is visited twice.
        """
        dtype = self.embedding.weight.dtype
        with torch.no_grad():
            self.double()
            self.reference.fit(_samples(batches, self.expansion, self.config))
            self._fit_scales(_samples(batches, self.expansion, self.config))
            self.to(dtype)

    def _features(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Features of atoms and of ordered pairs of atoms, over the irreps of a block."""
        radial = self.radial(graph.distances)
        near = graph.distances < self.config.cutoff
        receiver, sender = graph.first[near], graph.second[near]
        directions = graph.harmonics[near, : (self.config.lmax + 1) ** 2]
        edge_radial = radial[near]
        features = self.embedding(graph.elements)[:, None, :]
        atoms = pairs = None
        n_before = self.config.n_layers - self.config.n_pair_layers
        for layer, convolution in enumerate(self.convolutions):
            features = convolution(
                features, receiver, sender, directions, edge_radial, self.mean_neighbours
            )
            if layer >= n_before:
                atom_update = self.self_interactions[layer - n_before](features)
                pair_update = self.pair_interactions[layer - n_before](
                    features, graph.first, graph.second, radial
                )
                atoms = atom_update if atoms is None else atoms + atom_update
                pairs = pair_update if pairs is None else pairs + pair_update
        assert atoms is not None
        assert pairs is not None
        return atoms, pairs

    def _references(self, graph: Graph) -> tuple[list[Tensor | None], list[Tensor | None]]:
        geometry = (graph.first, graph.second, graph.distances, graph.harmonics)
        atom = self.reference.atom(graph.elements, *geometry)
        return atom, self.reference.pair(graph.types, graph.distances, graph.harmonics)

    def _fit_scales(self, samples: Iterable[TwoCenterSample]) -> None:
        """Measure how large the residual of the reference is, for the network to start there."""
        atoms = _Spread(self.expansion.widths, len(self.expansion.elements))
        pairs = _Spread(self.expansion.widths, len(self.expansion.elements) ** 2)
        n_near, n_atoms = 0, 0
        for sample in samples:
            geometry = (sample.first, sample.second, sample.distances, sample.harmonics)
            atom = self.reference.atom(sample.elements, *geometry)
            pair = self.reference.pair(sample.types, sample.distances, sample.harmonics)
            growth = torch.exp(RESIDUAL_DECAY * sample.distances)
            atoms.add(sample.elements, sample.atom_targets, atom)
            pairs.add(sample.types, sample.pair_targets, pair, growth)
            n_near += int((sample.distances < self.config.cutoff).sum())
            n_atoms += len(sample.elements)
        self.atom_output.set_scales(atoms.roots())
        self.pair_output.set_scales(pairs.roots())
        self.mean_neighbours.fill_(max(n_near, 1) / max(n_atoms, 1))


class ExponentialBernstein(nn.Module):
    """Radial functions: Bernstein polynomials of exp(-alpha r) times a smooth cutoff.

    Source:
        O. T. Unke et al., "SE(3)-equivariant prediction of molecular wavefunctions and electronic
        densities", NeurIPS 2021, arXiv 2106.02347, appendix.
    """

    def __init__(self, n_functions: int, cutoff: float, alpha: float = 0.5) -> None:
        """Make ``n_functions`` that vanish beyond ``cutoff`` (bohr); ``alpha`` is learned."""
        super().__init__()
        self.cutoff = cutoff
        degree = n_functions - 1
        order = torch.arange(n_functions, dtype=torch.float64)
        # The squares of the polynomials sum to 1 / sqrt(pi n) on average; bring them to one each.
        self.factor = math.sqrt(n_functions * math.sqrt(math.pi * n_functions))
        log_binomial = (
            math.lgamma(degree + 1) - torch.lgamma(order + 1) - torch.lgamma(degree - order + 1)
        )
        self.alpha = nn.Parameter(torch.tensor(math.log(math.expm1(alpha))))
        self.register_buffer("log_binomial", log_binomial.to(self.alpha), persistent=False)
        self.register_buffer("order", order.to(self.alpha), persistent=False)

    log_binomial: Tensor
    order: Tensor

    def forward(self, distances: Tensor) -> Tensor:
        """Evaluate at distances of shape (n,), giving (n, n_functions)."""
        inside = distances < self.cutoff
        r = torch.where(inside, distances, 0.5 * self.cutoff)
        fade = torch.exp(-(r**2) / ((self.cutoff - r) * (self.cutoff + r)))
        exponent = (-nn.functional.softplus(self.alpha) * r)[:, None]
        degree = len(self.order) - 1
        logarithm = (
            self.log_binomial
            + (degree - self.order) * exponent
            + self.order * torch.log(-torch.expm1(exponent))
        )
        return (self.factor * fade * inside)[:, None] * torch.exp(logarithm)


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
        self.product = HarmonicsProduct(irreps_in, irreps, irreps)
        n_weights = self.product.n_paths * channels
        self.weights = PairWeights(irreps_in, channels, n_radial, n_weights)
        self.after = Linear(
            irreps, [count * channels for count in self.product.multiplicities], channels
        )
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
        gated = self.gate(features)
        sent = self.before(cut(gated, self.irreps_in))
        weights = weights.view(len(receiver), self.product.n_paths, features.shape[2])
        messages = self.product(sent.index_select(0, sender), directions, weights)
        summed = messages.new_zeros(len(features), *messages.shape[1:])
        summed = summed.index_add(0, receiver, messages) / torch.sqrt(mean_neighbours)
        update = self.after(self.product.by_irrep(summed))
        kept = self.onward(cut(sent, self.irreps_in)) + before
        n_kept = kept.shape[1]
        return torch.cat([update[:, :n_kept] + kept, update[:, n_kept:]], dim=1)


class PairWeights(nn.Module):
    """Weights of a product: a function of the distance times one of inner products."""

    def __init__(
        self, irreps: Sequence[Irrep], channels: int, n_radial: int, n_weights: int
    ) -> None:
        """Make the two functions."""
        super().__init__()
        self.irreps = tuple(irreps)
        activation = torch.nn.functional.silu
        n_invariants = (len(irreps) + 1) * channels
        self.of_distance = FullyConnectedNet([n_radial, _WEIGHT_WIDTH, n_weights], activation)
        self.of_features = perceptron(n_invariants, _WEIGHT_WIDTH, n_weights)

    def forward(self, features: Tensor, first: Tensor, second: Tensor, radial: Tensor) -> Tensor:
        """Evaluate for pairs of atoms, shape (n_pairs, n_weights)."""
        left, right = features.index_select(0, first), features.index_select(0, second)
        products = invariants(left, right, self.irreps)[:, 1:].flatten(1)
        scalars = torch.cat([left[:, 0], right[:, 0], products], dim=1)
        weights: Tensor = self.of_distance(radial) * self.of_features(scalars)
        return weights


class SelfInteraction(nn.Module):
    """Features of the diagonal blocks: products of an atom's features (paper, section 4.2)."""

    def __init__(self, nodes: Sequence[Irrep], irreps: Sequence[Irrep], channels: int) -> None:
        """Make a layer from the irreps of atoms to those of blocks."""
        super().__init__()
        self.nodes = tuple(nodes)
        self.irreps = tuple(irreps)
        self.gates = nn.ModuleList(NormGate(nodes, channels) for _ in range(2))
        self.linears = nn.ModuleList(Linear(nodes, channels, channels) for _ in range(2))
        self.product = ChannelProduct(nodes, nodes, irreps)
        self.weights = nn.Parameter(torch.randn(self.product.n_paths, channels))
        self.middle = _AfterProduct(self.product, irreps, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Give features of shape (n_atoms, components of a block, channels)."""
        features = normalised(features)
        left, right = (
            linear(cut(gate(features), self.nodes))
            for gate, linear in zip(self.gates, self.linears, strict=True)
        )
        return self.middle(self.product.by_irrep(self.product(left, right, self.weights)))


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
        self.product = ChannelProduct(nodes, nodes, irreps)
        n_weights = self.product.n_paths * channels
        self.weights = PairWeights(nodes, channels, n_radial, n_weights)
        self.middle = _AfterProduct(self.product, irreps, channels)

    def forward(self, features: Tensor, first: Tensor, second: Tensor, radial: Tensor) -> Tensor:
        """Give features of shape (n_pairs, components of a block, channels)."""
        features = normalised(features)
        inner = self.inner(cut(features, self.nodes))
        weights = self.weights(inner, first, second, radial)
        gated = self.gate(features)
        ready = self.before(cut(gated, self.nodes))
        weights = weights.view(len(first), self.product.n_paths, features.shape[2])
        products = self.product(
            ready.index_select(0, first), ready.index_select(0, second), weights
        )
        return self.middle(self.product.by_irrep(products))


class _AfterProduct(nn.Module):
    """Mixes the paths of a product, gates, and mixes the channels."""

    def __init__(self, product: ChannelProduct, irreps: Sequence[Irrep], channels: int) -> None:
        super().__init__()
        missing = [irrep for irrep in irreps if irrep not in product.out]
        if missing:
            message = (
                f"Blocks need degree {max(irrep.l for irrep in missing)}, which products of "
                "features up to lmax do not reach. Choose a larger lmax."
            )
            raise ConfigError(message)
        self.irreps = tuple(irreps)
        counts = [count * channels for count in product.multiplicities]
        self.mix = Linear(irreps, counts, channels)
        self.gate = NormGate(irreps, channels)
        self.after = Linear(irreps, channels, channels)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        gated = self.gate(self.mix(parts))
        result: Tensor = self.after(cut(gated, self.irreps))
        return result


class ElementWeights(nn.Module):
    """Features to coefficients of blocks, with weights that are functions of the elements.

    The table of weights of all (pairs of) elements is computed once per call and looked up, which
    is cheaper than computing it for every pair of atoms as in the paper.
    """

    def __init__(self, expansion: BlockExpansion, config: Config, *, n_embeddings: int) -> None:
        """Make the weights of atoms (``n_embeddings=1``) or of pairs of atoms (2)."""
        super().__init__()
        self.irreps, self.widths = expansion.irreps, expansion.widths
        self.bottleneck, self.n_embeddings = config.bottleneck, n_embeddings
        self.before = Linear(self.irreps, config.channels, config.bottleneck)
        width = config.channels
        self._sizes = [config.bottleneck * count for count in self.widths]
        # The network starts as a small correction of the reference.
        self.weights = perceptron(n_embeddings * width, width, sum(self._sizes), gain=0.1)
        self.bias = perceptron(n_embeddings * width, width, self.widths[0], gain=0.1)
        n_types = len(expansion.elements) ** n_embeddings
        for k, count in enumerate(self.widths):
            self.register_buffer(f"scale_{k}", torch.ones(n_types, count))

    def set_scales(self, scales: Sequence[Tensor]) -> None:
        """Set the typical size of each coefficient, shapes (n_types, width), hartree."""
        for k, scale in enumerate(scales):
            getattr(self, f"scale_{k}").copy_(scale)

    def forward(
        self,
        features: Tensor,
        embeddings: Tensor,
        types: Tensor,
        reference: Sequence[Tensor | None],
        envelope: Tensor | None = None,
    ) -> list[Tensor]:
        """Compute coefficients.

        Args:
            features: Shape (n, components of a block, channels).
            embeddings: Shape (n_elements, channels).
            types: Shape (n,), the element or pair of elements.
            reference: For each irrep, shape (n, 2l + 1, width), or None for zero.
            envelope: Shape (n,), a factor of what the network adds.

        Returns:
            For each irrep, shape (n, 2l + 1, width), hartree.
        """
        n_elements = len(embeddings)
        table = embeddings
        if self.n_embeddings == 2:
            left = embeddings[:, None].expand(-1, n_elements, -1)
            right = embeddings[None, :].expand(n_elements, -1, -1)
            table = torch.cat([left, right], dim=2).flatten(0, 1)
        weights = torch.split(self.weights(table), self._sizes, dim=1)
        ready = self.before(cut(features, self.irreps))
        coefficients = []
        for k, part in enumerate(cut(ready, self.irreps)):
            matrix = (
                weights[k].index_select(0, types).view(len(types), self.bottleneck, self.widths[k])
            )
            value = (part @ matrix) / self.bottleneck**0.5
            if k == 0:
                value = value + self.bias(table).index_select(0, types)[:, None]
            scale = getattr(self, f"scale_{k}")[types]
            if envelope is not None:
                scale = scale * envelope[:, None]
            value = value * scale[:, None]
            fixed = reference[k]
            coefficients.append(value if fixed is None else value + fixed)
        return coefficients


class Graph:
    """A batch as the model sees it: all ordered pairs of atoms, and where its values go.

    Pair k is (row, column) of the k-th off-diagonal block, and pair n + k the reverse of it, n
    being the number of those blocks.
    """

    def __init__(
        self,
        batch: Batch,
        expansion: BlockExpansion,
        config: Config,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Find the pairs and their geometry, in ``dtype`` or that of the positions."""
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
        lmax = max(config.lmax, *(irrep.l for irrep in expansion.irreps))
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


class _Spread:
    """Root mean square of residuals by type and column."""

    def __init__(self, widths: Sequence[int], n_types: int) -> None:
        self._sums = [torch.zeros(n_types, width, dtype=torch.float64) for width in widths]
        self._counts = torch.zeros(n_types, dtype=torch.float64)

    def add(
        self,
        types: Tensor,
        targets: Sequence[Tensor],
        reference: Sequence[Tensor | None],
        factor: Tensor | None = None,
    ) -> None:
        self._counts = self._counts.to(types.device)
        self._counts.index_add_(0, types, torch.ones_like(types, dtype=torch.float64))
        for k, (target, fixed) in enumerate(zip(targets, reference, strict=True)):
            residual = target if fixed is None else target - fixed
            if factor is not None:
                residual = residual * factor[:, None, None]
            self._sums[k] = self._sums[k].to(types.device)
            self._sums[k].index_add_(0, types, (residual**2).mean(dim=1))

    def roots(self) -> list[Tensor]:
        """Estimate the size of each coefficient; rare types lean on all types together."""
        counts = self._counts[:, None]
        roots = []
        for sums in self._sums:
            # What an element lacks is zero and must not pull the mean down.
            present = sums > 0
            total = (sums.sum(0) / (counts * present).sum(0).clamp(min=1.0)).expand_as(sums)
            mean = (sums + _ENOUGH * total) / (counts + _ENOUGH)
            roots.append(torch.sqrt(mean).clamp(min=1e-5))
        return roots


def _samples(
    batches: Iterable[Batch], expansion: BlockExpansion, config: Config
) -> Iterable[TwoCenterSample]:
    """Turn labelled batches into coefficients in float64, from which everything is fitted."""
    for batch in batches:
        graph = Graph(batch, expansion, config, torch.float64)
        padded = graph.scatter(batch.labels["hamiltonian"].double())
        yield TwoCenterSample(
            elements=graph.elements,
            types=graph.types,
            first=graph.first,
            second=graph.second,
            distances=graph.distances,
            harmonics=graph.harmonics,
            atom_targets=expansion.project(padded[: batch.n_atoms]),
            pair_targets=expansion.project(padded[batch.n_atoms :]),
        )
