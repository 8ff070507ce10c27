"""PhiSNet: Hamiltonians from equivariant features that are mixed across degrees.

After the paper, from bottom to top: linear layers that first mix the degrees of a feature
(:class:`SelfMix`, :class:`SphericalLinear`), pre-activation residual blocks of those
(:class:`Residual`), messages from neighbours (:class:`Interaction`) in modules that are stacked
(:class:`Module`), features of atoms and of pairs of atoms (:class:`SelfFeatures`,
:class:`PairFeatures`), and the expansion of these into the blocks of the matrix
(:class:`Output`, :mod:`nabladft.models.layers.block_readout`). A block is the mean of what is
computed for (i, j) and the transpose of what is computed for (j, i), so the matrix is symmetric.

Every feature here knows its parity, where the published network has one feature for each degree:
what is equivariant under rotations there is equivariant under reflections, too, here. This and the
other differences are listed in README.md.

Source:
    O. T. Unke, M. Bogojeski, M. Gastegger, M. Geiger, T. Smidt, K.-R. Müller, "SE(3)-equivariant
    prediction of molecular wavefunctions and electronic densities", NeurIPS 2021, arXiv 2106.02347.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import torch
from torch import nn

from nabladft.chemistry.elements import DATASET_ELEMENTS
from nabladft.errors import ConfigError
from nabladft.models.layers.block_readout import BlockReadout
from nabladft.models.layers.element_weights import ElementWeights
from nabladft.models.layers.products import product_paths
from nabladft.models.layers.radial import ExponentialBernstein
from nabladft.models.layers.spherical import (
    Irrep,
    Linear,
    clebsch_gordan,
    cut,
    normalised,
    orbital_irreps,
    slices,
)
from nabladft.models.layers.summed_products import SummedChannelProduct, SummedHarmonicsProduct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from nabladft.data import Batch
    from nabladft.models.layers.expansion import BlockExpansion
    from nabladft.models.layers.pair_graph import PairGraph
    from nabladft.models.layers.products import Path

#: Initial slope of the activation, with which it is close to a Gaussian error linear unit.
_SLOPE: Final = 1.702
#: Mean square of a feature below which it counts as zero.
_SMALL: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters; the defaults are the published ones.

    Attributes:
        elements: Atomic numbers that the model knows.
        basis_set: Basis set of the Hamiltonians.
        lmax: Largest degree of the features.
        channels: Channels of the features.
        bottleneck: Channels of the features that are expanded into blocks.
        n_modules: Modules, each of which passes messages once.
        n_residual: Residual blocks of each stack in a module, and of those after the last.
        n_block_residual: Residual blocks of the features of the diagonal blocks, and of the others.
        cutoff: Range of messages, bohr. Pairs are not limited.
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
    n_modules: int = 5
    n_residual: int = 1
    n_block_residual: int = 3
    cutoff: float = 15.0
    n_radial: int = 128
    reference: Literal["none", "mean", "two_center"] = "mean"
    n_reference_radial: int = 10

    def __post_init__(self) -> None:
        """Check what would leave nothing to compute with."""
        for name in ("lmax", "channels", "bottleneck", "n_modules"):
            if getattr(self, name) < 1:
                message = f"{name} must be at least 1, got {getattr(self, name)}."
                raise ConfigError(message)


def build(config: Config) -> PhiSNet:
    """Build the model, with random weights in the default dtype."""
    return PhiSNet(config)


class PhiSNet(nn.Module):
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
        sizes = (config.channels, config.n_radial)
        nodes = orbital_irreps(config.lmax)
        # Features of blocks have both parities where a block has them: an s and a p orbital couple
        # to an odd vector, two p orbitals to an even one.
        low = [irrep for irrep in expansion.irreps if irrep.l <= config.lmax]
        blocks = tuple(sorted({*nodes, *low}))
        self.radial = ExponentialBernstein(config.n_radial, config.cutoff)
        self.embedding = nn.Embedding(len(expansion.elements), config.channels)
        self.stack = nn.ModuleList(
            Module(nodes[:1] if k == 0 else nodes, nodes, *sizes, config.n_residual)
            for k in range(config.n_modules)
        )
        self.centers = Residuals(nodes, config.channels, config.n_residual)
        self.neighbours = Residuals(nodes, config.channels, config.n_residual)
        self.self_features = SelfFeatures(nodes, blocks, *sizes)
        self.pair_features = PairFeatures(nodes, blocks, *sizes)
        outputs = (expansion, blocks, config.channels, config.bottleneck, config.n_block_residual)
        self.atom_output = Output(*outputs, n_embeddings=1)
        self.pair_output = Output(*outputs, n_embeddings=2)

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
        graph = self.readout.graph(batch, lmax=self.config.lmax, directed="canonical")
        radial = self.radial(graph.ordered.distances)
        near = self._neighbourhood(graph, radial)
        atoms = self._features(graph, near)
        centers, neighbours = self.centers(atoms), self.neighbours(atoms)
        # The pairs to predict are the first of all ordered pairs.
        pairs = Pairs(graph.first, graph.second, radial[: len(graph.first)])
        on_diagonal = self.self_features(centers, neighbours, near)
        off_diagonal = self.pair_features(centers, neighbours, near, pairs)
        table = self.embedding.weight
        diagonal = self.atom_output(on_diagonal, table, graph.elements)
        coefficients = self.pair_output(off_diagonal, table, graph.types)
        return {"hamiltonian": self.readout(graph, diagonal, coefficients)}

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit the reference and the scale of what remains.

        Args:
            batches: The training split; it is visited twice.
        """
        self.readout.prepare(batches, cutoff=self.config.cutoff)

    def _neighbourhood(self, graph: PairGraph, radial: Tensor) -> Neighbourhood:
        ordered = graph.ordered
        near = torch.nonzero(ordered.distances < self.config.cutoff).flatten()
        return Neighbourhood(
            n_atoms=len(graph.elements),
            receiver=ordered.first.index_select(0, near),
            sender=ordered.second.index_select(0, near),
            harmonics=ordered.harmonics[:, : (self.config.lmax + 1) ** 2].index_select(0, near),
            radial=radial.index_select(0, near),
            damping=torch.rsqrt(self.readout.mean_neighbours),
        )

    def _features(self, graph: PairGraph, near: Neighbourhood) -> Tensor:
        """Features of atoms, shape (n_atoms, components, channels): the sum over the modules."""
        features = self.embedding(graph.elements)[:, None, :]
        total: Tensor | None = None
        for module in self.stack:
            features, output = module(features, near)
            total = output if total is None else total + output
        assert total is not None
        return normalised(total)


