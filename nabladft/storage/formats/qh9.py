"""Reader of QH9: Hamiltonians of QM9 molecules at B3LYP/def2-SVP, as SQLite files.

There are two kinds of files, both with one table ``data``:

- QH9Stable: ``id, N, Z, pos, Ham``. Relaxed molecules, positions in angstrom.
- QH9Dynamic: ``id, geo_id, N, Z, pos, ekin, epot, etot, time, Ham, converged``. Steps of molecular
  dynamics, positions in bohr; ``epot`` is the total energy in hartree.

``Z`` is int32, ``pos`` and ``Ham`` (the full square) are float64. The molecule_id is the index in
QM9 (``id``, which QH9Dynamic keeps as the eight bytes of an integer), the conformation_id is
``geo_id``, or 0. The matrices are in PySCF's order of orbitals. The files hold no overlap to
confirm that, so the Hamiltonians themselves are asked
(:mod:`nabladft.chemistry.hamiltonian_order`), and the bonds for the unit of length.

Source:
    H. Yu et al., NeurIPS 2023 Datasets and Benchmarks (arXiv 2306.09549); the published code that
    writes and reads the files (divelab/AIRS, ``OpenDFT/QHBench/QH9``).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.hamiltonian_order import order_of_hamiltonians
from nabladft.chemistry.packing import pack_lower, unpack_lower
from nabladft.errors import FormatError
from nabladft.storage.flat import FlatRecords, Texts, ordered
from nabladft.storage.formats.lengths import length_unit
from nabladft.storage.formats.sqlite_source import SqliteSource
from nabladft.storage.ragged import offsets_of
from nabladft.storage.source import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: The bohr of PySCF 2.2, which turned the angstrom of QM9 into bohr: CODATA 2010.
PYSCF_BOHR_IN_ANGSTROM: Final = 0.52917721092

_IN_BOHR: Final = {"angstrom": 1.0 / PYSCF_BOHR_IN_ANGSTROM, "bohr": 1.0}

#: H, C, N, O, F.
_ELEMENTS: Final = (1, 6, 7, 8, 9)

#: Rows looked at to find units and order.
_SAMPLE: Final = 8

#: Largest asymmetry of a Hamiltonian that is round-off, relative to its largest element.
_SYMMETRY_TOLERANCE: Final = 1e-6

#: Types of a column of numbers, by the bytes that one takes.
_INTEGERS: Final = {1: "<i1", 4: "<i4", 8: "<i8"}
_FLOATS: Final = {4: "<f4", 8: "<f8"}


def is_qh9(tables: dict[str, tuple[str, ...]]) -> bool:
    """Tell by its tables and columns whether an SQLite file is one of QH9."""
    return {"N", "Z", "pos", "Ham"} <= set(tables.get("data", ()))


class QH9Source(SqliteSource):
    """A QH9Stable or QH9Dynamic file."""

    table: ClassVar[str] = "data"
    kind: ClassVar[str] = "QH9 file"
    row_id: ClassVar[str] = "rowid"
    required: ClassVar[dict[str, tuple[str, ...]]] = {"data": ("id", "N", "Z", "pos", "Ham")}

    @cached_property
    def is_dynamic(self) -> bool:
        """Whether the rows are steps of molecular dynamics, with energies."""
        return {"geo_id", "epot"} <= set(self.tables["data"])

    @cached_property
    def info(self) -> SourceInfo:
        """What is known of these files, and what looking at this one adds.

        Raises:
            FormatError: The file is empty or damaged.
        """
        order, evidence = self._orbital_order
        unit, unit_evidence = self._length_unit
        return SourceInfo(
            name=self.location.stem if self.location else str(self.path),
            fields=ordered(self._stored),
            method="B3LYP/def2-SVP",
            basis_set=DEF2_SVP.name,
            orbital_order=order,
            details={
                "format": self.kind,
                "url": self.url,
                "program": "PySCF 2.2",
                "orbital_order_from": evidence,
                "length_unit_in_file": unit,
                "length_unit_from": unit_evidence,
                "bohr_in_angstrom": PYSCF_BOHR_IN_ANGSTROM,
            },
            location=self.location,
        )

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """None: the isolated atoms are not known at this level of theory."""
        return ()

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (index in QM9, geo_id or 0) of all rows, shape (n, 2)."""
        columns = "id, geo_id" if self.is_dynamic else "id, 0"
        found = self.query(f"SELECT rowid, {columns} FROM data")  # noqa: S608 - our own names
        key: Any = np.dtype((np.int64, 3))
        pairs = np.fromiter(((number, *self._key(number, *row)) for number, *row in found), key)
        return pairs[np.argsort(pairs[:, 0], kind="stable"), 1:].reshape(-1, 2)

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all rows, shape (n,)."""
        found = self.integers("SELECT rowid, N FROM data", 2)
        counts: IntArray = found[np.argsort(found[:, 0], kind="stable"), 1]
        return counts

    def read_stored(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read labels that are in the file.

        Args:
            rows: From 0 to ``len(self) - 1``, in any order, with duplicates.
            fields: Labels in the file.

        Raises:
            FormatError: A row is damaged, did not converge, or holds a value that is not finite.
        """
        numbers, positions, keys = [], [], []
        energies: list[float] = []
        triangles = [np.zeros(0)]
        ids = self.ids[rows].tolist()
        columns = ["id", "geo_id" if self.is_dynamic else "0", "N", "Z", "pos"]
        columns += ["epot"] if "energy" in fields else []
        if "hamiltonian" in fields:
            columns += ["Ham", "converged"] if "converged" in self.tables["data"] else ["Ham", "1"]
        for number, row in zip(ids, self.query_rows(", ".join(columns), ids), strict=True):
            values = dict(zip(columns, row, strict=True))
            keys.append(self._key(number, row[0], row[1]))
            atoms, geometry = self._geometry(number, *row[2:5])
            numbers.append(atoms)
            positions.append(geometry)
            if "energy" in fields:
                if not isinstance(values["epot"], float):
                    self.refuse(number, "has no energy (epot)")
                energies.append(values["epot"])
            if "hamiltonian" in fields:
                if not row[-1]:
                    self.refuse(number, "did not converge (converged = 0). Leave this row out")
                triangles.append(self._triangle(number, values["Ham"], atoms))
        counts = np.array([len(atoms) for atoms in numbers], dtype=np.int64)
        labels = {"energy": np.array(energies), "hamiltonian": np.concatenate(triangles)}
        sized = "hamiltonian" in fields
        flat = FlatRecords(
            molecule_id=np.array([key[0] for key in keys], dtype=np.int64),
            conformation_id=np.array([key[1] for key in keys], dtype=np.int64),
            atom_offsets=offsets_of(counts),
            atomic_numbers=np.concatenate([np.zeros(0, dtype=np.int32), *numbers]),
            positions=_IN_BOHR[self._length_unit[0]]
            * np.concatenate([np.zeros((0, 3)), *positions]),
            orbital_counts=np.array(
                [DEF2_SVP.n_orbitals(atoms) if sized else 0 for atoms in numbers], dtype=np.int64
            ),
            values={name: labels[name] for name in fields},
        )
        return self.check_values(flat, ids)

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Give how the geometries were made; the files have no SMILES.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        n = len(self.check_rows(indices))
        origin = "molecular dynamics, B3LYP/def2-SVP" if self.is_dynamic else "QM9"
        return Texts(smiles=[None] * n, geometry_origin=[origin] * n)

    @cached_property
    def _stored(self) -> tuple[str, ...]:
        if len(self) == 0:
            message = f"{self.path} holds no conformations."
            raise FormatError(message)
        return ("energy", "hamiltonian") if self.is_dynamic else ("hamiltonian",)

    @cached_property
    def _sample(self) -> list[tuple[int, NDArray[np.int32], NDArray[np.float64]]]:
        """Row id, atomic numbers and positions, as in the file, of rows spread over it."""
        if len(self) == 0:
            return []
        rows = np.unique(np.linspace(0, len(self) - 1, _SAMPLE).astype(int))
        ids = self.ids[rows].tolist()
        found = zip(ids, self.query_rows("N, Z, pos", ids), strict=True)
        return [(number, *self._geometry(number, *row)) for number, row in found]

    @cached_property
    def _length_unit(self) -> tuple[str, str]:
        """The unit of length, and where it is known from."""
        found = length_unit([z for _, z, _ in self._sample], [r for *_, r in self._sample])
        documented = "bohr" if self.is_dynamic else "angstrom"
        return (found, "lengths of bonds") if found else (documented, "as documented, unchecked")

    @cached_property
    def _orbital_order(self) -> tuple[str, str]:
        """The order of the orbitals, and where it is known from."""
        rows = np.searchsorted(self.ids, [number for number, *_ in self._sample])
        flat = [self.read_stored(rows[k : k + 1], ["hamiltonian"]) for k in range(len(rows))]
        found = order_of_hamiltonians(
            [unpack_lower(one.values["hamiltonian"]) for one in flat],
            [one.atomic_numbers for one in flat],
            [one.positions for one in flat],
        )
        if found is None:
            return "pyscf", "as documented, unchecked"
        return found, "Hamiltonians correlated with the recomputed overlap"

    def _key(self, number: int, qm9_index: Any, geometry: Any) -> tuple[int, int]:  # noqa: ANN401
        if isinstance(qm9_index, bytes) and len(qm9_index) == 8:
            qm9_index = int.from_bytes(qm9_index, "little", signed=True)
        if not isinstance(qm9_index, int) or not isinstance(geometry, int):
            self.refuse(number, f"has id {qm9_index!r} and geo_id {geometry!r}, integers expected")
        return qm9_index, geometry

    def _geometry(
        self, number: int, n_atoms: int | None, z: bytes | None, pos: bytes | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        numbers = self._numbers(number, "Z", z, n_atoms or 0, _INTEGERS).astype(np.int32)
        positions = self._numbers(number, "pos", pos, 3 * len(numbers), _FLOATS)
        foreign = sorted(set(numbers.tolist()) - set(_ELEMENTS))
        if foreign:
            self.refuse(number, f"has atomic numbers {foreign}; QH9 has H, C, N, O and F")
        return numbers, positions.astype(np.float64).reshape(-1, 3)

    def _triangle(
        self, number: int, blob: bytes | None, atoms: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        n = DEF2_SVP.n_orbitals(atoms)
        matrix = self._numbers(number, "Ham", blob, n * n, _FLOATS).astype(np.float64)
        matrix = matrix.reshape(n, n)
        gap = float(np.abs(matrix - matrix.T).max())
        if gap > _SYMMETRY_TOLERANCE * max(1.0, float(np.abs(matrix).max())):
            self.refuse(number, f"has a Hamiltonian that is not symmetric: {gap:.1e}")
        return pack_lower(matrix)

    def _numbers(
        self, number: int, column: str, blob: bytes | None, n_values: int, types: dict[int, str]
    ) -> NDArray[Any]:
        """Turn a blob into numbers of the type that its size tells."""
        size = len(blob or b"")
        if not blob or not n_values or size % n_values or size // n_values not in types:
            self.refuse(
                number,
                f"has {size} bytes in {column}; {max(types) * n_values} expected for {n_values} "
                "values",
            )
        return np.frombuffer(blob, dtype=types[size // n_values])
