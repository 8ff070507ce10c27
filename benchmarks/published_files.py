"""How long published files take to open and to read, with our readers and with ASE's.

Writes a file in the published energy format with as many rows as asked for (42 atoms each, as in
the data set), then measures, each in a fresh process: opening it and reading the first record, ids
of all rows, sizes of all rows, random batches, everything in order; and the largest memory.

Example:
    $ python benchmarks/published_files.py --rows 200000
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import ase.db
import numpy as np

import nabladft

if TYPE_CHECKING:
    from collections.abc import Callable

N_ATOMS = 42
STEPS = ("open, first record", "ids of all", "atoms of all", "2,560 random rows", "all in order")


def main() -> None:
    """Write the file, measure both readers, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the file (20000)")
    parser.add_argument("--folder", type=Path, help="where to write it (a temporary folder)")
    parser.add_argument("--reader", choices=("nabladft", "ase"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reader:
        print(json.dumps(measure(args.reader, args.file)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "published.db"
        write(path, args.rows)
        found = {}
        for reader in ("nabladft", "ase"):
            command = [sys.executable, __file__, "--reader", reader, "--file", str(path)]
            done = subprocess.run(  # noqa: S603 - ourselves
                command, check=True, capture_output=True, text=True
            )
            found[reader] = json.loads(done.stdout)
        print(f"{args.rows} rows of {N_ATOMS} atoms, {path.stat().st_size / 1e6:.0f} MB\n")
    print("| Step | nabladft, s | ASE, s |\n|---|---|---|")
    for step in STEPS:
        ours, theirs = (found[reader].get(step) for reader in ("nabladft", "ase"))
        print(f"| {step} | {ours:.3f} | {theirs:.3f} |")
    rates = [args.rows / found[reader]["all in order"] for reader in ("nabladft", "ase")]
    print(f"| rows a second, in order | {rates[0]:,.0f} | {rates[1]:,.0f} |")
    memory = [found[reader]["memory"] for reader in ("nabladft", "ase")]
    print(f"| largest memory, MB | {memory[0]:.0f} | {memory[1]:.0f} |")


def write(path: Path, n_rows: int) -> None:
    """Write rows as ASE does, without its time of writing."""
    first = ase.Atoms(numbers=[6] * N_ATOMS, positions=np.zeros((N_ATOMS, 3)))
    with ase.db.connect(path, type="db") as database:
        database.write(first, key_value_pairs={"moses_id": 0, "conformation_id": 0, "smiles": "C"})
    rng = np.random.default_rng(0)
    numbers = np.sort(rng.choice([1, 6, 7, 8], N_ATOMS, p=[0.5, 0.35, 0.08, 0.07]))
    kinds = np.unique(numbers, return_counts=True)
    tail = {"energy": [-7.2], "forces": {"__ndarray__": [[N_ATOMS, 3], "float64", 8]}}
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = off; BEGIN")
    for table in ("systems", "species", "keys", "text_key_values", "number_key_values"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names above
    for row in range(1, n_rows + 1):
        forces = rng.normal(scale=0.05, size=(N_ATOMS, 3)).tobytes()
        data = struct.pack("<q", 8 + len(forces)) + forces + json.dumps(tail).encode()
        pairs = {"moses_id": row // 5, "conformation_id": row % 5, "smiles": "CCO" * 12}
        values = {
            "id": row,
            "unique_id": f"{row:032x}",
            "numbers": numbers.astype("<i4").tobytes(),
            "positions": rng.normal(scale=3.0, size=(N_ATOMS, 3)).tobytes(),
            "cell": bytes(72),
            "pbc": 0,
            "key_value_pairs": json.dumps(pairs),
            "data": data,
            "natoms": N_ATOMS,
        }
        marks = ", ".join("?" * len(values))
        connection.execute(
            f"INSERT INTO systems ({', '.join(values)}) VALUES ({marks})",  # noqa: S608
            tuple(values.values()),
        )
        connection.executemany(
            "INSERT INTO species VALUES (?, ?, ?)",
            [(int(z), int(n), row) for z, n in zip(*kinds, strict=True)],
        )
        connection.executemany(
            "INSERT INTO number_key_values VALUES (?, ?, ?)",
            [(name, float(pairs[name]), row) for name in ("moses_id", "conformation_id")],
        )
        text = ("smiles", pairs["smiles"], row)
        connection.execute("INSERT INTO text_key_values VALUES (?, ?, ?)", text)
    connection.execute("COMMIT")
    connection.close()


def measure(reader: str, path: Path) -> dict[str, float]:
    """Time each step with one reader, in this process."""
    steps = ours(path) if reader == "nabladft" else through_ase(path)
    found = {}
    for step, act in zip(STEPS, steps, strict=True):
        start = time.perf_counter()
        act()
        found[step] = time.perf_counter() - start
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def ours(path: Path) -> list[Callable[[], object]]:
    """The steps with nabladft."""
    source = nabladft.open(path)
    rng = np.random.default_rng(0)

    def in_order() -> None:
        for start in range(0, len(source), 2048):
            source.read_flat(range(start, min(start + 2048, len(source))))

    def random() -> None:
        for _ in range(10):
            source.read_flat(rng.integers(0, len(source), 256))

    return [
        lambda: nabladft.open(path)[0],
        lambda: source.keys,
        lambda: source.n_atoms,
        random,
        in_order,
    ]


def through_ase(path: Path) -> list[Callable[[], object]]:
    """The same with ASE, as its documentation and the published code do."""
    database = ase.db.connect(path)
    n_rows = len(database)
    rng = np.random.default_rng(0)

    def read(number: int) -> tuple[object, ...]:
        row = database.get(int(number))
        return row.numbers, row.positions, row.data["energy"], row.data["forces"]

    return [
        lambda: read(1),
        lambda: [(r.moses_id, r.conformation_id) for r in database.select(include_data=False)],
        lambda: [r.natoms for r in database.select(include_data=False)],
        lambda: [read(number) for number in rng.integers(1, n_rows + 1, 2560)],
        lambda: [len(read(number)) for number in range(1, n_rows + 1)],
    ]


if __name__ == "__main__":
    main()
