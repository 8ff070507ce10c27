"""Writers of formats that other programs read: extended xyz, ASE databases, SchNetPack's databases.

Every file says its units, and the kind of an energy is its name: ``energy`` is a total energy,
``formation_energy`` is one. Extended xyz and ASE databases are in ASE's units (angstrom, eV), with
as many digits as identify a float64; SchNetPack's databases stay in atomic units, so they hold the
very numbers. A writer appends batches and can go on after any stop from the last batch that it has
said to be safe.

Source:
    Extended xyz: https://github.com/libAtoms/extxyz. SchNetPack's format: its
    ``schnetpack/data/atoms.py`` (metadata ``_property_unit_dict``, ``_distance_unit``,
    ``atomrefs``; one array per property in ``data``, in which a property of the molecule has a
    leading axis of length one).
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import apsw
import numpy as np

from nabladft.chemistry.elements import ISOLATED_ATOM_ENERGIES, SYMBOLS
from nabladft.chemistry.units import convert
from nabladft.errors import StoreError
from nabladft.fields import FIELDS
from nabladft.storage.derived import PUBLISHED_METHOD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords, Texts

#: Units of ASE for those of records.
ASE_UNITS: Final = {
    "bohr": "angstrom",
    "hartree": "eV",
    "hartree/bohr": "eV/angstrom",
    "e*bohr": "e*angstrom",
    "e": "e",
    "1": "1",
}

#: Names that SchNetPack's unit parser understands for those of records; charges are plain numbers.
SCHNETPACK_UNITS: Final = {
    "bohr": "Bohr",
    "hartree": "Hartree",
    "hartree/bohr": "Hartree/Bohr",
    "e*bohr": "Bohr",
    "e": None,
    "1": None,
}

#: Labels for which ASE's databases have columns.
_OF_ASE: Final = ("energy", "forces", "dipole")

#: SchNetPack looks isolated atoms up by atomic number in a list of this length.
_N_ATOMREFS: Final = 100


class ExportWriter(ABC):
    """Appends batches to one file.

    Args:
        path: File to write.
        fields: Labels of every record.
        method: Level of theory, or None.
    """

    def __init__(self, path: Path, fields: Sequence[str], method: str | None) -> None:
        """Remember; :meth:`open` touches the file."""
        self.path = path
        self.fields = tuple(fields)
        self.method = method

    @abstractmethod
    def open(self, state: int) -> None:
        """Begin (``state`` 0), or go on from the state that :meth:`append` gave last.

        What was written after that state is removed.

        Raises:
            StoreError: The file is not as it was left.
            OSError: The file cannot be written.
        """

    @abstractmethod
    def append(self, flat: FlatRecords, texts: Texts) -> int:
        """Write a batch; after the return it is on disk.

        Returns:
            The state to go on from.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def units(self) -> dict[str, str]:
        """Say the unit of positions and of every label, as written."""
        return {name: ASE_UNITS[FIELDS[name].unit] for name in ("positions", *self.fields)}