class Pairs(NamedTuple):
    """Pairs of atoms whose blocks are predicted.

    Attributes:
        first: Shape (n_pairs,), the row atom.
        second: Shape (n_pairs,), the column atom.
        radial: Shape (n_pairs, n_radial), radial functions of their distance.
    """

    first: Tensor
    second: Tensor
    radial: Tensor


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """What messages between atoms within the cutoff depend on.

    Attributes:
        n_atoms: Number of atoms.
        receiver: Shape (n_edges,), the atom that a message goes to.
        sender: Shape (n_edges,), the atom that it comes from.
        harmonics: Shape (n_edges, (lmax + 1)²), of the direction from receiver to sender.
        radial: Shape (n_edges, n_radial), radial functions of their distance.
        damping: Scalar, by which sums over neighbours are multiplied.
    """

    n_atoms: int
    receiver: Tensor
    sender: Tensor
    harmonics: Tensor
    radial: Tensor
    damping: Tensor

    def sum(self, messages: Tensor) -> Tensor:
        """Add up messages, shape (n_edges, ...), for each receiver."""
        total = messages.new_zeros(self.n_atoms, *messages.shape[1:])
        return total.index_add(0, self.receiver, messages) * self.damping.to(messages.dtype)


class Module(nn.Module):
    """Refines the features of atoms once, and contributes to the output (paper, modular block)."""

    def __init__(
        self,
        irreps_in: Sequence[Irrep],
        irreps: Sequence[Irrep],
        channels: int,
        n_radial: int,
        n_residual: int,
    ) -> None:
        """Make a module from ``irreps_in`` to ``irreps``."""
        super().__init__()
        self.before = Residuals(irreps_in, channels, n_residual)
        self.interaction = Interaction(irreps_in, irreps, channels, n_radial, n_residual)
        self.after = Residuals(irreps, channels, n_residual)
        self.output = Residuals(irreps, channels, n_residual)

    def forward(self, features: Tensor, near: Neighbourhood) -> tuple[Tensor, Tensor]:
        """Give the features for the next module, and those for the sum over modules."""
        refined = self.after(self.interaction(self.before(features), near))
        return refined, self.output(refined)


