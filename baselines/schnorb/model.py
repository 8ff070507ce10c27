"""SchNOrb: matrices of orbitals from products of distances and directions of pairs of atoms.

After the paper, from bottom to top: features of atoms by continuous-filter convolutions, as in
SchNet (:class:`Convolution`); for each degree l = 0 ... 2L one interaction that refines the atoms
and gives factors of pairs omega_ij^l, which hold the direction from i to j once
(:class:`PairInteraction`); their products

    Omega_ij^l = omega_ij^0 omega_ij^1 ... omega_ij^l

which are polynomials of degree l in the direction cosines, as products of two orbitals up to degree
L are; and, linear in all of them together, the block of two atoms and, summed over neighbours, that
of one. The matrix is made symmetric, H = (H + Hᵀ) / 2. The overlap matrix is predicted in the same
way and the energy from the features of the atoms, if asked for.

Products of direction cosines can express how a matrix turns with the molecule, but nothing makes
them: the weights between them are free. So the model is not equivariant, and learns it, as in the
paper, from molecules in random orientations (``augmentation = "rotations"`` in ``[training]``).

Where this differs from the published network, and what it adds, is listed in README.md.

Source:
    K. T. Schuett, M. Gastegger, A. Tkatchenko, K.-R. Mueller, R. J. Maurer, "Unifying machine
    learning and quantum chemistry with a deep neural network for molecular wavefunctions", Nature
    Communications 10, 5024 (2019), arXiv 1906.10033.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

import torch
from torch import nn

from nabladft.chemistry.elements import DATASET_ELEMENTS
from nabladft.errors import ConfigError
from nabladft.models.contract import PREDICTABLE_MATRICES
from nabladft.models.layers.block_readout import BlockReadout
from nabladft.models.layers.composition import CompositionEnergy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from nabladft.data import Batch
    from nabladft.models.layers.pair_graph import PairGraph

Quantity = Literal["hamiltonian", "overlap", "formation_energy"]

#: Mean square of ssp(x) for x of mean square one.
_SQUARE_OF_ACTIVATION: Final = 0.29
#: A network starts as a small correction of its reference.
_START: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters; the defaults are the published ones.

    Attributes:
        elements: Atomic numbers that the model knows.
        basis_set: Basis set of the matrices.
        predicts: ``hamiltonian``, ``overlap`` or both, and ``formation_energy`` if wanted.
        lmax: L, the largest degree of the orbitals; pairs have factors up to degree 2L.
        features: B, features of an atom and of each degree and direction of a pair.
        factors: Width of the filters and of the factorised products.
        directions: D, linear combinations of the three direction cosines.
        n_convolutions: SchNet interactions before those of pairs.
        cutoff: Range of an interaction, bohr. Pairs are not limited.
        n_radial: Gaussians of the distance.
        reference: What is fitted in closed form first, for the network to correct: ``none``, the
            ``mean`` of the diagonal blocks of each element, or ``two_center`` terms as well.
        n_reference_radial: Radial functions of the two-centre terms.
    """

    elements: tuple[int, ...] = DATASET_ELEMENTS
    basis_set: str = "def2-svp"
    predicts: tuple[Quantity, ...] = ("hamiltonian",)
    lmax: int = 2
    features: int = 1000
    factors: int = 1000
    directions: int = 12
    n_convolutions: int = 3
    cutoff: float = 18.8973  # 10 angstrom
    n_radial: int = 50
    reference: Literal["none", "mean", "two_center"] = "mean"
    n_reference_radial: int = 10

    def __post_init__(self) -> None:
        """Check what is predicted."""
        if not self.matrices or len(set(self.predicts)) < len(self.predicts):
            message = (
                "predicts must list hamiltonian or overlap or both, and perhaps formation_energy, "
                f"each once, got {list(self.predicts)}."
            )
            raise ConfigError(message)

    @property
    def matrices(self) -> tuple[str, ...]:
        """What is predicted as blocks."""
        return tuple(name for name in self.predicts if name in PREDICTABLE_MATRICES)


def build(config: Config) -> SchNOrb:
    """Build the model, with random weights in the default dtype."""
    return SchNOrb(config)