class ExtendedXyzWriter(ExportWriter):
    """Extended xyz: one frame after the other, as text."""

    def open(self, state: int) -> None:
        """Open, and cut off what came after ``state`` bytes."""
        self._file = self.path.open("r+b" if state else "wb")
        if self._file.seek(0, os.SEEK_END) < state:
            message = f"{self.path} is shorter than it was left. Delete it and export again."
            raise StoreError(message)
        self._file.truncate(state)
        self._file.seek(state)

    def append(self, flat: FlatRecords, texts: Texts) -> int:
        """Write frames and force them to disk."""
        self._file.write("".join(self._frames(flat, texts)).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _frames(self, flat: FlatRecords, texts: Texts) -> Iterator[str]:
        of_atoms = [name for name in self.fields if FIELDS[name].shape[:1] == ("n_atoms",)]
        columns = "".join(f":{name}:R:{_width(name)}" for name in of_atoms)
        units = " ".join(f"{name}:{unit}" for name, unit in self.units().items())
        for record in records_of(flat, texts):
            values = {name: _in_ase_units(name, record[name]) for name in self.fields}
            words = {
                "molecule_id": record["molecule_id"],
                "conformation_id": record["conformation_id"],
                "smiles": record["smiles"],
                "geometry_origin": record["geometry_origin"],
                **{name: values[name] for name in self.fields if name not in of_atoms},
                "units": units,
                "method": self.method,
            }
            header = " ".join(f"{k}={_word(v)}" for k, v in words.items() if v is not None)
            positions = _in_ase_units("positions", record["positions"])
            table = np.concatenate(
                [positions, *(values[name].reshape(len(positions), -1) for name in of_atoms)],
                axis=1,
            )
            yield f"{len(positions)}\n"
            yield f'Properties=species:S:1:pos:R:3{columns} {header} pbc="F F F"\n'
            for number, row in zip(record["atomic_numbers"].tolist(), table.tolist(), strict=True):
                yield f"{SYMBOLS[number]} {' '.join(map(repr, row))}\n"


class AseDatabaseWriter(ExportWriter):
    """An ASE database: energies, forces and dipoles where ASE has places for them."""

    def open(self, state: int) -> None:
        """Open, and remove rows after the first ``state``."""
        import ase.db  # noqa: PLC0415 - slow to import

        if state == 0:
            self.path.unlink(missing_ok=True)
        connect: Any = ase.db.connect  # untyped
        self._database = connect(str(self.path), type="db", use_lock_file=False)
        if state == 0:
            self._database.metadata = self.metadata()
        count = self._database.count()
        if count < state:
            message = f"{self.path} has fewer rows than it had. Delete it and export again."
            raise StoreError(message)
        if count > state:
            self._cut(state)

    def _cut(self, state: int) -> None:
        rows = [row.id for row in self._database.select(columns=["id"]) if row.id > state]
        self._database.delete(rows)
        connection = apsw.Connection(str(self.path))
        # Else new rows would leave a gap in the ids, by which SchNetPack counts.
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'systems'", (state,))
        connection.close()

    def append(self, flat: FlatRecords, texts: Texts) -> int:
        """Write rows in one transaction."""
        with self._database:
            for record in records_of(flat, texts):
                self._write(record)
        return int(self._database.count())

    def close(self) -> None:
        """Close the file; nothing is open between transactions."""

    def metadata(self) -> dict[str, Any]:
        """Give what the database says of itself."""
        units = " ".join(f"{name}:{unit}" for name, unit in self.units().items())
        return {"title": "Exported by nabladft", "units": units, "method": self.method}

    def _write(self, record: Mapping[str, Any]) -> None:
        from ase import Atoms  # noqa: PLC0415 - slow to import
        from ase.calculators import singlepoint  # noqa: PLC0415

        values = {name: _in_ase_units(name, record[name]) for name in self.fields}
        atoms = Atoms(
            numbers=record["atomic_numbers"],
            positions=_in_ase_units("positions", record["positions"]),
        )
        known = {name: values.pop(name) for name in _OF_ASE if name in values}
        if known:
            calculator: Any = singlepoint.SinglePointCalculator  # untyped
            atoms.calc = calculator(atoms, **known)
        self._database.write(atoms, key_value_pairs=_pairs(record), data=values)


class SchNetPackWriter(AseDatabaseWriter):
    """A database for SchNetPack, in atomic units."""

    def units(self) -> dict[str, str]:
        """Say the unit of positions and of every label, as SchNetPack names it."""
        return {
            name: SCHNETPACK_UNITS[FIELDS[name].unit] or "1" for name in ("positions", *self.fields)
        }

    def metadata(self) -> dict[str, Any]:
        """Give the metadata that SchNetPack needs."""
        atomrefs = {}
        if "energy" in self.fields and (self.method or "").lower() == PUBLISHED_METHOD.lower():
            atoms = [ISOLATED_ATOM_ENERGIES.get(number, 0.0) for number in range(_N_ATOMREFS)]
            atomrefs["energy"] = atoms
        return {
            "_distance_unit": "Bohr",
            "_property_unit_dict": {
                name: SCHNETPACK_UNITS[FIELDS[name].unit] for name in self.fields
            },
            "atomrefs": atomrefs,
            "method": self.method,
        }

    def _write(self, record: Mapping[str, Any]) -> None:
        from ase import Atoms  # noqa: PLC0415 - slow to import

        atoms = Atoms(numbers=record["atomic_numbers"], positions=record["positions"])
        data = {}
        for name in self.fields:
            value = np.asarray(record[name], dtype=np.float64)
            # SchNetPack joins molecules along the first axis.
            data[name] = value if FIELDS[name].shape[:1] == ("n_atoms",) else value[None]
        self._database.write(atoms, key_value_pairs=_pairs(record), data=data)


WRITERS: Final[Mapping[str, type[ExportWriter]]] = {
    "extxyz": ExtendedXyzWriter,
    "db": AseDatabaseWriter,
    "schnetpack": SchNetPackWriter,
}


def records_of(flat: FlatRecords, texts: Texts) -> Iterator[dict[str, Any]]:
    """Take batches apart into one dictionary per record; values are views."""
    atoms = flat.atom_offsets.tolist()
    for k in range(len(flat)):
        mine = slice(atoms[k], atoms[k + 1])
        yield {
            "molecule_id": int(flat.molecule_id[k]),
            "conformation_id": int(flat.conformation_id[k]),
            "smiles": texts.smiles[k],
            "geometry_origin": texts.geometry_origin[k],
            "atomic_numbers": flat.atomic_numbers[mine],
            "positions": flat.positions[mine],
            **{
                name: values[mine] if FIELDS[name].shape[:1] == ("n_atoms",) else values[k]
                for name, values in flat.values.items()
            },
        }


def _in_ase_units(name: str, value: Any) -> Any:  # noqa: ANN401 - a number or an array
    unit = FIELDS[name].unit
    found = convert(np.asarray(value, dtype=np.float64), source=unit, target=ASE_UNITS[unit])
    return float(found) if np.ndim(found) == 0 else found


def _pairs(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("molecule_id", "conformation_id", "smiles", "geometry_origin")
    return {name: record[name] for name in names if record[name] is not None}


def _width(name: str) -> int:
    return int(np.prod([axis for axis in FIELDS[name].shape if isinstance(axis, int)]))


def _word(value: float | str | NDArray[np.float64]) -> str:
    """Write one value of the comment line of a frame."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, np.ndarray):
        return '"' + " ".join(map(repr, value.tolist())) + '"'
    return repr(value)
