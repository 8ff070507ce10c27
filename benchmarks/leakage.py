"""Time and memory of the leakage proof: chemistry of real molecules, comparison of millions.

Two stages, measured apart. The chemistry (InChIKey and scaffold of a SMILES) is timed on molecules
grown from those of nano, and extrapolated. The comparison is run in full on random identities with
the counts of the published data, once with our tables (disk, bounded memory) and once with sets in
Python, as scripts of users do it; both must find the leaks that were put in.

    python benchmarks/leakage.py                          # 100,000 molecules
    python benchmarks/leakage.py --molecules 1936929      # as many as the published data
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nabladft.chemistry.scaffolds import inchikey_of, scaffold_of
from nabladft.splits import IdentityTable, Split, prove

#: Molecules of the published parts: train, test_structures, test_scaffolds.
SHARES = {"train": 1_584_013, "test_structures": 176_001, "test_scaffolds": 176_917}

#: Scaffolds for each molecule in the published data: 448,854 of 1,936,929.
SCAFFOLD_SHARE = 0.23

#: Molecules of test_structures that get the InChIKey of a training molecule.
LEAKS = 3


def main() -> None:
    """Run both stages, each comparison in a process of its own, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, default=100_000)
    parser.add_argument("--stage", choices=("fill", "table", "sets"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        run_stage(args.stage, args.molecules, Path(args.folder))
        return
    per_molecule = chemistry_seconds()
    print(
        f"InChIKey and scaffold: {1e3 * per_molecule:.2f} ms a molecule and core, so "
        f"{per_molecule * sum(SHARES.values()) / 60:.0f} min of one core for the published data "
        "(done once, resumable, in processes)\n"
    )
    print("| comparison | molecules | leaks found | seconds | peak memory, MB | disk, MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for stage, title in (("table", "table of identities"), ("sets", "sets in Python")):
        with tempfile.TemporaryDirectory() as folder:
            for step in ("fill", "table") if stage == "table" else ("sets",):
                command = [sys.executable, __file__, "--stage", step, "--folder", folder]
                line = subprocess.run(  # noqa: S603 - this script
                    [*command, "--molecules", str(args.molecules)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.strip()
        print(f"| {title} | {args.molecules:,} | {line} |")


def chemistry_seconds() -> float:
    """Seconds for the identity of one molecule of the size of the published ones."""
    tails = ("c1ccco1", "c1ccsc1", "C1CCOCC1", "c1ccncc1", "c1ccc(F)cc1", "C1CC1", "c1cnoc1")
    smiles = [
        f"{'C' * n}CC(=O)NCc1ccc(cc1)N1CCN(CC1)C(=O){tail}" for n in range(10) for tail in tails
    ]
    start = time.perf_counter()
    for text in smiles:
        inchikey_of(text)
        scaffold_of(text)
    return (time.perf_counter() - start) / len(smiles)


def members(n_molecules: int) -> dict[str, np.ndarray]:
    """Molecule ids of each part, in the proportions of the published data."""
    total = sum(SHARES.values())
    edges = np.cumsum([0, *(n_molecules * n // total for n in SHARES.values())])
    return {
        part: np.arange(first, last)
        for part, first, last in zip(SHARES, edges, edges[1:], strict=False)
    }


def identities(n_molecules: int) -> tuple[list[str], np.ndarray]:
    """Random InChIKeys and scaffold numbers with known leaks."""
    rng = np.random.default_rng(0)
    letters = rng.integers(65, 91, size=(n_molecules, 27), dtype=np.uint8)
    keys = [row.tobytes().decode() for row in letters]
    parts = members(n_molecules)
    n_scaffolds = round(SCAFFOLD_SHARE * n_molecules)
    scaffolds = rng.integers(0, n_scaffolds, size=n_molecules)
    held_out = parts["test_scaffolds"]
    scaffolds[held_out] = n_scaffolds + held_out // 4
    for k in range(LEAKS):
        keys[parts["test_structures"][k]] = keys[parts["train"][k]]
    return keys, scaffolds


def run_stage(stage: str, n_molecules: int, folder: Path) -> None:
    """Compare, and print leaks, seconds, memory and disk as cells of the table."""
    path = folder / "identities.sqlite"
    if stage == "fill":
        with IdentityTable(path) as table, table.connection:
            fill(table, *identities(n_molecules))
        return
    parts = members(n_molecules)
    if stage == "sets":
        keys, scaffolds = identities(n_molecules)
    start = time.perf_counter()
    if stage == "table":
        ids = {part: np.stack([m, np.zeros_like(m)], axis=1) for part, m in parts.items()}
        split = Split(name="s", dataset="random", data_hash=None, parts=ids)
        with IdentityTable(path) as table:
            checks = prove(split, table).checks
        (leaky,) = [check for check in checks if not check.holds]
        n_leaks = len(leaky.violations)
    else:
        found = {part: {keys[m] for m in ids.tolist()} for part, ids in parts.items()}
        rings = {part: {int(scaffolds[m]) for m in ids.tolist()} for part, ids in parts.items()}
        n_leaks = len(found["train"] & found["test_structures"])
        n_leaks += len(found["train"] & found["test_scaffolds"])
        n_leaks += len(rings["train"] & rings["test_scaffolds"])
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    disk = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    if n_leaks != LEAKS:
        message = f"{LEAKS} leaks were put in, {n_leaks} were found"
        raise RuntimeError(message)
    print(f"{n_leaks} | {seconds:.1f} | {memory:.0f} | {disk:.0f}")


def fill(table: IdentityTable, keys: list[str], scaffolds: np.ndarray) -> None:
    """Put identities into the table without chemistry."""
    connection = table.connection
    connection.execute("INSERT INTO origins VALUES ('random', ?, ?)", (len(keys), len(keys)))
    connection.executemany(
        "INSERT INTO scaffolds VALUES (?, ?)",
        ((number, f"C1CC1{number}") for number in np.unique(scaffolds).tolist()),
    )
    connection.executemany(
        "INSERT INTO molecules VALUES ('random', ?, ?, ?)",
        zip(range(len(keys)), keys, scaffolds.tolist(), strict=True),
    )


if __name__ == "__main__":
    main()
