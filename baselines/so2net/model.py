"""so2net: Hamiltonians by maps in the local frames of pairs of atoms.

From bottom to top: features of atoms by messages between neighbours (:class:`NodeLayer`), features
of pairs from those of both atoms (:class:`PairTrunk`), and expansion of both into blocks of the
matrix (:class:`Head`). Whatever belongs to a pair is computed in the frame whose polar axis is
the line between its atoms, where an equivariant map is one plain matrix for each |m|
(:mod:`nabladft.models.layers.so2`). There is no tensor product in messages or pairs;
Clebsch-Gordan coefficients occur only in the fixed change of basis from coefficients to blocks.

Two atoms of different elements make one pair, listed from the lighter to the heavier; only those of
one element are computed in both directions and averaged.

Source:
    Our own, on these shoulders: S. Passaro, C. L. Zitnick, ICML 2023, arXiv 2302.03655 (SO(2)
    convolutions); H. Yu et al., ICML 2023, arXiv 2306.04922 (features of pairs, weights by
    elements). README.md says what is from where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from nabladft.chemistry.elements import DATASET_ELEMENTS
from nabladft.errors import ConfigError
from nabladft.models.layers.block_readout import BlockReadout, Reference
from nabladft.models.layers.frames import LocalFrames, frame_order
from nabladft.models.layers.radial import ExponentialBernstein, smooth_cutoff
from nabladft.models.layers.so2 import FrameGate, FrameLinear
from nabladft.models.layers.spherical import Linear, NormGate, cut, orbital_irreps, perceptron

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from nabladft.data import Batch
    from nabladft.models.layers.expansion import BlockExpansion
    from nabladft.models.layers.pair_graph import PairGraph
    from nabladft.models.layers.spherical import Irrep


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        elements: Atomic numbers that the model knows.
        basis_set: Basis set of the Hamiltonians.
        lmax: Largest degree of features; at least that of a block, twice that of an orbital.
        mmax: Largest |m| that messages carry.
        channels: Channels of the features of atoms.
        frame_channels: Channels of features in a frame.
        n_layers: Message passing layers.
        n_pair_layers: Layers of features of pairs.
        bottleneck: Channels of the features that are expanded into blocks.
        cutoff: Range of messages, bohr. Pairs are not limited.
        n_radial: Radial functions of distances.
        reference: What is fitted in closed form first, for the network to correct: ``mean`` of the
            diagonal blocks of each element, or ``two_center`` terms as well.
        n_reference_radial: Radial functions of the two-centre terms.
    """

    elements: tuple[int, ...] = DATASET_ELEMENTS
    basis_set: str = "def2-svp"
    lmax: int = 4
    mmax: int = 2
    channels: int = 128
    frame_channels: int = 64
    n_layers: int = 3
    n_pair_layers: int = 2
    bottleneck: int = 32
    cutoff: float = 12.0
    n_radial: int = 32
    reference: Reference = "mean"
    n_reference_radial: int = 10

    def __post_init__(self) -> None:
        """Check the values against each other."""
        if not 1 <= self.mmax <= self.lmax:
            message = f"mmax must be 1 to lmax = {self.lmax}, got {self.mmax}."
            raise ConfigError(message)
        if self.n_layers < 2:
            message = (
                f"n_layers must be 2 or more, got {self.n_layers}: the first sees scalars only."
            )
            raise ConfigError(message)


def build(config: Config) -> SO2Net:
    """Build the model, with random weights in the default dtype."""
    return SO2Net(config)


