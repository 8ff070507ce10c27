"""Conformations per second of every way to read them, in one run, on the same records.

Energies and forces: molecules of 42 atoms, as the published ones are on average, read as flat
arrays (atomic numbers, positions, energy, forces), in batches of 256 rows, in order and shuffled.
Hamiltonians: the same sizes, read into ready batches of atom-pair blocks. Every reader's arrays are
compared before anything is timed. Files are warm in the page cache: this measures software, not
disks. Readers take turns, and the best pass of each counts, so that a busy machine hurts all alike.

    python benchmarks/reading.py                       # energies and Hamiltonians, two minutes
    python benchmarks/reading.py --ragged              # 29 to 54 atoms instead of 42
    python benchmarks/reading.py --picture docs/images/reading.png
    python benchmarks/reading.py --scale               # 12.7 million rows: first record, memory
"""

from __future__ import annotations

import argparse
import multiprocessing
import struct
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ase
import ase.db
import numpy as np

from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.data import EnergyDataset
from nabladft.errors import missing_extra
from nabladft.storage.flat import FlatRecords, Texts
from nabladft.storage.formats.published_energy import PublishedEnergySource
from nabladft.storage.manifest import read_manifest, write_manifest
from nabladft.storage.ragged import offsets_of
from nabladft.storage.shards import build_shard
from nabladft.storage.store import Store
from nabladft.storage.writing import create_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Arrays = tuple[NDArray[Any], ...]
    Read = Callable[[NDArray[np.int64]], Any]

BATCH: Final = 256
FIELDS: Final = ("energy", "forces")
LEVEL: Final = {"method": "wB97X-D/def2-SVP"}
_LENGTH: Final = PUBLISHED_BOHR_IN_ANGSTROM


@dataclass(kw_only=True)
class Reader:
    """One way to read.

    Attributes:
        name: For the table.
        path: File or folder.
        open_reader: Opens it and gives a function from rows to what is timed.
        arrays: Turns what was read into (atomic_numbers, positions, energy, forces).
        n_rows: Rows that are read; slow readers get fewer.
        tolerance: Largest relative difference from the records written.
        processes: Processes that share the batches.
    """

    name: str
    path: Path
    open_reader: Callable[[Path], Read]
    arrays: Callable[[Any], Arrays]
    n_rows: int
    tolerance: float = 0.0
    processes: int = 1


