"""Building and asking the index of a synthetic store, beside a table in memory, in one run.

The store has the sizes of the published data (8 to 62 atoms, mean 42; 6.5 conformations a molecule,
at most 69; about one scaffold for four molecules): its molecules are joined from rings, linkers and
substituents of drugs, which gives valid SMILES, formulas and scaffolds, and its energies scatter as
those of the published sample do. Positions take no space: indexing does not read them.

    python benchmarks/indexing.py                              # 200,000 rows, two minutes
    nice python benchmarks/indexing.py --rows 12700000 --keep /scratch/store   # 3 GB, an hour
    python benchmarks/indexing.py --keep /scratch/store        # ask again what was built

Every query is asked twice, cold (the pages of the file are dropped from the system's cache, as far
as the system allows) and warm. The table beside it is what users of the published summary do: a CSV
file read whole into pandas, then a mask.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import tempfile
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

from nabladft.queries import count, substructure
from nabladft.storage.index import INDEX_NAME, Index, rebuild_index, tag_conformations
from nabladft.storage.manifest import ShardEntry, read_manifest, write_manifest
from nabladft.storage.store import Store
from nabladft.storage.writing import create_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

ROWS_PER_SHARD = 61_000
ELEMENTS = (1, 6, 7, 8, 9, 16, 17, 35)

#: Pieces with an open end on both sides. Only single bonds join them, so formulas add up.
STARTS = (
    "C F Cl Br CC CO CCO CC(C) N#C CS CN(C) CC(=O) CC(C)(C) FC(F)(F) CS(=O)(=O) CC(=O)N".split()
)
RINGS = """c1ccc(cc1) c1cc(ccc1) c1nc(ccc1) c1cnc(cc1) C1CCN(CC1) N1CCN(CC1) N1CCC(CC1) C1CCC(C1)
c1nc(sc1) c1nc(oc1) c1cc(on1) c1nn(cc1) c1cc(sc1) c1cc(oc1) N1CC(CC1) C1CN(C1) c1ccc2c(c1)n(cc2)
c1nc2c(s1)cc(cc2) C1OC(CO1) N1C(=O)C(CC1) c1ccc2c(c1)oc(n2) c1ncc(cn1)""".split()
LINKERS = [
    "",
    *"""C CC C(=O)N NC(=O) CNC(=O) C(=O)NC S(=O)(=O)N O OC NC(=O)C CC(=O)N CO N(C)C(=O) C(C)NC(=O)
