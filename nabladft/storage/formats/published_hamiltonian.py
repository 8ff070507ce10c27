"""Reader of the published Hamiltonian files: SQLite tables of float32 blobs.

Atomic units throughout. A missing blob is an absent label, never zeros, and so is a column of
forces or core Hamiltonians in which all of a sample are zeros. Files of the first and the second
version have the same tables; those of the first have total energies and no forces. The file says
nothing of the order of the orbitals, nor whether its energies are total or formation energies; both
are found by looking, once, and reported in ``info``.

Source:
    The table definitions of the published code (``hamiltonian_dataset.py``): Z int32, R (bohr), E
    (hartree), F (hartree/bohr), H, S and C (full square matrices, row by row) float32.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.hamiltonian_order import order_of_hamiltonians
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

#: Columns that some files hold as zeros instead of leaving them empty.
_SOMETIMES_ZERO: Final = ("F", "C")

#: Rows whose matrices are looked at where there is no overlap.
_MATRICES_LOOKED_AT: Final = 4

#: Hartree: all levels of the lightest element below this are no Fock matrix; and how close the
#: diagonal of a core Hamiltonian of thousands of hartree is in float32.
_DEEP: Final = -3.0
_CORE_TOLERANCE: Final = 1e-2

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
        order, evidence = self._orbital_order
        return SourceInfo(
            name=self.path.stem,
            fields=ordered((*self._stored, *self.derived_fields)),
            method=PUBLISHED_METHOD,
            basis_set=DEF2_SVP.name,
            orbital_order=order,
            details={
                "format": self.kind,
                "url": self.url,
                "derived_fields": self.derived_fields,
                "program": "Psi4 1.5",
                "precision": "float32",
                "orbital_order_from": evidence,
                "matrix_in_column_H": self._matrix_in_h,
                "columns_of_zeros": self._zero_columns,
                "energy_in_file": next((n for n in self._stored if n.endswith("energy")), None),
            },
            location=self.location,
        )

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """The energy that follows from the one in the file."""
        return derivable_fields(self._stored, method=PUBLISHED_METHOD, elements=self._elements)

    @cached_property
    def ids(self) -> IntArray:
        """Ids of the rows in the file, ascending, shape (n,).

        They come from the table of ids, a few megabytes, because the matrices make even a count of
        the rows of ``data`` a walk through the whole file; unless the file itself counts otherwise.
        """
        ids = self.ids_of("dataset_ids", declared=self._declared_size)
        return ids if self._declared_size in (None, len(ids)) else self.ids_of(self.table)

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (MOSES_ID, CONFORMER_ID) of all rows, shape (n, 2)."""
        columns = "id, coalesce(MOSES_ID, -1), coalesce(CONFORMER_ID, -1)"
        found = self.integers(f"SELECT {columns} FROM dataset_ids", 3)  # noqa: S608 - our own names
        rows = self.rows_with_ids(found[:, 0])
        keys = np.full((len(self), 2), -1, dtype=np.int64)
        keys[rows[rows >= 0]] = found[rows >= 0, 1:]
        absent = np.flatnonzero((keys < 0).any(axis=1))
        if len(absent):
            self._refuse_ids(int(self.ids[absent[0]]))
        return keys

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all rows, shape (n,); of a large file this takes long."""
        found = self.integers("SELECT id, coalesce(length(Z), 0) / 4 FROM data", 2)
        rows = self.rows_with_ids(found[:, 0])
        counts = np.zeros(len(self), dtype=np.int64)
        counts[rows[rows >= 0]] = found[rows >= 0, 1]
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            self.refuse(int(self.ids[empty[0]]), "is missing, or has no atomic numbers (Z)")
        return counts

    def read_stored(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read labels that are in the file; only their columns are touched.

        Args:
            rows: From 0 to ``len(self) - 1``, in any order, with duplicates.
            fields: Labels in the file.

        Raises:
            FormatError: A row is damaged, lacks a label, or holds a value that is not finite.
        """
        ids = self.ids[rows].tolist()
        columns = ", ".join(["Z", "R", *(self._columns.get(name, "E") for name in fields)])
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
        keys = self._keys_of(rows)
        flat = FlatRecords(
            molecule_id=keys[:, 0],
            conformation_id=keys[:, 1],
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

    def _keys_of(self, rows: IntArray) -> IntArray:
        """Give the keys of some rows, without those of all where they are not at hand."""
        if "keys" in self.__dict__:
            return self.keys[rows]
        query = "SELECT MOSES_ID, CONFORMER_ID FROM dataset_ids WHERE id = ?"
        found = []
        for number in self.announced("dataset_ids", self.ids[rows].tolist()):
            key = next(self.query(query, (number,)), (None,))
            if None in key:
                self._refuse_ids(number)
            found.append(key)
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def _refuse_ids(self, number: int) -> NoReturn:
        self.refuse(number, "has no MOSES_ID and CONFORMER_ID in table 'dataset_ids'")

    @cached_property
    def _declared_size(self) -> int | None:
        """The number of rows that the file says it has."""
        if "N" not in self.tables.get("metadata", ()):
            return None
        return next((row[0] for row in self.query("SELECT N FROM metadata WHERE id = 0")), None)

    @cached_property
    def _elements(self) -> tuple[int, ...]:
        blobs = {blob for (blob,) in self.query("SELECT Z FROM nuclear_charges WHERE id = 0")}
        if not blobs:
            blobs = {blob or b"" for (blob,) in self.query("SELECT DISTINCT Z FROM data")}
        found = np.frombuffer(b"".join(blobs), dtype="<i4")
        return tuple(np.unique(found).tolist())

    @cached_property
    def _stored(self) -> tuple[str, ...]:
        """Labels in the file: columns that have values in each of some rows spread over it."""
        if len(self) == 0:
            message = f"{self.path} holds no conformations."
            raise FormatError(message)
        self._check_basis_set()
        rows = self._sampled
        held = [
            name
            for name, column in self._columns.items()
            if all(row[column] == "filled" for row in rows)
        ]
        energies = [row["energy"] for row in rows]
        if None not in energies:
            with self.place():
                held.append(energy_kind(energies, [row["atoms"] for row in rows]))
        return ordered(held)

    @cached_property
    def _zero_columns(self) -> tuple[str, ...]:
        """Columns that converters filled with zeros, because nothing was there."""
        return tuple(
            column
            for column in _COLUMNS.values()
            if all(row[column] == "zeros" for row in self._sampled)
        )

    @cached_property
    def _sampled(self) -> list[dict[str, Any]]:
        """Energy, atoms and what each column holds ("absent", "zeros", "filled") of some rows."""
        spread = np.unique(np.linspace(0, len(self) - 1, _SAMPLE).astype(int))
        sample = self.ids[spread].tolist()
        states = [
            f"CASE WHEN {column} IS NULL THEN 'absent'"
            + (
                f" WHEN {column} = zeroblob(length({column})) THEN 'zeros'"
                if column in _SOMETIMES_ZERO
                else ""
            )
            + " ELSE 'filled' END"
            for column in _COLUMNS.values()
        ]
        found = self.query_rows(", ".join(["Z", "E", *states]), sample)
        return [
            {"atoms": self._atoms(number, row[0]), "energy": row[1]}
            | dict(zip(_COLUMNS.values(), row[2:], strict=True))
            for number, row in zip(sample, found, strict=True)
        ]

    @cached_property
    def _columns(self) -> dict[str, str]:
        """Column of each label of this file."""
        if self._matrix_in_h == "hamiltonian":
            return _COLUMNS
        return {"forces": "F", "overlap": "S", "core_hamiltonian": "H"}

    @cached_property
    def _matrix_in_h(self) -> str:
        """What is in column H: the Fock matrix, or, as told of the first version, the core part.

        Electrons screen the nuclei, so the levels of hydrogen in a Fock matrix are around zero, and
        tens of hartree deeper in a core Hamiltonian. Where they are deep, it is recomputed.
        """
        ids = self.ids[:1].tolist()
        for number, (z, r, h) in zip(ids, self.query_rows("Z, R, H", ids), strict=True):
            if h is None:
                break
            atoms = self._atoms(number, z)
            n = DEF2_SVP.n_orbitals(atoms)
            matrix = self._blob(number, "H", h, (n, n))
            owner = np.repeat(atoms, DEF2_SVP.orbitals_per_atom(atoms))
            levels = np.diag(matrix)[owner == owner.min()]
            if levels.max() > _DEEP:
                return "hamiltonian"
            core = core_hamiltonian_matrix(atoms, self._blob(number, "R", r, (len(atoms), 3)))
            # Sorted, the diagonal does not depend on the order of the orbitals.
            gap = np.abs(np.sort(np.diag(core)) - np.sort(np.diag(matrix))).max()
            return "core_hamiltonian" if gap < _CORE_TOLERANCE else "hamiltonian"
        return "hamiltonian"

    @cached_property
    def _orbital_order(self) -> tuple[str, str]:
        """The order of the orbitals, and where it is known from.

        By the overlap of the first row that tells; without an overlap by the Hamiltonians.
        """
        rows = [np.array([row]) for row in range(min(len(self), _SAMPLE))]
        if "overlap" not in self._stored:
            return self._order_of_hamiltonians(rows[:_MATRICES_LOOKED_AT])
        reason: OrbitalOrderError | None = None
        for row in rows:
            flat = self.read_stored(row, ["overlap"])
            try:
                with self.place():
                    order = detect_orbital_order(
                        unpack_lower(flat.values["overlap"]), flat.atomic_numbers, flat.positions
                    )
            except OrbitalOrderError as error:
                reason = reason or error
            else:
                return order, "overlap recomputed"
        assert reason is not None
        raise reason

    def _order_of_hamiltonians(self, rows: list[IntArray]) -> tuple[str, str]:
        if "hamiltonian" in self._stored:
            flat = [self.read_stored(row, ["hamiltonian"]) for row in rows]
            order = order_of_hamiltonians(
                [unpack_lower(one.values["hamiltonian"]) for one in flat],
                [one.atomic_numbers for one in flat],
                [one.positions for one in flat],
            )
            if order is not None:
                return order, "Hamiltonians correlated with the recomputed overlap"
        return "ascending", "as documented, unchecked"

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
        array = self._blob(number, self._columns[name], value, shape)
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
