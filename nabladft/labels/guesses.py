"""Hamiltonians that a DFT program starts from: no learning, no parameters.

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

Example:
    >>> hydrogen = np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.4]])
    >>> guess_hamiltonian(*hydrogen, method="core").shape
    (10, 10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.errors import InputError, UnknownNameError, missing_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

GUESS_METHODS: Final = ("minao", "atom", "huckel", "sap", "core")
#: wB97X-D without its dispersion, which is not in the Hamiltonian.
FUNCTIONAL: Final = "hyb_gga_xc_wb97x_d"
#: Made for Coulomb alone; the exchange of a guess is wrong by up to 1 millihartree with it, which
#: enters with a factor of 0.1, in half the time.
AUXILIARY_BASIS: Final = "def2-universal-jfit"
#: Atomic potentials from non-relativistic calculations with the exchange of the electron gas.
ATOMIC_POTENTIALS: Final = "sapgraspsmall"


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
        method: One of :data:`GUESS_METHODS`.
        grid_level: PySCF's grid level.

    Returns:
        Shape (n_orbitals, n_orbitals), hartree, orbital order "ascending".

    Raises:
        InputError: The number of electrons is odd.
        MissingExtraError: PySCF is not installed.
        UnknownNameError: There is no such method.

    Source:
        PySCF user guide, "Self-consistent field methods", initial guesses. Superposition of atomic
        potentials: S. Lehtola, J. Chem. Theory Comput. 15, 1593 (2019).
    """
    if method not in GUESS_METHODS:
        raise UnknownNameError("initial guess", method, GUESS_METHODS)
    try:
        from pyscf import dft, gto  # noqa: PLC0415 - heavy and optional
        from pyscf.scf import hf  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("An initial guess", "label", error) from error

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


def _atomic_potentials(molecule: Any) -> dict[str, Any]:
    from pyscf.gto import basis  # noqa: PLC0415

    symbols = {molecule.atom_symbol(atom) for atom in range(molecule.natm)}
    # One s shell per element: its degree, then rows of exponent and coefficient.
    shells = {symbol: basis.load(ATOMIC_POTENTIALS, symbol)[0] for symbol in symbols}
    return {symbol: np.array(shell[1:], dtype=np.float64) for symbol, shell in shells.items()}
