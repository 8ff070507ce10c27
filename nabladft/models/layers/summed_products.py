"""Tensor products whose paths are added up, worked through in pieces that fit into the cache.

The results of all paths on their own would be ten times as much as their sum for l = 4. Here the
sum over paths is taken at once, for a few rows at a time, and what lies between is computed again
for the gradient instead of being kept.
Most time of such products is spent on moving numbers, so less to move is faster as well as smaller.

Gradients of gradients are not available, and ``torch.compile`` leaves these products as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from nabladft.models.layers.products import product_paths
from nabladft.models.layers.spherical import Irrep, clebsch_gordan, constant_table, slices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from nabladft.models.layers.products import Path

#: Rows times channels that are worked on at once, for each thread: with 32-bit numbers, what is
#: between the factors and the result of one pair of degrees then takes up to half a megabyte.
_CACHE: Final = 8192
#: The same on a GPU, where it only limits the memory, to about half a gigabyte.
_GPU: Final = 2**20


@dataclass(frozen=True)
class _Term:
    """All paths of one pair of representations.

    Attributes:
        left: Components of the left factor.
        right: Components of the right factor.
        degrees: Of the two factors and of the results.
        paths: For each path its number, its components among the results of this term, and those
            of the whole result.
        scales: Factor of each path.
    """

    left: slice
    right: slice
    degrees: tuple[int, int, tuple[int, ...]]
    paths: tuple[tuple[int, slice, slice], ...]
    scales: tuple[float, ...]

    def table(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Coefficients, shape (components left, components right, components of the results)."""
        return _table(*self.degrees, self.scales, dtype, device)


class _SummedProduct(nn.Module):
    """What both products share."""

    def __init__(self, left: Sequence[Irrep], right: Sequence[Irrep], out: Sequence[Irrep]) -> None:
        super().__init__()
        self.paths = product_paths(left, right, out)
        reached = sorted({path[2] for path in self.paths})
        #: Representations of the result, in the order asked for, without those not reached.
        self.out = tuple(out[k] for k in reached)
        self._terms = _terms(self.paths, left, right, out, reached)
        self._n_components = sum(irrep.dim for irrep in self.out)

    @property
    def n_paths(self) -> int:
        """Number of paths, each of which takes one weight per channel."""
        return len(self.paths)


class SummedChannelProduct(_SummedProduct):
    """Couples two features channel by channel and adds up the paths to each representation.

    The result of a path to a representation that n paths reach is divided by the root of n.

    Example:
        >>> scalar, vector = Irrep(0, 1), Irrep(1, -1)
        >>> product = SummedChannelProduct([scalar, vector], [scalar, vector], [scalar, vector])
        >>> product.n_paths  # 0 x 0 -> 0, 1 x 1 -> 0, 0 x 1 -> 1, 1 x 0 -> 1
        4
    """

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
        """Multiply.

        Args:
            left: Shape (n, components, channels).
            right: Shape (n, components, channels).
            weights: Shape (n, n_paths, channels), or (n_paths, channels) for all alike.

        Returns:
            Shape (n, components of ``out``, channels).
        """
        dtype = torch.promote_types(torch.promote_types(left.dtype, right.dtype), weights.dtype)
        weights = weights.expand(len(left), -1, -1)
        with torch.autocast(left.device.type, enabled=False):
            result: Tensor = _CoupleChannels.apply(  # type: ignore[no-untyped-call]
                left.to(dtype), right.to(dtype), weights.to(dtype), self._terms, self._n_components
            )
        return result


class SummedHarmonicsProduct(_SummedProduct):
    """Couples each channel of a feature with spherical harmonics and adds up the paths.

    As :class:`SummedChannelProduct`, with harmonics, which have no channels, on the right.
    """

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, features: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
        """Multiply.

        Args:
            features: Shape (n, components, channels).
            harmonics: Shape (n, components of the harmonics). No gradient is given for them.
            weights: Shape (n, n_paths, channels).

        Returns:
            Shape (n, components of ``out``, channels).
        """
        dtype = torch.promote_types(features.dtype, weights.dtype)
        with torch.autocast(features.device.type, enabled=False):
            result: Tensor = _CoupleHarmonics.apply(  # type: ignore[no-untyped-call]
                features.to(dtype),
                harmonics.detach().to(dtype),
                weights.to(dtype),
                self._terms,
                self._n_components,
            )
        return result


