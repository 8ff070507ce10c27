"""Reader of the published energy files: ASE databases with labels in their own places.

ASE's own columns for energy and forces are empty in these files. The labels are in the ``data``
blob, in hartree and hartree/angstrom, and the ids and SMILES in ``key_value_pairs``. Positions are
in angstrom. Reading the blobs directly is some hundred times faster than through ASE.

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
from nabladft.errors import FormatError
from nabladft.storage.derived import PUBLISHED_METHOD, derivable_fields, energy_kind
from nabladft.storage.flat import FlatRecords, Texts, ordered
from nabladft.storage.formats.sqlite_source import SqliteSource
from nabladft.storage.ragged import offsets_of
from nabladft.storage.source import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Units that the metadata may declare, and the length of one in bohr; angstrom if they say nothing.
_LENGTHS: Final = {
    "Ang": 1.0 / PUBLISHED_BOHR_IN_ANGSTROM,
    "Angstrom": 1.0 / PUBLISHED_BOHR_IN_ANGSTROM,
    "Bohr": 1.0,
}

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
                "derived_fields": self.derived_fields,
                "program": "Psi4 1.5",
                "length_unit_in_file": self._metadata.get("_distance_unit", "Ang (not declared)"),
                "bohr_in_angstrom": PUBLISHED_BOHR_IN_ANGSTROM,
            },
            location=self.path,
        )

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """The energy that follows from the one in the file."""
        return derivable_fields(self._stored, method=PUBLISHED_METHOD, elements=self._elements())

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (moses_id, conformation_id) of all rows, shape (n, 2)."""
        return self._overview[:, :2]

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all rows, shape (n,)."""
        return self._overview[:, 2]

    @cached_property
    def _overview(self) -> IntArray:
        query = (
            "SELECT id, json_extract(key_value_pairs, '$.moses_id'),"
            " json_extract(key_value_pairs, '$.conformation_id'), natoms FROM systems ORDER BY id"
        )
        rows = list(self.query(query))
        for number, *values in rows:
            if None in values:
                self.refuse(number, "has no moses_id, conformation_id or natoms")
        return np.array([values for _, *values in rows], dtype=np.int64).reshape(-1, 3)

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
            if n_atoms is None or len(z or b"") != 4 * n_atoms or len(r or b"") != 24 * n_atoms:
                self.refuse(number, "has numbers or positions of the wrong size")
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
        """Read the SMILES; the file does not say how the geometries were made.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        rows = self.check_rows(indices)
        ids = self.ids[rows].tolist()
        pairs = (json.loads(text or "{}") for (text,) in self.query_rows("key_value_pairs", ids))
        return Texts(
            smiles=[pair.get("smiles") for pair in pairs], geometry_origin=[None] * len(ids)
        )

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        try:
            found = list(self.query("SELECT value FROM information WHERE name = 'metadata'"))
        except FormatError:
            return {}  # older files have no such table
        return cast("dict[str, Any]", json.loads(found[0][0])) if found else {}

    @cached_property
    def _length(self) -> float:
        """The file's unit of length in bohr."""
        unit = self._metadata.get("_distance_unit", "Ang")
        properties = self._metadata.get("_property_unit_dict", {})
        expected = {"energy": ("Hartree",), "forces": (f"Hartree/{unit}",)}
        for name, known in expected.items():
            if properties.get(name, known[0]) not in known:
                message = (
                    f"{self.path} declares {name} in {properties[name]!r}; only {known[0]!r} is "
                    "known of published files. Convert the file, or correct its metadata."
                )
                raise FormatError(message)
        if unit not in _LENGTHS:
            message = (
                f"{self.path} declares lengths in {unit!r}; known: {', '.join(_LENGTHS)}. "
                "Correct its metadata."
            )
            raise FormatError(message)
        return _LENGTHS[unit]

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

    def _key(self, number: int, pairs: str | None) -> tuple[int, int]:
        try:
            values = json.loads(pairs or "{}")
            return int(values["moses_id"]), int(values["conformation_id"])
        except (KeyError, ValueError, TypeError):
            self.refuse(number, "has no moses_id or conformation_id")

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
