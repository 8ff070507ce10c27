"""Reader of the published Hamiltonian files: SQLite tables of float32 blobs.

Atomic units throughout. A missing blob is an absent label, never zeros. The file says nothing of
the order of the orbitals, nor whether its energies are total or formation energies; both are found
by looking, once, and reported in ``info``.

Source:
    The table definitions of the published code (``hamiltonian_dataset.py``): Z int32, R (bohr), E
    (hartree), F (hartree/bohr), H, S and C (full square matrices, row by row) float32.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.orbital_detection import detect_orbital_order
from nabladft.chemistry.packing import pack_lower, unpack_lower
from nabladft.errors import FormatError, OrbitalOrderError
from nabladft.fields import FIELDS
from nabladft.storage.derived import PUBLISHED_METHOD, derivable_fields, energy_kind
from nabladft.storage.flat import FlatRecords, Texts, ordered
from nabladft.storage.formats.sqlite_source import SqliteSource
from nabladft.storage.ragged import offsets_of
from nabladft.storage.source import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Column of each label. C is called "core Hamiltonian" in the code and "coefficients" in the
#: documentation of the published files; in the shipped ones it is empty.
_COLUMNS: Final = {"forces": "F", "hamiltonian": "H", "overlap": "S", "core_hamiltonian": "C"}

#: Rows looked at to find out which columns are filled and what kind of energy they hold.
_SAMPLE: Final = 32

#: Largest asymmetry of a float32 matrix that is round-off, relative to its largest element.
_SYMMETRY_TOLERANCE: Final = 1e-5


class PublishedHamiltonianSource(SqliteSource):
    """A published Hamiltonian file."""

    table: ClassVar[str] = "data"
    kind: ClassVar[str] = "published Hamiltonian file"
    required: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("id", "Z", "R", "E", "F", "H", "S", "C"),
        "dataset_ids": ("id", "MOSES_ID", "CONFORMER_ID"),
        "basisset": ("Z", "orbitals"),
        "nuclear_charges": ("id", "Z"),
    }

    @cached_property
    def info(self) -> SourceInfo:
        """What is known of these files, and what looking at this one adds.

        Raises:
            FormatError: The file is empty or damaged, or is in another basis set.
            OrbitalOrderError: The overlap matrix fits no known orbital order.
        """
        order = self._orbital_order
        checked = "overlap recomputed" if "overlap" in self._stored else "as documented, unchecked"
        return SourceInfo(
            name=self.path.stem,
            fields=ordered((*self._stored, *self.derived_fields)),
            method=PUBLISHED_METHOD,
            basis_set=DEF2_SVP.name,
            orbital_order=order,
            details={
                "format": self.kind,
                "derived_fields": self.derived_fields,
                "program": "Psi4 1.5",
                "precision": "float32",
                "orbital_order_from": checked,
                "energy_in_file": next((n for n in self._stored if n.endswith("energy")), None),
            },
            location=self.path,
        )

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """The energy that follows from the one in the file."""
        return derivable_fields(self._stored, method=PUBLISHED_METHOD, elements=self._elements)

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (MOSES_ID, CONFORMER_ID) of all rows, shape (n, 2)."""
        found = self.query("SELECT id, MOSES_ID, CONFORMER_ID FROM dataset_ids")
        by_id = {number: key for number, *key in found}
        for number in self.ids.tolist():
            if None in by_id.get(number, [None]):
                self.refuse(number, "has no MOSES_ID and CONFORMER_ID in table 'dataset_ids'")
        keys = [by_id[number] for number in self.ids.tolist()]
        return np.array(keys, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all rows, shape (n,)."""
        by_id = dict(self.query("SELECT id, length(Z) / 4 FROM data"))
        return np.array([by_id[number] for number in self.ids.tolist()], dtype=np.int64)

    def read_stored(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read labels that are in the file; only their columns are touched.

        Args:
            rows: From 0 to ``len(self) - 1``, in any order, with duplicates.
            fields: Labels in the file.

        Raises:
            FormatError: A row is damaged, lacks a label, or holds a value that is not finite.
        """
        ids = self.ids[rows].tolist()
        columns = ", ".join(["Z", "R", *(_COLUMNS.get(name, "E") for name in fields)])
        sized = [name for name in fields if FIELDS[name].symmetric]
        numbers, positions, orbitals = [], [], []
        labels: dict[str, list[Any]] = {name: [] for name in fields}
        for number, (z, r, *values) in zip(ids, self.query_rows(columns, ids), strict=True):
            atoms = self._atoms(number, z)
            n_orbitals = DEF2_SVP.n_orbitals(atoms) if sized else 0
            numbers.append(atoms)
            positions.append(self._blob(number, "R", r, (len(atoms), 3)))
            orbitals.append(n_orbitals)
            for name, value in zip(fields, values, strict=True):
                labels[name].append(self._label(number, name, value, len(atoms), n_orbitals))
        counts = np.array([len(atoms) for atoms in numbers], dtype=np.int64)
        flat = FlatRecords(
            molecule_id=self.keys[rows, 0],
            conformation_id=self.keys[rows, 1],
            atom_offsets=offsets_of(counts),
            atomic_numbers=np.concatenate([np.zeros(0, dtype=np.int32), *numbers]),
            positions=np.concatenate([np.zeros((0, 3)), *positions]),
            orbital_counts=np.array(orbitals, dtype=np.int64),
            values={name: _join(name, values) for name, values in labels.items()},
        )
        return self.check_values(flat, ids)

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Give no words: the file has none.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        n = len(self.check_rows(indices))
        return Texts(smiles=[None] * n, geometry_origin=[None] * n)

    @cached_property
    def _elements(self) -> tuple[int, ...]:
        blobs = [blob for (blob,) in self.query("SELECT Z FROM nuclear_charges WHERE id = 0")]
        if not blobs:
            return tuple(sorted({int(z) for n in self.ids.tolist() for z in self._atoms_of(n)}))
        return tuple(np.unique(np.frombuffer(blobs[0], dtype="<i4")).tolist())

    @cached_property
    def _stored(self) -> tuple[str, ...]:
        """Labels in the file, judged by rows spread over all of it."""
        if len(self) == 0:
            message = f"{self.path} holds no conformations."
            raise FormatError(message)
        self._check_basis_set()
        spread = np.unique(np.linspace(0, len(self) - 1, _SAMPLE).astype(int))
        sample = self.ids[spread].tolist()
        columns = ", ".join(f"{column} IS NOT NULL" for column in _COLUMNS.values())
        rows = list(self.query_rows(f"Z, E, {columns}", sample))
        held = [name for k, name in enumerate(_COLUMNS) if all(row[2 + k] for row in rows)]
        energies = [row[1] for row in rows]
        if None not in energies:
            with self.place():
                molecules = [self._atoms(n, row[0]) for n, row in zip(sample, rows, strict=True)]
                held.append(energy_kind(energies, molecules))
        return ordered(held)

    @cached_property
    def _orbital_order(self) -> str:
        """The order of the first row whose overlap tells; as documented when there is none."""
        if "overlap" not in self._stored:
            return "ascending"
        reason: OrbitalOrderError | None = None
        for row in range(min(len(self), _SAMPLE)):
            flat = self.read_stored(np.array([row]), ["overlap"])
            try:
                with self.place():
                    return detect_orbital_order(
                        unpack_lower(flat.values["overlap"]), flat.atomic_numbers, flat.positions
                    )
            except OrbitalOrderError as error:
                reason = reason or error
        assert reason is not None
        raise reason

    def _check_basis_set(self) -> None:
        for number, blob in self.query("SELECT Z, orbitals FROM basisset"):
            shells = tuple(sorted(np.frombuffer(blob or b"", dtype="<i4").tolist()))
            expected = DEF2_SVP.shells.get(number)
            if shells != expected:
                message = (
                    f"{self.path} gives {symbol_of(number)} shells of degrees {shells}, but "
                    f"{DEF2_SVP.name}, the basis set of the published files, has {expected}."
                )
                raise FormatError(message)

    def _atoms_of(self, number: int) -> NDArray[np.int32]:
        ((blob,),) = self.query_rows("Z", [number])
        return self._atoms(number, blob)

    def _atoms(self, number: int, blob: bytes | None) -> NDArray[np.int32]:
        if not blob or len(blob) % 4:
            self.refuse(number, "has atomic numbers (Z) of the wrong size")
        return np.frombuffer(blob, dtype="<i4").astype(np.int32)

    def _blob(
        self, number: int, column: str, blob: bytes | None, shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """Turn a blob of float32 (or, in converted files, float64) into an array."""
        if blob is None:
            self.refuse(number, f"has no {column}, which other rows have")
        n_values = int(np.prod(shape))
        if len(blob) not in {4 * n_values, 8 * n_values}:
            self.refuse(
                number,
                f"has {len(blob)} bytes in {column}; {4 * n_values} expected for {shape} float32",
            )
        dtype = "<f4" if len(blob) == 4 * n_values else "<f8"
        return np.frombuffer(blob, dtype=dtype).astype(np.float64).reshape(shape)

    def _label(
        self,
        number: int,
        name: str,
        value: Any,  # noqa: ANN401 - a float, bytes or None
        n_atoms: int,
        n_orbitals: int,
    ) -> Any:  # noqa: ANN401 - a float or an array
        if name not in _COLUMNS:
            if not isinstance(value, float):
                self.refuse(number, "has no energy (E), which other rows have")
            return value
        shape = FIELDS[name].shape_for(n_atoms=n_atoms, n_orbitals=n_orbitals)
        array = self._blob(number, _COLUMNS[name], value, shape)
        if not FIELDS[name].symmetric:
            return array
        gap = float(np.abs(array - array.T).max())
        if gap > _SYMMETRY_TOLERANCE * max(1.0, float(np.abs(array).max())):
            self.refuse(number, f"has a {name} that is not symmetric: max |A - A^T| = {gap:.1e}")
        return pack_lower(array)


def _join(name: str, values: list[Any]) -> NDArray[np.float64]:
    if name not in _COLUMNS:
        return np.array(values, dtype=np.float64)
    empty = np.zeros(0) if FIELDS[name].symmetric else np.zeros((0, 3))
    return np.concatenate([empty, *values])