SC C(=O) CCNC(=O) NC(=O)N CC(O)C NCC(=O)N""".split(),
]
ENDS = """c1ccccc1 c1ccc(F)cc1 c1ccc(Cl)cc1 c1ccc(Br)cc1 c1ccccc1OC c1cccnc1 c1ccco1 c1cccs1 C1CC1
C1CCCC1 C1CCCCC1 N1CCOCC1 N1CCCC1 N1CCCCC1 c1nccs1 c1ccncc1 c1nc(C)no1 c1n[nH]cc1 C#N C(N)=O
C(C)C C(C)(C)C CO O N(C)C CCC S(C)(=O)=O c1cc(C)on1 c1ccc2OCOc2c1 c1ccc(cc1)C(F)(F)F""".split()
PIECES = (STARTS, RINGS, LINKERS, RINGS, LINKERS, ENDS)


def main() -> None:
    """Make a store, build its index, ask it, print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000, help="conformations (200,000)")
    parser.add_argument("--processes", type=int, default=2, help="processes for RDKit (2)")
    parser.add_argument("--keep", type=Path, help="folder for the store; used again if it is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch) / "store"
        if not (folder / "manifest.json").exists():
            # In a process of its own, so that the memory of the builder can be told.
            maker = get_context("spawn").Process(target=make_store, args=(folder, args.rows))
            maker.start()
            maker.join()
            build(folder, args.processes)
        elif not (folder / INDEX_NAME).exists():
            build(folder, args.processes)
        ask(folder, Path(scratch))


def make_molecules(n_molecules: int, rng: np.random.Generator) -> tuple[list[str], IntArray]:
    """Join pieces into different molecules.

    Returns:
        SMILES, and counts of :data:`ELEMENTS` in each, shape (n, 8).
    """
    sizes = [len(pieces) for pieces in PIECES]
    tables = [
        element_counts(pieces, is_start=k == 0, is_end=k == len(PIECES) - 1)
        for k, pieces in enumerate(PIECES)
    ]
    codes: IntArray = np.zeros(0, dtype=np.int64)
    while len(codes) < n_molecules:
        # Some rings and linkers are in most drugs, which is why many molecules share a scaffold.
        places = [
            rng.choice(size, size=n_molecules, p=weights(size, 1.0 if 0 < k < 5 else 0.3))
            for k, size in enumerate(sizes)
        ]
        n_atoms = sum(table[place] for table, place in zip(tables, places, strict=True)).sum(axis=1)
        # Published sizes: mean 42, standard deviation about 5.
        likely = np.exp(-(((n_atoms - 40) / 8.0) ** 2)) > rng.uniform(size=n_molecules)
        found = np.ravel_multi_index(places, sizes)[likely & (n_atoms <= 62)]
        codes = np.unique(np.concatenate([codes, found]))
    codes = rng.permutation(codes)[:n_molecules]
    places = np.unravel_index(codes, sizes)
    total = sum(table[place] for table, place in zip(tables, places, strict=True))
    columns = [np.array(pieces, dtype=object)[p] for pieces, p in zip(PIECES, places, strict=True)]
    return ["".join(parts) for parts in zip(*columns, strict=True)], np.asarray(total)


def weights(n: int, power: float) -> NDArray[np.float64]:
    """Give the k-th of n pieces a probability that falls as 1 / k^power."""
    falling = 1.0 / np.arange(1, n + 1) ** power
    return falling / falling.sum()


def element_counts(pieces: list[str], *, is_start: bool = False, is_end: bool = False) -> IntArray:
    """Count the elements of pieces whose open ends are bonded, shape (n, 8)."""
    from rdkit import Chem  # noqa: PLC0415 - only this needs it

    counts = np.zeros((len(pieces), len(ELEMENTS)), dtype=np.int64)
    for k, piece in enumerate(pieces):
        if not piece:
            continue
        smiles = ("" if is_start else "[Xe]") + piece + ("" if is_end else "[Xe]")
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        for atom in molecule.GetAtoms():
            if atom.GetAtomicNum() != 54:
                counts[k, ELEMENTS.index(atom.GetAtomicNum())] += 1
    return counts


def make_store(folder: Path, n_rows: int) -> None:
    """Write a store of the published sizes, molecule by molecule in random order."""
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    n_molecules = max(1, round(n_rows / 6.545))
    smiles, counts = make_molecules(n_molecules, rng)
    per_molecule = np.minimum(rng.geometric(1 / 6.6, size=n_molecules), 69)
    molecule = np.repeat(np.arange(n_molecules), per_molecule)[:n_rows]
    conformation = np.concatenate([np.arange(n) for n in per_molecule])[:n_rows]
    ids = 1 + rng.permutation(n_molecules)
    n_atoms = counts.sum(axis=1)
    energy = (-0.172 + 0.007 * rng.normal(size=n_molecules)) * n_atoms
    create_store(
        folder,
        name="synthetic",
        level_of_theory={"functional": "wB97X-D", "basis_set": "def2-SVP"},
        fields=["formation_energy"],
    )
    entries = []
    for start in range(0, len(molecule), ROWS_PER_SHARD):
        rows = slice(start, start + ROWS_PER_SHARD)
        entries.append(
            write_shard(
                folder / f"shard-{len(entries):05d}.h5",
                molecule[rows],
                ids,
                conformation[rows],
                counts,
                energy[molecule[rows]] + 0.005 * rng.exponential(size=len(molecule[rows])),
                smiles,
            )
        )
    write_manifest(folder, replace(read_manifest(folder), shards=tuple(entries)))
    letters = np.mean([len(text) for text in smiles])
    print(
        f"{len(molecule):,} conformations of {n_molecules:,} molecules, {n_atoms.min()} to "
        f"{n_atoms.max()} atoms, mean {n_atoms.mean():.1f}; SMILES of {letters:.0f} letters; "
        f"made in {time.perf_counter() - started:.0f} s",
        flush=True,
    )


def write_shard(
    path: Path,
    molecule: IntArray,
    ids: IntArray,
    conformation: IntArray,
    counts: IntArray,
    energy: NDArray[np.float64],
    smiles: list[str],
) -> ShardEntry:
    """Write one shard as ``docs/store-format.md`` describes it, without bytes for positions."""
    n_atoms = counts.sum(axis=1)[molecule]
    offsets = np.concatenate([[0], np.cumsum(n_atoms)])
    numbers = np.repeat(
        np.tile(np.array(ELEMENTS, dtype=np.uint8), len(molecule)), counts[molecule].ravel()
    )
    present, which = np.unique(molecule, return_inverse=True)
    texts = [smiles[k].encode() for k in present]
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "nabladft-shard", 1
        file["molecule_id"], file["conformation_id"] = ids[molecule], conformation
        file["atom_offsets"], file["orbital_counts"] = offsets, np.zeros(len(molecule), np.int64)
        file["atomic_numbers"], file["formation_energy"] = numbers, energy
        file.create_dataset("positions", (len(numbers), 3), "f8", chunks=(len(numbers), 3))
        for name, index, table in (
            ("smiles", which, texts),
            ("geometry_origin", np.zeros(len(molecule), np.int64), [b"etkdg"]),
        ):
            group = file.create_group(name)
            group["index"] = index.astype(np.int64)
            group["offsets"] = np.concatenate([[0], np.cumsum([len(t) for t in table])])
            group["utf8"] = np.frombuffer(b"".join(table), dtype=np.uint8)
    content = path.read_bytes()
    return ShardEntry(
        file=path.name,
        rows=len(molecule),
        n_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        elements=ELEMENTS,
        content_sum=0,
    )


def build(folder: Path, processes: int) -> None:
    """Build the index and say what it took."""
    times: dict[str, float] = {}
    last = [time.perf_counter()]

    def progress(what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        times[what] = times.get(what, 0.0) + now - last[0]
        last[0] = now
        if what != "rows" or done == total:
            print(f"\r{what} {done:,} of {total:,}    ", end="", flush=True)

    rebuild_index(folder, processes=processes, progress=progress)
    print()
    with Index(folder) as index:
        n_rows = len(index)
        sizes = index.connection.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC"
        ).fetchall()
        counts = {
            table: index.connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]  # noqa: S608
            for table in ("molecules", "scaffolds", "compositions")
        }
    size = (folder / INDEX_NAME).stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nBuilt with {processes} processes; peak memory of the builder {peak:,.0f} MiB.")
    print(", ".join(f"{count:,} {table}" for table, count in counts.items()) + ".\n")
    print("| step | seconds |\n|---|---:|")
    for what, seconds in times.items():
        print(f"| {what} | {seconds:,.1f} |")
    print(f"| all | {sum(times.values()):,.1f} |\n")
    print("| part of the file | bytes per conformation |\n|---|---:|")
    for name, n_bytes in sizes[:8]:
        print(f"| {name} | {n_bytes / n_rows:.1f} |")
    print(f"| all, {size / 1e6:,.0f} MB | {size / n_rows:.1f} |\n", flush=True)