class Interaction(nn.Module):
    """Adds messages from the neighbours of each atom (paper, interaction block).

    A message is the product of the sender's features with the harmonics of its direction; the
    weight of each path and channel is a function of the distance.
    """

    def __init__(
        self,
        irreps_in: Sequence[Irrep],
        irreps: Sequence[Irrep],
        channels: int,
        n_radial: int,
        n_residual: int,
    ) -> None:
        """Make the layer from ``irreps_in`` to ``irreps``."""
        super().__init__()
        self.receiver, self.sender = (
            Activated(irreps_in, irreps_in, channels, n_residual) for _ in range(2)
        )
        self.product = SummedHarmonicsProduct(irreps_in, irreps, irreps)
        self.weights = RadialWeights(self.product.n_paths, channels, n_radial)
        self.message = Activated(irreps, irreps, channels, n_residual)

    def forward(self, features: Tensor, near: Neighbourhood) -> Tensor:
        """Update features of shape (n_atoms, components, channels)."""
        entering = normalised(features)
        received, sent = self.receiver(entering), self.sender(entering)
        sent = sent.index_select(0, near.sender)
        messages = near.sum(self.product(sent, near.harmonics, self.weights(near.radial)))
        update: Tensor = self.message(_padded_sum(messages, received))
        return _padded_sum(update, features)


class SelfFeatures(nn.Module):
    """Features of the diagonal blocks: an atom's own, those of its neighbours, and products.

    The products are an addition: mixing a feature with itself, as the residual blocks that follow
    do, takes two layers to reach even vectors, the product of two different features takes one.
    """

    def __init__(
        self, nodes: Sequence[Irrep], blocks: Sequence[Irrep], channels: int, n_radial: int
    ) -> None:
        """Make the layer from the representations of atoms to those of blocks."""
        super().__init__()
        self.nodes = tuple(nodes)
        self.weights = RadialWeights(len(nodes), channels, n_radial)
        self.linears = nn.ModuleList(Linear(nodes, channels, channels) for _ in range(2))
        self.product = SummedChannelProduct(nodes, nodes, blocks)
        self.product_weights = nn.Parameter(torch.randn(self.product.n_paths, channels))
        self.register_buffer("_irrep", _irrep_of_component(nodes), persistent=False)
        self.register_buffer("_nodes", _components_of(nodes, blocks), persistent=False)

    _irrep: Tensor
    _nodes: Tensor

    def forward(self, centers: Tensor, neighbours: Tensor, near: Neighbourhood) -> Tensor:
        """Give features of shape (n_atoms, components of a block, channels)."""
        weights = self.weights(near.radial).index_select(1, self._irrep)
        features = centers + near.sum(weights * neighbours.index_select(0, near.sender))
        parts = cut(normalised(features), self.nodes)
        left, right = (linear(parts) for linear in self.linears)
        products = self.product(left, right, self.product_weights)
        return products.index_add(1, self._nodes, features.to(products.dtype))


