"""The part of an energy that the composition explains: one number for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from nabladft.chemistry.elements import SYMBOLS, symbol_of
from nabladft.errors import ModelError, UnsupportedElementError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from nabladft.data.batch import Batch

_N_ELEMENTS: Final = len(SYMBOLS)


class CompositionEnergy(torch.nn.Module):
    """Sum over atoms of an energy per element, fitted by least squares in closed form.

    The coefficients c minimise Σ_k (E_k - Σ_Z n_kZ c_Z)² + ridge Σ_Z c_Z², where n_kZ counts the
    atoms of element Z in conformation k. They are buffers, not parameters, in float64.

    Args:
        ridge: Strength of the penalty; it decides between elements that always come together.
    """

    coefficients: Tensor
    is_known: Tensor

    def __init__(self, *, ridge: float = 1e-6) -> None:
        """See the class."""
        super().__init__()
        self._ridge = ridge
        self.register_buffer("coefficients", torch.zeros(_N_ELEMENTS, dtype=torch.float64))
        self.register_buffer("is_known", torch.zeros(_N_ELEMENTS, dtype=torch.bool))

    def fit(self, batches: Iterable[Batch]) -> None:
        """Fit to the formation energies of some conformations.

        Raises:
            ModelError: There are none.
        """
        # The normal equations are sums, so nothing grows with the number of conformations.
        squares = torch.zeros(_N_ELEMENTS, _N_ELEMENTS, dtype=torch.float64)
        moments = torch.zeros(_N_ELEMENTS, dtype=torch.float64)
        for batch in batches:
            counts = element_counts(batch)
            squares += counts.T @ counts
            moments += counts.T @ batch.labels["formation_energy"].double()
        known = squares.diagonal() > 0
        if not known.any():
            message = "There is no conformation to fit the energies per element to."
            raise ModelError(message)
        squares = squares[known][:, known] + self._ridge * torch.eye(int(known.sum())).double()
        self.is_known.copy_(known)
        self.coefficients.zero_()
        solution = torch.linalg.solve(squares, moments[known])
        self.coefficients[known] = solution.to(self.coefficients.dtype)

    def forward(self, batch: Batch) -> Tensor:
        """Give the energy of each composition, shape (n,), hartree, float64.

        Raises:
            UnsupportedElementError: An element did not occur in the fit.
        """
        unknown = batch.atomic_numbers[~self.is_known[batch.atomic_numbers]]
        if len(unknown):
            known = ", ".join(SYMBOLS[int(number)] for number in self.is_known.nonzero())
            message = (
                f"The model has not seen {symbol_of(int(unknown[0]))} in training. "
                f"It has seen: {known or 'nothing; it was not prepared'}."
            )
            raise UnsupportedElementError(message)
        energies = torch.zeros_like(batch.molecule_id, dtype=torch.float64)
        return energies.index_add(
            0, batch.conformation_index, self.coefficients.double()[batch.atomic_numbers]
        )


def element_counts(batch: Batch) -> Tensor:
    """Count the atoms of each element, shape (n, n_elements), float64; column Z is element Z."""
    counts = torch.zeros(
        batch.n_conformations, _N_ELEMENTS, dtype=torch.float64, device=batch.positions.device
    )
    ones = torch.ones_like(batch.atomic_numbers, dtype=torch.float64)
    return counts.index_put((batch.conformation_index, batch.atomic_numbers), ones, accumulate=True)
