"""Time and size of reading the same records through ASE, our readers and the store, in one run.

Every reader gives the same arrays (atomic numbers, positions, energy, forces) of the same records,
checked before anything is timed. Files are warm in the page cache: this measures software, not
disks. Rows are read one after the other and shuffled, in batches of 32, as training does.

    python benchmarks/reading.py                            # synthetic molecules of 42 atoms
    python benchmarks/reading.py --sample energy_sample.db  # rows of a published file, repeated
    python benchmarks/reading.py --hamiltonians nano        # Hamiltonians of a store
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import ase
import ase.db
import numpy as np

from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.conformation import Conformation
from nabladft.storage.formats.published_energy import PublishedEnergySource
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    Arrays = tuple[NDArray[Any], ...]
    Reader = Callable[[Sequence[int]], Arrays]

BATCH = 32
ENERGY_FIELDS = ("formation_energy", "forces")


def main() -> None:
    """Build the files in a temporary folder, check, time, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", help="published energy file whose rows are repeated")
    parser.add_argument("--hamiltonians", metavar="STORE", help="compare Hamiltonians instead")
    parser.add_argument("--rows", type=int, default=4000, help="number of records (default: 4000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.hamiltonians:
            readers = hamiltonian_readers(Path(folder), open_source(args.hamiltonians), args.rows)
        else:
            source = open_source(args.sample) if args.sample else synthetic_molecules()
            readers = energy_readers(Path(folder), source, args.rows)
        check_equal(readers, exact=not args.hamiltonians)
        print_table(readers, args.rows)


def synthetic_molecules() -> list[Conformation]:
    """Give 50 random "molecules" of 29 to 54 atoms, sizes as in the published sample."""
    rng = np.random.default_rng(0)
    records = []
    for k, n_atoms in enumerate(rng.integers(29, 55, size=50).tolist()):
        numbers = rng.choice([1, 6, 7, 8], size=n_atoms, p=[0.5, 0.4, 0.05, 0.05])
        records.append(
            Conformation(
                molecule_id=k,
                conformation_id=0,
                atomic_numbers=numbers,
                positions=8.0 * rng.normal(size=(n_atoms, 3)),
                smiles="C" * 20,
                formation_energy=-0.17 * n_atoms,
                forces=0.05 * rng.normal(size=(n_atoms, 3)),
            )
        )
    return records


def repeated(records: Iterable[Conformation], n_rows: int) -> list[Conformation]:
    """Repeat records under new ids until there are enough."""
    pool = list(records)
    return [pool[k % len(pool)].replace(conformation_id=k) for k in range(n_rows)]


def energy_readers(
    folder: Path, source: Iterable[Conformation], n_rows: int
) -> dict[str, tuple[Path, Reader]]:
    """Write the same records in every format."""
    records = repeated(source, n_rows)
    published = folder / "published.db"
    with ase.db.connect(published, type="db") as database:
        for record in records:
            length = PUBLISHED_BOHR_IN_ANGSTROM
            database.write(
                ase.Atoms(numbers=record.atomic_numbers, positions=length * record.positions),
                moses_id=record.molecule_id,
                conformation_id=record.conformation_id,
                smiles=record.smiles,
                data={"energy": [record.formation_energy], "forces": record.forces / length},
            )
    # What the file holds after rounding to angstrom and back is what all stores get.
    flat_reader = PublishedEnergySource(published)
    readers: dict[str, tuple[Path, Reader]] = {
        "ASE, db.get(id)": (published, ase_reader(published)),
        "published file, flat": (published, flat_energies(flat_reader)),
        "published file, records": (published, record_energies(flat_reader)),
    }
    for codec in ("plain", "compact"):
        path = create_store(
            folder / codec,
            name=codec,
            level_of_theory={"method": "wB97X-D/def2-SVP"},
            fields=ENERGY_FIELDS,
            codec=codec,
            error_bounds={"forces": None} if codec == "compact" else None,
        )
        append(path, flat_reader)
        readers[f"store {codec}, flat"] = (path, flat_energies(Store(path)))
        readers[f"store {codec}, records"] = (path, record_energies(Store(path)))
    return readers


def ase_reader(path: Path) -> Reader:
    """Read as users of the published files do."""
    database = ase.db.connect(path)
    length = PUBLISHED_BOHR_IN_ANGSTROM

    def read(rows: Sequence[int]) -> Arrays:
        found = [database.get(int(row) + 1) for row in rows]
        return (
            np.concatenate([row.numbers for row in found]),
            np.concatenate([row.positions for row in found]) / length,
            np.array([row.data["energy"][0] for row in found]),
            np.concatenate([row.data["forces"] for row in found]) * length,
        )

    return read


def flat_energies(source: Any) -> Reader:  # noqa: ANN401 - any source
    """Read as flat arrays."""

    def read(rows: Sequence[int]) -> Arrays:
        flat = source.read_flat(rows, fields=ENERGY_FIELDS)
        return (flat.atomic_numbers, flat.positions, *(flat.values[n] for n in ENERGY_FIELDS))

    return read


def record_energies(source: Any) -> Reader:  # noqa: ANN401 - any source
    """Read as checked records."""

    def read(rows: Sequence[int]) -> Arrays:
        records = source.read(rows, fields=ENERGY_FIELDS)
        return (
            np.concatenate([record.atomic_numbers for record in records]),
            np.concatenate([record.positions for record in records]),
            np.array([record.formation_energy for record in records]),
            np.concatenate([record.forces for record in records]),
        )

    return read


def hamiltonian_readers(
    folder: Path,
    source: Any,  # noqa: ANN401 - any source
    n_rows: int,
) -> dict[str, tuple[Path, Reader]]:
    """Write Hamiltonians as squares of float32 in SQLite, as published, and as stores."""
    records = repeated(source, n_rows)
    published = folder / "published.db"
    connection = apsw.Connection(str(published))
    connection.execute("CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, H BLOB)")
    with connection:
        for k, record in enumerate(records):
            blob = record.require("hamiltonian").astype("<f4").tobytes()
            connection.execute("INSERT INTO data VALUES (?, ?)", (k, blob))
    readers = {"published file, float32 squares": (published, square_reader(published))}
    for name, options in {
        "store plain, float64 triangles": {"codec": "plain"},
        "store compact, to 1e-7 hartree": {"codec": "compact"},
        "store compact, lossless": {"codec": "compact", "error_bounds": {"hamiltonian": None}},
    }.items():
        path = create_store(
            folder / name.replace(" ", "_"),
            name=name,
            level_of_theory={"method": "wB97X-D/def2-SVP"},
            fields=["hamiltonian"],
            basis_set=source.info.basis_set,
            orbital_order=source.info.orbital_order,
            **options,
        )
        append(path, records)
        readers[name] = (path, triangle_reader(Store(path)))
    return readers


def square_reader(path: Path) -> Reader:
    """Read full float32 squares, row by row."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def read(rows: Sequence[int]) -> Arrays:
        query = "SELECT H FROM data WHERE id = ?"
        values = []
        for row in rows:
            ((blob,),) = connection.execute(query, (int(row),))
            square = np.frombuffer(blob, dtype="<f4")
            n = int(np.sqrt(len(square)))
            values.append(square.reshape(n, n)[np.tril_indices(n)])
        return (np.concatenate(values),)

    return read


def triangle_reader(store: Store) -> Reader:
    """Read packed triangles."""

    def read(rows: Sequence[int]) -> Arrays:
        return (store.read_flat(rows, fields=["hamiltonian"]).values["hamiltonian"],)

    return read


def check_equal(readers: dict[str, tuple[Path, Reader]], *, exact: bool) -> None:
    """Make sure that the readers do the same work."""
    rows = [7, 3, 3, 11]
    expected, *others = [read(rows) for _, read in readers.values()]
    for other in others:
        for one, two in zip(expected, other, strict=True):
            if exact:
                np.testing.assert_allclose(one, two, rtol=1e-14, atol=1e-14)
            else:
                np.testing.assert_allclose(one, two, rtol=1e-6, atol=2e-7)


def print_table(readers: dict[str, tuple[Path, Reader]], n_rows: int) -> None:
    """Time every reader on every row, in order and shuffled; the best of three passes."""
    order = np.arange(n_rows)
    shuffled = np.random.default_rng(0).permutation(n_rows)
    print(f"{'reader':<32} {'bytes/record':>12} {'in order, 1/s':>14} {'shuffled, 1/s':>14}")
    for name, (path, read) in readers.items():
        files = path.iterdir() if path.is_dir() else [path]
        size = sum(file.stat().st_size for file in files if file.suffix != ".sqlite")
        rates = [max(rate(read, rows) for _ in range(3)) for rows in (order, shuffled)]
        print(f"{name:<32} {size / n_rows:>12,.0f} {rates[0]:>14,.0f} {rates[1]:>14,.0f}")


def rate(read: Reader, rows: NDArray[np.int64]) -> float:
    """Give records per second."""
    start = time.perf_counter()
    for first in range(0, len(rows), BATCH):
        read(rows[first : first + BATCH])
    return len(rows) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