class SO2Net(nn.Module):
    """Predicts all blocks of the Hamiltonians of a batch, see the module's documentation.

    Equivariant under rotations and reflections, invariant under translations; permuting atoms
    permutes blocks. Continuous in the positions: messages fade out at the cutoff.
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
        n_elements = len(expansion.elements)
        _check_degrees(expansion, config.lmax)
        self.lmax_pseudo = _pseudo_degree(expansion)
        self.frames = LocalFrames(config.lmax)
        self.radial = ExponentialBernstein(config.n_radial, config.cutoff)
        self.embedding = nn.Embedding(n_elements, config.channels)
        self.layers = nn.ModuleList(
            NodeLayer(
                config,
                n_elements,
                is_first=k == 0,
                lmax_pseudo=self.lmax_pseudo if k == config.n_layers - 1 else 0,
            )
            for k in range(config.n_layers)
        )
        self.pairs = PairTrunk(config, n_elements, expansion)
        self.atoms_to_head = AtomOutput(config, expansion)
        self.atom_head = Head(expansion, config.bottleneck, config.channels, n_embeddings=1)
        self.pair_head = Head(expansion, config.bottleneck, config.channels, n_embeddings=2)

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
        graph = self.readout.graph(batch, directed="canonical")
        frames = self.frames(graph.ordered.vectors)
        radial = self.radial(graph.ordered.distances)
        table = self.embedding.weight
        features, pseudo = self._atoms(graph, frames, radial)
        n_pairs = len(graph.first)
        pairs = self.pairs(features, graph, frames[:n_pairs], radial[:n_pairs])
        diagonal = self.atom_head(self.atoms_to_head(features, pseudo), table, graph.elements)
        off_diagonal = self.pair_head(pairs, table, graph.types)
        return {"hamiltonian": self.readout(graph, diagonal, off_diagonal)}

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit the reference and the scale of what remains.

        Args:
            batches: The training split; it is visited twice.
        """
        self.readout.prepare(batches, cutoff=self.config.cutoff)

    def _atoms(
        self, graph: PairGraph, frames: Tensor, radial: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Features of atoms of parity (-1)^l, and of the opposite parity."""
        ordered, n_rows = graph.ordered, len(frame_order(self.config.lmax, self.config.mmax))
        near = torch.nonzero(ordered.distances < self.config.cutoff)[:, 0]
        edges = Edges(
            receiver=ordered.first.index_select(0, near),
            sender=ordered.second.index_select(0, near),
            types=ordered.types.index_select(0, near),
            radial=radial.index_select(0, near),
            frames=frames[:, :n_rows].index_select(0, near),
            strength=smooth_cutoff(ordered.distances.index_select(0, near), self.config.cutoff)
            / torch.sqrt(self.readout.mean_neighbours),
        )
        scalars = self.embedding(graph.elements)[:, None, :]
        n_components = (self.config.lmax + 1) ** 2
        features = nn.functional.pad(scalars, (0, 0, 0, n_components - 1))
        pseudo = None
        for layer in self.layers:
            features, pseudo = layer(features, edges)
        return features, pseudo


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Ordered pairs of neighbours.

    Attributes:
        receiver: Shape (n,), the atom that gets a message.
        sender: Shape (n,), its neighbour.
        types: Shape (n,), pair of elements.
        radial: Shape (n, n_radial), functions of the distance.
        frames: Shape (n, components in a frame, components), rotation into the frame.
        strength: Shape (n,), factor of a message, zero at the cutoff.
    """

    receiver: Tensor
    sender: Tensor
    types: Tensor
    radial: Tensor
    frames: Tensor
    strength: Tensor


class NodeLayer(nn.Module):
    """Messages from neighbours, computed in their frames, then a map of each atom's features."""

    def __init__(
        self, config: Config, n_elements: int, *, is_first: bool, lmax_pseudo: int
    ) -> None:
        """Make a layer.

        Args:
            config: Sizes.
            n_elements: Number of elements.
            is_first: Whether it finds scalars only, which say nothing about turns around a pair.
            lmax_pseudo: Degree up to which it also sends features of the opposite parity.
        """
        super().__init__()
        lmax, width, channels = config.lmax, config.frame_channels, config.channels
        lmax_in, mmax = (0, 0) if is_first else (lmax, config.mmax)
        self.irreps_in, self.irreps = orbital_irreps(lmax_in), orbital_irreps(lmax)
        self.n_in = (lmax_in + 1) ** 2
        self.n_rows_in, self.n_rows = (len(frame_order(degree, mmax)) for degree in (lmax_in, lmax))
        sizes = {"mmax": mmax, "channels_in": width, "channels_out": width}
        self.norm = DegreeNorm(lmax_in, channels)
        self.of_sender = Linear(self.irreps_in, channels, width)
        self.of_receiver = Linear(self.irreps_in, channels, width, bias=False)
        self.distance = DistanceFactors(config, n_elements, lmax=lmax_in, mmax=mmax)
        self.first = FrameLinear(lmax_in, lmax, **sizes)
        self.gate = FrameGate(lmax, mmax=mmax, channels=width)
        self.second = FrameLinear(lmax, lmax, **sizes)
        self.to_pseudo = None
        if lmax_pseudo:
            self.to_pseudo = PseudoOutput(lmax, lmax_pseudo, mmax, width, width)
        self.after = Linear(self.irreps, width, channels)
        self.local = LocalMap(lmax, channels)

    def forward(self, features: Tensor, edges: Edges) -> tuple[Tensor, Tensor | None]:
        """Update features of shape (n_atoms, components, channels).

        Returns:
            The new features, and those of the opposite parity, shape (n_atoms,
            (lmax_pseudo + 1)², frame_channels), if any.
        """
        normal = cut(self.norm(features[:, : self.n_in]), self.irreps_in)
        sent, own = self.of_sender(normal), self.of_receiver(normal)
        both = sent.index_select(0, edges.sender) + own.index_select(0, edges.receiver)
        local = edges.frames[:, : self.n_rows_in, : self.n_in] @ both
        local = self.first(self.distance(local, edges.radial, edges.types))
        local = self.gate(local) * edges.strength[:, None, None]
        n_atoms, frames = len(features), edges.frames[:, : self.n_rows]
        summed = _summed(frames.mT @ self.second(local), edges.receiver, n_atoms)
        pseudo = None
        if self.to_pseudo is not None:
            pseudo = _summed(self.to_pseudo(local, frames), edges.receiver, n_atoms)
        return self.local(features + self.after(cut(summed, self.irreps))), pseudo


class PairTrunk(nn.Module):
    """Features of pairs: those of both atoms, mapped again and again in the frame of the pair."""

    def __init__(self, config: Config, n_elements: int, expansion: BlockExpansion) -> None:
        """Make the layers, up to features of the irreps of a block."""
        super().__init__()
        lmax, width = config.lmax, config.frame_channels
        irreps = orbital_irreps(lmax)
        sizes = {"mmax": lmax, "channels_in": width}
        self.irreps = irreps
        self.norm = DegreeNorm(lmax, config.channels)
        self.of_first = Linear(irreps, config.channels, width)
        self.of_second = Linear(irreps, config.channels, width, bias=False)
        self.distance = DistanceFactors(config, n_elements, lmax=lmax, mmax=lmax)
        self.enter = FrameLinear(lmax, lmax, channels_out=width, **sizes)
        self.layers = nn.ModuleList(PairLayer(lmax, width) for _ in range(config.n_pair_layers))
        self.output = PairOutput(config, expansion)

    def forward(
        self, features: Tensor, graph: PairGraph, frames: Tensor, radial: Tensor
    ) -> list[Tensor]:
        """Give features of the pairs of a graph, for each irrep (n_pairs, 2l + 1, bottleneck)."""
        normal = cut(self.norm(features), self.irreps)
        first = self.of_first(normal).index_select(0, graph.first)
        second = self.of_second(normal).index_select(0, graph.second)
        local = self.distance(frames @ (first + second), radial, graph.types)
        local = self.enter(local)
        for layer in self.layers:
            local = layer(local)
        return self.output(local, frames)


class PairLayer(nn.Module):
    """A gate between two maps in the frame of a pair, added to what comes in."""

    def __init__(self, lmax: int, width: int) -> None:
        """Make the layer."""
        super().__init__()
        sizes = {"mmax": lmax, "channels_in": width, "channels_out": width}
        self.gate = FrameGate(lmax, mmax=lmax, channels=width)
        self.map = FrameLinear(lmax, lmax, **sizes)

    def forward(self, local: Tensor) -> Tensor:
        """Update features of shape (n_pairs, components, width)."""
        updated: Tensor = local + self.map(self.gate(local))
        return updated


class PseudoOutput(nn.Module):
    """From features in frames to those of the opposite parity in the common frame.

    Args:
        lmax: Largest degree in the frames.
        lmax_out: Largest degree of the output.
        mmax: Largest |m| in the frames.
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        handed: Whether to add components m = 0, which no linear map makes: products of components m
            and -m of two maps, that is what is twisted about the axis, left- or right-handed.
    """

    def __init__(
        self,
        lmax: int,
        lmax_out: int,
        mmax: int,
        channels_in: int,
        channels_out: int,
        *,
        handed: bool = False,
    ) -> None:
        """See the class."""
        super().__init__()
        mmax_out = min(mmax, lmax_out)
        self.n_read = len(frame_order(lmax, mmax_out))
        self.n_degrees, self.lmax, self.n_out = lmax_out + 1, lmax, (lmax_out + 1) ** 2
        sizes = {"mmax": mmax_out, "channels_in": channels_in, "channels_out": channels_out}
        self.turn = FrameLinear(lmax, lmax_out, pseudo=True, **sizes)
        order = frame_order(lmax, mmax)
        rows = torch.tensor([order.index(place) for place in self.turn.order])
        self.register_buffer("_rows", rows, persistent=False)
        self.handed = handed
        if handed:
            sizes_of_map = (lmax * channels_in, channels_out)
            self.left = nn.Linear(*sizes_of_map, bias=False)
            self.right = nn.Linear(*sizes_of_map, bias=False)
            self.twist = nn.Linear(channels_out, self.n_degrees * channels_out, bias=False)

    _rows: Tensor

    def forward(self, local: Tensor, frames: Tensor) -> Tensor:
        """Map features of shape (n, components, channels_in).

        Returns:
            Shape (n, (lmax_out + 1)², channels_out).
        """
        pseudo = self.turn(local[:, : self.n_read])
        if self.handed:
            first = self.lmax + 1
            around = local[:, first : first + 2 * self.lmax]
            positive, negative = (part.flatten(1) for part in around.split(self.lmax, dim=1))
            product = self.left(positive) * self.right(negative)
            product = product - self.left(negative) * self.right(positive)
            along = self.twist(product).unflatten(1, (self.n_degrees, -1))
            pseudo = torch.cat([along, pseudo[:, self.n_degrees :]], dim=1)
        return frames.index_select(1, self._rows)[:, :, : self.n_out].mT @ pseudo


class PairOutput(nn.Module):
    """From features in the frames of pairs to those of the irreps of a block, in the common one."""

    def __init__(self, config: Config, expansion: BlockExpansion) -> None:
        """Make the maps."""
        super().__init__()
        lmax, width, bottleneck = config.lmax, config.frame_channels, config.bottleneck
        self.irreps = expansion.irreps
        sizes = {"mmax": lmax, "channels_in": width, "channels_out": bottleneck}
        self.natural = FrameLinear(lmax, lmax, **sizes)
        degree = _pseudo_degree(expansion)
        self.pseudo = None
        if degree:
            self.pseudo = PseudoOutput(lmax, degree, lmax, width, bottleneck, handed=True)

    def forward(self, local: Tensor, frames: Tensor) -> list[Tensor]:
        """Give for each irrep features of shape (n_pairs, 2l + 1, bottleneck)."""
        natural = frames.mT @ self.natural(local)
        pseudo = None if self.pseudo is None else self.pseudo(local, frames)
        return _by_irrep(natural, pseudo, self.irreps)


class AtomOutput(nn.Module):
    """From features of atoms to those of the irreps of a block."""

    def __init__(self, config: Config, expansion: BlockExpansion) -> None:
        """Make the maps."""
        super().__init__()
        irreps, degree = orbital_irreps(config.lmax), _pseudo_degree(expansion)
        self.irreps, self.of_block = irreps, expansion.irreps
        self.norm = DegreeNorm(config.lmax, config.channels)
        self.natural = Linear(irreps, config.channels, config.bottleneck)
        # What has the opposite parity has no scalars.
        self.irreps_pseudo = irreps[1 : degree + 1]
        self.pseudo = Linear(self.irreps_pseudo, config.frame_channels, config.bottleneck)

    def forward(self, features: Tensor, pseudo: Tensor | None) -> list[Tensor]:
        """Give for each irrep features of shape (n_atoms, 2l + 1, bottleneck)."""
        natural = self.natural(cut(self.norm(features), self.irreps))
        if pseudo is not None:
            mapped = self.pseudo(cut(pseudo[:, 1:], self.irreps_pseudo))
            pseudo = nn.functional.pad(mapped, (0, 0, 1, 0))
        return _by_irrep(natural, pseudo, self.of_block)


class Head(nn.Module):
    """From features to coefficients of blocks, scaled by functions of the elements.

    One matrix for each irrep serves all elements; what is special to an element, or a pair of
    them, is a factor of each channel before it and of each column after it. A matrix for each pair
    of elements, as in QHNet, would have to be read from memory for every pair of atoms.
    """

    is_hidden = False

    def __init__(
        self, expansion: BlockExpansion, bottleneck: int, channels: int, *, n_embeddings: int
    ) -> None:
        """Make the head of atoms (``n_embeddings=1``) or of pairs of atoms (2)."""
        super().__init__()
        self.n_embeddings = n_embeddings
        n_irreps, width = len(expansion.irreps), sum(expansion.widths)
        self.weights = nn.ParameterList(
            # A network starts as a small correction of its reference.
            nn.Parameter(torch.randn(bottleneck, width) * (0.1 / bottleneck**0.5))
            for width in expansion.widths
        )
        self._sizes = [n_irreps * bottleneck, *expansion.widths, expansion.widths[0]]
        outputs = n_irreps * bottleneck + width + expansion.widths[0]
        self.factors = perceptron(n_embeddings * channels, channels, outputs, gain=0.1)

    def forward(
        self, features: Sequence[Tensor], embeddings: Tensor, types: Tensor
    ) -> list[Tensor]:
        """Compute coefficients.

        Args:
            features: For each irrep, shape (n, 2l + 1, bottleneck).
            embeddings: Shape (n_elements, channels).
            types: Shape (n,), the element or pair of elements.

        Returns:
            For each irrep, shape (n, 2l + 1, width), of the order of one.
        """
        n_elements, table = len(embeddings), embeddings
        if self.n_embeddings == 2:
            left = embeddings[:, None].expand(-1, n_elements, -1)
            right = embeddings[None, :].expand(n_elements, -1, -1)
            table = torch.cat([left, right], dim=2).flatten(0, 1)
        before, *after, bias = torch.split(self.factors(table), self._sizes, dim=1)
        before = (1.0 + before).view(len(table), len(self.weights), 1, -1)
        coefficients = []
        for k, (part, weight) in enumerate(zip(features, self.weights, strict=True)):
            scaled = part * before[:, k].index_select(0, types)
            factor = (1.0 + after[k]).index_select(0, types)[:, None]
            coefficients.append(scaled @ weight * factor)
        coefficients[0] = coefficients[0] + bias.index_select(0, types)[:, None]
        return coefficients


class DegreeNorm(nn.Module):
    """Divides features by their root mean square, degrees counting alike; scales each degree."""

    def __init__(self, lmax: int, channels: int) -> None:
        """Make the factors, of one."""
        super().__init__()
        degrees = torch.tensor([l for l in range(lmax + 1) for _ in range(2 * l + 1)])
        self.factors = nn.Parameter(torch.ones(lmax + 1, channels))
        self.register_buffer("_degree", degrees, persistent=False)
        weights = 1.0 / ((lmax + 1) * (2 * degrees + 1))
        self.register_buffer("_weights", weights, persistent=False)
        # Each factor moves on its own: this is no matrix.
        self.is_hidden = False

    _degree: Tensor
    _weights: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features of shape (n, components, channels)."""
        squares = self._weights @ features.square().mean(dim=2).T
        size = torch.rsqrt(squares + 1e-6)[:, None, None]
        return features * (size * self.factors.index_select(0, self._degree))


class DistanceFactors(nn.Module):
    """Multiplies each degree and channel in a frame by a function of distance and elements."""

    def __init__(self, config: Config, n_elements: int, *, lmax: int, mmax: int) -> None:
        """Make the function."""
        super().__init__()
        n_degrees, width = lmax + 1, config.frame_channels
        self.n_degrees, self.width = n_degrees, width
        degrees = torch.tensor([l for l, _ in frame_order(lmax, mmax)])
        self.register_buffer("_degree", degrees, persistent=False)
        self.of_elements = nn.Embedding(n_elements**2, width)
        self.of_distance = nn.Linear(config.n_radial, width, bias=False)
        self.output = nn.Linear(width, n_degrees * width)
        nn.init.normal_(self.of_distance.weight, std=config.n_radial**-0.5)
        nn.init.normal_(self.output.weight, std=1.6 * width**-0.5)
        nn.init.zeros_(self.output.bias)

    _degree: Tensor

    def forward(self, local: Tensor, radial: Tensor, types: Tensor) -> Tensor:
        """Scale features of shape (n, components in a frame, width)."""
        hidden = self.of_elements.weight.index_select(0, types) + self.of_distance(radial)
        factors = self.output(nn.functional.silu(hidden)).view(-1, self.n_degrees, self.width)
        return local * factors.index_select(1, self._degree)


class LocalMap(nn.Module):
    """A map of the features of each atom: mixed, gated by its scalars, mixed, and added."""

    def __init__(self, lmax: int, channels: int) -> None:
        """Make the map."""
        super().__init__()
        self.irreps = orbital_irreps(lmax)
        self.norm = DegreeNorm(lmax, channels)
        self.before = Linear(self.irreps, channels, channels)
        self.gate = NormGate(self.irreps, channels, hidden=channels)
        self.after = Linear(self.irreps, channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Update features of shape (n_atoms, components, channels)."""
        mixed = self.before(cut(self.norm(features), self.irreps))
        updated: Tensor = features + self.after(cut(self.gate(mixed), self.irreps))
        return updated


def _summed(messages: Tensor, receiver: Tensor, n_atoms: int) -> Tensor:
    zeros = messages.new_zeros(n_atoms, *messages.shape[1:])
    return zeros.index_add(0, receiver, messages)


def _by_irrep(natural: Tensor, pseudo: Tensor | None, irreps: Sequence[Irrep]) -> list[Tensor]:
    """Pick the components of each irrep out of features of both parities."""
    found = []
    for irrep in irreps:
        features = natural if irrep.parity == (-1) ** irrep.l else pseudo
        assert features is not None
        found.append(features[:, irrep.l**2 : (irrep.l + 1) ** 2])
    return found


def _pseudo_degree(expansion: BlockExpansion) -> int:
    """Largest degree of an irrep of parity -(-1)^l in a block; 0 where there is none."""
    return max((i.l for i in expansion.irreps if i.parity != (-1) ** i.l), default=0)


def _check_degrees(expansion: BlockExpansion, lmax: int) -> None:
    needed = max(irrep.l for irrep in expansion.irreps)
    if needed > lmax:
        message = (
            f"Blocks in {expansion.basis_set} need features of degree {needed}, lmax is {lmax}. "
            "Choose a larger lmax."
        )
        raise ConfigError(message)