class PairFeatures(nn.Module):
    """Features of the off-diagonal blocks: two atoms' product, and the neighbours of both."""

    def __init__(
        self, nodes: Sequence[Irrep], blocks: Sequence[Irrep], channels: int, n_radial: int
    ) -> None:
        """Make the layer from the representations of atoms to those of blocks."""
        super().__init__()
        self.product = SummedChannelProduct(nodes, nodes, blocks)
        self.product_weights = RadialWeights(self.product.n_paths, channels, n_radial)
        self.weights = RadialWeights(len(nodes), channels, n_radial)
        self.register_buffer("_irrep", _irrep_of_component(nodes), persistent=False)
        self.register_buffer("_nodes", _components_of(nodes, blocks), persistent=False)

    _irrep: Tensor
    _nodes: Tensor

    def forward(
        self, centers: Tensor, neighbours: Tensor, near: Neighbourhood, pairs: Pairs
    ) -> Tensor:
        """Give features of shape (n_pairs, components of a block, channels)."""
        factors = normalised(centers)
        products = self.product(
            factors.index_select(0, pairs.first),
            factors.index_select(0, pairs.second),
            self.product_weights(pairs.radial),
        )
        # The sum over the neighbours of i and of j, without j and i themselves.
        weights = self.weights(near.radial).index_select(1, self._irrep)
        total = near.sum(weights * neighbours.index_select(0, near.sender))
        each = neighbours.index_select(0, pairs.first) + neighbours.index_select(0, pairs.second)
        own = self.weights(pairs.radial).index_select(1, self._irrep) * each * near.damping
        around = total.index_select(0, pairs.first) + total.index_select(0, pairs.second) - own
        return products.index_add(1, self._nodes, around.to(products.dtype))


class Output(nn.Module):
    """Features of blocks to their coefficients: residual blocks, activation, linear layer.

    The linear layer has its own weights for each element or pair of elements.
    """

    def __init__(
        self,
        expansion: BlockExpansion,
        blocks: Sequence[Irrep],
        channels: int,
        bottleneck: int,
        n_residual: int,
        *,
        n_embeddings: int,
    ) -> None:
        """Make the output of atoms (``n_embeddings=1``) or of pairs of atoms (2)."""
        super().__init__()
        self.residuals = Residuals(blocks, channels, n_residual)
        self.activation = Activation(channels)
        self.mix = SelfMix(blocks, expansion.irreps, channels, squares=True)
        self.weights = ElementWeights(expansion, channels, bottleneck, n_embeddings=n_embeddings)

    def forward(self, features: Tensor, embeddings: Tensor, types: Tensor) -> list[Tensor]:
        """Compute coefficients, see :class:`ElementWeights`."""
        mixed = self.mix(self.activation(self.residuals(features)))
        coefficients: list[Tensor] = self.weights(mixed, embeddings, types)
        return coefficients


class RadialWeights(nn.Module):
    """Weights of each path and channel, linear in the radial functions."""

    def __init__(self, n_paths: int, channels: int, n_radial: int) -> None:
        """Make the weights."""
        super().__init__()
        self._shape = (n_paths, channels)
        self.linear = nn.Linear(n_radial, n_paths * channels, bias=False)
        nn.init.normal_(self.linear.weight, std=n_radial**-0.5)

    def forward(self, radial: Tensor) -> Tensor:
        """Evaluate for pairs of atoms, shape (n_pairs, n_paths, channels)."""
        weights: Tensor = self.linear(radial)
        return weights.view(-1, *self._shape)


