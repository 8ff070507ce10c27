"""What a quantum-chemistry program must offer to make labels, and how one is found.

A backend is one file, ``nabladft/labels/backends/<name>.py``, with a function
``create_backend(**options)``. Adding a program is adding such a file; nothing else changes, because
everything after it sees only :class:`LabelResult`.

Example:
    >>> backend = load_backend("pyscf")
    >>> backend.level_of_theory.functional
    'wB97X-D'
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nabladft.errors import UnknownNameError, missing_extra
from nabladft.labels import backends

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class LevelOfTheory:
    """Everything that decides the value of a label, in words that a manifest can hold.

    Two stores may be mixed only if these agree (versions of the program aside).
    """

    functional: str
    dispersion: str
    basis_set: str
    grid: str
    fitting: str
    convergence: str
    program: str
    program_version: str

    def to_dict(self) -> dict[str, str]:
        """Return the fields as plain strings, for a manifest."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """The labels of one conformation, in atomic units, checked by the backend.

    Attributes:
        energy: Total energy with dispersion, hartree.
        forces: Shape (n_atoms, 3), hartree/bohr, with dispersion.
        hamiltonian: Kohn-Sham matrix, shape (n_orbitals, n_orbitals), hartree, symmetric.
        orbital_order: Sequence of the orbitals in ``hamiltonian`` ("pyscf", "psi4", ...).
        n_scf_cycles: Iterations until self-consistency, coarse ones included.
        seconds: Wall time.
        extras: What the program knows besides, for the backend at hand; see its documentation.
    """

    energy: float
    forces: NDArray[np.float64]
    hamiltonian: NDArray[np.float64]
    orbital_order: str
    n_scf_cycles: int
    seconds: float
    extras: dict[str, float | NDArray[np.float64]] = field(default_factory=dict)


@runtime_checkable
class LabelBackend(Protocol):
    """A program that labels conformations at one level of theory."""

    @property
    def name(self) -> str:
        """Name of the backend, as given to :func:`load_backend`."""

    @property
    def level_of_theory(self) -> LevelOfTheory:
        """What the labels mean."""

    def label(
        self,
        atomic_numbers: NDArray[np.integer],
        positions: NDArray[np.float64],
        *,
        charge: int = 0,
    ) -> LabelResult:
        """Compute and check the labels of one conformation.

        Args:
            atomic_numbers: Shape (n_atoms,).
            positions: Shape (n_atoms, 3), bohr.
            charge: Total charge in elementary charges.

        Raises:
            UnsupportedElementError: An element is outside the level of theory.
            LabelError: The input cannot be labelled, or the result fails a check.
            ConvergenceError: The calculation did not converge.
        """


def list_backends() -> list[str]:
    """List the names of the backends of this package, installed program or not."""
    return sorted(module.name for module in pkgutil.iter_modules(backends.__path__))


def load_backend(name: str, **options: Any) -> LabelBackend:
    """Create a backend by the name of its file.

    Args:
        name: One of :func:`list_backends`.
        **options: Passed to the backend's ``create_backend``.

    Raises:
        UnknownNameError: There is no such backend.
        MissingExtraError: The program behind it is not installed.
    """
    if name not in list_backends():
        raise UnknownNameError("label backend", name, list_backends())
    try:
        module = importlib.import_module(f"{backends.__name__}.{name}")
    except ImportError as error:
        raise missing_extra(f"Labelling with {name}", "label", error) from error
    backend: LabelBackend = module.create_backend(**options)
    return backend
