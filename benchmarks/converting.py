"""Measure `nabladft convert`: conformations per second and peak memory, beside ASE.

Two files are written in the schema of the published ones, of molecules of about 42 atoms (four of
the embedded ones side by side): one of energies and forces, one of Hamiltonians and overlaps. Each
way runs in a process of its own. Memory is the largest resident set of that process and of the
largest of its workers. The alternative for energies is what people do: read with ASE, write with
ASE. For Hamiltonian files there is none.

Examples:
    python benchmarks/converting.py
    python benchmarks/converting.py --energies 200000 --hamiltonians 4000 --folder /big/disk
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import ase
import ase.db
import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.conversion.converting import convert
from nabladft.conversion.settings import ConversionSettings
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Different molecules in a file; the rows repeat them.
N_MOLECULES = 12

#: Conformations of one molecule, as in the published files.
CONFORMATIONS = 6

#: Ways to convert: what to give to `convert`, or None for ASE.
ENERGY_WAYS: dict[str, dict[str, Any] | None] = {
    "`nabladft convert`, 1 process": {},
    "`nabladft convert --workers 2`": {"workers": 2},
    "`nabladft convert --scheduler local --workers 2` (Dask)": {
        "workers": 2,
        "scheduler": "local",
    },
    "`nabladft convert --compact`, 1 process": {"codec": "compact"},
    "ASE read, ASE write": None,
}
HAMILTONIAN_WAYS = {name: way for name, way in ENERGY_WAYS.items() if way is not None}


def main() -> int:
    """Write the files, run every way, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--energies", type=int, default=60_000, metavar="N", help="rows")
    parser.add_argument("--hamiltonians", type=int, default=240, metavar="N", help="rows")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        return run_one(json.loads(args.one))
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for kind, n_rows, write, ways in (
            ("energies and forces", args.energies, write_energies, ENERGY_WAYS),
            ("Hamiltonians and overlaps", args.hamiltonians, write_hamiltonians, HAMILTONIAN_WAYS),
        ):
            if n_rows:
                measure(Path(folder), kind, n_rows, write(Path(folder) / "source.db", n_rows), ways)
    return 0