class Activated(nn.Module):
    """Residual blocks, activation, linear layer: what a path through an interaction consists of."""

    def __init__(
        self,
        irreps_in: Sequence[Irrep],
        irreps_out: Sequence[Irrep],
        channels: int,
        n_residual: int,
    ) -> None:
        """Make the layers."""
        super().__init__()
        self.residuals = Residuals(irreps_in, channels, n_residual)
        self.activation = Activation(channels)
        self.linear = SphericalLinear(irreps_in, irreps_out, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Apply them to features of shape (n, components, channels)."""
        result: Tensor = self.linear(self.activation(self.residuals(features)))
        return result


class Residuals(nn.Sequential):
    """A stack of residual blocks."""

    def __init__(self, irreps: Sequence[Irrep], channels: int, n_residual: int) -> None:
        """Make ``n_residual`` blocks."""
        super().__init__(*(Residual(irreps, channels) for _ in range(n_residual)))


class Residual(nn.Module):
    """Adds a correction, which is zero before training (paper, residual block)."""

    def __init__(self, irreps: Sequence[Irrep], channels: int) -> None:
        """Make the block."""
        super().__init__()
        self.layers = nn.Sequential(
            Activation(channels),
            SphericalLinear(irreps, irreps, channels),
            Activation(channels),
            SphericalLinear(irreps, irreps, channels, zero=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Correct features of shape (n, components, channels)."""
        corrected: Tensor = features + self.layers(features)
        return corrected


class SphericalLinear(nn.Module):
    """Mixes degrees, then channels (paper, spherical linear layer)."""

    def __init__(
        self,
        irreps_in: Sequence[Irrep],
        irreps_out: Sequence[Irrep],
        channels: int,
        *,
        zero: bool = False,
    ) -> None:
        """Make the layer; ``zero`` starts with an output of zero."""
        super().__init__()
        self.irreps_out = tuple(irreps_out)
        self.mix = SelfMix(irreps_in, irreps_out, channels)
        self.linear = Linear(irreps_out, channels, channels)
        if zero:
            for weight in self.linear.weights:
                nn.init.zeros_(weight)

    def forward(self, features: Tensor) -> Tensor:
        """Map features of shape (n, components, channels)."""
        mixed: Tensor = self.linear(cut(self.mix(features), self.irreps_out))
        return mixed


class SelfMix(nn.Module):
    """Mixes the degrees of a feature by products with itself, channel by channel (paper, selfmix).

    A representation of the result is a multiple of the same one of the input, plus a multiple of
    each product of two different representations of the input that contains it. The sum of all
    paths is one matrix for each channel, by which the products of components are multiplied.
    """

    def __init__(
        self,
        irreps_in: Sequence[Irrep],
        irreps_out: Sequence[Irrep],
        channels: int,
        *,
        squares: bool = False,
    ) -> None:
        """Make the layer.

        Args:
            irreps_in: Representations of the input, the even scalar first.
            irreps_out: Representations of the result.
            channels: Channels of both.
            squares: Whether the products of a representation with itself are added as well, which
                reach degrees that the others do not.

        Raises:
            ConfigError: No product reaches a representation of the result.
        """
        super().__init__()
        self.irreps_in, self.irreps_out = tuple(irreps_in), tuple(irreps_out)
        # In front of the input is its size, an even scalar, to which the input is proportional.
        extended = (Irrep(0, 1), *self.irreps_in)
        self.paths = tuple(
            (i, j, k)
            for i, j, k in product_paths(extended, extended, self.irreps_out)
            if i < j or (squares and i == j > 0 and self.irreps_out[k].l % 2 == 0)
        )
        counts = [sum(path[2] == k for path in self.paths) for k in range(len(self.irreps_out))]
        if 0 in counts:
            message = (
                f"Blocks need degree {self.irreps_out[counts.index(0)].l}, which products of "
                "features up to lmax do not reach. Choose a larger lmax."
            )
            raise ConfigError(message)
        bounds = torch.tensor([(3.0 / counts[k]) ** 0.5 for _, _, k in self.paths])
        self.weights = nn.Parameter(
            (2.0 * torch.rand(len(self.paths), channels) - 1.0) * bounds[:, None]
        )
        self._groups = _mixing_groups(extended, squares)
        self._key = (extended, self.irreps_out, self.paths, squares)

    def forward(self, features: Tensor) -> Tensor:
        """Mix features of shape (n, components, channels)."""
        table, path = _mixing_table(*self._key, self.weights.dtype, self.weights.device)
        matrices = self.weights.T.index_select(1, path.flatten()) * table.flatten()
        matrices = matrices.view(-1, *table.shape)
        # One of the two factors is divided by the size of the feature, so that products of products
        # neither grow nor vanish; the size times that factor is the feature itself.
        size = torch.sqrt((features**2).mean(dim=(1, 2), keepdim=True) + _SMALL)
        whole = torch.cat([size.expand(-1, 1, features.shape[2]), features], dim=1)
        left, right = (x.permute(2, 0, 1).contiguous() for x in (whole, whole / size))
        mixed: Tensor | None = None
        for group in self._groups:
            lefts, rights = left[..., group.left], right[..., group.first_right :]
            products = (lefts[..., :, None] * rights[..., None, :]).flatten(2)
            matrix = matrices[:, group.rows]
            mixed = products @ matrix if mixed is None else torch.baddbmm(mixed, products, matrix)
        assert mixed is not None
        if mixed.requires_grad:
            # Matrix products of other layouts are taken one channel at a time.
            mixed.register_hook(torch.Tensor.contiguous)
        return mixed.permute(1, 2, 0)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Products of one representation's components with those of all that follow.

    Attributes:
        left: The one representation's components.
        first_right: Component from which on the others follow.
        rows: Of the matrix that takes the products.
    """

    left: slice
    first_right: int
    rows: slice

    def rows_of(self, right: slice) -> Tensor:
        """Rows of the products with one of the others, shape (components left, right)."""
        n_right = (self.rows.stop - self.rows.start) // (self.left.stop - self.left.start)
        starts = self.rows.start + n_right * torch.arange(self.left.stop - self.left.start)
        return starts[:, None] + torch.arange(right.start, right.stop) - self.first_right


def _mixing_groups(irreps: Sequence[Irrep], squares: bool) -> tuple[_Group, ...]:
    where, groups, row = slices(irreps), [], 0
    for k, left in enumerate(where):
        first = left.start if squares and k > 0 else left.stop
        n_rows = irreps[k].dim * (where[-1].stop - first)
        if n_rows > 0:
            groups.append(_Group(left=left, first_right=first, rows=slice(row, row + n_rows)))
            row += n_rows
    return tuple(groups)


@lru_cache(maxsize=64)
def _mixing_table(
    irreps: tuple[Irrep, ...],
    out: tuple[Irrep, ...],
    paths: tuple[Path, ...],
    squares: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Coefficients of all paths and the path of each, shape (products, components out).

    Where there is no path the coefficient is 0, of path 0.
    """
    rights, columns = slices(irreps), slices(out)
    groups = _mixing_groups(irreps, squares)
    shape = (groups[-1].rows.stop, columns[-1].stop)
    with torch.inference_mode(mode=False):
        table = torch.zeros(shape, dtype=dtype, device=device)
        numbers = torch.zeros(shape, dtype=torch.int64, device=device)
        for number, (i, j, k) in enumerate(paths):
            degrees = (irreps[i].l, irreps[j].l, out[k].l)
            rows = groups[i].rows_of(rights[j]).to(device)
            table[rows, columns[k]] = clebsch_gordan(*degrees, dtype, device)
            numbers[rows, columns[k]] = number
        return table, numbers


class Activation(nn.Module):
    """Generalised SiLU of even scalars, a x / (1 + exp(-b x)); the rest is passed through."""

    def __init__(self, channels: int) -> None:
        """Make the activation; a and b of each channel are learned."""
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.slope = nn.Parameter(torch.full((channels,), _SLOPE))

    def forward(self, features: Tensor) -> Tensor:
        """Apply to features of shape (n, components, channels)."""
        scalars = features[:, :1]
        active = self.scale * scalars * torch.sigmoid(self.slope * scalars)
        return torch.cat([active, features[:, 1:]], dim=1)


def _irrep_of_component(irreps: Sequence[Irrep]) -> Tensor:
    """Position of the representation that each component belongs to."""
    repeats = torch.tensor([irrep.dim for irrep in irreps])
    return torch.repeat_interleave(torch.arange(len(irreps)), repeats)


def _components_of(some: Sequence[Irrep], irreps: Sequence[Irrep]) -> Tensor:
    """Positions of the components of some representations among those of all."""
    where = slices(irreps)
    places = [where[irreps.index(irrep)] for irrep in some]
    return torch.cat([torch.arange(place.start, place.stop) for place in places])


def _padded_sum(features: Tensor, fewer: Tensor) -> Tensor:
    """Add features whose representations are the first of the others'."""
    n = fewer.shape[1]
    return (
        features + fewer
        if n == features.shape[1]
        else torch.cat([features[:, :n] + fewer, features[:, n:]], dim=1)
    )
