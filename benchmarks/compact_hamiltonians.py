"""Bytes, speed and error of Hamiltonians stored to an error bound, beside the published squares.

A published record holds Hamiltonian and overlap as square float32 matrices, 8 n² bytes. Here the
same Hamiltonians are stored as squares (raw, gzip, zstd), as packed triangles without loss, and to
several error bounds; the overlap is recomputed. For each: bytes per conformation, times to write
and to read, and what the rounding does to orbital energies and density. Where a source has few
records they are repeated, so that a file is as full as in use; chunks are packed one by one, so
that this saves no bytes. Files are warm in the page cache and chunks are unpacked anew in every
pass. A second table times the integrals that are not stored against PySCF's, where it is installed.

    python benchmarks/compact_hamiltonians.py                        # the data set that comes along
    python benchmarks/compact_hamiltonians.py my_store --rows 20     # molecules of another size
    python benchmarks/compact_hamiltonians.py my_store --picture compact.png
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import hdf5plugin
import numpy as np
from tqdm import tqdm

from nabladft.chemistry.attraction import attraction_matrix
from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.core_hamiltonian import kinetic_matrix
from nabladft.chemistry.electronic import (
    density_matrix,
    homo_lumo,
    n_electrons,
    n_occupied,
    orbital_energies_and_coefficients,
)
from nabladft.chemistry.elements import SYMBOLS
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.two_centre import two_centre_triangles
from nabladft.errors import missing_extra
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

BOUNDS: Final = (1e-5, 1e-6, 1e-7, 1e-8)

#: What is asked of sizes: bound (hartree) and published bytes over stored bytes, of molecules of
#: the published size. Smaller ones have no distant atoms, so nearly every element is large.
GOALS: Final = {1e-6: 10.0, 1e-7: 8.0}
PUBLISHED_ATOMS: Final = 25

#: The best of so many passes counts.
PASSES: Final = 5

#: Records read at once.
BATCH: Final = 8

#: Records in the shard of a store.
SHARD_ROWS: Final = 48


@dataclass(frozen=True)
class Result:
    """One way to store Hamiltonians, measured."""

    name: str
    bound: float | None
    n_bytes: float  # per conformation, matrices only
    file_bytes: float | None  # per conformation, everything in the shard
    write_seconds: float  # per conformation
    read_seconds: float  # per conformation
    effect: Effect


@dataclass(frozen=True)
class Effect:
    """What rounding does, in hartree; largest over all molecules but for the mean."""

    value: float  # of a matrix element
    occupied_mean: float
    occupied: float
    homo: float
    lumo: float
    gap: float
    density: float  # of an element of the density matrix, dimensionless
    energy: float  # Tr (D' - D) H


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", default="nano", help="any source (default: nano)")
    parser.add_argument(
        "--rows", type=int, default=12, help="records, spread over the source (default: 12)"
    )
    parser.add_argument(
        "--step", action="store_true", help="time a training step of the baseline qhnet as well"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw size against bound")
    args = parser.parse_args()
    source = open_source(args.source)
    n_rows = min(args.rows, len(source))
    rows = np.linspace(0, len(source) - 1, n_rows).round().astype(int)
    records = source.read(rows, fields=["hamiltonian"])
    references = [Reference(record) for record in records]
    results = measure(source, records, references)
    sizes = [len(record.require("hamiltonian")) for record in records]
    atoms = [record.n_atoms for record in records]
    print(
        f"{len(records)} conformations of {source.info.name}, {min(atoms)} to {max(atoms)} atoms, "
        f"{min(sizes)} to {max(sizes)} orbitals; published: {published_bytes(records):,.0f} bytes "
        "per conformation (two float32 squares).\n"
    )
    for name, bound in source.info.details.get("error_bounds", {}).items():
        if name == "hamiltonian":
            print(f"The source itself is rounded to {bound:g} Eh: no finer error shows.\n")
    print_results(results, published_bytes(records))
    if min(atoms) >= PUBLISHED_ATOMS:
        print_goals(results, published_bytes(records))
    print_integrals(records)
    if args.step:
        print_step(source, rows, results)
    if args.picture:
        title = f"Size, {min(atoms)} to {max(atoms)} atoms"
        draw(results, published_bytes(records), args.picture, title)


class Reference:
    """The exact Hamiltonian of a record, solved once."""

    def __init__(self, record: Conformation) -> None:
        """Solve it."""
        self.hamiltonian = record.require("hamiltonian")
        self.overlap = overlap_matrix(
            record.atomic_numbers,
            record.positions,
            basis_set=basis_set_named(str(record.basis_set)),
            orbital_order=record.orbital_order,  # type: ignore[arg-type]
        )
        self.n_electrons = n_electrons(record.atomic_numbers)
        self.energies, self.density = self._solve(self.hamiltonian)

    def _solve(self, hamiltonian: FloatArray) -> tuple[FloatArray, FloatArray]:
        energies, coefficients = orbital_energies_and_coefficients(hamiltonian, self.overlap)
        return energies, density_matrix(coefficients, self.n_electrons)

    def effect(self, hamiltonian: FloatArray) -> Effect:
        """Compare another Hamiltonian of the same molecule with the exact one."""
        if np.array_equal(hamiltonian, self.hamiltonian):
            return Effect(*[0.0] * 8)
        energies, density = self._solve(hamiltonian)
        n = n_occupied(self.n_electrons, n_orbitals=len(energies))
        occupied = np.abs(energies - self.energies)[:n]
        homo, lumo = (
            new - old
            for new, old in zip(
                homo_lumo(energies, self.n_electrons),
                homo_lumo(self.energies, self.n_electrons),
                strict=True,
            )
        )
        return Effect(
            value=float(np.abs(hamiltonian - self.hamiltonian).max()),
            occupied_mean=float(occupied.mean()),
            occupied=float(occupied.max()),
            homo=abs(homo),
            lumo=abs(lumo),
            gap=abs(lumo - homo),
            density=float(np.abs(density - self.density).max()),
            energy=float(np.sum((density - self.density) * self.hamiltonian)),
        )


def largest(effects: Sequence[Effect]) -> Effect:
    """Join the effects on several molecules."""
    names = Effect.__dataclass_fields__
    worst = {name: max(abs(getattr(e, name)) for e in effects) for name in names}
    worst["occupied_mean"] = float(np.mean([e.occupied_mean for e in effects]))
    return Effect(**worst)


def published_bytes(records: Sequence[Conformation]) -> float:
    """Give the bytes of two float32 squares per conformation."""
    return float(np.mean([8 * len(r.require("hamiltonian")) ** 2 for r in records]))


def measure(
    source: ConformationSource, records: Sequence[Conformation], references: Sequence[Reference]
) -> list[Result]:
    """Store the same records in every way."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        works: list[Callable[[], Result]] = [
            lambda: raw_squares(records, references),
            lambda: gzip_squares(records, references),
            lambda: zstd_squares(records, references, here / "squares.h5"),
            lambda: stored(source, records, references, here / "plain", "plain"),
            lambda: stored(source, records, references, here / "exact", "compact"),
            *(
                lambda bound=bound: stored(  # type: ignore[misc]
                    source, records, references, here / f"{bound:g}", "compact", bound
                )
                for bound in reversed(BOUNDS)
            ),
        ]
        return [work() for work in tqdm(works, desc="ways to store", disable=None)]


