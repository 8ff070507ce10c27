"""Readers of what ASE writes: extended xyz and ASE databases, as input for labels.

ASE's units are angstrom and eV; a file may declare others, as SchNetPack's databases and our own
exports do (:func:`declared_units`), and then all labels that it declares are read. Molecules only:
a periodic cell or a charge is refused, because a record has no place for it and the labels would be
wrong without it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from nabladft.chemistry.units import convert
from nabladft.conformation import Conformation
from nabladft.errors import FormatError, NablaDFTError
from nabladft.fields import FIELDS, LABEL_FIELDS
from nabladft.storage.content import MODULUS, content_sum, data_hash
from nabladft.storage.flat import Texts, flatten, ordered
from nabladft.storage.source import ConformationSource, SourceInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Names under which files keep the ids, ours first.
_ID_NAMES: Final = {
    "molecule_id": ("molecule_id", "moses_id"),
    "conformation_id": ("conformation_id",),
}


#: Labels that ASE itself knows, in its units.
_ASE_UNITS: Final = {"energy": "eV", "forces": "eV/angstrom"}

#: Names under which a database declares units.
_DECLARATIONS: Final = ("units", "_distance_unit", "_property_unit_dict")

#: Names of units in SchNetPack's metadata. A dipole is a length there, a charge has no unit.
_SCHNETPACK_UNITS: Final = {
    "Ang": "angstrom",
    "Bohr": "bohr",
    "Hartree": "hartree",
    "Hartree/Bohr": "hartree/bohr",
    "Hartree/Ang": "hartree/angstrom",
    "eV": "eV",
    "eV/Ang": "eV/angstrom",
}


def declared_units(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Find the units that a file declares for positions and labels, by name.

    Args:
        metadata: Of the database, or what is known of a frame: ``units`` is a text like
            ``"positions:angstrom energy:eV"``; SchNetPack has ``_distance_unit`` and
            ``_property_unit_dict``.
    """
    if "units" in metadata:
        parts = (part.partition(":") for part in str(metadata["units"]).split())
        return {name: unit for name, _, unit in parts}
    properties = {
        name: _SCHNETPACK_UNITS.get(str(unit), str(unit))
        for name, unit in (metadata.get("_property_unit_dict") or {}).items()
        if name in LABEL_FIELDS
    }
    for name, unit in properties.items():
        if FIELDS[name].unit == "e*bohr" and unit == "bohr":
            properties[name] = "e*bohr"
        elif FIELDS[name].unit == "e":
            properties[name] = "e"
    length = metadata.get("_distance_unit")
    if length is None:
        return properties
    return {"positions": _SCHNETPACK_UNITS.get(str(length), str(length)), **properties}


