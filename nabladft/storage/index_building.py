"""Filling an index: rows in, tables out, with little memory whatever their number.

Conformations come in the order of the shards and go into a tree sorted by id. They are first put
down as they come and sorted once, in files (SQLite's sorter), because inserting millions of rows in
random order rewrites the tree again and again. Molecules come last: RDKit finds out who they are,
in several processes if wanted.

The caller commits after each step; a build that was stopped goes on after the last commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.elements import formula, isolated_atoms_energy
from nabladft.errors import UnsupportedElementError
from nabladft.storage.index_identity import identities, rdkit_version
from nabladft.storage.index_schema import FINGERPRINT_BITS, SEARCH_TREES, integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import apsw
    from numpy.typing import NDArray

    from nabladft.chemistry.basis import BasisSet
    from nabladft.storage.index_identity import Identity
    from nabladft.storage.index_rows import IndexRows

    IntArray = NDArray[np.int64]
    #: Called with what is being done, how much of it is done, and how much there is.
    Progress = Callable[[str, int, int], None]

#: Molecules handed to RDKit at once, and between two commits.
_MOLECULES: Final = 500
_MOLECULES_PER_COMMIT: Final = 20_000

_STAGING: Final = """
CREATE TABLE IF NOT EXISTS staging.molecules (
    molecule_id INTEGER PRIMARY KEY, composition INTEGER NOT NULL, smiles TEXT
);
CREATE TABLE IF NOT EXISTS staging.conformations (
    molecule_id INTEGER, conformation_id INTEGER, row INTEGER, energy REAL, origin INTEGER
);
"""

#: Molecules put down and not yet in their place: a build that was stopped may have done some.
_WAITING: Final = (
    "FROM staging.molecules AS s WHERE s.molecule_id > ? AND NOT EXISTS"
    " (SELECT 1 FROM main.molecules AS m WHERE m.molecule_id = s.molecule_id)"
)
_BELOW_ALL: Final = -(2**63)


@dataclass(frozen=True, kw_only=True)
class Level:
    """What decides the numbers in an index.

    Attributes:
        basis_set: Counts orbitals.
        has_isolated_atoms: Whether energies are of the level of theory of the published isolated
            atoms, so that total and formation energies follow from each other.
        energy: Which energy is indexed ("energy", "formation_energy"), or None.
    """

    basis_set: BasisSet
    has_isolated_atoms: bool
    energy: str | None


class IndexBuilder:
    """Fills the tables of an index through one connection."""

    def __init__(self, connection: apsw.Connection, level: Level, *, staging: str) -> None:
        """Attach the place for what waits to be sorted.

        Args:
            connection: To a file with the tables of an index.
            level: Of the data.
            staging: File for rows that wait; ":memory:" for few.
        """
        self._connection = connection
        self._level = level
        connection.execute("ATTACH ? AS staging", (staging,))
        connection.execute(_STAGING)
        known = (
            "SELECT molecule_id FROM main.molecules UNION ALL "
            "SELECT molecule_id FROM staging.molecules"
        )
        self._known = np.sort(np.array([m for (m,) in connection.execute(known)], dtype=np.int64))
        self._composition = cache(self._intern_composition)
        self._origin = cache(self._intern_origin)
        self._describe()

    def add(self, rows: IndexRows) -> None:
        """Take some rows."""
        texts = rows.texts(np.arange(len(rows)))
        self._add_molecules(rows, texts.smiles)
        self._connection.executemany(
            "INSERT INTO staging.conformations VALUES (?, ?, ?, ?, ?)",
            zip(
                rows.molecule_id.tolist(),
                rows.conformation_id.tolist(),
                range(rows.first_row, rows.first_row + len(rows)),
                [None] * len(rows) if rows.energy is None else rows.energy.tolist(),
                [None if name is None else self._origin(name) for name in texts.geometry_origin],
                strict=True,
            ),
        )

    def sort_conformations(self) -> None:
        """Move the conformations that wait into their tree."""
        self._connection.execute(
            "INSERT INTO main.conformations SELECT * FROM staging.conformations "
            "ORDER BY molecule_id, conformation_id"
        )
        self._connection.execute("DELETE FROM staging.conformations")

    def identify_molecules(self, *, processes: int = 1) -> Iterator[int]:
        """Find out who the molecules that wait are, and put them in their place.

        Args:
            processes: How many processes RDKit may use besides this one; 1 uses this one only.

        Yields:
            How many molecules were done since the last time; commit then.
        """
        waiting = self._waiting()
        held: list[list[tuple[int, int, str | None]]] = []

        def smiles_of_batches() -> Iterator[list[str | None]]:
            for batch in waiting:
                held.append(batch)
                yield [smiles for _, _, smiles in batch]

        done = 0
        for found in identities(smiles_of_batches(), processes=processes):
            batch = held.pop(0)
            self._put_molecules(batch, found)
            done += len(batch)
            if done >= _MOLECULES_PER_COMMIT:
                yield done
                done = 0
        self._connection.execute("DELETE FROM staging.molecules")
        yield done

    def n_waiting(self) -> int:
        """Count the molecules that wait."""
        query = f"SELECT count(*) {_WAITING}"
        return integer(self._connection, query, (_BELOW_ALL,))

    def finish(self) -> None:
        """Make the trees to search in, and the statistics that SQLite plans with."""
        self._connection.execute(SEARCH_TREES)
        self._connection.execute("PRAGMA main.analysis_limit = 2000; ANALYZE main")

    def _describe(self) -> None:
        said = {
            "energy": self._level.energy or "",
            "isolated_atoms": "published" if self._level.has_isolated_atoms else "",
            "basis_set": self._level.basis_set.name,
            "rdkit": rdkit_version() or "",
            "fingerprint": f"RDKit pattern fingerprint, {FINGERPRINT_BITS} bits",
        }
        self._connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", said.items())

    def _add_molecules(self, rows: IndexRows, smiles: Sequence[str | None]) -> None:
        ids, first = np.unique(rows.molecule_id, return_index=True)
        place = np.searchsorted(self._known, ids)
        is_known = np.zeros(len(ids), dtype=bool)
        inside = place < len(self._known)
        is_known[inside] = self._known[place[inside]] == ids[inside]
        new, first = ids[~is_known], first[~is_known]
        self._known = np.insert(self._known, place[~is_known], new)
        atoms, offsets = rows.atomic_numbers.astype(np.uint8), rows.atom_offsets.tolist()
        self._connection.executemany(
            "INSERT INTO staging.molecules VALUES (?, ?, ?)",
            (
                (
                    molecule_id,
                    self._composition(np.sort(atoms[offsets[k] : offsets[k + 1]]).tobytes()),
                    smiles[k],
                )
                for molecule_id, k in zip(new.tolist(), first.tolist(), strict=True)
            ),
        )

    def _waiting(self) -> Iterator[list[tuple[int, int, str | None]]]:
        last = _BELOW_ALL
        query = (
            f"SELECT s.molecule_id, s.composition, s.smiles {_WAITING} "
            f"ORDER BY s.molecule_id LIMIT {_MOLECULES}"
        )
        while True:
            batch: list[Any] = self._connection.execute(query, (last,)).fetchall()
            if not batch:
                return
            last = batch[-1][0]
            yield batch

    def _put_molecules(
        self, batch: Sequence[tuple[int, int, str | None]], found: Sequence[Identity]
    ) -> None:
        put = self._connection.executemany
        scaffolds = sorted(
            {identity.scaffold for identity in found if identity.scaffold is not None}
        )
        put("INSERT OR IGNORE INTO scaffolds (smiles) VALUES (?)", ((s,) for s in scaffolds))
        put(
            "INSERT INTO main.molecules VALUES"
            " (?, ?, (SELECT scaffold FROM scaffolds WHERE scaffolds.smiles = ?), ?, ?)",
            (
                (molecule_id, composition, identity.scaffold, identity.inchikey, smiles)
                for (molecule_id, composition, smiles), identity in zip(batch, found, strict=True)
            ),
        )
        put(
            "INSERT INTO fingerprints VALUES (?, ?)",
            (
                (molecule_id, identity.fingerprint)
                for (molecule_id, *_), identity in zip(batch, found, strict=True)
                if identity.fingerprint is not None
            ),
        )

    def _intern_composition(self, atoms: bytes) -> int:
        """Give the number of a composition (sorted atomic numbers, one byte each)."""
        all_atoms = np.frombuffer(atoms, dtype=np.uint8).astype(np.int64)
        numbers, counts = np.unique(all_atoms, return_counts=True)
        text = formula(all_atoms)
        known = "SELECT composition FROM compositions WHERE formula = ?"
        for (composition,) in self._connection.execute(known, (text,)):
            return int(composition)
        n_atoms = int(counts.sum())
        self._connection.execute(
            "INSERT INTO compositions"
            " (formula, n_atoms, n_heavy_atoms, n_orbitals, isolated_atoms_energy)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                text,
                n_atoms,
                n_atoms - int(counts[numbers == 1].sum()),
                self._n_orbitals(all_atoms),
                self._isolated_atoms_energy(all_atoms),
            ),
        )
        number = self._connection.last_insert_rowid()
        self._connection.executemany(
            "INSERT INTO composition_elements VALUES (?, ?, ?)",
            ((z, number, n) for z, n in zip(numbers.tolist(), counts.tolist(), strict=True)),
        )
        return number

    def _intern_origin(self, name: str) -> int:
        self._connection.execute("INSERT OR IGNORE INTO origins (name) VALUES (?)", (name,))
        query = "SELECT origin FROM origins WHERE name = ?"
        return integer(self._connection, query, (name,))

    def _n_orbitals(self, numbers: IntArray) -> int | None:
        try:
            return self._level.basis_set.n_orbitals(numbers)
        except UnsupportedElementError:
            return None

    def _isolated_atoms_energy(self, numbers: IntArray) -> float | None:
        if not self._level.has_isolated_atoms:
            return None
        try:
            return isolated_atoms_energy(numbers)
        except UnsupportedElementError:
            return None