def squares(records: Sequence[Conformation], references: Sequence[Reference]) -> list[bytes]:
    """Give each record as published: Hamiltonian and overlap, float32 squares."""
    return [
        record.require("hamiltonian").astype("<f4").tobytes()
        + reference.overlap.astype("<f4").tobytes()
        for record, reference in zip(records, references, strict=True)
    ]


def single_effect(references: Sequence[Reference]) -> Effect:
    """Give what single precision does."""
    return largest(
        [ref.effect(ref.hamiltonian.astype(np.float32).astype(np.float64)) for ref in references]
    )


def raw_squares(records: Sequence[Conformation], references: Sequence[Reference]) -> Result:
    """Store as published."""
    blobs = squares(records, references)
    n = len(blobs)
    return Result(
        name="float32 squares of H and S, as published",
        bound=None,
        n_bytes=published_bytes(records),
        file_bytes=None,
        write_seconds=best(lambda: squares(records, references)) / n,
        read_seconds=best(lambda: [np.frombuffer(b, "<f4").astype(float) for b in blobs]) / n,
        effect=single_effect(references),
    )


def gzip_squares(records: Sequence[Conformation], references: Sequence[Reference]) -> Result:
    """Compress the published bytes with gzip's algorithm."""
    blobs = squares(records, references)
    packed = [zlib.compress(blob, 6) for blob in blobs]
    n = len(blobs)
    return Result(
        name="the same, gzip level 6",
        bound=None,
        n_bytes=sum(map(len, packed)) / n,
        file_bytes=None,
        write_seconds=best(lambda: [zlib.compress(blob, 6) for blob in blobs], 1) / n,
        read_seconds=best(
            lambda: [np.frombuffer(zlib.decompress(p), "<f4").astype(float) for p in packed]
        )
        / n,
        effect=single_effect(references),
    )


