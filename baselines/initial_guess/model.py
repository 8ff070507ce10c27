"""The Hamiltonian that a DFT program starts from: no learning, no parameters.

A self-consistent field begins with a guess, and a learned Hamiltonian is worth something only where
it is nearer to the converged matrix than that. The guesses here are those of PySCF:

========== =========================================================================================
minao      Fock matrix of the superposed atomic densities in a minimal basis (PySCF's default)
atom       Fock matrix of the superposed densities of spherical Hartree-Fock atoms
huckel     Fock matrix of the density that an extended Hückel matrix has
sap        core Hamiltonian plus superposed atomic potentials; nothing is integrated on a grid
core       core Hamiltonian: kinetic energy plus attraction by the nuclei, no electrons
========== =========================================================================================

A guess need not be precise in what it integrates: Coulomb and exchange are fitted in a small
auxiliary basis and the functional is integrated on a coarse grid. Against the fine settings of the
labels this moves a guess by some 0.2 millihartree, where guesses are 10 from the truth.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.packing import pack_lower
from nabladft.data.blocks import blocks_from_packed
from nabladft.errors import ConfigError, InputError, UnknownNameError, missing_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from nabladft.data import Batch

METHODS: Final = ("minao", "atom", "huckel", "sap", "core")
#: wB97X-D without its dispersion, which is not in the Hamiltonian.
FUNCTIONAL: Final = "hyb_gga_xc_wb97x_d"
#: Made for Coulomb alone; the exchange of a guess is wrong by up to 1 millihartree with it, which
#: enters with a factor of 0.1, in half the time.
AUXILIARY_BASIS: Final = "def2-universal-jfit"
#: Atomic potentials from non-relativistic calculations with the exchange of the electron gas.
ATOMIC_POTENTIALS: Final = "sapgraspsmall"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which guess.

    Attributes:
        method: One of :data:`METHODS`.
        grid_level: PySCF's grid level, 0 (coarse) to 9; of no effect with ``sap`` and ``core``.
    """

    method: str = "minao"
    grid_level: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.method not in METHODS:
            raise UnknownNameError("initial guess", self.method, METHODS)
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


def guess_hamiltonian(
    atomic_numbers: NDArray[np.integer],
    positions: NDArray[np.float64],
    *,
    method: str = "minao",
    grid_level: int = 0,
) -> NDArray[np.float64]:
    """Compute the initial guess of one neutral closed-shell molecule.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        method: One of :data:`METHODS`.
        grid_level: PySCF's grid level.

    Returns:
        Shape (n_orbitals, n_orbitals), hartree, orbital order "ascending".

    Raises:
        InputError: The number of electrons is odd.

    Source:
        PySCF user guide, "Self-consistent field methods", initial guesses. Superposition of atomic
        potentials: S. Lehtola, J. Chem. Theory Comput. 15, 1593 (2019).
    """
    from pyscf import dft, gto  # noqa: PLC0415 - heavy and optional
    from pyscf.scf import hf  # noqa: PLC0415

    n_electrons = int(atomic_numbers.sum())
    if n_electrons % 2:
        message = (
            f"{n_electrons} electrons cannot be paired; the labels are of closed shells only "
            f"(atomic_numbers={atomic_numbers.tolist()})."
        )
        raise InputError(message)
    atoms = [(int(number), place) for number, place in zip(atomic_numbers, positions, strict=True)]
    molecule = gto.M(atom=atoms, unit="Bohr", basis=DEF2_SVP.name, verbose=0)
    if method == "core":
        matrix = hf.get_hcore(molecule)
    elif method == "sap":
        matrix = hf.get_hcore(molecule) + hf.make_sap(molecule, _atomic_potentials(molecule))
    else:
        field = dft.RKS(molecule, xc=FUNCTIONAL).density_fit(auxbasis=AUXILIARY_BASIS)
        field.grids.level = grid_level
        matrix = field.get_fock(dm=field.get_init_guess(molecule, method))
    return reorder_orbitals(
        np.asarray(matrix, dtype=np.float64), atomic_numbers, source="pyscf", target="ascending"
    )


def _atomic_potentials(molecule: Any) -> dict[str, Any]:  # noqa: ANN401 - PySCF has no types
    from pyscf.gto import basis  # noqa: PLC0415

    symbols = {molecule.atom_symbol(atom) for atom in range(molecule.natm)}
    # One s shell per element: its degree, then rows of exponent and coefficient.
    shells = {symbol: basis.load(ATOMIC_POTENTIALS, symbol)[0] for symbol in symbols}
    return {symbol: np.array(shell[1:], dtype=np.float64) for symbol, shell in shells.items()}