def main() -> None:
    """Write the files, check, time, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=102400, help="records (default: 102400)")
    parser.add_argument("--ragged", action="store_true", help="molecules of 29 to 54 atoms")
    parser.add_argument("--passes", type=int, default=5, help="the best of so many (default: 5)")
    parser.add_argument("--matrices", type=int, default=64, help="Hamiltonians (default: 64)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the rates")
    parser.add_argument("--scale", action="store_true", help="measure a store of 12.7 million rows")
    parser.add_argument("--folder", type=Path, help="where files are made (default: temporary)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.scale:
            import reading_scale  # noqa: PLC0415 - beside this file

            reading_scale.measure(Path(folder))
            return
        energies = measure_energies(Path(folder), args.rows, args.passes, ragged=args.ragged)
        matrices = {}
        if args.matrices:
            import reading_hamiltonians  # noqa: PLC0415 - beside this file

            matrices = reading_hamiltonians.measure(Path(folder), args.matrices, args.passes)
        if args.picture:
            draw(energies, matrices, args.picture)


def measure_energies(
    folder: Path, n_rows: int, passes: int, *, ragged: bool
) -> dict[str, tuple[float, float]]:
    """Time all readers of energies and forces; give in-order and shuffled rates by name."""
    flat = molecules(n_rows, ragged=ragged)
    readers = energy_readers(folder, flat)
    for reader in readers:
        check(reader, flat)
    rng = np.random.default_rng(1)
    orders = {r.name: (np.arange(r.n_rows), rng.permutation(r.n_rows)) for r in readers}
    rates = {reader.name: [0.0, 0.0] for reader in readers}
    single = [reader for reader in readers if reader.processes == 1]
    opened = {reader.name: reader.open_reader(reader.path) for reader in single}
    for _ in range(passes):
        for kind in (0, 1):
            for reader in single:
                rate = rate_of(opened[reader.name], orders[reader.name][kind])
                rates[reader.name][kind] = max(rates[reader.name][kind], rate)
    for reader in readers:
        if reader.processes > 1:
            rates[reader.name] = [parallel_rate(reader, o, passes) for o in orders[reader.name]]
    sizes = np.diff(flat.atom_offsets)
    atoms = f"{sizes.min()} to {sizes.max()}" if ragged else f"{sizes.min()}"
    print(f"\nEnergies and forces, {atoms} atoms, {n_rows:,} conformations, batches of {BATCH}\n")
    print("| reader | bytes each | in order, 1/s | shuffled, 1/s |\n|---|--:|--:|--:|")
    held = {reader.path.name: reader.n_rows for reader in readers}
    for reader in readers:
        size = n_bytes(reader.path) / held[reader.path.name]
        one, two = rates[reader.name]
        print(f"| {reader.name} | {size:,.0f} | {one:,.0f} | {two:,.0f} |")
    print_ratios({name: rate[1] for name, rate in rates.items()})
    return {name: (rate[0], rate[1]) for name, rate in rates.items()}


def print_ratios(shuffled: dict[str, float]) -> None:
    """Say how the goals stand."""
    for one, other in (
        ("store plain", "Atompack"),
        ("store plain, 128 shards", "Atompack"),
        ("store plain, 2 processes", "Atompack"),
        ("store plain, 2 processes", "Atompack, 2 processes"),
    ):
        if one in shuffled and other in shuffled:
            ratio = shuffled[one] / shuffled[other]
            print(f"\n{one}: {ratio:.2f} times {other}, shuffled (goal: 1.5)", end="")
    print()


def molecules(n_rows: int, *, ragged: bool = False, seed: int = 0) -> FlatRecords:
    """Give random "molecules"; positions and forces as precise as float32 can say, as published."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(29, 55, size=n_rows) if ragged else np.full(n_rows, 42)
    offsets = offsets_of(counts)
    n_atoms = int(offsets[-1])
    angstrom = (3 * rng.normal(size=(n_atoms, 3))).astype(np.float32).astype(float)
    forces = (0.05 * rng.normal(size=(n_atoms, 3))).astype(np.float32).astype(float)
    return FlatRecords(
        molecule_id=np.arange(n_rows) // 8,
        conformation_id=np.arange(n_rows) % 8,
        atom_offsets=offsets,
        atomic_numbers=rng.choice([1, 6, 7, 8], size=n_atoms, p=[0.5, 0.4, 0.05, 0.05]).astype(
            "i4"
        ),
        positions=angstrom / _LENGTH,
        orbital_counts=np.zeros(n_rows, dtype=np.int64),
        values={"energy": -40.0 * counts + rng.normal(size=n_rows), "forces": forces},
    )


