"""Self-consistent fields of one molecule from several starting densities, counted and timed.

A cycle is one Fock matrix built from a density: Coulomb, exchange and the functional on the grid,
which is what a field costs. The first one, of the starting density, counts like any other. What all
runs share (fitted integrals, orbitals on the grid) is prepared beforehand and not in the times.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.molecular_orbitals import molecular_orbitals
from nabladft.labels.fitting import AUXILIARY_BASIS, SafeFitting
from nabladft.labels.kohn_sham import FieldSettings, build_molecule, kohn_sham_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


#: Occupations of "minao" below this are round-off; those of a shell in use are 0.1 and more.
EMPTY: Final = 1e-6


@dataclass(frozen=True)
class Start:
    """A density with its Fock matrix, from which a field can be iterated.

    Attributes:
        density: Shape (n_orbitals, n_orbitals), as PySCF's.
        potential: PySCF's effective potential of that density.
        energy: Of the density, hartree, without dispersion.
        gradient_norm: How far from self-consistent, hartree: for a density of molecular orbitals
            the norm of PySCF's orbital gradient, for any other the same commutator.
        seconds: Time that building took.
    """

    density: Any
    potential: Any
    energy: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """An iterated field.

    Attributes:
        converged: Whether it is self-consistent.
        energy: Hartree, without dispersion.
        build_seconds: Time that building each Fock matrix took, the one of the start included.
        hamiltonian: Of the last density, PySCF's order, shape (n_orbitals, n_orbitals), hartree.
        density: The last density.
    """

    converged: bool
    energy: float
    build_seconds: tuple[float, ...]
    hamiltonian: FloatArray
    density: FloatArray

    @property
    def cycles(self) -> int:
        """Fock matrices built, the one of the start included."""
        return len(self.build_seconds)

    @property
    def seconds(self) -> float:
        """Time that building all of them took."""
        return sum(self.build_seconds)


class ScfRuns:
    """Builds Fock matrices of one molecule and iterates its field. Everything in PySCF's order."""

    def __init__(
        self,
        atomic_numbers: NDArray[np.integer],
        positions: FloatArray,
        *,
        charge: int,
        settings: FieldSettings,
        max_memory: int,
    ) -> None:
        """Compute what does not depend on a density.

        Args:
            atomic_numbers: Shape (n_atoms,).
            positions: Shape (n_atoms, 3), bohr.
            charge: Total charge in elementary charges.
            settings: Grid and convergence.
            max_memory: Megabytes; fitted integrals that need more are kept on disk.
        """
        mol = build_molecule(atomic_numbers, positions, charge=charge, max_memory=max_memory)
        fitting = SafeFitting(mol, AUXILIARY_BASIS)
        fitting.max_memory = max_memory
        self._field = kohn_sham_field(mol, fitting, settings)
        self._core = self._field.get_hcore()
        self._field.get_hcore = lambda *_: self._core
        self.overlap: FloatArray = self._field.get_ovlp()
        self.n_electrons: int = mol.nelectron
        values, vectors = np.linalg.eigh(self.overlap)
        self._orthonormal = vectors / np.sqrt(values)
        fitting.build()
        integrator = self._field._numint  # noqa: SLF001  # our own class
        with fitting.range_coulomb(integrator.rsh_coeff(self._field.xc)[0]) as long_range:
            long_range.build()
        self._field.grids.build()
        integrator.prepare(mol, self._field.grids)

    def density_of(self, hamiltonian: FloatArray) -> Any:
        """Fill the lowest orbitals of a Hamiltonian, shape (n_orbitals, n_orbitals)."""
        orbitals = molecular_orbitals(hamiltonian, self.overlap)
        occupations = np.where(np.arange(len(orbitals.energies)) < self.n_electrons // 2, 2.0, 0.0)
        return self._field.make_rdm1(orbitals.coefficients, occupations)

    def guess(self, method: str) -> Any:
        """Give PySCF's density of a guess: "minao", "atom" or "huckel"."""
        return np.asarray(self._field.get_init_guess(self._field.mol, method))

    def outside_minimal(self, density: Any) -> FloatArray:
        """Tell how far what a density fills lies outside the minimal valence basis.

        Args:
            density: Of doubly occupied orbitals, shape (n_orbitals, n_orbitals).

        Returns:
            For the occupied space, turned so that it is extreme, the share (0 to 1) of each
            orbital outside the space that the guess "minao" occupies; ascending, shape
            (n_electrons / 2,).
        """
        to_orthogonal = self.overlap @ self._orthonormal
        spread, vectors = np.linalg.eigh(to_orthogonal.T @ self.guess("minao") @ to_orthogonal)
        minimal = vectors[:, spread > EMPTY]
        projected = minimal.T @ to_orthogonal.T @ density @ to_orthogonal @ minimal
        inside = np.linalg.eigvalsh(0.5 * projected)
        outside: FloatArray = 1 - inside[::-1][: self.n_electrons // 2]
        return outside

    def start(self, density: Any) -> Start:
        """Build the Fock matrix of a density."""
        began = time.perf_counter()
        potential = self._field.get_veff(self._field.mol, density)
        seconds = time.perf_counter() - began
        fock = np.asarray(self._core + potential)
        product = self._orthonormal.T @ fock @ density @ self.overlap @ self._orthonormal
        return Start(
            density=density,
            potential=potential,
            energy=float(self._field.energy_tot(density, self._core, potential)),
            gradient_norm=float(np.linalg.norm(product - product.T) / np.sqrt(2)),
            seconds=seconds,
        )

    def iterate(self, start: Start, *, max_cycles: int) -> Run:
        """Iterate from a start until self-consistent, or for that many cycles.

        Args:
            start: Whose Fock matrix counts as the first cycle.
            max_cycles: Largest number of Fock matrices, at least 2.
        """
        field, build = self._field, type(self._field).get_veff
        times = [start.seconds]

        def counted(mol: Any, density: Any, *last: Any) -> Any:
            if density is start.density:
                return start.potential
            began = time.perf_counter()
            potential = build(field, mol, density, *last)
            times.append(time.perf_counter() - began)
            return potential

        field.max_cycle = max_cycles - 1
        field.get_veff = counted
        try:
            field.kernel(start.density)
        finally:
            del field.get_veff
        return Run(
            converged=bool(field.converged),
            energy=float(field.e_tot),
            build_seconds=tuple(times),
            hamiltonian=np.asarray(self._core + field.last_potential),
            density=np.asarray(field.make_rdm1()),
        )
