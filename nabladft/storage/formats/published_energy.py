"""Reader of the published energy files: ASE databases with labels in their own places.

ASE's own columns for energy and forces are empty in these files. The labels are in the ``data``
blob, in hartree and hartree/angstrom, and the ids and SMILES in ``key_value_pairs``. Positions are
in angstrom. Reading the blobs directly is some hundred times faster than through ASE.

Files of the first version hold total energies and no forces, and are told by their values. Files of
trajectories are the same with ``iteration`` among the ids.

Source:
    The file format of ASE's SQLite back end, version 9 (``ase/db/sqlite.py``: ``object_to_bytes``);
    the published files and the code that reads them.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import numpy as np

from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.errors import FormatError, NablaDFTError
from nabladft.storage.derived import PUBLISHED_METHOD, derivable_fields, energy_kind
from nabladft.storage.flat import FlatRecords, Texts, ordered
from nabladft.storage.formats.frames import FRAME_RULE, FRAMES_PER_CONFORMATION, frame_id
from nabladft.storage.formats.lengths import length_unit
from nabladft.storage.formats.sqlite_source import SqliteSource
from nabladft.storage.ragged import offsets_of
from nabladft.storage.source import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Units of length that the metadata may declare; angstrom if they say nothing.
_LENGTHS: Final = {"Ang": "angstrom", "Angstrom": "angstrom", "Bohr": "bohr"}

#: Each of them in bohr, with the value of bohr of the program that made the labels.
_IN_BOHR: Final = {"angstrom": 1.0 / PUBLISHED_BOHR_IN_ANGSTROM, "bohr": 1.0}

#: Rows looked at to tell total from formation energies.
_SAMPLE: Final = 8


class PublishedEnergySource(SqliteSource):
    """A published energy file: formation energies and forces, total energies derived."""

    table: ClassVar[str] = "systems"
    kind: ClassVar[str] = "published energy file"
    required: ClassVar[dict[str, tuple[str, ...]]] = {
        "systems": ("id", "numbers", "positions", "natoms", "key_value_pairs", "data"),
        "species": ("Z", "id"),
    }

    @cached_property
    def info(self) -> SourceInfo:
        """What is known of these files.

        Raises:
            FormatError: The file is empty or damaged, or declares units that are not known here.
        """
        return SourceInfo(
            name=self.path.stem,
            fields=ordered((*self._stored, *self.derived_fields)),
            method=PUBLISHED_METHOD,
            details={
                "format": self.kind,
                "url": self.url,
                "derived_fields": self.derived_fields,
                "program": "Psi4 1.5",
                "length_unit_in_file": self._length_unit,
                "length_unit_declared": self._metadata.get("_distance_unit"),
                "frames": FRAME_RULE if self.is_trajectory else None,
                "bohr_in_angstrom": PUBLISHED_BOHR_IN_ANGSTROM,
            },
            location=self.location,
        )

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """The energy that follows from the one in the file."""
        return derivable_fields(self._stored, method=PUBLISHED_METHOD, elements=self._elements())

    @cached_property
    def is_trajectory(self) -> bool:
        """Whether the rows are frames of relaxations, told apart by ``iteration``."""
        if len(self) == 0:
            return False
        ((pairs,),) = self.query_rows("key_value_pairs", self.ids[:1].tolist())
        return "iteration" in self._pairs(int(self.ids[0]), pairs)

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (moses_id, conformation_id) of all rows, shape (n, 2).

        Of a trajectory the second is the id of the frame (:mod:`nabladft.storage.formats.frames`).
        ASE keeps numbers in a narrow table as well, which is a hundredth of the file; only where
        that table is not complete are the rows themselves gone through.

        Raises:
            FormatError: A row has no ids, or two frames have the same.
        """
        names = self._id_names
        found = np.full((len(self), len(names)), -1, dtype=np.int64)
        if "number_key_values" in self.tables:
            for column, name in enumerate(names):
                # The plus keeps SQLite from an index that would fetch the rows one by one.
                query = (
                    "SELECT id, CAST(value AS INTEGER) FROM number_key_values"  # noqa: S608 - our own names
                    f" WHERE +key = '{name}'"
                )
                ids, values = self.integers(query, 2).T
                rows = self.rows_with_ids(ids)
                found[rows[rows >= 0], column] = values[rows >= 0]
        if (found < 0).any():
            found = self._ids_in_rows(names)
        return self._checked_frames(found) if self.is_trajectory else found

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all rows, shape (n,).

        Raises:
            FormatError: A row has no atoms.
        """
        ids, counts = self.integers("SELECT id, n FROM species", 2).T
        rows = self.rows_with_ids(ids)
        found = np.bincount(rows[rows >= 0], weights=counts[rows >= 0], minlength=len(self))
        empty = np.flatnonzero(found == 0)
        if len(empty):
            self.refuse(int(self.ids[empty[0]]), "has no atoms in table 'species'")
        return found.astype(np.int64)

    @cached_property
    def _id_names(self) -> tuple[str, ...]:
        frames = ("iteration",) if self.is_trajectory else ()
        return ("moses_id", "conformation_id", *frames)

    def _ids_in_rows(self, names: tuple[str, ...]) -> IntArray:
        """Read the ids out of the rows themselves; much slower than the narrow table."""
        columns = ", ".join(f"coalesce(json_extract(key_value_pairs, '$.{n}'), -1)" for n in names)
        found = self.integers(f"SELECT {columns} FROM systems ORDER BY id", len(names))  # noqa: S608 - our own names
        bad = np.flatnonzero((found < 0).any(axis=1))
        if len(bad):
            number = int(self.ids[bad[0]])
            ((pairs,),) = self.query_rows("key_value_pairs", [number])
            self._key(number, pairs)
        return found

    def _checked_frames(self, found: IntArray) -> IntArray:
        """Join conformation and iteration to the ids of frames, each of which is there once."""
        wrong = np.flatnonzero(found[:, 2] >= FRAMES_PER_CONFORMATION)
        if len(wrong):
            self.refuse(int(self.ids[wrong[0]]), f"has iteration {found[wrong[0], 2]}")
        keys = np.stack(
            [found[:, 0], (found[:, 1] + 1) * FRAMES_PER_CONFORMATION + found[:, 2]], axis=1
        )
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        same = np.flatnonzero((keys[order[1:]] == keys[order[:-1]]).all(axis=1))
        if len(same):
            first, second = sorted(self.ids[order[same[0] : same[0] + 2]].tolist())
            molecule_id, conformation_id, iteration = found[order[same[0]]].tolist()
            self.refuse(
                second,
                f"has moses_id {molecule_id}, conformation_id {conformation_id} and iteration "
                f"{iteration}, as the row with id {first} has",
            )
        return keys

    def read_stored(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read labels that are in the file, converted to atomic units.

        Args:
            rows: From 0 to ``len(self) - 1``, in any order, with duplicates.
            fields: Labels in the file.

        Raises:
            FormatError: A row is damaged, lacks a label, or holds a value that is not finite.
        """
        ids = self.ids[rows].tolist()
        columns = "natoms, numbers, positions, key_value_pairs" + (", data" if fields else "")
        counts, numbers, positions, keys = [], [], [], []
        labels: dict[str, list[Any]] = {name: [] for name in fields}
        for number, (n_atoms, z, r, pairs, *data) in zip(
            ids, self.query_rows(columns, ids), strict=True
        ):
            self._geometry(number, n_atoms, z, r)
            counts.append(n_atoms)
            numbers.append(z)
            positions.append(r)
            keys.append(self._key(number, pairs))
            if fields:
                found = self._labels(number, data[0], n_atoms)
                for name in fields:
                    if name not in found:
                        self.refuse(number, f"has no {name}, which other rows have")
                    labels[name].append(found[name])
        flat = FlatRecords(
            molecule_id=np.array([key[0] for key in keys], dtype=np.int64),
            conformation_id=np.array([key[1] for key in keys], dtype=np.int64),
            atom_offsets=offsets_of(np.array(counts, dtype=np.int64)),
            atomic_numbers=np.frombuffer(b"".join(numbers), dtype="<i4").astype(np.int32),
            positions=self._length * _vectors(positions),
            orbital_counts=np.zeros(len(ids), dtype=np.int64),
            values={
                name: _vectors(values) / self._length
                if name == "forces"
                else np.array(values, dtype=np.float64)
                for name, values in labels.items()
            },
        )
        return self.check_values(flat, ids)

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Read the SMILES; of a trajectory also the step, as origin of the geometry.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        ids = self.ids[self.check_rows(indices)].tolist()
        pairs = [
            self._pairs(number, text)
            for number, (text,) in zip(ids, self.query_rows("key_value_pairs", ids), strict=True)
        ]
        return Texts(
            smiles=[pair.get("smiles") for pair in pairs],
            geometry_origin=[
                f"DFT relaxation, step {pair['iteration']}" if "iteration" in pair else None
                for pair in pairs
            ],
        )

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        if "information" not in self.tables:
            return {}
        query = "SELECT value FROM information WHERE name = 'metadata'"
        text = next((row[0] for row in self.query(query)), None)
        try:
            found = json.loads(text or "{}")
        except ValueError as error:
            message = f"{self.path} has metadata that are not JSON ({error}). Download it again."
            raise FormatError(message) from error
        return found if isinstance(found, dict) else {}

    @cached_property
    def _length_unit(self) -> str:
        """The unit of length: what the bonds of some molecules say, else what is declared.

        Files of the first version declare bohr without having been converted, so a declaration
        alone is not trusted.
        """
        declared = self._metadata.get("_distance_unit", "Ang")
        if declared not in _LENGTHS:
            message = (
                f"{self.path} declares lengths in {declared!r}; known: {', '.join(_LENGTHS)}. "
                "Correct its metadata."
            )
            raise FormatError(message)
        properties = self._metadata.get("_property_unit_dict") or {}
        for name, known in {"energy": "Hartree", "forces": f"Hartree/{declared}"}.items():
            if properties.get(name, known) != known:
                message = (
                    f"{self.path} declares {name} in {properties[name]!r}; only {known!r} is "
                    "known of published files. Convert the file, or correct its metadata."
                )
                raise FormatError(message)
        found = length_unit(*self._sampled_geometries())
        if found in (None, _LENGTHS[declared]):
            return _LENGTHS[declared]
        if "forces" in self._stored:
            message = (
                f"{self.path} declares lengths in {declared!r}, but the bonds of its first "
                f"molecules are as long as in {found}, so the unit of its forces is not known. "
                "Correct its metadata."
            )
            raise FormatError(message)
        return found

    @cached_property
    def _length(self) -> float:
        """The file's unit of length in bohr."""
        return _IN_BOHR[self._length_unit]

    def _sampled_geometries(
        self,
    ) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float64]]]:
        molecules, geometries = [], []
        ids = self.ids[:_SAMPLE].tolist()
        for number, row in zip(
            ids, self.query_rows("natoms, numbers, positions", ids), strict=True
        ):
            n_atoms, numbers, positions = self._geometry(number, *row)
            molecules.append(np.frombuffer(numbers, dtype="<i4"))
            geometries.append(np.frombuffer(positions, dtype="<f8").reshape(n_atoms, 3))
        return molecules, geometries

    def _geometry(
        self, number: int, n_atoms: int | None, numbers: bytes | None, positions: bytes | None
    ) -> tuple[int, bytes, bytes]:
        """Give the columns back, or refuse those that do not fit together."""
        numbers, positions = numbers or b"", positions or b""
        if not n_atoms or len(numbers) != 4 * n_atoms or len(positions) != 24 * n_atoms:
            self.refuse(number, "has numbers or positions of the wrong size")
        return n_atoms, numbers, positions

    @cached_property
    def _stored(self) -> tuple[str, ...]:
        """Labels in the file, judged by its first rows."""
        if len(self) == 0:
            message = f"{self.path} holds no conformations."
            raise FormatError(message)
        sample = self.ids[:_SAMPLE].tolist()
        energies, molecules, has_forces = [], [], []
        for number, (n_atoms, numbers, data) in zip(
            sample, self.query_rows("natoms, numbers, data", sample), strict=True
        ):
            content = self._unpack(number, data, n_atoms)
            if "energy" in content:
                energies.append(self._energy(number, content))
                molecules.append(np.frombuffer(numbers, dtype="<i4"))
            has_forces.append("forces" in content)
        with self.place():
            kind = (energy_kind(energies, molecules),) if len(energies) == len(sample) else ()
        return (*kind, "forces") if all(has_forces) else kind

    def _elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, each found by one step in the index on species."""
        found: list[int] = []
        while True:
            query = "SELECT min(Z) FROM species WHERE Z > ?"
            ((number,),) = self.query(query, (found[-1] if found else 0,))
            if number is None:
                return tuple(found)
            found.append(int(number))

    def _pairs(self, number: int, text: str | None) -> dict[str, Any]:
        try:
            found = json.loads(text or "{}")
        except ValueError as error:
            self.refuse(number, f"has key_value_pairs that are not JSON ({error})")
        return found if isinstance(found, dict) else {}

    def _key(self, number: int, text: str | None) -> tuple[int, int]:
        pairs = self._pairs(number, text)
        try:
            values = [int(pairs[name]) for name in self._id_names]
        except (KeyError, ValueError, TypeError):
            self.refuse(number, f"has no {' or '.join(self._id_names)}")
        if min(values) < 0:
            self.refuse(number, f"has negative ids: {values}")
        if not self.is_trajectory:
            return values[0], values[1]
        try:
            return values[0], frame_id(values[1], values[2])
        except NablaDFTError as error:
            self.refuse(number, f"cannot be used: {error}".rstrip("."))

    def _labels(self, number: int, data: bytes | None, n_atoms: int) -> dict[str, Any]:
        content = self._unpack(number, data, n_atoms)
        labels: dict[str, Any] = {}
        if "energy" in content:
            kind = next(name for name in self._stored if name != "forces")
            labels[kind] = self._energy(number, content)
        if "forces" in content:
            labels["forces"] = content["forces"]
        return labels

    def _energy(self, number: int, content: dict[str, Any]) -> float:
        try:
            return float(np.asarray(content["energy"], dtype=np.float64).reshape(1)[0])
        except (TypeError, ValueError):
            self.refuse(number, "has an energy that is not one number")

    def _unpack(self, number: int, data: bytes | None, n_atoms: int) -> dict[str, Any]:
        """Take the data blob apart: offset of the JSON tail, arrays, JSON tail.

        Forces stay raw bytes, to be joined with those of other rows.
        """
        if not data:
            return {}
        try:
            content = json.loads(data[int.from_bytes(data[:8], "little") :])
            forces = content.get("forces")
            if forces is not None:
                shape, dtype, offset = forces["__ndarray__"]
                content["forces"] = data[offset : offset + 24 * n_atoms]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.refuse(number, f"has a damaged data column ({type(error).__name__}: {error})")
        if forces is not None and (
            tuple(shape) != (n_atoms, 3)
            or dtype != "float64"
            or len(content["forces"]) != 24 * n_atoms
        ):
            self.refuse(number, f"has forces of {dtype} {shape}, float64 [{n_atoms}, 3] expected")
        return cast("dict[str, Any]", content)


def _vectors(blobs: list[bytes]) -> NDArray[np.float64]:
    return np.frombuffer(b"".join(blobs), dtype="<f8").astype(np.float64).reshape(-1, 3)
