"""From features to coefficients of blocks, with weights that depend on the elements.

Source:
    H. Yu et al., "Efficient and Equivariant Graph Networks for Predicting Quantum Hamiltonian",
    ICML 2023, arXiv 2306.04922, section 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from nabladft.models.layers.spherical import Linear, cut, perceptron

if TYPE_CHECKING:
    from torch import Tensor

    from nabladft.models.layers.expansion import BlockExpansion


class ElementWeights(nn.Module):
    """Features to coefficients of blocks, with weights that are functions of the elements.

    The table of weights of all (pairs of) elements is computed once per call and looked up, which
    is cheaper than computing it for every pair of atoms as in the paper.
    """

    def __init__(
        self, expansion: BlockExpansion, channels: int, bottleneck: int, *, n_embeddings: int
    ) -> None:
        """Make the weights of atoms (``n_embeddings=1``) or of pairs of atoms (2)."""
        super().__init__()
        self.irreps, self.widths = expansion.irreps, expansion.widths
        self.bottleneck, self.n_embeddings = bottleneck, n_embeddings
        self.before = Linear(self.irreps, channels, bottleneck)
        width = channels
        self._sizes = [bottleneck * count for count in self.widths]
        # A network starts as a small correction of its reference.
        self.weights = perceptron(n_embeddings * width, width, sum(self._sizes), gain=0.1)
        self.bias = perceptron(n_embeddings * width, width, self.widths[0], gain=0.1)

    def forward(
        self,
        features: Tensor,
        embeddings: Tensor,
        types: Tensor,
    ) -> list[Tensor]:
        """Compute coefficients.

        Args:
            features: Shape (n, components of a block, channels).
            embeddings: Shape (n_elements, channels).
            types: Shape (n,), the element or pair of elements.

        Returns:
            For each irrep, shape (n, 2l + 1, width), of the order of one.
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
            coefficients.append(value)
        return coefficients
