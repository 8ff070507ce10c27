"""Functions of the distance of two atoms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


def smooth_cutoff(distances: Tensor, cutoff: float) -> Tensor:
    """Fade from one at zero to zero at ``cutoff``, with all derivatives; both in bohr.

    Source:
        arXiv 2106.02347, appendix.
    """
    inside = distances < cutoff
    r = torch.where(inside, distances, 0.5 * cutoff)
    return torch.exp(-(r**2) / ((cutoff - r) * (cutoff + r))) * inside


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
        exponent = (-nn.functional.softplus(self.alpha) * r)[:, None]
        degree = len(self.order) - 1
        logarithm = (
            self.log_binomial
            + (degree - self.order) * exponent
            + self.order * torch.log(-torch.expm1(exponent))
        )
        fade = smooth_cutoff(distances, self.cutoff)
        return (self.factor * fade)[:, None] * torch.exp(logarithm)
