"""Readers of what ASE writes: extended xyz and ASE databases, as input for labels.

ASE's units are angstrom and eV; a file may declare others, as SchNetPack's databases and our own
exports do (:func:`declared_units`), and then all labels that it declares are read. Molecules only:
a periodic cell or a charge is refused, because a record has no place for it and the labels would be
wrong without it.
"""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import apsw
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


#: Files with at most this many frames are kept in memory once read.
_KEPT: Final = 4096

#: Frames read at once where all are gone through.
_STEP: Final = 256

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


@dataclass(frozen=True, eq=False)
class _Index:
    """What is kept of a file that was gone through."""

    places: IntArray  # (n,): byte at which a frame of text begins, or id of a row
    keys: IntArray  # (n, 2)
    n_atoms: IntArray  # (n,)
    held: frozenset[str]  # labels that every frame has
    kept: list[Conformation]  # all frames of a small file, none of a large one


class AseSource(ConformationSource):
    """The geometries of an extended xyz file or an ASE database, with energies and forces if held.

    A frame without ``molecule_id`` (or ``moses_id``) is a molecule of its own, numbered from 0 in
    the order of the file; one without ``conformation_id`` gets the next number of its molecule.

    At first use the file is gone through once, frame by frame, and each frame checked. What stays
    in memory is where each frame is, and the frames themselves of small files only.

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
        return SourceInfo(
            name=self.path.stem,
            fields=ordered(tuple(self._index.held)),
            details={"format": kind},
            location=self.path,
        )

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._index.places)

    @property
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id), shape (n, 2)."""
        return self._index.keys

    @property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all frames, shape (n,)."""
        return self._index.n_atoms

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) that identifies the contents, whatever their order."""
        fields, total = self.info.fields, 0
        for start in range(0, len(self), _STEP):
            records = self.read(range(start, min(start + _STEP, len(self))), fields=fields)
            texts = Texts(
                smiles=[record.smiles for record in records],
                geometry_origin=[record.geometry_origin for record in records],
            )
            total += content_sum(flatten(records, fields), texts, fields)
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
        rows = self.check_rows(indices).tolist()
        kept = self._index.kept
        found = [kept[row] for row in rows] if kept else list(self._read_frames(rows))
        return [record.replace(**blank) for record in found]

    @cached_property
    def _index(self) -> _Index:
        """Go through the file once: check every frame and note where it is."""
        places, keys, counts = array("q"), array("q"), array("q")
        held: set[str] | None = None
        kept: list[Conformation] = []
        seen: dict[int, set[int]] = {}
        for row, (place, atoms, known) in enumerate(self._frames()):
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
            record = self._record(row, (molecule_id, conformation_id), atoms, known)
            places.append(place)
            keys.extend(record.key)
            counts.append(record.n_atoms)
            held = set(record.fields) if held is None else held & set(record.fields)
            if row < _KEPT:
                kept.append(record)
        if held is None:
            message = f"{self.path} holds no geometries."
            raise FormatError(message)
        return _Index(
            places=np.array(places, dtype=np.int64),
            keys=np.array(keys, dtype=np.int64).reshape(-1, 2),
            n_atoms=np.array(counts, dtype=np.int64),
            held=frozenset(held),
            kept=kept if len(places) <= _KEPT else [],
        )

    def _read_frames(self, rows: Sequence[int]) -> Iterator[Conformation]:
        places = self._index.places[rows].tolist()
        for row, (_, atoms, known) in zip(rows, self._frames(places, rows), strict=True):
            molecule_id, conformation_id = self._index.keys[row].tolist()
            yield self._record(row, (molecule_id, conformation_id), atoms, known)

    def _frames(
        self, places: Sequence[int] | None = None, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Any, dict[str, Any]]]:
        """Give (place, atoms, what is known of them) of the frames at some places, or of all.

        ASE reads each frame, and its errors are of any kind.
        """
        found = self._xyz_frames(places) if self.format == "extxyz" else self._db_frames(places)
        row = 0
        while True:
            try:
                frame = next(found, None)
            except NablaDFTError:
                raise
            except Exception as error:
                number = row if rows is None else rows[row]
                message = (
                    f"{self.path}, frame {number} (counting from 0), cannot be read as "
                    f"{self.format}: {type(error).__name__}: {error}. Correct or leave out this "
                    "frame."
                )
                raise FormatError(message) from error
            if frame is None:
                return
            yield frame
            row += 1

    def _xyz_frames(
        self, places: Sequence[int] | None
    ) -> Iterator[tuple[int, Any, dict[str, Any]]]:
        """Cut the text into frames: the number of atoms, a comment, a line for each atom."""
        import ase.io  # noqa: PLC0415 - slow to import

        with self.path.open("rb") as file:
            wanted = iter(places) if places is not None else None
            while True:
                if wanted is not None:
                    place = next(wanted, None)
                    if place is None:
                        return
                    file.seek(place)
                else:
                    place = file.tell()
                first = file.readline()
                if not first:
                    return
                if not first.strip():
                    continue
                lines = [first, *islice(file, int(first) + 1)]
                text = io.StringIO(b"".join(lines).decode())
                atoms: Any = ase.io.read(text, format="extxyz")
                yield place, atoms, atoms.info | atoms.arrays

    def _db_frames(self, places: Sequence[int] | None) -> Iterator[tuple[int, Any, dict[str, Any]]]:
        import ase.db  # noqa: PLC0415 - slow to import

        connect: Any = ase.db.connect  # untyped
        with connect(str(self.path), type="db", use_lock_file=False) as database:
            metadata = database.metadata
            declared = {key: metadata[key] for key in _DECLARATIONS if key in metadata}
            # Row by row: a selection of all rows would hold them all.
            for place in self._db_ids() if places is None else places:
                found = database.get(id=place)
                yield place, found.toatoms(), found.data | found.key_value_pairs | declared

    def _db_ids(self) -> list[int]:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            found = connection.execute("SELECT id FROM systems ORDER BY id")
            return [number for (number,) in found]
        finally:
            connection.close()

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