def drop_cache(path: Path) -> None:
    """Ask the system to forget the pages of a file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def ask(folder: Path, scratch: Path) -> None:
    """Time queries, cold and warm, beside a table in memory."""
    store = Store(folder)
    rng = np.random.default_rng(1)
    with Index(folder) as index:
        keys = [
            index.connection.execute(
                "SELECT molecule_id, conformation_id FROM conformations WHERE molecule_id >= ?"
                " LIMIT 1",
                (int(place),),
            ).fetchall()[0]
            for place in rng.integers(1, len(index) // 7, size=1000)
        ]
        smiles = index.smiles_of(keys[0][0])
        scaffold, formula = index.connection.execute(
            "SELECT s.smiles, k.formula FROM molecules AS m JOIN scaffolds AS s USING (scaffold)"
            " JOIN compositions AS k USING (composition) WHERE molecule_id = ?",
            (keys[0][0],),
        ).fetchall()[0]
        if not index.tags():
            tenth = index.connection.execute(
                "SELECT molecule_id, conformation_id FROM conformations WHERE molecule_id % 11 = 0"
            ).fetchall()
            tag_conformations(folder, "test_scaffolds", np.array(tenth))
    table, seconds = read_table(folder, scratch)
    print(f"The table of all rows takes {seconds:.1f} s to read from CSV.\n")
    asked: dict[str, tuple[Callable[[], int], Callable[[], int] | None]] = {
        "1,000 ids": (
            lambda: int((Index(folder).rows_of(keys) >= 0).sum()),
            lambda: len(
                table.merge(pd.DataFrame(keys, columns=["molecule_id", "conformation_id"]))
            ),
        ),
    }
    masks: dict[str, Callable[[], Any] | None] = {
        f"smiles = '{smiles}'": lambda: table.smiles == smiles,
        f"formula = '{formula}'": lambda: table.formula == formula,
        f"scaffold = '{scaffold}'": None,
        "n_atoms < 30 and elements contain Br and split = 'test_scaffolds'": lambda: (
            (table.n_atoms < 30) & table.formula.str.contains("Br") & (table.molecule_id % 11 == 0)
        ),
        "n_atoms < 30 and elements contain Br": lambda: (
            (table.n_atoms < 30) & table.formula.str.contains("Br")
        ),
        "energy between -1500 and -1499.9 Eh": lambda: table.energy.between(-1500, -1499.9),
        "formation_energy < -9 Eh": None,
        "n_atoms < 60": lambda: table.n_atoms < 60,
        "smarts 'Brc1ncccc1' and n_atoms < 34": None,
        "smarts 'C1OC(CO1)' and elements contain Br, S and n_atoms < 35": None,
    }
    for text, mask in masks.items():
        asked[text] = (
            lambda text=text: count(store, text),
            None if mask is None else lambda mask=mask: int(mask().sum()),
        )
    print(
        "| query | found | cold, ms | warm, ms | table in memory, ms |\n|---|---:|---:|---:|---:|"
    )
    for text, (ours, theirs) in asked.items():
        drop_cache(folder / INDEX_NAME)
        found, cold = timed(ours)
        warm = min(timed(ours)[1] for _ in range(1 if cold > 5 else 3))
        other = ""
        if theirs is not None:
            number, other_seconds = timed(theirs)
            assert number == found, (text, number, found)
            other = f"{1e3 * other_seconds:,.0f}"
        print(
            f"| `{text}` | {found:,} | {1e3 * cold:,.0f} | {1e3 * warm:,.1f} | {other} |",
            flush=True,
        )
    without_fingerprints(store)


def without_fingerprints(store: Store) -> None:
    """Compare patterns with and without the stored fingerprints."""
    print("\n| pattern | found | with fingerprints, s | elements only, s |\n|---|---:|---:|---:|")
    known = substructure.rdkit_version
    for smarts in ("C1OC(CO1)c1ccccc1", "c1ccc2ncoc2c1", "[#6]C#N"):
        text = f"n_atoms < 33 and smarts '{smarts}'"
        times = []
        for version in (known, lambda: "another"):
            substructure.rdkit_version = version
            times.append(timed(lambda text=text: count(store, text)))
        substructure.rdkit_version = known
        (found, ours), (again, plain) = times
        assert found == again
        print(f"| `{text}` | {found:,} | {ours:.2f} | {plain:.2f} |", flush=True)


def read_table(folder: Path, scratch: Path) -> tuple[pd.DataFrame, float]:
    """Write the columns as a CSV file, as the published summary is one, and read it whole."""
    path = scratch / "summary.csv"
    with Index(folder) as index, path.open("w") as file:
        file.write("molecule_id,conformation_id,energy,n_atoms,formula,smiles\n")
        rows = index.connection.execute(
            "SELECT c.molecule_id, c.conformation_id, c.energy, k.n_atoms, k.formula, m.smiles"
            " FROM molecules AS m CROSS JOIN compositions AS k USING (composition)"
            " CROSS JOIN conformations AS c ON c.molecule_id = m.molecule_id"
        )
        file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    found, seconds = timed(lambda: pd.read_csv(path))
    return found, seconds


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Give the result and the seconds it took."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


if __name__ == "__main__":
    main()
