"""Labels at wB97X-D/def2-SVP with PySCF, as close to the published ones as they are to themselves.

The published labels were made by another program with its defaults. Each setting here reproduces
one of those, and the reasons stand beside them; with PySCF's own defaults energies would be 9e-5
hartree away and Hamiltonians would depend on the orientation of the molecule by 2e-4 hartree.
Agreement with published records: ``docs/parity.md``.

Threads follow ``OMP_NUM_THREADS``; many conformations on one thread each are labelled faster than
one after the other on many.

Example:
    >>> from nabladft.labels.backend import load_backend
    >>> hydrogen = load_backend("pyscf").label(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.4]]))
    >>> hydrogen.hamiltonian.shape
    (10, 10)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyscf
import scipy.linalg
from pyscf import dft

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import formula
from nabladft.errors import ConvergenceError, LabelError
from nabladft.labels import checks
from nabladft.labels.backend import LabelResult, LevelOfTheory
from nabladft.labels.dispersion import dispersion
from nabladft.labels.fitting import AUXILIARY_BASIS, METRIC_CUT, SafeFitting
from nabladft.labels.gradients import FittedGradients
from nabladft.labels.grids import FINE
from nabladft.labels.kohn_sham import (
    FIRST_SETTINGS,
    LABEL_SETTINGS,
    build_molecule,
    kohn_sham_field,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

#: From this many atoms on, iterating on a coarse grid first saves time.
COARSE_FROM_ATOMS: Final = 8
#: Hartree; orbitals are held apart by this when plain DIIS has failed.
LEVEL_SHIFT: Final = 0.3


class PySCFBackend:
    """Labels conformations with PySCF. Stateless: results depend on the arguments of a call only.

    ``extras`` of its results, all in atomic units:

    - ``dipole`` (3,), about the origin of the positions;
    - ``orbital_energies`` (n_orbitals,), ``mulliken_charges`` and ``loewdin_charges`` (n_atoms,);
    - parts of the energy: ``nuclear_repulsion_energy``, ``one_electron_energy``,
      ``two_electron_energy`` (Coulomb and exact exchange), ``xc_energy`` (on the grid),
      ``dispersion_energy``; they add up to the total;
    - ``integrated_electrons``, and ``slope_difference`` (hartree/bohr) where the forces were
      compared with a finite difference of the energy.
    """

    name = "pyscf"

    def __init__(
        self, *, verify: bool = False, max_memory: int = 6000, coarse_from: int = COARSE_FROM_ATOMS
    ) -> None:
        """Set the options that do not change what a label means.

        Args:
            verify: Compare the forces of *every* label, not only of unusual ones, with a finite
                difference of the energy along one direction. Costs two more energies.
            max_memory: Megabytes; fitted integrals that need more are kept on disk.
            coarse_from: Number of atoms from which to iterate on a coarse grid first.
        """
        self.verify = verify
        self.max_memory = max_memory
        self.coarse_from = coarse_from

    @property
    def level_of_theory(self) -> LevelOfTheory:
        """What the labels mean, for the manifest of a store."""
        return LevelOfTheory(
            functional="wB97X-D",
            dispersion="Chai-Head-Gordon -D",
            basis_set=DEF2_SVP.name,
            grid=f"{FINE} unpruned, Treutler M4 scaled by Bragg radii, Becke cells with Treutler's "
            "size adjustment, turned to the principal axes of the nuclear charge",
            fitting=f"{AUXILIARY_BASIS} for Coulomb, exchange and long-range exchange; long-range "
            f"metric by eigenvalues above {METRIC_CUT:g}",
            convergence=f"energy {LABEL_SETTINGS.energy_convergence:g} hartree, "
            f"orbital gradient {LABEL_SETTINGS.gradient_convergence:g}",
            program="PySCF",
            program_version=f"{pyscf.__version__} (libxc {dft.libxc.__version__})",
        )

    def label(
        self, atomic_numbers: NDArray[np.integer], positions: FloatArray, *, charge: int = 0
    ) -> LabelResult:
        """Compute and check the labels of one conformation.

        Args:
            atomic_numbers: Shape (n_atoms,).
            positions: Shape (n_atoms, 3), bohr.
            charge: Total charge in elementary charges.

        Returns:
            The labels; what ``extras`` holds is in the docstring of the class.

        Raises:
            UnsupportedElementError: An element is outside the level of theory.
            LabelError: The input cannot be labelled, or the result fails a check.
            ConvergenceError: The self-consistent field did not converge.
        """
        start = time.perf_counter()
        positions = np.asarray(positions, dtype=np.float64)
        checks.check_input(atomic_numbers, positions, charge=charge)
        dispersion_energy, dispersion_gradient = dispersion(atomic_numbers, positions)
        mol = build_molecule(atomic_numbers, positions, charge=charge, max_memory=self.max_memory)
        field, n_cycles = self._solve(mol)

        density = field.make_rdm1()
        potential = field.last_potential
        hamiltonian = np.asarray(field.get_hcore() + potential)
        overlap = field.get_ovlp()
        # The last orbitals diagonalise an extrapolated matrix, not this one.
        orbital_energies = scipy.linalg.eigh(hamiltonian, overlap, eigvals_only=True)
        field.mo_energy, field.mo_coeff = field.canonicalize(
            field.mo_coeff, field.mo_occ, hamiltonian
        )
        checks.check_hamiltonian(hamiltonian, n_orbitals=DEF2_SVP.n_orbitals(atomic_numbers))
        integrated = float(field._numint.integrated_electrons)  # noqa: SLF001  # our own class
        checks.check_electron_count(integrated, expected=mol.nelectron)

        forces = -(FittedGradients(field).kernel() + dispersion_gradient)
        energy = float(field.e_tot) + dispersion_energy
        # potential.exc is the integral on the grid plus the exact exchange: take it apart.
        exact_exchange = -0.25 * float(np.vdot(density, potential.vk))
        extras: dict[str, float | FloatArray] = {
            "dipole": np.asarray(field.dip_moment(unit="AU", verbose=0)),
            "orbital_energies": orbital_energies,
            "mulliken_charges": _atomic_charges(mol, density @ overlap),
            "loewdin_charges": _atomic_charges(mol, _root(overlap) @ density @ _root(overlap)),
            "nuclear_repulsion_energy": float(mol.energy_nuc()),
            "one_electron_energy": float(field.scf_summary["e1"]),
            "two_electron_energy": float(potential.ecoul) + exact_exchange,
            "xc_energy": float(potential.exc) - exact_exchange,
            "dispersion_energy": dispersion_energy,
            "integrated_electrons": integrated,
        }
        if checks.check_forces(forces) or self.verify:

            def energy_at(moved: FloatArray) -> float:
                molecule = build_molecule(
                    atomic_numbers, moved, charge=charge, max_memory=self.max_memory
                )
                return float(self._solve(molecule)[0].e_tot) + dispersion(atomic_numbers, moved)[0]

            extras["slope_difference"] = checks.check_slope(energy_at, positions, forces)
        return LabelResult(
            energy=energy,
            forces=np.asarray(forces),
            hamiltonian=hamiltonian,
            orbital_order="pyscf",
            n_scf_cycles=n_cycles,
            seconds=time.perf_counter() - start,
            extras=extras,
        )

    def _solve(self, mol: Any) -> tuple[Any, int]:
        """Return the converged Kohn-Sham field and the number of iterations."""
        fitting = SafeFitting(mol, AUXILIARY_BASIS)
        fitting.max_memory = self.max_memory
        guess, n_cycles = None, 0
        if mol.natm >= self.coarse_from:
            coarse = kohn_sham_field(mol, fitting, FIRST_SETTINGS)
            coarse.kernel()
            guess, n_cycles = coarse.make_rdm1(), coarse.cycles
        field = kohn_sham_field(mol, fitting)
        field.kernel(guess)
        n_cycles += field.cycles
        if not field.converged:
            # From where it stopped, with occupied and empty orbitals held apart.
            field.level_shift, field.conv_check = LEVEL_SHIFT, True
            field.kernel(field.make_rdm1())
            n_cycles += field.cycles
        if not field.converged:
            gap = np.diff(np.sort(field.mo_energy))[mol.nelectron // 2 - 1]
            message = (
                f"No self-consistent field for {formula(mol.atom_charges())} within {n_cycles} "
                f"iterations, with and without level shift; last gap {gap:.3f} hartree. "
                "Is the geometry sensible, and the charge right?"
            )
            raise ConvergenceError(message)
        return field, n_cycles


def create_backend(**options: Any) -> PySCFBackend:
    """Create the backend; options as of :class:`PySCFBackend`."""
    return PySCFBackend(**options)


def _atomic_charges(mol: Any, populations: FloatArray) -> FloatArray:
    """Return nuclear charges minus the orbital populations (diagonal) of each atom, (n_atoms,)."""
    per_orbital = np.diag(populations)
    return np.array(
        [
            nucleus - per_orbital[start:stop].sum()
            for nucleus, (start, stop) in zip(
                mol.atom_charges(), mol.aoslice_by_atom()[:, 2:], strict=True
            )
        ]
    )


def _root(matrix: FloatArray) -> FloatArray:
    """Return the square root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] <= 0:
        message = f"The overlap matrix has an eigenvalue of {values[0]:.1e}. Do atoms coincide?"
        raise LabelError(message)
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)
