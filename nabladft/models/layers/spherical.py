"""Equivariant operations on features of shape (n, components, channels).

The components of a feature are those of its irreducible representations, one after the other, each
with its 2l+1 members in ascending order (m from -l to l); every irreducible representation has the
same number of channels. With the channels last, mixing them is one matrix product per degree, and
a product with spherical harmonics is one batched matrix product, so nothing here needs a compiled
extension.

A representation is a pair (l, parity). e3nn has y as its polar axis, so that its harmonics of
vectors (y, z, x) are those of (x, y, z) in the ascending order of the orbitals; all
Clebsch-Gordan coefficients are then those of the orbitals as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, ParamSpec, cast

import torch
from e3nn import o3
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

P = ParamSpec("P")


@dataclass(frozen=True, order=True)
class Irrep:
    """An irreducible representation of rotations and reflections.

    Attributes:
        l: Degree.
        parity: 1 or -1, the sign under inversion; that of an orbital is (-1)^l.
    """

    l: int
    parity: int

    @property
    def dim(self) -> int:
        """Number of components."""
        return 2 * self.l + 1

    def times(self, other: Irrep) -> list[Irrep]:
        """List the representations in the product with another one."""
        parity = self.parity * other.parity
        degrees = range(abs(self.l - other.l), self.l + other.l + 1)
        return [Irrep(l, parity) for l in degrees]


def orbital_irreps(lmax: int) -> tuple[Irrep, ...]:
    """List the representations of harmonics, parity (-1)^l, up to a degree."""
    return tuple(Irrep(l, (-1) ** l) for l in range(lmax + 1))


def slices(irreps: Sequence[Irrep]) -> list[slice]:
    """Where the components of each representation are."""
    found, start = [], 0
    for irrep in irreps:
        found.append(slice(start, start + irrep.dim))
        start += irrep.dim
    return found


def cut(features: Tensor, irreps: Sequence[Irrep]) -> tuple[Tensor, ...]:
    """Cut (n, components, channels) into (n, 2l + 1, channels) for each representation."""
    return torch.split(features, [irrep.dim for irrep in irreps], dim=1)


def harmonics(vectors: Tensor, lmax: int) -> Tensor:
    """Evaluate real spherical harmonics of directions, in ascending order.

    Args:
        vectors: Shape (n, 3), in any unit, not zero.
        lmax: Largest degree.

    Returns:
        Shape (n, (lmax + 1)²); the squares of each degree sum to 2l + 1.
    """
    degrees = list(range(lmax + 1))
    turned = vectors[:, [1, 2, 0]]
    return cast(
        "Tensor",
        o3.spherical_harmonics(degrees, turned, normalize=True, normalization="component"),
    )


def constant_table(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Remember what a function of hashable arguments gives; ``torch.compile`` leaves it alone.

    The first call may be one that predicts, and the tensor be used in training later, so it is
    never made in inference mode.
    """
    remembered = lru_cache(maxsize=1024)(function)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @wraps(function)
    def table(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.inference_mode(mode=False):
            return remembered(*args, **kwargs)  # type: ignore[arg-type]

    return cast("Callable[P, Tensor]", table)


@constant_table
def clebsch_gordan(l1: int, l2: int, l3: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give the coefficients that couple two degrees to a third.

    They are made in float64 and rounded once, so that a model that is moved to float64 is as exact
    as one that was built there.

    Returns:
        Shape (2 l1 + 1, 2 l2 + 1, 2 l3 + 1); orthonormal over the first two axes.
    """
    exact: Tensor = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * (2 * l3 + 1) ** 0.5
    return exact.to(device=device, dtype=dtype)


class Linear(nn.Module):
    """Mixes the channels of each representation; scalars get a bias.

    Args:
        irreps: Representations of the feature.
        channels_in: Channels of the input, of each representation or the same for all.
        channels_out: Channels of the output.
        bias: Whether even scalars get a bias.
    """

    def __init__(
        self,
        irreps: Sequence[Irrep],
        channels_in: int | Sequence[int],
        channels_out: int,
        *,
        bias: bool = True,
    ) -> None:
        """See the class."""
        super().__init__()
        counts = [channels_in] * len(irreps) if isinstance(channels_in, int) else channels_in
        self.irreps = tuple(irreps)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(count, channels_out) / max(count, 1) ** 0.5)
            for count in counts
        )
        has_bias = bias and Irrep(0, 1) in self.irreps
        self.bias = nn.Parameter(torch.zeros(channels_out)) if has_bias else None
        self._scalars = self.irreps.index(Irrep(0, 1)) if has_bias else -1

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Mix.

        Args:
            parts: For each representation, shape (n, 2l + 1, channels_in).

        Returns:
            Shape (n, components, channels_out).
        """
        mixed = [part @ weight for part, weight in zip(parts, self.weights, strict=True)]
        if self.bias is not None:
            mixed[self._scalars] = mixed[self._scalars] + self.bias
        return torch.cat(mixed, dim=1)


def perceptron(n_in: int, n_hidden: int, n_out: int, *, gain: float = 1.0) -> nn.Sequential:
    """Make a network of one hidden layer that turns numbers of size one into those of ``gain``."""
    network = nn.Sequential(nn.Linear(n_in, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_out))
    # The mean square of silu(x) is 0.36 for x of size one.
    for layer, size in ((network[0], 1.0), (network[2], gain / 0.6)):
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=size / layer.in_features**0.5)
        nn.init.zeros_(layer.bias)
    return network


class NormGate(nn.Module):
    """Scales each representation by a function of all norms; scalars become that function.

    Args:
        irreps: Representations of the feature, the even scalar first.
        channels: Of the feature.
        by_degree: Whether both parities of a degree share one norm and one gate.
        hidden: Width of the network between norms and gates; that of the norms by default.

    Source:
        arXiv 2306.04922, section 4 (norm gate).
    """

    def __init__(
        self,
        irreps: Sequence[Irrep],
        channels: int,
        *,
        by_degree: bool = False,
        hidden: int | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.irreps = tuple(irreps)
        kinds = [irrep.l for irrep in irreps] if by_degree else list(range(len(self.irreps)))
        places = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
        self._n_gates = len(places)
        width = len(places) * channels
        self.network = perceptron(width, hidden or width, width)
        gates = torch.tensor([places[kind] for kind in kinds])
        repeats = torch.tensor([irrep.dim for irrep in self.irreps])
        self.register_buffer("_gate", gates, False)
        self.register_buffer("_gate_of_component", torch.repeat_interleave(gates, repeats), False)

    _gate: Tensor
    _gate_of_component: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Gate features of shape (n, components, channels)."""
        invariant = invariants(features, features, self.irreps, root=True)
        if self._n_gates < len(self.irreps):
            shape = (len(features), self._n_gates, features.shape[2])
            invariant = invariant.new_zeros(shape).index_add(1, self._gate, invariant)
        output: Tensor = self.network(invariant.flatten(1)).view_as(invariant)
        gates = torch.cat([output[:, :1], 2.0 * torch.sigmoid(output[:, 1:])], dim=1)
        # The scalar is replaced by its gate, everything else multiplied.
        factors: Tensor = torch.cat([torch.ones_like(features[:, :1]), features[:, 1:]], dim=1)
        return factors * gates.index_select(1, self._gate_of_component)


def normalised(features: Tensor) -> Tensor:
    """Divide the features of each row by their root mean square; shape (n, components, channels).

    Products of features that are products of features grow or vanish without.
    """
    return features * torch.rsqrt((features**2).mean(dim=(1, 2), keepdim=True) + 1e-6)


def invariants(
    left: Tensor, right: Tensor, irreps: Sequence[Irrep], *, root: bool = False
) -> Tensor:
    """Take the inner product of each representation and channel.

    Args:
        left: Shape (n, components, channels). Its first representation must be the even scalar,
            which is passed through from ``left`` as it is when ``root`` is true.
        right: As ``left``.
        irreps: Representations of both.
        root: Take norms instead of mean squares.

    Returns:
        Shape (n, representations, channels).
    """
    product = left * right
    first, *others = cut(product, irreps)
    sums = [part.mean(dim=1) for part in others]
    if root:
        # The square root has no gradient at zero, which is where features of symmetric sites are.
        sums = [torch.sqrt(total + 1e-8) for total in sums]
    scalar = left[:, 0] if root else first[:, 0]
    return torch.stack([scalar, *sums], dim=1)