class SchNOrb(nn.Module):
    """Predicts all blocks of the matrices of a batch, see the module's documentation.

    Symmetric and invariant under translations; permuting atoms permutes blocks. Continuous in the
    positions: interactions fade out at the cutoff. Not equivariant under rotations.
    """

    is_equivariant = False
    orbital_order = "ascending"

    def __init__(self, config: Config) -> None:
        """See :class:`Config`."""
        super().__init__()
        self.config = config
        self.predicts = frozenset(config.predicts)
        self.basis_set = config.basis_set
        self.readouts = nn.ModuleDict(
            {
                name: BlockReadout(
                    config.elements,
                    config.basis_set,
                    reference=config.reference,
                    n_radial=config.n_reference_radial,
                )
                for name in config.matrices
            }
        )
        expansion = self.readout.expansion
        self.energy = AtomEnergies(config.features) if "formation_energy" in self.predicts else None
        self.embedding = nn.Embedding(len(expansion.elements), config.features)
        self.radial = Gaussians(config.n_radial, config.cutoff)
        sizes = (config.features, config.factors, config.n_radial)
        self.convolutions = nn.ModuleList(Convolution(*sizes) for _ in range(config.n_convolutions))
        degrees = range(2 * config.lmax + 1)
        self.interactions = nn.ModuleList(
            PairInteraction(
                *sizes,
                directions=config.directions if degree else 0,
                refines_atoms=degree < degrees[-1] or self.energy is not None,
            )
            for degree in degrees
        )
        # All elements share one set of weights, whose outputs are the coefficients of a block of
        # the element with the most orbitals; what a smaller atom lacks is never read.
        n_products = len(degrees) * config.directions * config.features
        n_values = expansion.n_slot_orbitals**2
        self.off_site = nn.ModuleDict(
            {name: _linear(n_products, n_values, gain=_START) for name in config.matrices}
        )
        # The overlap of two orbitals of one atom depends on its element only.
        self.on_site = nn.ModuleDict(
            {
                name: _linear(n_products, n_values, gain=_START)
                if name == "hamiltonian"
                else nn.Embedding(len(expansion.elements), n_values)
                for name in config.matrices
            }
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict.

        Args:
            batch: With ``blocks`` in this model's basis set and orbital order.

        Returns:
            What was asked for of: ``hamiltonian`` in hartree and ``overlap``, shape (n_values,), in
            the order of ``batch.blocks``; ``formation_energy``, shape (n,), hartree, float64.

        Raises:
            InputError: The batch has no blocks, or blocks of another kind.
            UnsupportedElementError: An element is not among ``elements``.
        """
        graph = self.readout.graph(batch)
        edges = self.edges(graph)
        features, products = self.features(graph.elements, edges)
        # H_on is linear, so that the mean of its values is its value of the mean.
        around = edges.mean(products) if "hamiltonian" in self.predicts else None
        predicted = {}
        for name in self.config.matrices:
            source = around if name == "hamiltonian" else graph.elements
            diagonal = self._coefficients(self.on_site[name](source))
            off_diagonal = self._coefficients(self.off_site[name](products))
            predicted[name] = self._readout(name)(graph, diagonal, off_diagonal)
        if self.energy is not None:
            predicted["formation_energy"] = self.energy(features, batch)
        return predicted

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit the references and the scales of what remains, and measure the factors of pairs.

        Args:
            batches: The training split; it is visited twice for each quantity.
        """
        for name in self.config.matrices:
            self._readout(name).prepare(batches, cutoff=self.config.cutoff, label=name)
        if self.energy is not None:
            self.energy.fit(batches)
        graph = self.readout.graph(next(iter(batches)))
        with torch.no_grad():
            self.features(graph.elements, self.edges(graph), measure=True)

    @property
    def readout(self) -> BlockReadout:
        """The readout of the first matrix; all have the same pairs and representations."""
        return self._readout(self.config.matrices[0])

    def edges(self, graph: PairGraph) -> Edges:
        """Evaluate what the interactions need of the pairs of a batch."""
        return Edges(graph, self.radial, self.config.cutoff, self.readout.mean_neighbours)

    def features(
        self, elements: Tensor, edges: Edges, *, measure: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Compute the features of atoms and of all ordered pairs.

        Args:
            elements: Shape (n_atoms_total,), index of the element of each atom.
            edges: Pairs of atoms.
            measure: Bring each factor omega to mean square one on these pairs first.

        Returns:
            x_i, shape (n_atoms_total, features), and all degrees of Omega_ij together, shape (2n,
            degrees * directions * features).
        """
        features = self.embedding(elements)
        for convolution in self.convolutions:
            features = features + convolution(features, edges)
        products: list[Tensor] = []
        for interaction in self.interactions:
            update, factors = interaction(features, edges, measure=measure)
            if update is not None:
                features = features + update
            if not products:
                factors = factors.expand(-1, self.config.directions, -1)
            products.append(factors * products[-1] if products else factors)
        return features, torch.stack(products, dim=1).flatten(1)

    def _readout(self, name: str) -> BlockReadout:
        return cast("BlockReadout", self.readouts[name])

    def _coefficients(self, values: Tensor) -> list[Tensor]:
        """Cut the outputs into the coefficients of each representation of a block.

        Values of a block and coefficients differ by an orthogonal matrix, which a free linear layer
        before them absorbs; as coefficients they are scaled by what the reference leaves of each.
        """
        expansion = self.readout.expansion
        shapes = [
            (irrep.dim, width)
            for irrep, width in zip(expansion.irreps, expansion.widths, strict=True)
        ]
        parts = torch.split(values, [rows * columns for rows, columns in shapes], dim=1)
        return [
            part.view(-1, rows, columns)
            for part, (rows, columns) in zip(parts, shapes, strict=True)
        ]


class Edges:
    """The pairs of atoms of a batch, and means over neighbours.

    What depends on distances and on products of both atoms is the same for a pair and its reverse,
    and is computed once: for the first half of the pairs of a graph, of which the second half are
    the reverse.

    Attributes:
        radial: Shape (n, n_radial), functions of the distance.
        fade: Shape (n, 1), 1 at distance zero, 0 from the cutoff on.
        directions: Shape (n, 3), unit vectors from ``first`` to ``second``.
        first: Shape (n,), an atom.
        second: Shape (n,), another atom of its conformation.
    """

    def __init__(
        self, graph: PairGraph, radial: Gaussians, cutoff: float, mean_neighbours: Tensor
    ) -> None:
        """Evaluate the functions of distances."""
        half = len(graph.first) // 2
        distances = graph.distances[:half, None]
        self.first, self.second = graph.first[:half], graph.second[:half]
        self.directions = graph.vectors[:half] / distances
        self.radial = radial(distances)
        inside = (distances / cutoff).clamp(max=1.0)
        self.fade = 0.5 * (1.0 + torch.cos(math.pi * inside))
        self._n_atoms = len(graph.elements)
        self._mean_neighbours = mean_neighbours

    def mean(self, values: Tensor, *, sign: float = 1.0) -> Tensor:
        """Sum over the neighbours of each atom, fading out, per neighbour of a mean atom.

        Args:
            values: Shape (2n, ...), of all ordered pairs; or (n, ...), where the value of the
                reverse of a pair is ``sign`` times its own.
            sign: 1 or -1.

        Returns:
            Shape (n_atoms_total, ...).
        """
        n = len(self.first)
        fade = self.fade.view(n, *(1 for _ in values.shape[1:])) / self._mean_neighbours
        ahead = fade * values[:n]
        back = fade * values[n:] if len(values) == 2 * n else sign * ahead
        total = values.new_zeros(self._n_atoms, *values.shape[1:]).to(ahead)
        return total.index_add(0, self.first, ahead).index_add(0, self.second, back)


class Gaussians(nn.Module):
    """Gaussians of the distance, evenly spaced from zero to the cutoff."""

    def __init__(self, n_functions: int, cutoff: float) -> None:
        """Make ``n_functions``; each is as wide as they are apart."""
        super().__init__()
        self.n_functions, self.cutoff = n_functions, cutoff
        # At any distance the squares of the functions sum to the square root of pi.
        self.factor = math.sqrt(n_functions / math.sqrt(math.pi))

    def forward(self, distances: Tensor) -> Tensor:
        """Evaluate at distances of shape (n, 1), bohr, giving (n, n_functions)."""
        scaled = distances * ((self.n_functions - 1) / self.cutoff)
        centres = torch.arange(self.n_functions, device=distances.device)
        return self.factor * torch.exp(-0.5 * (scaled - centres) ** 2)


class Convolution(nn.Module):
    """Features of neighbours, filtered by a network of the distance (SchNet's interaction)."""

    def __init__(self, features: int, factors: int, n_radial: int) -> None:
        """Make a layer."""
        super().__init__()
        self.filter = _network(n_radial, factors, factors)
        self.before = _linear(features, factors, bias=False)
        self.after = _network(factors, features, features)

    def forward(self, features: Tensor, edges: Edges) -> Tensor:
        """Compute the update of features of shape (n_atoms, features)."""
        filters = self.filter(edges.radial)
        sent = self.before(features)
        ahead, back = sent.index_select(0, edges.second), sent.index_select(0, edges.first)
        messages = torch.cat([filters * ahead, filters * back])
        update: Tensor = self.after(edges.mean(messages))
        return update


class PairInteraction(nn.Module):
    """Factors of pairs of one degree, and an update of the atoms (SchNOrb's interaction).

    The factorised tensor layer couples two atoms and their distance, h_ij = ssp(W (U x_i) (U x_j)
    F(r_ij)), products element by element. From h_ij follow, each by a network, the update of the
    atoms, what the pair itself gives and what the neighbours of both atoms add:

        omega_ij = [p_ij r_ij] W  +  [mean_k q_ik r_ik] W'  +  [mean_k q_jk r_jk] W''

    with the unit vectors r_ij and matrices W from three direction cosines to ``directions``
    combinations. At degree zero there are no directions, and nothing to combine.

    Attributes:
        size: Root mean square of omega before training, by which it is divided: without, products
            of five factors vanish or explode.
    """

    def __init__(
        self, features: int, factors: int, n_radial: int, *, directions: int, refines_atoms: bool
    ) -> None:
        """Make a layer; ``directions`` is zero at degree zero."""
        super().__init__()
        self.filter = _network(n_radial, factors, factors)
        self.before = _linear(features, factors)
        self.after = _linear(factors, factors)
        self.atom = _network(factors, factors, features) if refines_atoms else None
        self.pair = _network(factors, factors, features)
        self.environment = _network(factors, factors, features)
        self.register_buffer("size", torch.ones(()))
        names = ("pair", "first", "second") if directions else ()
        # Each of the three direction cosines has mean square 1/3.
        self.combine = nn.ModuleDict(
            {name: _linear(3, directions, gain=math.sqrt(3.0)) for name in names}
        )

    size: Tensor

    def forward(
        self, features: Tensor, edges: Edges, *, measure: bool = False
    ) -> tuple[Tensor | None, Tensor]:
        """Compute the update of atoms and the factors of pairs.

        Args:
            features: Shape (n_atoms, features).
            edges: Pairs of atoms.
            measure: Set :attr:`size` to what it is on these pairs.

        Returns:
            The update, shape of ``features``, or None; and omega, shape (2n, directions, features),
            of all ordered pairs, with one direction for all at degree zero.
        """
        ready = self.before(features)
        left, right = ready.index_select(0, edges.first), ready.index_select(0, edges.second)
        filters = self.filter(edges.radial) * edges.fade
        coupled = _ssp(self.after(left * right * filters))
        update = None if self.atom is None else self.atom(edges.mean(coupled))
        pair, environment = self.pair(coupled), self.environment(coupled)
        if self.combine:
            factors = self._directed(pair, environment, edges)
        else:
            around = edges.mean(environment)
            pair = pair + around[edges.first] + around[edges.second]
            factors = torch.cat([pair, pair])[:, None, :]
        if measure:
            self.size.copy_(factors.square().mean().sqrt().clamp(min=1e-6))
        return update, factors / self.size

    def _directed(self, pair: Tensor, environment: Tensor, edges: Edges) -> Tensor:
        """Take p_ij and q_ij along the directions; the reverse of a pair has the opposite one."""
        pair, environment = (
            value[:, None, :] * edges.directions[:, :, None] for value in (pair, environment)
        )
        around = edges.mean(environment, sign=-1.0)
        first, second = (self._combined(name, around) for name in ("first", "second"))
        ahead = self._combined("pair", pair) + first[edges.first] + second[edges.second]
        back = self._combined("pair", -pair) + first[edges.second] + second[edges.first]
        return torch.cat([ahead, back])

    def _combined(self, name: str, vectors: Tensor) -> Tensor:
        """Turn (n, 3, features) into (n, directions, features)."""
        combined: Tensor = self.combine[name](vectors.transpose(1, 2)).transpose(1, 2)
        return combined


class AtomEnergies(nn.Module):
    """The energy as a sum over atoms, on top of one number for each element."""

    def __init__(self, features: int) -> None:
        """Make the network of an atom."""
        super().__init__()
        self.composition = CompositionEnergy()
        self.network = _network(features, features // 2, 1)
        self.register_buffer("size", torch.ones(()))

    size: Tensor

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        """Give the formation energies, shape (n,), hartree, float64."""
        atoms = self.size.double() * self.network(features)[:, 0].double()
        total: Tensor = self.composition(batch)
        return total.index_add(0, batch.conformation_index, atoms)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Fit the energies of elements, and the size of what they leave to each atom."""
        self.composition.fit(batches)
        square, n_atoms = 0.0, 0
        for batch in batches:
            left = batch.labels["formation_energy"] - self.composition(batch)
            square, n_atoms = square + float(left.square().sum()), n_atoms + batch.n_atoms
        self.size.fill_(math.sqrt(square / n_atoms))


class _ShiftedSoftplus(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _ssp(x)


def _ssp(x: Tensor) -> Tensor:
    """Compute ln(e^x / 2 + 1 / 2), the activation of SchNet."""
    return nn.functional.softplus(x) - math.log(2.0)


def _linear(n_in: int, n_out: int, *, gain: float = 1.0, bias: bool = True) -> nn.Linear:
    """Make a layer that turns numbers of size one into those of ``gain``."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(n_in))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _network(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    second = _linear(n_hidden, n_out, gain=1.0 / math.sqrt(_SQUARE_OF_ACTIVATION))
    return nn.Sequential(_linear(n_in, n_hidden), _ShiftedSoftplus(), second)
