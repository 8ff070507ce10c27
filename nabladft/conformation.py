"""The record: one geometry of a molecule with the labels it has.

Example:
    >>> import numpy as np
    >>> record = Conformation(
    ...     molecule_id=7,
    ...     conformation_id=0,
    ...     atomic_numbers=np.array([1, 1]),
    ...     positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.4]]),
    ...     energy=-1.16,
    ... )
    >>> record.formation_energy is None, record.n_atoms, record.key
    (True, 2, (7, 0))
    >>> record.require("forces")
    Traceback (most recent call last):
    nabladft.errors.MissingFieldError: Conformation 7/0 has no 'forces'. It has: energy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.chemistry.elements import SYMBOLS, formula
from nabladft.errors import ConformationError, MissingFieldError
from nabladft.fields import LABEL_FIELDS, field_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

#: Largest asymmetry of a matrix that counts as round-off of float32 files, relative to its maximum.
_SYMMETRY_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False, kw_only=True)
class Conformation:
    """One geometry of a molecule, checked at construction, read-only afterwards.

    A label that is not known is ``None``, never zero. Units are atomic units, shapes and dtypes are
    those of :data:`nabladft.fields.FIELDS`. Arrays are made read-only.

    Attributes:
        molecule_id: Identifier of the chemical graph (upstream's ``moses_id``).
        conformation_id: Identifier of this geometry within the molecule.
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        smiles: SMILES of the molecule, or None when unknown.
        geometry_origin: How the geometry was made ("etkdg", "thermal 300 K", "input", ...).
        orbital_order: Order of the atomic orbitals of the matrices; None without matrices.
        basis_set: Name of the basis set of the matrices; None without matrices.

    Raises:
        ConformationError: Shapes disagree, a value is not finite, an atomic number does not exist,
            a matrix is not symmetric, or a matrix comes without its orbital order.
    """

    molecule_id: int
    conformation_id: int
    atomic_numbers: NDArray[np.int32]
    positions: FloatArray
    smiles: str | None = None
    geometry_origin: str | None = None
    orbital_order: str | None = None
    basis_set: str | None = None

    energy: float | None = None
    formation_energy: float | None = None
    forces: FloatArray | None = None
    hamiltonian: FloatArray | None = None
    overlap: FloatArray | None = None
    core_hamiltonian: FloatArray | None = None
    orbital_energies: FloatArray | None = None
    dipole: FloatArray | None = None
    mulliken_charges: FloatArray | None = None
    loewdin_charges: FloatArray | None = None
    nuclear_repulsion_energy: float | None = None
    one_electron_energy: float | None = None
    two_electron_energy: float | None = None
    xc_energy: float | None = None
    dispersion_energy: float | None = None
    homo_energy: float | None = None
    lumo_energy: float | None = None
    rotational_constants: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check and freeze every array."""
        numbers = np.asarray(self.atomic_numbers)
        if numbers.ndim != 1 or numbers.size == 0 or not np.issubdtype(numbers.dtype, np.integer):
            self._refuse(f"atomic_numbers must be integers of shape (n_atoms,), got {numbers!r}")
        if numbers.min() < 1 or numbers.max() >= len(SYMBOLS):
            self._refuse(f"atomic_numbers must be 1 to {len(SYMBOLS) - 1}, got {numbers.tolist()}")
        self._set("atomic_numbers", numbers.astype(np.int32))
        self._set("positions", self._checked("positions", self.positions, None))
        n_orbitals = self._find_n_orbitals()
        for name in LABEL_FIELDS:
            value = getattr(self, name)
            if value is not None:
                self._set(name, self._checked(name, value, n_orbitals))

    @property
    def key(self) -> tuple[int, int]:
        """The pair (molecule_id, conformation_id) that identifies the record."""
        return (self.molecule_id, self.conformation_id)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return int(self.atomic_numbers.shape[0])

    @property
    def formula(self) -> str:
        """Molecular formula in Hill order."""
        return formula(self.atomic_numbers)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the labels that this record has."""
        return tuple(name for name in LABEL_FIELDS if getattr(self, name) is not None)

    def require(self, name: str) -> Any:  # noqa: ANN401 - a float or an array, as FIELDS says
        """Return a label, or refuse when the record does not have it.

        Raises:
            UnknownNameError: There is no such field.
            MissingFieldError: This record lacks it.
        """
        field_named(name)
        value = getattr(self, name)
        if value is None:
            has = ", ".join(self.fields) or "no labels"
            message = f"Conformation {self._label} has no {name!r}. It has: {has}."
            raise MissingFieldError(message)
        return value

    def replace(self, **changes: Any) -> Conformation:  # noqa: ANN401 - any attribute
        """Return a copy with some attributes changed, checked again."""
        return dataclasses.replace(self, **changes)

    @property
    def _label(self) -> str:
        return f"{self.molecule_id}/{self.conformation_id}"

    def _find_n_orbitals(self) -> int | None:
        for name, field in LABEL_FIELDS.items():
            value = getattr(self, name)
            if value is not None and "n_orbitals" in field.shape:
                if field.in_orbitals and (self.orbital_order is None or self.basis_set is None):
                    self._refuse(
                        f"{name} comes without its orbital_order and basis_set. Pass both; an "
                        "unknown order is found with nabladft.chemistry.orbital_detection"
                    )
                return int(np.shape(value)[-1]) if np.ndim(value) else 0
        return None

    def _checked(self, name: str, value: Any, n_orbitals: int | None) -> Any:  # noqa: ANN401
        field = field_named(name)
        try:
            array = np.array(value, dtype=field.dtype)
        except (TypeError, ValueError) as error:
            self._refuse(f"{name} is not a number or array of numbers: {error}")
        expected = field.shape_for(n_atoms=self.n_atoms, n_orbitals=n_orbitals)
        if array.shape != expected:
            self._refuse(f"{name} must have shape {field.shape} = {expected}, got {array.shape}")
        if not np.isfinite(array).all():
            self._refuse(
                f"{name} holds {int((~np.isfinite(array)).sum())} values that are not finite"
            )
        if field.symmetric:
            gap = float(np.abs(array - array.T).max())
            if gap > _SYMMETRY_TOLERANCE * max(1.0, float(np.abs(array).max())):
                self._refuse(f"{name} is not symmetric: max |A - A^T| = {gap:.1e} {field.unit}")
        if array.ndim == 0:
            return float(array)
        array.setflags(write=False)
        return array

    def _refuse(self, reason: str) -> None:
        message = f"Conformation {self._label}: {reason}."
        raise ConformationError(message)

    def _set(self, name: str, value: object) -> None:
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        object.__setattr__(self, name, value)
