"""The Kohn-Sham field of the labels in PySCF: functional, grid, fitting, convergence.

The backend makes labels with it, and :mod:`nabladft.labels.restart` asks what a predicted
Hamiltonian is worth at the same level of theory. The reasons for each setting stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyscf import dft, gto

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import SYMBOLS
from nabladft.labels.grids import Grid, MoleculeFixedGrids
from nabladft.labels.integration import CachedIntegrator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nabladft.labels.fitting import SafeFitting

    FloatArray = NDArray[np.float64]

#: libxc 471. PySCF refuses the short name "wb97x_d", whose dispersion it does not have.
FUNCTIONAL: Final = "hyb_gga_xc_wb97x_d"
MAX_CYCLES: Final = 100


@dataclass(frozen=True, kw_only=True)
class FieldSettings:
    """How precisely a field is solved.

    Attributes:
        grid: Where the functional is integrated.
        energy_convergence: Largest change of the energy in the last iteration, hartree.
        gradient_convergence: Largest norm of the orbital gradient, hartree.
    """

    grid: Grid
    energy_convergence: float
    gradient_convergence: float


#: The published 1e-6 hartree would leave 1e-4 in the Hamiltonian; so do PySCF's defaults for the
#: orbital gradient (1e-5): H still moves by 3e-6 when they are tightened.
LABEL_SETTINGS: Final = FieldSettings(
    grid="fine", energy_convergence=1e-10, gradient_convergence=1e-6
)
#: For iterations before those on the fine grid: beyond this the two grids differ anyway.
FIRST_SETTINGS: Final = FieldSettings(
    grid="coarse", energy_convergence=1e-5, gradient_convergence=1e-3
)

#: For comparisons over many molecules: the converged field of the labels is still self-consistent
#: here (it is not on the coarse grid), in about 40 % of the time.
QUICK_SETTINGS: Final = FieldSettings(
    grid="pruned", energy_convergence=1e-6, gradient_convergence=1e-3
)


class KohnShamField(dft.rks.RKS):  # type: ignore[misc]  # PySCF is not typed
    """PySCF's Kohn-Sham field, which keeps the potential of its final density.

    PySCF's own ``get_fock`` would integrate it once more.
    """

    _keys = {"last_potential"}  # noqa: RUF012  # how PySCF declares attributes
    last_potential: Any = None

    def get_veff(self, *args: Any, **options: Any) -> Any:
        """Compute Coulomb, exchange and correlation potential; called by PySCF."""
        self.last_potential = super().get_veff(*args, **options)
        return self.last_potential


def build_molecule(
    atomic_numbers: NDArray[np.integer], positions: FloatArray, *, charge: int, max_memory: int
) -> Any:
    """Build PySCF's molecule, independently of PySCF's configuration file.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        charge: Total charge in elementary charges.
        max_memory: Megabytes.
    """
    # Labels must not depend on the caller's ~/.pyscf_conf.py more than unavoidable: everything
    # that matters is set here and below, and nothing of PySCF's global state is changed.
    return gto.M(
        atom=[
            (SYMBOLS[int(number)], tuple(position))
            for number, position in zip(atomic_numbers, positions, strict=True)
        ],
        unit="Bohr",
        basis=DEF2_SVP.name,
        charge=charge,
        spin=0,
        cart=False,
        symmetry=False,
        verbose=0,
        max_memory=max_memory,
        parse_arg=False,
    )


def kohn_sham_field(
    mol: Any, fitting: SafeFitting, settings: FieldSettings = LABEL_SETTINGS
) -> Any:
    """Set a field up, not yet solved.

    Args:
        mol: The molecule.
        fitting: Its density fitting, which may be shared by fields of the same molecule.
        settings: How precisely it is to be solved.
    """
    field = KohnShamField(mol, xc=FUNCTIONAL)
    # Half of the memory for orbitals on the grid, half for fitted integrals.
    field._numint = CachedIntegrator(max_memory=mol.max_memory / 2)  # noqa: SLF001
    field.grids = MoleculeFixedGrids(mol, grid=settings.grid)
    field.chkfile = None  # else every calculation writes a temporary file
    field.init_guess = "minao"
    field.max_cycle = MAX_CYCLES
    field.conv_tol = settings.energy_convergence
    field.conv_tol_grad = settings.gradient_convergence
    # PySCF's extra iteration after convergence would only undo level shifts; none is in use.
    field.conv_check = False
    field.small_rho_cutoff = 0
    return field.density_fit(with_df=fitting)
