"""Exponential moving average of the weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor


class MovingAverage:
    """Running average of the parameters of a module.

    At step t (1, 2, ...) the average becomes ``d average + (1 - d) parameters`` with
    ``d = min(decay, (1 + t) / (10 + t))``.

    Args:
        module: Module to follow; the average starts at its present parameters.
        decay: Weight of the past, 0 to 1.
    """

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        """See the class."""
        self._module = module
        self._decay = decay
        self._average = {
            name: parameter.detach().clone() for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the parameters in, after optimiser step number ``step`` (from 1)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._module.named_parameters():
            self._average[name].lerp_(parameter, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the module for the duration of a ``with`` block."""
        parameters = dict(self._module.named_parameters())
        kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        _fill(parameters, self._average)
        try:
            yield
        finally:
            _fill(parameters, kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Give the averages, by parameter name."""
        return self._average

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from averages given by :meth:`state_dict`."""
        for name, average in self._average.items():
            average.copy_(state[name])


@torch.no_grad()
def _fill(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