class _CoupleChannels(torch.autograd.Function):
    """Everything within is (components, rows, channels), so that a table is one matrix product."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context
        left: Tensor,
        right: Tensor,
        weights: Tensor,
        terms: tuple[_Term, ...],
        n_components: int,
    ) -> Tensor:
        ctx.save_for_backward(left, right, weights)
        ctx.terms = terms
        result = left.new_empty(len(left), n_components, left.shape[2])
        for rows in _pieces(left):
            a, b, w = (x[rows].transpose(0, 1).contiguous() for x in (left, right, weights))
            piece = a.new_zeros(n_components, *a.shape[1:])
            for term in terms:
                coupled, _, _ = _coupled(term, a, b)
                for number, here, there in term.paths:
                    piece[there].addcmul_(coupled[here], w[number])
            result[rows] = piece.transpose(0, 1)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        left, right, weights = ctx.saved_tensors
        grads = tuple(
            torch.empty_like(x, memory_format=torch.contiguous_format)
            for x in (left, right, weights)
        )
        for rows in _pieces(left):
            a, b, w, g = (
                x[rows].transpose(0, 1).contiguous() for x in (left, right, weights, gradient)
            )
            grad_a, grad_b, grad_w = torch.zeros_like(a), torch.zeros_like(b), torch.empty_like(w)
            for term in ctx.terms:
                coupled, outer, table = _coupled(term, a, b)
                grad_coupled = torch.empty_like(coupled)
                for number, here, there in term.paths:
                    torch.mul(g[there], w[number], out=grad_coupled[here])
                    torch.sum(coupled[here].mul_(g[there]), dim=0, out=grad_w[number])
                flat = torch.mm(table, grad_coupled.flatten(1), out=outer.flatten(0, 1).flatten(1))
                grad_outer = flat.view(outer.shape)
                grad_a[term.left] += (grad_outer * b[term.right]).sum(dim=1)
                grad_b[term.right] += grad_outer.mul_(a[term.left][:, None]).sum(dim=0)
            for grad, part in zip(grads, (grad_a, grad_b, grad_w), strict=True):
                grad[rows] = part.transpose(0, 1)
        return (*grads, None, None)


class _CoupleHarmonics(torch.autograd.Function):
    """Everything within is (rows, components, channels): each row has its own matrix."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context
        features: Tensor,
        harmonics: Tensor,
        weights: Tensor,
        terms: tuple[_Term, ...],
        n_components: int,
    ) -> Tensor:
        ctx.save_for_backward(features, harmonics, weights)
        ctx.terms = terms
        result = features.new_zeros(len(features), n_components, features.shape[2])
        for rows in _pieces(features):
            a, w, piece = features[rows], weights[rows], result[rows]
            for term in terms:
                coupled = _matrix(term, harmonics[rows]) @ a[:, term.left]
                for number, here, there in term.paths:
                    piece[:, there].addcmul_(coupled[:, here], w[:, number, None])
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        features, harmonics, weights = ctx.saved_tensors
        grad_features = torch.zeros_like(features, memory_format=torch.contiguous_format)
        grad_weights = torch.empty_like(weights, memory_format=torch.contiguous_format)
        for rows in _pieces(features):
            a, w, g = features[rows], weights[rows], gradient[rows]
            for term in ctx.terms:
                matrix = _matrix(term, harmonics[rows])
                coupled = matrix @ a[:, term.left]
                grad_coupled = torch.empty_like(coupled)
                for number, here, there in term.paths:
                    torch.mul(g[:, there], w[:, number, None], out=grad_coupled[:, here])
                    torch.sum(
                        coupled[:, here].mul_(g[:, there]), dim=1, out=grad_weights[rows][:, number]
                    )
                grad_features[rows][:, term.left] += matrix.transpose(1, 2) @ grad_coupled
        return grad_features, None, grad_weights, None, None


def _coupled(term: _Term, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Couple two representations; gives the results, the outer product and the table."""
    table = term.table(a.dtype, a.device).flatten(0, 1)
    outer = a[term.left][:, None] * b[term.right]
    coupled = table.T @ outer.flatten(0, 1).flatten(1)
    return coupled.view(-1, *a.shape[1:]), outer, table


def _matrix(term: _Term, harmonics: Tensor) -> Tensor:
    """The map of each row from its feature to the results, (rows, components, components left)."""
    table = term.table(harmonics.dtype, harmonics.device)
    n_left, n_right, n_out = table.shape
    by_right = table.permute(1, 2, 0).reshape(n_right, n_out * n_left)
    return (harmonics[:, term.right] @ by_right).view(len(harmonics), n_out, n_left)


def _pieces(features: Tensor) -> Iterator[slice]:
    """Cut the rows of (n, components, channels) into pieces to work on."""
    n = len(features)
    limit = _GPU if features.is_cuda else _CACHE * torch.get_num_threads()
    size = max(limit // features.shape[2], 1)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _terms(
    paths: Sequence[Path],
    left: Sequence[Irrep],
    right: Sequence[Irrep],
    out: Sequence[Irrep],
    reached: Sequence[int],
) -> tuple[_Term, ...]:
    lefts, rights = slices(left), slices(right)
    places = dict(zip(reached, slices([out[k] for k in reached]), strict=True))
    counts = {k: sum(path[2] == k for path in paths) for k in reached}
    by_pair: dict[tuple[int, int], list[int]] = {}
    for number, (i, j, _) in enumerate(paths):
        by_pair.setdefault((i, j), []).append(number)
    terms = []
    for (i, j), numbers in by_pair.items():
        results = [paths[number][2] for number in numbers]
        heres = slices([out[k] for k in results])
        terms.append(
            _Term(
                lefts[i],
                rights[j],
                (left[i].l, right[j].l, tuple(out[k].l for k in results)),
                tuple(
                    (number, here, places[k])
                    for number, here, k in zip(numbers, heres, results, strict=True)
                ),
                tuple(counts[k] ** -0.5 for k in results),
            )
        )
    return tuple(terms)


@constant_table
def _table(
    l1: int,
    l2: int,
    degrees: tuple[int, ...],
    scales: tuple[float, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    parts = [
        clebsch_gordan(l1, l2, l, torch.float64, device) * scale
        for l, scale in zip(degrees, scales, strict=True)
    ]
    return torch.cat(parts, dim=2).to(dtype)
