"""What is checked of each predicted Hamiltonian: that it has orbitals, and who fills them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.benchmark.matrix_scores import matrix_of
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.molecular_orbitals import (
    density_matrix,
    electrons_in,
    homo_lumo,
    molecular_orbitals,
    n_electrons,
)
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import HamiltonianError, NablaDFTError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nabladft.benchmark.matrix_scores import Orbitals
    from nabladft.predictions import PredictedRecords
    from nabladft.storage.source import FlatRecords

    FloatArray = NDArray[np.float64]

#: Electrons counted by tr(PS), relative to their number.
_ELECTRONS: Final = 1e-6

#: Mean difference, hartree, of matrices that are the same.
_SAME_MATRIX: Final = 1e-3


class OrbitalChecks:
    """Looks at batches of Hamiltonians, and says at the end what their orbitals are like.

    Args:
        orbitals: How to read the matrices.
    """

    def __init__(self, orbitals: Orbitals) -> None:
        """Begin with nothing."""
        self._orbitals = orbitals
        self._n_seen = 0
        self._n_open_shells = 0
        self._n_unbound = 0
        self._n_closed_shells = 0
        self._electrons_off = 0.0

    def add(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        """Find the orbitals of each Hamiltonian, and count their electrons.

        Raises:
            HamiltonianError: They cannot be found, or are not as many electrons as the atoms have;
                or the matrices are overlap matrices or core Hamiltonians.
        """
        atoms = reference.atom_offsets
        for k, numbers in enumerate(atoms_of_each(reference)):
            geometry = (numbers, reference.positions[atoms[k] : atoms[k + 1]])
            H = matrix_of(predicted, k, numbers, self._orbitals, name="hamiltonian")
            basis, order = self._orbitals.basis_set, self._orbitals.reference_order
            S = overlap_matrix(*geometry, basis_set=basis, orbital_order=order)
            where = f"conformation {reference.molecule_id[k]}/{reference.conformation_id[k]}"
            if not self._n_seen and not k:
                _refuse_same(H, S, f"overlap matrices ({where})")
                core = core_hamiltonian_matrix(*geometry, basis_set=basis, orbital_order=order)
                _refuse_same(H, core, f"core Hamiltonians, without the electrons ({where})")
            self.count_electrons(H, S, n_electrons(numbers), where)
        self._n_seen += len(reference)

    def report(self, passed: list[str], warnings: list[str]) -> None:
        """Say what the orbitals of the Hamiltonians are like."""
        passed.append("Hamiltonians are in their declared unit, basis set and orbital order")
        if self._n_closed_shells:
            passed.append(
                f"orbitals of {self._n_closed_shells} closed shells found, tr(PS) is the number of "
                f"electrons within {self._electrons_off:.0e}"
            )
        if self._n_open_shells:
            warnings.append(f"{self._n_open_shells} conformations have an odd number of electrons")
        if self._n_unbound:
            warnings.append(
                f"in {self._n_unbound} of {self._n_closed_shells} conformations the highest "
                "occupied orbital is above zero: not all electrons are bound"
            )

    def count_electrons(
        self, H: FloatArray, S: FloatArray, n_electrons_expected: int, where: str
    ) -> None:
        """Fill the orbitals of one Hamiltonian, and count what they hold.

        Args:
            H: Hamiltonian, shape (n_orbitals, n_orbitals), hartree.
            S: Overlap matrix, in the same orbital order.
            n_electrons_expected: Electrons of the atoms.
            where: Names the conformation, for messages.

        Raises:
            HamiltonianError: The orbitals cannot be found, or hold another number.
        """
        if n_electrons_expected % 2:
            self._n_open_shells += 1
            return
        try:
            orbitals = molecular_orbitals(H, S)
            found = electrons_in(density_matrix(orbitals.coefficients, n_electrons_expected), S)
            homo, _ = homo_lumo(orbitals.energies, n_electrons_expected)
        except (NablaDFTError, np.linalg.LinAlgError) as error:
            message = f"The orbitals of {where} cannot be found: {error}"
            raise HamiltonianError(message) from error
        off = abs(found - n_electrons_expected)
        if not np.isfinite(orbitals.energies).all() or not off < _ELECTRONS * n_electrons_expected:
            message = (
                f"The orbitals of {where} hold {found:.6f} electrons, {n_electrons_expected} "
                "expected: its Hamiltonian has elements too large for float64."
            )
            raise HamiltonianError(message)
        self._electrons_off = max(self._electrons_off, off)
        self._n_unbound += homo > 0
        self._n_closed_shells += 1


def atoms_of_each(reference: FlatRecords) -> Iterator[NDArray[np.int32]]:
    """Give the atomic numbers of each conformation, shape (n_atoms,)."""
    for start, stop in itertools.pairwise(reference.atom_offsets.tolist()):
        yield reference.atomic_numbers[start:stop]


def _refuse_same(hamiltonian: FloatArray, other: FloatArray, what: str) -> None:
    if float(np.mean(np.abs(hamiltonian - other))) < _SAME_MATRIX:
        message = f"The Hamiltonians are {what}."
        raise HamiltonianError(message)