def measure(
    folder: Path, kind: str, n_rows: int, source: Path, ways: dict[str, dict[str, Any] | None]
) -> None:
    """Run every way on one file and print a table."""
    size = source.stat().st_size
    print(f"{kind}: {n_rows} rows, {size / 1e6:.0f} MB, {os.cpu_count()} cores\n")
    print("| way | conformations/s | MB/s of the source | output, MB | peak memory, MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, way in ways.items():
        task = {"source": str(source), "target": str(folder / "target"), "way": way}
        with source.open("rb") as file:  # from page cache for all
            while file.read(1 << 20):
                pass
        answer = json.loads(
            subprocess.run(  # noqa: S603 - this script
                [sys.executable, __file__, "--one", json.dumps(task)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        seconds = answer["seconds"]
        n_processes = 2 if (way or {}).get("workers") else 1
        memory = " + ".join(f"{m:.0f}" for m in answer["memory"][:n_processes])
        print(
            f"| {name} | {n_rows / seconds:,.0f} | {size / 1e6 / seconds:.0f} | "
            f"{answer['bytes'] / 1e6:.0f} | {memory} |",
            flush=True,
        )
        shutil.rmtree(folder / "target")
    source.unlink()
    print()


def run_one(task: dict[str, Any]) -> int:
    """Run one way in this process and print what it took."""
    source, target, way = Path(task["source"]), Path(task["target"]), task["way"]
    started = time.perf_counter()
    if way is None:
        target.mkdir()
        with (
            ase.db.connect(source, use_lock_file=False) as there,
            ase.db.connect(target / "copy.db", type="db", use_lock_file=False) as here,
        ):
            for row in there.select():
                here.write(row.toatoms(), key_value_pairs=row.key_value_pairs, data=row.data)
    else:
        codec = way.pop("codec", "plain")
        convert(source, target, ConversionSettings(codec=codec), **way)
    seconds = time.perf_counter() - started
    peaks = [
        resource.getrusage(who).ru_maxrss / 1e3
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    n_bytes = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(json.dumps({"seconds": seconds, "memory": peaks, "bytes": n_bytes}))
    return 0


def molecules() -> list[tuple[np.ndarray, np.ndarray]]:
    """Make molecules of about 42 atoms: four embedded ones side by side, with real bonds."""
    nano = open_source("nano")
    large = np.argsort(nano.n_atoms, kind="stable")[-4 * N_MOLECULES :]
    found = []
    for first in range(0, len(large), 4):
        parts = nano.read(large[first : first + 4], fields=())
        numbers = np.concatenate([part.atomic_numbers for part in parts])
        shifted = [part.positions + np.array([25.0 * k, 0, 0]) for k, part in enumerate(parts)]
        found.append((numbers, np.concatenate(shifted)))
    return found


def write_energies(path: Path, n_rows: int) -> Path:
    """Write a file of energies and forces: ASE makes the tables, SQL fills them quickly."""
    rng = np.random.default_rng(0)
    known = molecules()
    with ase.db.connect(path, type="db") as database:
        for numbers, positions in known:
            forces = 0.05 * rng.normal(size=positions.shape)
            atoms = ase.Atoms(numbers, positions=positions * PUBLISHED_BOHR_IN_ANGSTROM)
            pairs = {"moses_id": 0, "conformation_id": 0, "smiles": "C"}
            database.write(atoms, key_value_pairs=pairs, data={"energy": [-7.2], "forces": forces})
    database.metadata = {
        "_distance_unit": "Ang",
        "_property_unit_dict": {"energy": "Hartree", "forces": "Hartree/Ang"},
    }
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")
    names = [row[1] for row in connection.execute("PRAGMA table_info(systems)")]
    like = list(connection.execute("SELECT * FROM systems ORDER BY id"))
    species = [
        list(connection.execute("SELECT Z, n FROM species WHERE id = ?", (k + 1,)))
        for k in range(len(known))
    ]
    for table in ("systems", "species", "number_key_values", "text_key_values", "keys"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608

    def rows() -> Iterator[list[Any]]:
        for number in range(1, n_rows + 1):
            row = dict(zip(names, like[number % len(known)], strict=True))
            molecule_id, conformation_id = divmod(number, CONFORMATIONS)
            pairs = {"moses_id": molecule_id, "conformation_id": conformation_id, "smiles": "C"}
            row |= {"id": number, "unique_id": f"{number:032x}"}
            yield list((row | {"key_value_pairs": json.dumps(pairs)}).values())

    numbers = range(1, n_rows + 1)
    with connection:
        marks = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO systems VALUES ({marks})", rows())  # noqa: S608
        connection.executemany(
            "INSERT INTO species VALUES (?, ?, ?)",
            ((z, n, number) for number in numbers for z, n in species[number % len(known)]),
        )
        connection.executemany(
            "INSERT INTO number_key_values VALUES (?, ?, ?)",
            (
                (key, value, number)
                for number in numbers
                for key, value in zip(
                    ("moses_id", "conformation_id"), divmod(number, CONFORMATIONS), strict=True
                )
            ),
        )
        connection.executemany(
            "INSERT INTO text_key_values VALUES ('smiles', 'C', ?)", ((n,) for n in numbers)
        )
    connection.close()
    return path


def write_hamiltonians(path: Path, n_rows: int) -> Path:
    """Write a file of Hamiltonians and overlaps; the overlaps are real, so the order is found."""
    known = molecules()
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE dataset_ids (id INTEGER NOT NULL PRIMARY KEY, MOSES_ID INT, "
        "CONFORMER_ID INT); CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, Z BLOB, R BLOB, "
        "E FLOAT, F BLOB, H BLOB, S BLOB, C BLOB); CREATE TABLE nuclear_charges (id INTEGER NOT "
        "NULL PRIMARY KEY, N INTEGER, Z BLOB); CREATE TABLE basisset (Z INTEGER NOT NULL PRIMARY "
        "KEY, orbitals BLOB); CREATE TABLE metadata (id INTEGER PRIMARY KEY, N INTEGER)"
    )
    elements = np.unique(np.concatenate([numbers for numbers, _ in known])).astype("<i4")
    connection.execute(
        "INSERT INTO nuclear_charges VALUES (0, ?, ?)", (len(elements), elements.tobytes())
    )
    for number in elements.tolist():
        shells = np.array(DEF2_SVP.shells[number], dtype="<i4").tobytes()
        connection.execute("INSERT INTO basisset VALUES (?, ?)", (number, shells))
    connection.execute("INSERT INTO metadata VALUES (0, ?)", (n_rows,))
    rows = []
    for numbers, positions in known:
        overlap = overlap_matrix(numbers, positions)
        hamiltonian = -1.75 * overlap - 0.5 * overlap @ overlap
        blobs = [numbers.astype("<i4").tobytes(), positions.astype("<f4").tobytes(), -7.2, None]
        blobs += [matrix.astype("<f4").tobytes() for matrix in (hamiltonian, overlap)]
        rows.append([*blobs, None])
    with connection:
        for number in range(n_rows):
            ids = (number, *divmod(number, CONFORMATIONS))
            connection.execute("INSERT INTO dataset_ids VALUES (?, ?, ?)", ids)
            connection.execute(
                "INSERT INTO data VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, *rows[number % len(rows)]),
            )
    connection.close()
    return path


if __name__ == "__main__":
    sys.exit(main())