def zstd_squares(
    records: Sequence[Conformation], references: Sequence[Reference], path: Path
) -> Result:
    """Compress the published bytes with zstd, one HDF5 dataset for each record."""
    blobs = squares(records, references)
    n = len(blobs)

    def write() -> None:
        with h5py.File(path, "w") as file:
            for k, blob in enumerate(blobs):
                data = np.frombuffer(blob, dtype=np.uint8)
                file.create_dataset(
                    str(k), data=data, chunks=data.shape, **hdf5plugin.Zstd(clevel=9)
                )

    def read() -> None:
        with h5py.File(path) as file:
            for k in range(n):
                file[str(k)][()].view("<f4").astype(float)

    write_seconds = best(write, 1) / n
    with h5py.File(path) as file:
        size = sum(file[str(k)].id.get_storage_size() for k in range(n))
    return Result(
        name="the same, zstd level 9",
        bound=None,
        n_bytes=size / n,
        file_bytes=None,
        write_seconds=write_seconds,
        read_seconds=best(read) / n,
        effect=single_effect(references),
    )


def stored(
    source: ConformationSource,
    records: Sequence[Conformation],
    references: Sequence[Reference],
    folder: Path,
    codec: Any,  # noqa: ANN401 - Codec, checked by create_store
    bound: float | None = None,
) -> Result:
    """Store in a store."""
    create_store(
        folder,
        name=folder.name,
        level_of_theory={"method": source.info.method},
        fields=["hamiltonian"],
        basis_set=source.info.basis_set,
        orbital_order=source.info.orbital_order,
        codec=codec,
        error_bounds={"hamiltonian": bound} if codec == "compact" else None,
    )
    n = len(records) * -(-SHARD_ROWS // len(records))
    start = time.perf_counter()
    append(folder, [records[k % len(records)].replace(conformation_id=1000 + k) for k in range(n)])
    write_seconds = (time.perf_counter() - start) / n
    shards = list(folder.glob("shard-*.h5"))
    matrix_bytes = 0
    for shard in shards:
        with h5py.File(shard) as file:
            matrix_bytes += sum(d.id.get_storage_size() for d in datasets(file["hamiltonian"]))
    rows = np.random.default_rng(0).permutation(n)
    read_seconds = min(read_once(folder, rows) for _ in range(PASSES)) / n
    rounded = Store(folder).read(range(len(records)), fields=["hamiltonian"])
    effects = [
        reference.effect(record.require("hamiltonian"))
        for reference, record in zip(references, rounded, strict=True)
    ]
    name = "packed triangle of H, "
    name += codec if bound is None else f"bound {bound:g} Eh"
    return Result(
        name=name + (", lossless" if codec == "compact" and bound is None else ""),
        bound=bound,
        n_bytes=matrix_bytes / n,
        file_bytes=sum(shard.stat().st_size for shard in shards) / n,
        write_seconds=write_seconds,
        read_seconds=read_seconds,
        effect=largest(effects),
    )


def datasets(node: h5py.Group | h5py.Dataset) -> Iterable[h5py.Dataset]:
    """List the datasets of a field."""
    return [node] if isinstance(node, h5py.Dataset) else node.values()


def read_once(folder: Path, rows: NDArray[np.int64]) -> float:
    """Time reading all rows from a store that was just opened, so that no chunk is unpacked yet."""
    store = Store(folder)
    store.read_flat([0], fields=[])
    start = time.perf_counter()
    for first in range(0, len(rows), BATCH):
        store.read_flat(rows[first : first + BATCH], fields=["hamiltonian"])
    return time.perf_counter() - start


def best(work: Callable[[], object], passes: int = PASSES) -> float:
    """Time some work, the best of several passes, in seconds."""
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def print_results(results: Sequence[Result], published: float) -> None:
    """Print sizes and speeds, then errors."""
    print("| stored as | bytes, matrices | bytes, whole file | published / matrices | ", end="")
    print("write, 1/s | read, 1/s |\n|---|---|---|---|---|---|")
    for r in results:
        whole = "" if r.file_bytes is None else f"{r.file_bytes:,.0f}"
        print(
            f"| {r.name} | {r.n_bytes:,.0f} | {whole} | {published / r.n_bytes:.2f} | "
            f"{1 / r.write_seconds:,.0f} | {1 / r.read_seconds:,.0f} |"
        )
    print("\nErrors in hartree, largest over all molecules; occupied MAE: mean.\n")
    print("| stored as | H element | occupied MAE | occupied | HOMO | LUMO | gap | ", end="")
    print("density matrix | Tr (D' - D) H |\n|---|---|---|---|---|---|---|---|---|")
    for r in results:
        e = r.effect
        numbers = (e.value, e.occupied_mean, e.occupied, e.homo, e.lumo, e.gap, e.density, e.energy)
        print(f"| {r.name} | " + " | ".join(f"{x:.1e}" if x else "0" for x in numbers) + " |")


def print_goals(results: Sequence[Result], published: float) -> None:
    """Say whether the goals are met."""
    print()
    for r in results:
        if r.bound in GOALS and r.file_bytes is not None:
            reached = published / r.file_bytes
            goal = GOALS[r.bound]
            verdict = "met" if reached >= goal else "not met"
            print(
                f"Goal at {r.bound:g} Eh: 1/{goal:g} of the published bytes; whole file: "
                f"1/{reached:.2f}, {verdict}."
            )


def print_integrals(records: Sequence[Conformation]) -> None:
    """Time the matrices that are not stored, and PySCF's where it is installed."""
    numbers = np.concatenate([record.atomic_numbers for record in records])
    positions = np.concatenate([record.positions for record in records])
    offsets = np.cumsum([0, *(record.n_atoms for record in records)])
    together = {
        "overlap": lambda: two_centre_triangles(numbers, positions, offsets),
        "kinetic energy": lambda: two_centre_triangles(
            numbers, positions, offsets, operator="kinetic"
        ),
    }
    alone = {
        "overlap": overlap_matrix,
        "kinetic energy": kinetic_matrix,
        "attraction by the nuclei": attraction_matrix,
    }
    molecules = pyscf_molecules(records)
    print("\n| recomputed, ms per molecule | together | one by one | PySCF | largest difference |")
    print("|---|---|---|---|---|")
    for name, compute in alone.items():
        cells = [f"{1e3 * best(together[name]) / len(records):.2f}" if name in together else ""]
        cells.append(f"{1e3 * best_of_each(compute, records):.2f}")
        cells += compared(name, compute, records, molecules)
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_step(source: ConformationSource, rows: IntArray, results: Sequence[Result]) -> None:
    """Compare reading with a training step of the smallest Hamiltonian model, on one core."""
    import torch  # noqa: PLC0415 - optional

    from nabladft.data.datasets import HamiltonianDataset  # noqa: PLC0415
    from nabladft.models.contract import load_model_folder  # noqa: PLC0415
    from nabladft.resources import find_baseline  # noqa: PLC0415

    torch.set_num_threads(1)
    dataset = HamiltonianDataset(source)
    batch = dataset.collate(dataset.__getitems__(rows[:BATCH].tolist()))
    folder = find_baseline("qhnet")
    options = tomllib.loads((folder / "config.toml").read_text())["model"]
    model: Any = load_model_folder(folder, options)
    model.prepare([batch])
    optimiser = torch.optim.AdamW(model.parameters())

    def step() -> None:
        optimiser.zero_grad()
        error = model(batch)["hamiltonian"] - batch.labels["hamiltonian"]
        error.abs().mean().backward()
        optimiser.step()

    step()
    seconds = best(step, 2) / batch.n_conformations
    slowest = max(r.read_seconds for r in results if r.bound is not None)
    print(
        f"\nA training step of the baseline qhnet as it comes: {1e3 * seconds:.0f} ms "
        f"per molecule; reading at the slowest bound: {1e3 * slowest:.2f} ms, "
        f"{seconds / slowest:,.0f} times less."
    )


def best_of_each(compute: Callable[..., FloatArray], records: Sequence[Conformation]) -> float:
    """Time one molecule after the other, in seconds per molecule."""
    work = best(lambda: [compute(r.atomic_numbers, r.positions) for r in records], 3)
    return work / len(records)


def compared(
    name: str,
    compute: Callable[..., FloatArray],
    records: Sequence[Conformation],
    molecules: Sequence[Any] | None,
) -> list[str]:
    """Time PySCF on the same molecules and compare."""
    if molecules is None:
        return ["not installed", ""]
    integral = {"overlap": "int1e_ovlp", "kinetic energy": "int1e_kin"}.get(name, "int1e_nuc")
    seconds = best(lambda: [m.intor(integral) for m in molecules], 3) / len(molecules)
    difference = max(
        np.abs(
            compute(r.atomic_numbers, r.positions, orbital_order="pyscf") - m.intor(integral)
        ).max()
        for r, m in zip(records, molecules, strict=True)
    )
    return [f"{1e3 * seconds:.2f}", f"{difference:.0e}"]


def pyscf_molecules(records: Sequence[Conformation]) -> list[Any] | None:
    """Build PySCF's molecules, or give None where it is not installed."""
    if importlib.util.find_spec("pyscf") is None:
        return None
    from pyscf import gto  # noqa: PLC0415 - optional

    return [
        gto.M(
            atom=[
                (SYMBOLS[z], x) for z, x in zip(r.atomic_numbers.tolist(), r.positions, strict=True)
            ],
            unit="Bohr",
            basis=str(r.basis_set),
            verbose=0,
        )
        for r in records
    ]


def draw(results: Sequence[Result], published: float, path: Path, title: str) -> None:
    """Draw size and error of the HOMO against the bound."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_extra("A picture", "plot", error) from error
    bounded = sorted((r for r in results if r.bound is not None), key=lambda r: r.bound or 0)
    bounds = [r.bound for r in bounded]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.plot(bounds, [1e-3 * r.n_bytes for r in bounded], "o-", color="C0")
    for goal_bound, goal in GOALS.items():
        left.plot(goal_bound, 1e-3 * published / goal, "_", color="C3", markersize=16, mew=2)
    left.plot([], [], "_", color="C3", markersize=16, mew=2, label="goal")
    for r, style in zip([r for r in results if r.bound is None], ("-", "--", ":"), strict=False):
        left.axhline(1e-3 * r.n_bytes, color="0.5", linestyle=style, label=r.name)
    left.set(xscale="log", yscale="log", xlabel="error bound (hartree)")
    left.set(ylabel="kB per conformation", title=title)
    left.legend(fontsize="x-small")
    for label, attribute, colour in (
        ("HOMO", "homo", "C1"),
        ("occupied, mean", "occupied_mean", "C2"),
    ):
        errors = [getattr(r.effect, attribute) for r in bounded]
        right.plot(bounds, errors, "o-", color=colour, label=label)
        right.axhline(getattr(results[0].effect, attribute), color=colour, linestyle=":")
    right.plot([], [], ":", color="0.4", label="float32, as published")
    right.set(xscale="log", yscale="log", xlabel="error bound (hartree)")
    right.set(ylabel="error (hartree)", title="Orbital energies")
    right.legend(fontsize="x-small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
