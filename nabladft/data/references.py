"""Approximate Hamiltonians that a model corrects: computed for every conformation, kept for reuse.

A reference is one of the guesses of :mod:`nabladft.labels.guesses`, in hartree, so that what is
left to learn is one to two orders of magnitude smaller. It follows from elements and geometry
alone, so it is there when a model is used as well as when it is trained, at the price of computing
it: for 20 atoms on one core tenths of a second (``core``, ``sap``) to seconds (``minao``).

Example:
    >>> references = ReferenceHamiltonians("core")
    >>> hydrogen = np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.4]])
    >>> references.triangle(*hydrogen).shape  # 10 orbitals, packed
    (55,)
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, basis_set_named
from nabladft.chemistry.packing import pack_lower
from nabladft.errors import InputError, UnknownNameError, missing_extra
from nabladft.labels.guesses import GUESS_METHODS, guess_hamiltonian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


class ReferenceHamiltonians:
    """Computes references and remembers them, in memory or in a folder.

    Args:
        method: One of :data:`nabladft.labels.guesses.GUESS_METHODS`: ``core`` and ``sap`` integrate
            nothing over electrons, ``minao``, ``atom`` and ``huckel`` are Fock matrices.
        basis_set: Of the matrices; all but ``core`` know def2-SVP only.
        folder: Where to keep them, one file each, for processes to share and for later runs; None
            keeps them in memory.

    Raises:
        UnknownNameError: There is no such method or basis set.
        InputError: The method does not know the basis set.
        MissingExtraError: The method needs PySCF, which is not installed.
    """

    def __init__(
        self, method: str, basis_set: str = DEF2_SVP.name, *, folder: Path | None = None
    ) -> None:
        """See the class."""
        check_reference_method(method)
        if method != "core" and basis_set_named(basis_set) != DEF2_SVP:
            message = (
                f"The reference {method!r} is known in {DEF2_SVP.name} only, not in {basis_set}. "
                "The reference 'core' is known in any basis set with known exponents."
            )
            raise InputError(message)
        self.method = method
        self.basis_set = basis_set
        self.folder = folder
        self._kept: dict[str, FloatArray] = {}

    def triangle(
        self, atomic_numbers: NDArray[np.integer], positions: NDArray[np.floating[Any]]
    ) -> FloatArray:
        """Give the reference of one conformation.

        Args:
            atomic_numbers: Shape (n_atoms,).
            positions: Shape (n_atoms, 3), bohr.

        Returns:
            Packed lower triangle, hartree, orbital order "ascending". Not to be written to.

        Raises:
            InputError: ``method`` needs an even number of electrons, and there is an odd one.
        """
        numbers = np.ascontiguousarray(atomic_numbers, dtype=np.int64)
        places = np.ascontiguousarray(positions, dtype=np.float64)
        key = hashlib.sha256(numbers.tobytes() + places.tobytes()).hexdigest()[:32]
        if self.folder is None:
            if key not in self._kept:
                self._kept[key] = self._computed(numbers, places)
            return self._kept[key]
        file = self.folder / self.method / f"{key}.npy"
        if not file.is_file():
            _write_whole(file, self._computed(numbers, places))
        return np.load(file)  # type: ignore[no-any-return]

    def _computed(self, numbers: NDArray[np.int64], positions: FloatArray) -> FloatArray:
        if self.method == "core":
            # Integrals bring SciPy, which takes longer to load than a dataset to open.
            from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix  # noqa: PLC0415

            return pack_lower(
                core_hamiltonian_matrix(
                    numbers, positions, basis_set=basis_set_named(self.basis_set)
                )
            )
        from pyscf import lib  # noqa: PLC0415 - heavy and optional

        # Threads that wait for each other in molecules this small take longer than one alone.
        with lib.with_omp_threads(1):
            return pack_lower(guess_hamiltonian(numbers, positions, method=self.method))


def check_reference_method(method: str) -> None:
    """Refuse a reference that cannot be computed here.

    Raises:
        UnknownNameError: There is no such method.
        MissingExtraError: The method needs PySCF, which is not installed.
    """
    if method not in GUESS_METHODS:
        raise UnknownNameError("reference", method, GUESS_METHODS)
    if method != "core":
        try:
            import pyscf  # noqa: F401, PLC0415 - heavy and optional
        except ImportError as error:
            raise missing_extra(f"The reference {method!r}", "label", error) from error


def _write_whole(file: Path, values: FloatArray) -> None:
    """Write a file that is complete as soon as it can be seen, whoever else writes it too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.save(stream, values)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
