"""The last step of a model of Hamiltonians: scales, reference, blocks.

A network is asked for numbers of the order of one. What it gives is multiplied by the typical size
of what the reference leaves, measured on the training data for each element (or pair of elements)
and each column of each representation, and added to the reference: the mean of the rotationally
invariant part of the diagonal blocks of each element, or two-centre terms as well.

A model with a readout:

    readout = BlockReadout(elements, basis_set, reference="mean")
    graph = readout.graph(batch, lmax=4)
    atoms, pairs = ...   # for each of readout.expansion.irreps, (n, 2l + 1, width)
    return {"hamiltonian": readout(graph, atoms, pairs)}

and its ``prepare(batches)`` calls :meth:`BlockReadout.prepare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import nn

from nabladft.errors import ConfigError
from nabladft.models.layers.expansion import BlockExpansion
from nabladft.models.layers.pair_graph import Directed, OrderedPairs, PairGraph
from nabladft.models.layers.two_center import TwoCenterReference, TwoCenterSample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from nabladft.data.batch import Batch

#: What the network adds to a pair is scaled by exp(-decay r); 1/bohr. Chosen, not tuned: the
#: residual of the two-centre terms on nano falls off faster, with about 0.6 from 4 to 9 bohr.
RESIDUAL_DECAY: Final = 0.25
#: A scale counts as measured from this many blocks on; below, it leans on that of all elements.
_ENOUGH: Final = 20.0

Reference = Literal["none", "mean", "two_center"]
_REFERENCES: Final = ("none", "mean", "two_center")


class BlockReadout(nn.Module):
    """Turns numbers of the order of one into blocks in hartree.

    Args:
        elements: Atomic numbers that the model knows.
        basis_set: Basis set of the matrices.
        reference: What is fitted in closed form first, for the network to correct: ``none``, the
            ``mean`` of the diagonal blocks of each element, or ``two_center`` terms as well.
        n_radial: Radial functions of the two-centre terms.

    Attributes:
        expansion: Slots of shells, representations of a block.
        mean_neighbours: Mean number of neighbours within the cutoff, from :meth:`prepare`.

    Raises:
        ConfigError: There is no such reference.
    """

    def __init__(
        self,
        elements: Sequence[int],
        basis_set: str,
        *,
        reference: Reference = "mean",
        n_radial: int = 10,
    ) -> None:
        """See the class."""
        super().__init__()
        if reference not in _REFERENCES:
            message = f"reference must be one of {', '.join(_REFERENCES)}, got {reference!r}."
            raise ConfigError(message)
        self.kind = reference
        self.expansion = BlockExpansion(elements, basis_set)
        n_elements = len(self.expansion.elements)
        self.reference = TwoCenterReference(
            self.expansion.irreps,
            self.expansion.widths,
            n_elements=n_elements,
            n_radial=n_radial if reference == "two_center" else 0,
        )
        for k, width in enumerate(self.expansion.widths):
            self.register_buffer(f"_atom_scale_{k}", torch.ones(n_elements, width))
            self.register_buffer(f"_pair_scale_{k}", torch.ones(n_elements**2, width))
        self.register_buffer("mean_neighbours", torch.ones(()))

    mean_neighbours: Tensor

    def graph(
        self,
        batch: Batch,
        *,
        lmax: int = 0,
        dtype: torch.dtype | None = None,
        directed: Directed = "both",
    ) -> PairGraph:
        """Find the pairs of a batch, with harmonics up to ``lmax``; see :class:`PairGraph`."""
        return PairGraph(batch, self.expansion, lmax=lmax, dtype=dtype, directed=directed)

    def forward(self, graph: PairGraph, atoms: Sequence[Tensor], pairs: Sequence[Tensor]) -> Tensor:
        """Scale, add the reference, expand and make symmetric, in full precision.

        A network may compute in 16 bits (autocast); in 16 bits the 1s orbital of bromine, at -490
        hartree, would be off by more than one.

        Args:
            graph: Of the batch.
            atoms: For each representation, shape (n_atoms_total, 2l + 1, width).
            pairs: For each representation, shape (n_pairs, 2l + 1, width), of the graph's pairs.

        Returns:
            Values in the order of the batch's blocks, shape (n_values,), hartree.
        """
        with torch.autocast(graph.distances.device.type, enabled=False):
            return self._assembled(graph, atoms, pairs)

    def _assembled(
        self, graph: PairGraph, atoms: Sequence[Tensor], pairs: Sequence[Tensor]
    ) -> Tensor:
        atom_reference, pair_reference = self._references(graph.elements, graph.ordered, graph)
        envelope = torch.exp(-RESIDUAL_DECAY * graph.distances)[:, None, None]
        diagonal, off_diagonal = [], []
        for k, (atom, pair) in enumerate(zip(atoms, pairs, strict=True)):
            atom_scale = getattr(self, f"_atom_scale_{k}")[graph.elements][:, None]
            pair_scale = getattr(self, f"_pair_scale_{k}")[graph.types][:, None] * envelope
            diagonal.append(_plus(atom * atom_scale, atom_reference[k]))
            off_diagonal.append(_plus(pair * pair_scale, pair_reference[k]))
        return graph.assemble(diagonal, off_diagonal)

    def prepare(
        self, batches: Iterable[Batch], *, cutoff: float, label: str = "hamiltonian"
    ) -> None:
        """Fit the reference and the size of what remains, in float64.

        Args:
            batches: The training split; it is visited twice.
            cutoff: Range, bohr, within which neighbours are counted.
            label: Label to fit.
        """
        dtype = self.mean_neighbours.dtype
        with torch.no_grad():
            self.double()
            if self.kind != "none":
                self.reference.fit(self._sample(batch, label) for batch in batches)
            self._fit_scales((self._sample(batch, label) for batch in batches), cutoff)
            self.to(dtype)

    def _references(
        self,
        elements: Tensor,
        ordered: OrderedPairs | TwoCenterSample,
        pairs: PairGraph | TwoCenterSample,
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Sum over all ordered pairs for atoms; pairs are those to predict."""
        geometry = (ordered.first, ordered.second, ordered.distances, ordered.harmonics)
        atom = self.reference.atom(elements, *geometry)
        return atom, self.reference.pair(pairs.types, pairs.distances, pairs.harmonics)

    def _sample(self, batch: Batch, label: str) -> TwoCenterSample:
        """Turn a labelled batch into coefficients in float64, from which everything is fitted."""
        graph = self.graph(batch, dtype=torch.float64)
        atoms, pairs = graph.disassemble(batch.labels[label].double())
        return TwoCenterSample(
            elements=graph.elements,
            types=graph.types,
            first=graph.first,
            second=graph.second,
            distances=graph.distances,
            harmonics=graph.harmonics,
            atom_targets=atoms,
            pair_targets=pairs,
        )

    def _fit_scales(self, samples: Iterable[TwoCenterSample], cutoff: float) -> None:
        """Measure how large the residual of the reference is, for the network to start there."""
        atoms = _Spread(self.expansion.widths, len(self.expansion.elements))
        pairs = _Spread(self.expansion.widths, len(self.expansion.elements) ** 2)
        n_near, n_atoms = 0, 0
        for sample in samples:
            atom, pair = self._references(sample.elements, sample, sample)
            growth = torch.exp(RESIDUAL_DECAY * sample.distances)
            atoms.add(sample.elements, sample.atom_targets, atom)
            pairs.add(sample.types, sample.pair_targets, pair, growth)
            n_near += int((sample.distances < cutoff).sum())
            n_atoms += len(sample.elements)
        for k, (atom_root, pair_root) in enumerate(zip(atoms.roots(), pairs.roots(), strict=True)):
            getattr(self, f"_atom_scale_{k}").copy_(atom_root)
            getattr(self, f"_pair_scale_{k}").copy_(pair_root)
        self.mean_neighbours.fill_(max(n_near, 1) / max(n_atoms, 1))


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


def _plus(value: Tensor, fixed: Tensor | None) -> Tensor:
    return value if fixed is None else value + fixed