def energy_readers(folder: Path, flat: FlatRecords) -> list[Reader]:
    """Write the same records in every format."""
    n = len(flat)
    few = min(n, 2048)
    published = write_published(folder / "published.db", flat, few)
    plain = write_store(folder / "plain", flat)
    many = write_store(folder / "many", flat, n_shards=128)
    some = min(n, 10240)
    compact = write_store(folder / "compact", part(flat, np.arange(some)), codec="compact")
    lmdb = write_lmdb(folder / "records.lmdb", flat)
    atompack = write_atompack(folder / "molecules.atp", flat)

    def store_reader(name: str, path: Path, **changes: Any) -> Reader:  # noqa: ANN401 - as Reader
        options = {"n_rows": n, "open_reader": open_store, "arrays": of_flat} | changes
        return Reader(name=name, path=path, **options)

    exact = 1e-14  # angstrom and back
    readers = [
        Reader(
            name="published file, ASE (`db.get`)",
            path=published,
            open_reader=open_ase,
            arrays=lambda arrays: arrays,
            n_rows=min(few, 512),
            tolerance=exact,
        ),
        Reader(
            name="published file, nabladft",
            path=published,
            open_reader=open_published,
            arrays=of_flat,
            n_rows=few,
            tolerance=exact,
        ),
        Reader(
            name="LMDB, packed records",
            path=lmdb,
            open_reader=open_lmdb,
            arrays=lambda arrays: arrays,
            n_rows=n,
        ),
        Reader(
            name="Atompack",
            path=atompack,
            open_reader=open_atompack,
            arrays=of_atompack,
            n_rows=n,
            tolerance=1e-6,
        ),
        store_reader("store compact", compact, n_rows=some),
        store_reader("store plain", plain),
        store_reader("store plain, 128 shards", many),
        Reader(
            name="store plain, `EnergyDataset`",
            path=plain,
            open_reader=open_dataset,
            arrays=of_batch,
            n_rows=n,
        ),
    ]
    shared = (readers[3], readers[5], readers[6])
    return readers + [replace(r, name=f"{r.name}, 2 processes", processes=2) for r in shared]


def write_store(
    folder: Path, flat: FlatRecords, *, n_shards: int = 1, codec: str = "plain"
) -> Path:
    """Write shards as :func:`nabladft.storage.writing.append` does, without an index."""
    options = {"codec": "compact", "error_bounds": {"forces": None}} if codec == "compact" else {}
    create_store(folder, name=folder.name, level_of_theory=LEVEL, fields=FIELDS, **options)
    manifest = read_manifest(folder)
    entries = []
    for k, rows in enumerate(np.array_split(np.arange(len(flat)), n_shards)):
        words = Texts(smiles=["C" * 20] * len(rows), geometry_origin=[None] * len(rows))
        content, entry = build_shard(f"shard-{k:05d}.h5", part(flat, rows), words, manifest)
        (folder / entry.file).write_bytes(content)
        entries.append(entry)
    write_manifest(folder, replace(manifest, shards=tuple(entries)))
    return folder


def part(flat: FlatRecords, rows: NDArray[np.int64]) -> FlatRecords:
    """Cut out rows that follow each other."""
    first, last = rows[0], rows[-1] + 1
    atoms = slice(flat.atom_offsets[first], flat.atom_offsets[last])
    return FlatRecords(
        molecule_id=flat.molecule_id[first:last],
        conformation_id=flat.conformation_id[first:last],
        atom_offsets=flat.atom_offsets[first : last + 1] - flat.atom_offsets[first],
        atomic_numbers=flat.atomic_numbers[atoms],
        positions=flat.positions[atoms],
        orbital_counts=flat.orbital_counts[first:last],
        values={
            "energy": flat.values["energy"][first:last],
            "forces": flat.values["forces"][atoms],
        },
    )


def write_published(path: Path, flat: FlatRecords, n_rows: int) -> Path:
    """Write rows as the published energy files hold them."""
    with ase.db.connect(path, type="db") as database:
        for k in range(n_rows):
            atoms = slice(flat.atom_offsets[k], flat.atom_offsets[k + 1])
            database.write(
                ase.Atoms(
                    numbers=flat.atomic_numbers[atoms], positions=_LENGTH * flat.positions[atoms]
                ),
                moses_id=int(flat.molecule_id[k]),
                conformation_id=int(flat.conformation_id[k]),
                smiles="C" * 20,
                data={
                    "energy": [float(flat.values["energy"][k])],
                    "forces": flat.values["forces"][atoms] / _LENGTH,
                },
            )
    return path


