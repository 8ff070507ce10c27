"""Tensor products that keep every path apart: an independent way to what the layers add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from nabladft.models.layers.products import product_paths
from nabladft.models.layers.spherical import Irrep, clebsch_gordan, constant_table, cut, slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from nabladft.models.layers.products import Path


class _Product(nn.Module):
    """What both products share: paths, their weights, and the sorting of the results."""

    def __init__(self, left: Sequence[Irrep], right: Sequence[Irrep], out: Sequence[Irrep]) -> None:
        super().__init__()
        self.left, self.right = tuple(left), tuple(right)
        self.paths = product_paths(left, right, out)
        #: Representations that are reached, and by how many paths each.
        reached = [irrep for k, irrep in enumerate(out) if any(p[2] == k for p in self.paths)]
        self.out = tuple(reached)
        self.multiplicities = tuple(
            sum(out[path[2]] == irrep for path in self.paths) for irrep in reached
        )
        self._degrees = tuple(out[path[2]].l for path in self.paths)

    @property
    def n_paths(self) -> int:
        """Number of paths, each of which takes one weight per channel."""
        return len(self.paths)

    def by_irrep(self, values: Tensor) -> list[Tensor]:
        """Cut the result of the product into its representations.

        Args:
            values: Shape (n, components of all paths, channels).

        Returns:
            For each representation of ``out``, shape (n, 2l + 1, paths * channels).
        """
        sizes = [i.dim * count for i, count in zip(self.out, self.multiplicities, strict=True)]
        return [
            part.reshape(len(values), irrep.dim, count * values.shape[2])
            for irrep, count, part in zip(
                self.out, self.multiplicities, torch.split(values, sizes, dim=1), strict=True
            )
        ]

    def _component_paths(self) -> list[int]:
        """The path of each component of the results, in the order of :meth:`by_irrep`."""
        order, first = [], 0
        for irrep, count in zip(self.out, self.multiplicities, strict=True):
            order += [first + k for _ in range(irrep.dim) for k in range(count)]
            first += count
        return order


class HarmonicsProduct(_Product):
    """Couples each channel of a feature with spherical harmonics, one weight per path and channel.

    The coefficients and the harmonics of a pair make one matrix, by which all channels are
    multiplied at once.
    """

    def __init__(self, left: Sequence[Irrep], right: Sequence[Irrep], out: Sequence[Irrep]) -> None:
        """Make the product; ``right`` are the representations of the harmonics."""
        super().__init__(left, right, out)
        self._key = (self.left, self.right, self.paths, self.out, self.multiplicities)
        self.register_buffer("_path", torch.tensor(self._component_paths()), persistent=False)

    _path: Tensor

    def forward(self, features: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
        """Multiply.

        Args:
            features: Shape (n, components, channels).
            harmonics: Shape (n, components of the harmonics).
            weights: Shape (n, n_paths, channels).

        Returns:
            Shape (n, components of all paths, channels); :meth:`by_irrep` cuts it.
        """
        table = _coupling_table(*self._key, features.dtype, features.device)
        n_left, n_right, n_out = table.shape
        matrix = harmonics @ table.transpose(0, 1).reshape(n_right, n_left * n_out)
        coupled = matrix.view(len(features), n_left, n_out).transpose(1, 2) @ features
        return coupled * weights.index_select(1, self._path)


class ChannelProduct(_Product):
    """Couples two features channel by channel, with one weight per path and channel."""

    def __init__(self, left: Sequence[Irrep], right: Sequence[Irrep], out: Sequence[Irrep]) -> None:
        """Make the product."""
        super().__init__(left, right, out)
        by_pair: dict[tuple[int, int], list[int]] = {}
        for number, (i, j, _) in enumerate(self.paths):
            by_pair.setdefault((i, j), []).append(number)
        self._by_pair = by_pair
        # Components are computed by pair of factors and wanted by representation.
        computed = [
            (number, m)
            for numbers in by_pair.values()
            for number in numbers
            for m in range(2 * self._degrees[number] + 1)
        ]
        position = {key: place for place, key in enumerate(computed)}
        wanted, seen = [], dict.fromkeys(range(self.n_paths), 0)
        for number in self._component_paths():
            wanted.append(position[number, seen[number]])
            seen[number] += 1
        self.register_buffer("_order", torch.tensor(wanted), persistent=False)
        self.register_buffer("_path", torch.tensor(self._component_paths()), persistent=False)

    _order: Tensor
    _path: Tensor

    def forward(self, left: Tensor, right: Tensor, weights: Tensor) -> Tensor:
        """Multiply.

        Args:
            left: Shape (n, components, channels).
            right: Shape (n, components, channels).
            weights: Shape (n, n_paths, channels), or (n_paths, channels) for all alike.

        Returns:
            Shape (n, components of all paths, channels); :meth:`by_irrep` cuts it.
        """
        firsts, seconds = cut(left, self.left), cut(right, self.right)
        n, _, channels = left.shape
        coupled = []
        for (i, j), numbers in self._by_pair.items():
            outer = (firsts[i][:, :, None] * seconds[j][:, None, :]).reshape(
                n, self.left[i].dim * self.right[j].dim, channels
            )
            degrees = tuple(self._degrees[number] for number in numbers)
            table = _pair_table(self.left[i].l, self.right[j].l, degrees, left.dtype, left.device)
            coupled.append(table @ outer)
        values = torch.cat(coupled, dim=1).index_select(1, self._order)
        return values * weights.index_select(-2, self._path)


@constant_table
def _coupling_table(
    left: tuple[Irrep, ...],
    right: tuple[Irrep, ...],
    paths: tuple[Path, ...],
    out: tuple[Irrep, ...],
    multiplicities: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Coefficients of all paths, shape (components left, components right, components out)."""
    lefts, rights = slices(left), slices(right)
    parts, first = [], 0
    for irrep, count in zip(out, multiplicities, strict=True):
        block = torch.zeros(
            lefts[-1].stop, rights[-1].stop, irrep.dim, count, dtype=dtype, device=device
        )
        for k, (i, j, _) in enumerate(paths[first : first + count]):
            block[lefts[i], rights[j], :, k] = clebsch_gordan(
                left[i].l, right[j].l, irrep.l, dtype, device
            )
        parts.append(block.flatten(2))
        first += count
    return torch.cat(parts, dim=2)


@constant_table
def _pair_table(
    l1: int, l2: int, degrees: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Coefficients of one pair of degrees, shape (components out, components of the outer)."""
    blocks = [clebsch_gordan(l1, l2, l, dtype, device).flatten(0, 1).T for l in degrees]
    return torch.cat(blocks).contiguous()