class AseSource(ConformationSource):
    """The geometries of an extended xyz file or an ASE database, with energies and forces if held.

    A frame without ``molecule_id`` (or ``moses_id``) is a molecule of its own, numbered from 0 in
    the order of the file; one without ``conformation_id`` gets the next number of its molecule. The
    file is read whole at first use.

    Attributes:
        path: The file.
        format: "extxyz" or "db".
    """

    def __init__(self, path: str | Path, *, format: str) -> None:  # noqa: A002 - ASE's own word
        """Remember; nothing is read yet."""
        self.path = Path(path)
        self.format = format

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind."""
        return {"path": self.path, "format": self.format}

    @cached_property
    def info(self) -> SourceInfo:
        """What the file holds.

        Raises:
            FormatError: The file is empty, damaged, or not about molecules.
        """
        kind = "extended xyz" if self.format == "extxyz" else "ASE database"
        held = set.intersection(*(set(record.fields) for record in self._records))
        return SourceInfo(
            name=self.path.stem,
            fields=ordered(tuple(held)),
            details={"format": kind},
            location=self.path,
        )

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._records)

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id), shape (n, 2)."""
        return np.array([record.key for record in self._records], dtype=np.int64)

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all frames, shape (n,)."""
        return np.array([record.n_atoms for record in self._records], dtype=np.int64)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) that identifies the contents, whatever their order."""
        fields = self.info.fields
        texts = Texts(
            smiles=[record.smiles for record in self._records],
            geometry_origin=[record.geometry_origin for record in self._records],
        )
        total = content_sum(flatten(self._records, fields), texts, fields)
        return data_hash(total % MODULUS, len(self))

    def read(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> list[Conformation]:
        """Give frames, in the order asked for, duplicates included.

        Args:
            indices: Rows, 0 to ``len(self) - 1``; negative ones count from the end.
            fields: Labels to read; None reads every label that all frames have.

        Raises:
            InputError: An index is out of range or not an integer.
            UnknownNameError: There is no such field.
            MissingFieldError: Some frame does not hold a field that was asked for.
            FormatError: The file is empty, damaged, or not about molecules.
        """
        wanted = self.check_fields(fields)
        blank = {name: None for name in LABEL_FIELDS if name not in wanted}
        return [self._records[row].replace(**blank) for row in self.check_rows(indices)]

    @cached_property
    def _records(self) -> list[Conformation]:
        records: list[Conformation] = []
        seen: dict[int, set[int]] = {}
        for row, (atoms, known) in enumerate(self._frames()):
            molecule_id = self._id(row, known, "molecule_id", row)
            others = seen.setdefault(molecule_id, set())
            conformation_id = self._id(row, known, "conformation_id", len(others))
            if conformation_id in others:
                self._refuse(
                    row,
                    f"has molecule_id {molecule_id} and conformation_id {conformation_id}, as an "
                    "earlier frame has",
                )
            others.add(conformation_id)
            records.append(self._record(row, (molecule_id, conformation_id), atoms, known))
        if not records:
            message = f"{self.path} holds no geometries."
            raise FormatError(message)
        return records

    def _frames(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Read (atoms, what is known of them) with ASE, whose errors are of any kind."""
        import ase.db  # noqa: PLC0415 - slow to import
        import ase.io  # noqa: PLC0415

        row = 0
        try:
            if self.format == "extxyz":
                for atoms in ase.io.iread(self.path, index=":", format="extxyz"):
                    yield atoms, atoms.info | atoms.arrays
                    row += 1
            else:
                connect: Any = ase.db.connect  # untyped
                with connect(str(self.path), type="db", use_lock_file=False) as database:
                    metadata = database.metadata
                    declared = {k: metadata[k] for k in _DECLARATIONS if k in metadata}
                    for found in database.select(sort="id"):
                        yield found.toatoms(), found.data | found.key_value_pairs | declared
                        row += 1
        except NablaDFTError:
            raise
        except Exception as error:
            message = (
                f"{self.path}, frame {row} (counting from 0), cannot be read as {self.format}: "
                f"{type(error).__name__}: {error}. Correct or leave out this frame."
            )
            raise FormatError(message) from error

    def _record(
        self,
        row: int,
        key: tuple[int, int],
        atoms: Any,  # noqa: ANN401 - ASE is untyped
        known: dict[str, Any],
    ) -> Conformation:
        if atoms.pbc.any():
            self._refuse(row, "is periodic; only molecules can be read")
        charge = known.get("charge", 0)
        if charge not in (0, "0") or abs(atoms.get_initial_charges().sum()) > 1e-6:
            self._refuse(row, "is charged; only neutral molecules can be read")
        results = {} if atoms.calc is None else atoms.calc.results
        declared = declared_units(known)
        units = {"positions": "angstrom", **_ASE_UNITS, **declared}
        # What is not ASE's own counts only where its unit is declared.
        held = {**results, **{name: known[name] for name in declared if name in known}}
        try:
            labels = {
                name: _in_atomic_units(name, held[name], unit, len(atoms))
                for name, unit in units.items()
                if name in LABEL_FIELDS and held.get(name) is not None
            }
            return Conformation(
                molecule_id=key[0],
                conformation_id=key[1],
                atomic_numbers=atoms.numbers,
                positions=convert(atoms.positions, source=units["positions"], target="bohr"),
                smiles=None if known.get("smiles") is None else str(known["smiles"]),
                geometry_origin=str(known.get("geometry_origin", "input")),
                **labels,
            )
        except (NablaDFTError, TypeError, ValueError) as error:
            self._refuse(row, f"cannot be used: {error}".rstrip("."))

    def _id(self, row: int, known: dict[str, Any], name: str, default: int) -> int:
        for key in _ID_NAMES[name]:
            if key in known:
                try:
                    return int(known[key])
                except (TypeError, ValueError):
                    self._refuse(row, f"has {key} = {known[key]!r}, an integer expected")
        return default

    def _refuse(self, row: int, reason: str) -> NoReturn:
        message = f"{self.path}, frame {row} (counting from 0), {reason}."
        raise FormatError(message)


def _in_atomic_units(
    name: str,
    value: Any,  # noqa: ANN401 - as the file has it
    unit: str,
    n_atoms: int,
) -> Any:  # noqa: ANN401 - a float or an array, as FIELDS says
    """Convert a label, and take away axes of length one that files have for batching."""
    field = FIELDS[name]
    array = np.asarray(value, dtype=np.float64)
    if not field.in_orbitals and "n_orbitals" not in field.shape:
        array = array.reshape(field.shape_for(n_atoms=n_atoms, n_orbitals=None))
    found = convert(array, source=unit, target=field.unit)
    return float(found) if found.ndim == 0 else found