def write_lmdb(path: Path, flat: FlatRecords) -> Path:
    """Write one packed value per record, as data sets in LMDB do."""
    import lmdb  # noqa: PLC0415 - of the extra "compare"

    with (
        lmdb.open(str(path), map_size=1 << 36, subdir=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for k in range(len(flat)):
            atoms = slice(flat.atom_offsets[k], flat.atom_offsets[k + 1])
            value = (
                struct.pack("<qd", atoms.stop - atoms.start, flat.values["energy"][k])
                + flat.positions[atoms].tobytes()
                + flat.values["forces"][atoms].tobytes()
                + flat.atomic_numbers[atoms].astype("u1").tobytes()
            )
            transaction.put(struct.pack(">q", k), value)
    return path


def write_atompack(path: Path, flat: FlatRecords) -> Path:
    """Write an Atompack file; its positions and forces are float32."""
    import atompack  # noqa: PLC0415 - of the extra "compare"

    database = atompack.Database(str(path), overwrite=True)
    records = []
    for k in range(len(flat)):
        atoms = slice(flat.atom_offsets[k], flat.atom_offsets[k + 1])
        records.append(
            atompack.Molecule.from_arrays(
                flat.positions[atoms].astype("f4"),
                flat.atomic_numbers[atoms].astype("u1"),
                energy=float(flat.values["energy"][k]),
                forces=flat.values["forces"][atoms].astype("f4"),
            )
        )
    database.add_molecules(records)
    database.flush()
    return path


def open_ase(path: Path) -> Read:
    """Read as users of the published files do."""
    database = ase.db.connect(path)

    def read(rows: NDArray[np.int64]) -> Arrays:
        found = [database.get(row + 1) for row in rows.tolist()]
        return (
            np.concatenate([row.numbers for row in found]),
            np.concatenate([row.positions for row in found]) / _LENGTH,
            np.array([row.data["energy"][0] for row in found]),
            np.concatenate([row.data["forces"] for row in found]) * _LENGTH,
        )

    return read


def open_published(path: Path) -> Read:
    """Read the published file with our reader."""
    source = PublishedEnergySource(path)
    names = tuple(name for name in source.info.fields if name not in source.derived_fields)
    return lambda rows: source.read_flat(rows, fields=names)


def open_store(path: Path) -> Read:
    """Read a store."""
    store = Store(path)
    return lambda rows: store.read_flat(rows, fields=FIELDS)


def open_dataset(path: Path) -> Read:
    """Read batches of tensors, positions and forces in float64."""
    import torch  # noqa: PLC0415 - only here

    dataset = EnergyDataset(Store(path), fields=FIELDS, dtype=torch.float64)
    return lambda rows: dataset.collate(dataset.__getitems__(rows))


def open_lmdb(path: Path) -> Read:
    """Read packed records; each is copied once, into the batch."""
    import lmdb  # noqa: PLC0415 - of the extra "compare"

    environment = lmdb.open(str(path), readonly=True, lock=False, subdir=False, readahead=False)

    def read(rows: NDArray[np.int64]) -> Arrays:
        numbers, positions, energies, forces = [], [], [], []
        with environment.begin(buffers=True) as transaction:
            for row in rows.tolist():
                value = transaction.get(struct.pack(">q", row))
                n_atoms, energy = struct.unpack_from("<qd", value)
                numbers.append(np.frombuffer(value, "u1", n_atoms, 16 + 48 * n_atoms))
                positions.append(np.frombuffer(value, "f8", 3 * n_atoms, 16))
                energies.append(energy)
                forces.append(np.frombuffer(value, "f8", 3 * n_atoms, 16 + 24 * n_atoms))
            return (
                np.concatenate(numbers).astype("i4"),
                np.concatenate(positions).reshape(-1, 3),
                np.array(energies),
                np.concatenate(forces).reshape(-1, 3),
            )

    return read


def open_atompack(path: Path) -> Read:
    """Read Atompack's flat arrays, its fastest way."""
    import atompack  # noqa: PLC0415 - of the extra "compare"

    database = atompack.Database.open(str(path))
    return lambda rows: database.get_molecules_flat(rows.tolist())


def of_flat(flat: FlatRecords) -> Arrays:
    """Arrays of flat records."""
    values = [name for name in flat.values if name.endswith("energy")]
    return (flat.atomic_numbers, flat.positions, flat.values[values[0]], flat.values["forces"])


def of_batch(batch: Any) -> Arrays:  # noqa: ANN401 - nabladft.data.Batch
    """Arrays of a batch."""
    tensors = (batch.atomic_numbers, batch.positions, *(batch.labels[name] for name in FIELDS))
    return tuple(tensor.numpy() for tensor in tensors)


def of_atompack(found: dict[str, NDArray[Any]]) -> Arrays:
    """Arrays of Atompack's dict."""
    return (found["atomic_numbers"], found["positions"], found["energy"], found["forces"])


def check(reader: Reader, flat: FlatRecords) -> None:
    """Make sure that a reader gives what was written.

    Raises:
        AssertionError: It does not.
    """
    rows = np.array([7, 3, 3, 211, 0])
    atoms = np.concatenate([np.arange(*flat.atom_offsets[row : row + 2]) for row in rows])
    expected = (
        flat.atomic_numbers[atoms],
        flat.positions[atoms],
        flat.values["energy"][rows],
        flat.values["forces"][atoms],
    )
    got = reader.arrays(reader.open_reader(reader.path)(rows))
    for one, two in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=reader.tolerance, atol=0, err_msg=reader.name)


def rate_of(read: Read, rows: NDArray[np.int64]) -> float:
    """Read all rows once; records per second."""
    batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
    start = time.perf_counter()
    for batch in batches:
        read(batch)
    return len(rows) / (time.perf_counter() - start)


def parallel_rate(reader: Reader, rows: NDArray[np.int64], passes: int) -> float:
    """Let several processes share the batches; records per second of the best pass."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(reader.processes)
    results = context.Queue()
    workers = [
        context.Process(
            target=share_batches,
            args=(reader.open_reader, reader.path, shares, passes, barrier, results),
        )
        for shares in np.array_split(rows, reader.processes)
    ]
    for worker in workers:
        worker.start()
    times = np.array([results.get(timeout=300) for _ in workers])
    for worker in workers:
        worker.join()
    seconds = times[:, :, 1].max(axis=0) - times[:, :, 0].min(axis=0)
    return float(len(rows) / seconds.min())


def share_batches(
    open_reader: Callable[[Path], Read],
    path: Path,
    rows: NDArray[np.int64],
    passes: int,
    barrier: Any,  # noqa: ANN401 - multiprocessing does not name its types
    results: Any,  # noqa: ANN401
) -> None:
    """Read one share, in step with the other processes; start and end of every pass."""
    read = open_reader(path)
    rate_of(read, rows)  # maps the pages, opens the shards
    times = []
    for _ in range(passes):
        barrier.wait()
        start = time.monotonic()
        rate_of(read, rows)
        times.append((start, time.monotonic()))
    results.put(times)


def n_bytes(path: Path) -> int:
    """Size of a file or of the shards of a store."""
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.glob("shard-*")))


def draw(energies: dict[str, tuple[float, float]], matrices: dict[str, float], path: Path) -> None:
    """Draw shuffled rates as bars, on a logarithmic axis."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_extra("A picture", "plot", error) from error
    panels: Sequence[tuple[str, dict[str, float]]] = [
        ("energies and forces, shuffled", {name: rate[1] for name, rate in energies.items()}),
        ("Hamiltonians into blocks, shuffled", matrices),
    ]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(8, 6.4),
        layout="constrained",
        height_ratios=[len(rates) + 1 for _, rates in panels],
    )
    for axis, (title, rates) in zip(axes, panels, strict=True):
        names = [name.replace("`", "") for name in reversed(rates)]
        values = list(reversed(rates.values()))
        colours = ["C0" if name.startswith("store") else "0.6" for name in names]
        bars = axis.barh(names, values, color=colours)
        axis.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize="small")
        axis.set(xscale="log", title=title, xlabel="conformations per second")
        axis.set_xlim(10 ** np.floor(np.log10(min(values))), 3 * max(values))
        axis.xaxis.set_minor_formatter("")  # the bars carry their numbers
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
