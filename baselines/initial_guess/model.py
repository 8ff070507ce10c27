"""The Hamiltonian that a DFT program starts from: no learning, no parameters.

A self-consistent field begins with a guess, and a learned Hamiltonian is worth something only where
it is nearer to the converged matrix than that. The guesses are those of
:mod:`nabladft.labels.guesses`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.packing import pack_lower
from nabladft.data.blocks import blocks_from_packed
from nabladft.errors import ConfigError, InputError, UnknownNameError, missing_extra
from nabladft.labels.guesses import GUESS_METHODS, guess_hamiltonian

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from nabladft.data import Batch


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which guess.

    Attributes:
        method: One of :data:`~nabladft.labels.guesses.GUESS_METHODS`.
        grid_level: PySCF's grid level, 0 (coarse) to 9; of no effect with ``sap`` and ``core``.
    """

    method: str = "minao"
    grid_level: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.method not in GUESS_METHODS:
            raise UnknownNameError("initial guess", self.method, GUESS_METHODS)
        if not 0 <= self.grid_level <= 9:
            message = f"grid_level must be 0 to 9, got {self.grid_level}."
            raise ConfigError(message)


def build(config: Config) -> InitialGuess:
    """Build the model.

    Raises:
        MissingExtraError: PySCF is not installed.
    """
    return InitialGuess(config)


class InitialGuess(nn.Module):
    """Computes the guess of each conformation of a batch, one after the other, on the CPU.

    The molecules must have an even number of electrons and no charge, as those of the data set.
    """

    predicts = frozenset({"hamiltonian"})
    orbital_order = "ascending"
    basis_set = DEF2_SVP.name

    def __init__(self, config: Config) -> None:
        """See the class."""
        super().__init__()
        try:
            import pyscf  # noqa: F401, PLC0415 - heavy and optional
        except ImportError as error:
            raise missing_extra("The initial guess", "label", error) from error
        self.config = config

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict.

        Returns:
            ``hamiltonian``, shape (n_values,), hartree, in the order of ``batch.blocks``.

        Raises:
            InputError: The batch has no blocks, or a molecule has an odd number of electrons.
        """
        from pyscf import lib  # noqa: PLC0415 - heavy and optional

        if batch.blocks is None:
            message = "The batch has no blocks to predict. Use a HamiltonianDataset."
            raise InputError(message)
        bounds = batch.atom_offsets.tolist()
        numbers = batch.atomic_numbers.cpu().numpy()
        positions = batch.positions.detach().cpu().double().numpy()
        # Threads that wait for each other in molecules this small take longer than one alone, and
        # many times longer where another program has the second core.
        with lib.with_omp_threads(1):
            values = [
                self._blocks(numbers[first:last], positions[first:last], batch.blocks.orbital_order)
                for first, last in itertools.pairwise(bounds)
            ]
        return {"hamiltonian": torch.cat(values).to(batch.positions)}

    def _blocks(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], order: str
    ) -> Tensor:
        matrix = guess_hamiltonian(
            numbers, positions, method=self.config.method, grid_level=self.config.grid_level
        )
        packed = torch.from_numpy(pack_lower(matrix))
        return blocks_from_packed(
            packed, numbers.tolist(), self.basis_set, source=self.orbital_order, target=order
        )
