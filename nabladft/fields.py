"""The vocabulary: every stored or predicted quantity with its name, shape, unit, dtype and meaning.

If a number is not declared here, it does not exist in this package. Stores, predictions files,
metrics and documentation all take name, shape and unit from this table.

Example:
    >>> FIELDS["forces"].unit, FIELDS["forces"].shape
    ('hartree/bohr', ('n_atoms', 3))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nabladft.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Field:
    """One quantity of a conformation.

    Attributes:
        name: The only name of this quantity, in code, files, tables and documentation.
        shape: Axes; ``"n_atoms"`` and ``"n_orbitals"`` vary from conformation to conformation.
        unit: Name of the unit, as in :mod:`nabladft.chemistry.units`. Always atomic units.
        dtype: Type in memory.
        description: Meaning, in one sentence.
        symmetric: Whether the last two axes form a symmetric matrix, stored as its lower triangle.
        in_orbitals: Whether the values depend on the order of the atomic orbitals.
    """

    name: str
    shape: tuple[str | int, ...]
    unit: str
    dtype: str
    description: str
    symmetric: bool = False
    in_orbitals: bool = False

    def shape_for(self, *, n_atoms: int, n_orbitals: int | None) -> tuple[int, ...]:
        """Put the sizes of one conformation into :attr:`shape`.

        Raises:
            ValueError: The shape depends on n_orbitals, which is None.
        """
        if "n_orbitals" in self.shape and n_orbitals is None:
            message = f"The shape of {self.name} {self.shape} needs n_orbitals."
            raise ValueError(message)
        sizes: Mapping[str, int] = {"n_atoms": n_atoms, "n_orbitals": n_orbitals or 0}
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.shape)


def _table(*fields: Field) -> dict[str, Field]:
    return {field.name: field for field in fields}


_SQUARE: Final = ("n_orbitals", "n_orbitals")

#: Geometry, present in every record.
GEOMETRY_FIELDS: Final = _table(
    Field("atomic_numbers", ("n_atoms",), "1", "int32", "Nuclear charges."),
    Field("positions", ("n_atoms", 3), "bohr", "float64", "Nuclear coordinates."),
)

#: Labels, each of which a record may lack.
LABEL_FIELDS: Final = _table(
    Field(
        "energy", (), "hartree", "float64", "Total energy with nuclear repulsion and dispersion."
    ),
    Field("formation_energy", (), "hartree", "float64", "Total energy minus isolated atoms."),
    Field("forces", ("n_atoms", 3), "hartree/bohr", "float64", "Minus the gradient of the energy."),
    Field(
        "hamiltonian",
        _SQUARE,
        "hartree",
        "float64",
        "Kohn-Sham (Fock) matrix of the converged density, atomic-orbital basis.",
        symmetric=True,
        in_orbitals=True,
    ),
    Field(
        "overlap",
        _SQUARE,
        "1",
        "float64",
        "Overlap of the atomic orbitals.",
        symmetric=True,
        in_orbitals=True,
    ),
    Field(
        "core_hamiltonian",
        _SQUARE,
        "hartree",
        "float64",
        "Kinetic energy plus attraction by the nuclei, atomic-orbital basis.",
        symmetric=True,
        in_orbitals=True,
    ),
    Field("orbital_energies", ("n_orbitals",), "hartree", "float64", "Eigenvalues, ascending."),
    Field("dipole", (3,), "e*bohr", "float64", "Electric dipole moment about the origin."),
    Field("mulliken_charges", ("n_atoms",), "e", "float64", "Mulliken partial charges."),
    Field("loewdin_charges", ("n_atoms",), "e", "float64", "Loewdin partial charges."),
    Field("nuclear_repulsion_energy", (), "hartree", "float64", "Repulsion of the nuclei."),
    Field("one_electron_energy", (), "hartree", "float64", "Trace of density and core H."),
    Field("two_electron_energy", (), "hartree", "float64", "Coulomb plus exact exchange."),
    Field("xc_energy", (), "hartree", "float64", "Exchange-correlation energy on the grid."),
    Field("dispersion_energy", (), "hartree", "float64", "Empirical dispersion, in the total."),
    Field("homo_energy", (), "hartree", "float64", "Energy of the highest occupied orbital."),
    Field("lumo_energy", (), "hartree", "float64", "Energy of the lowest empty orbital."),
    Field(
        "rotational_constants",
        (3,),
        "hartree",
        "float64",
        "1 / (2 I) of the principal moments of inertia, most abundant isotopes, A >= B >= C.",
    ),
)

#: Every quantity, by name.
FIELDS: Final = GEOMETRY_FIELDS | LABEL_FIELDS


def field_named(name: str) -> Field:
    """Look a field up.

    Raises:
        UnknownNameError: There is no such field; the message has the closest one.
    """
    try:
        return FIELDS[name]
    except KeyError:
        raise UnknownNameError("field", name, FIELDS) from None
