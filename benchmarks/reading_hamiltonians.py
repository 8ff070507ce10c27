"""Hamiltonians into ready batches: the part of ``reading.py`` with matrices.

The published way does what the published data set class does for a batch, in the same steps: whole
rows of the table, a query for the orbitals of every atom, and dense block-diagonal matrices of
Hamiltonians, overlaps, core Hamiltonians (absent in the files, so zeros) and a mask, for at most
1,200 orbitals at once. The other readers give the atom-pair blocks that our models read.

Random positions would make matrices that are full; these are those of a chain of atoms, overlap
times averaged diagonal elements (Wolfsberg and Helmholz), which decay with distance as real ones.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import apsw
import numpy as np
import torch

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.packing import pack_lower
from nabladft.conformation import Conformation
from nabladft.data import HamiltonianDataset
from nabladft.data import block_index as block_index_module
from nabladft.data.blocks import block_layout
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Read = Callable[[NDArray[np.int64]], tuple[torch.Tensor, Any]]

BATCH: Final = 16
N_ATOMS: Final = 42

#: About how many orbitals such a molecule has.
N_ORBITALS: Final = 420
BOUND: Final = 1e-6
CUT: Final = "published file, blocks cut out"
PUBLISHED: Final = "published file, published way"

#: Most orbitals of a batch of the published code, by default.
PUBLISHED_ORBITALS: Final = 1200


def measure(folder: Path, n_records: int, passes: int) -> dict[str, float]:
    """Time all readers of Hamiltonians, print a table, give shuffled rates by name."""
    records = [record(k) for k in range(n_records)]
    readers = open_readers(folder, records)
    rows = np.array([3, 0, 3, n_records - 1])
    expected = readers[CUT][1](rows)[0]
    check_squares(readers[PUBLISHED][1](rows), records, rows)
    for name, (_, read) in list(readers.items())[1:]:
        bound = BOUND if "compact" in name else 0.0
        difference = (read(rows)[0] - expected).abs().max()
        if difference > bound + 1e-7 * expected.abs().max():
            message = f"{name} gives other values than the published file, by {difference:g}"
            raise AssertionError(message)
    order = np.random.default_rng(2).permutation(n_records)
    batches = [order[first : first + BATCH] for first in range(0, n_records, BATCH)]
    rates = dict.fromkeys(readers, 0.0)
    for _ in range(passes):
        for name, (_, read) in readers.items():
            start = time.perf_counter()
            for batch in batches:
                read(batch)
            rates[name] = max(rates[name], n_records / (time.perf_counter() - start))
    sizes = [len(one.require("hamiltonian")) for one in records]
    print(
        f"\nHamiltonians into blocks, {N_ATOMS} atoms, {min(sizes)} to {max(sizes)} orbitals, "
        f"{n_records} conformations, shuffled, batches of {BATCH}\n"
    )
    print("| reader | bytes each | conformations/s | times published | times blocks cut out |")
    print("|---|--:|--:|--:|--:|")
    for name, (path, _) in readers.items():
        files = [path] if path.is_file() else path.glob("shard-*")
        size = sum(file.stat().st_size for file in files) / n_records
        ratios = [rates[name] / rates[base] for base in (PUBLISHED, CUT)]
        print(f"| {name} | {size:,.0f} | {rates[name]:,.0f} | {ratios[0]:.1f} | {ratios[1]:.1f} |")
    return rates


def record(seed: int) -> Conformation:
    """Give a chain of 42 atoms, a different sequence of elements each, with a decaying matrix."""
    rng = np.random.default_rng(seed)
    heavy = rng.choice([6, 7, 8, 16], size=22, p=[0.7, 0.12, 0.12, 0.06])
    numbers = np.concatenate([heavy, np.ones(N_ATOMS - 22, dtype=np.int64)])
    backbone = np.arange(22)[:, None] * np.array([2.3, 0.0, 0.0])
    backbone[:, 1] = 0.8 * (-1.0) ** np.arange(22)
    side = np.where(np.arange(20) % 2, 1.9, -1.9)[:, None] * np.array([0.0, 0.3, 1.0])
    positions = np.concatenate([backbone, backbone[1:21] + side])
    positions += 0.05 * rng.normal(size=positions.shape)
    overlap = overlap_matrix(numbers, positions)
    diagonal = -rng.uniform(0.2, 20.0, size=len(overlap))
    hamiltonian = 0.875 * overlap * (diagonal[:, None] + diagonal)
    hamiltonian = hamiltonian.astype(np.float32).astype(float)  # as precise as published
    return Conformation(
        molecule_id=seed,
        conformation_id=0,
        atomic_numbers=numbers,
        positions=positions,
        energy=-1000.0,
        hamiltonian=np.tril(hamiltonian) + np.tril(hamiltonian, -1).T,
        overlap=overlap,
        basis_set="def2-svp",
        orbital_order="ascending",
    )


def open_readers(folder: Path, records: list[Conformation]) -> dict[str, tuple[Path, Read]]:
    """Write the same Hamiltonians as published and as stores."""
    published = write_published(folder / "hamiltonians.db", records)
    readers: dict[str, tuple[Path, Read]] = {
        PUBLISHED: (published, published_reader(published)),
        CUT: (published, cutting_reader(published)),
        "published file, H alone, one gather": (published, gathering_reader(published)),
    }
    for name, options in {
        "store plain": {"codec": "plain"},
        f"store compact, to {BOUND:g} hartree": {
            "codec": "compact",
            "error_bounds": {"hamiltonian": BOUND},
        },
    }.items():
        path = create_store(
            folder / name.replace(" ", "_"),
            name=name,
            level_of_theory={"method": "wB97X-D/def2-SVP"},
            fields=["energy", "hamiltonian"],
            basis_set="def2-SVP",
            orbital_order="ascending",
            **options,
        )
        append(path, records)
        readers[name] = (path, dataset_reader(path, forgets=False))
        readers[f"{name}, index made anew"] = (path, dataset_reader(path, forgets=True))
    return readers


def write_published(path: Path, records: list[Conformation]) -> Path:
    """Write the table that holds the matrices."""
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, Z BLOB, R BLOB, E FLOAT, F BLOB, "
        "H BLOB, S BLOB, C BLOB)"
    )
    connection.execute("CREATE TABLE basisset (Z INTEGER NOT NULL PRIMARY KEY, orbitals BLOB)")
    with connection:
        for number, degrees in DEF2_SVP.shells.items():
            shells = np.array(degrees, dtype="<i4").tobytes()
            connection.execute("INSERT INTO basisset VALUES (?, ?)", (number, shells))
        for k, one in enumerate(records):
            matrices = (one.require("hamiltonian"), one.require("overlap"))
            blobs = [matrix.astype("<f4").tobytes() for matrix in matrices]
            numbers, positions = one.atomic_numbers.astype("<i4"), one.positions.astype("<f4")
            connection.execute(
                "INSERT INTO data VALUES (?, ?, ?, ?, NULL, ?, ?, NULL)",
                (k, numbers.tobytes(), positions.tobytes(), one.energy, *blobs),
            )
    return path


def published_reader(path: Path) -> Read:
    """Make the batches of the published code, in its steps."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def read_batch(found: list[tuple[Any, ...]]) -> dict[str, Any]:
        orbitals, tensors = [], []
        for _, z, r, e, _, h, s, _ in found:
            numbers = np.frombuffer(z, "<i4")
            for number in numbers.tolist():
                query = f"SELECT * FROM basisset WHERE Z={number}"  # noqa: S608 - a number
                degrees = np.frombuffer(connection.execute(query).fetchone()[1], "<i4")
                orbitals.append(tuple((number, int(l)) for l in degrees))
            n = int(np.sqrt(len(h) // 4))
            squares = [np.frombuffer(blob, "<f4").reshape(n, n) for blob in (h, s)]
            parts = (np.frombuffer(r, "<f4").reshape(-1, 3), e, *squares, np.zeros((n, n)))
            tensors.append([torch.tensor(part, dtype=torch.float32) for part in parts])
        positions, energies, *matrices = zip(*tensors, strict=True)
        return {
            "orbitals": tuple(orbitals),
            "positions": torch.cat(positions),
            "energy": torch.stack(energies),
            "matrices": [torch.block_diag(*matrix) for matrix in matrices],
            "mask": torch.block_diag(*(torch.ones_like(one) for one in matrices[0])),
        }

    def read(rows: NDArray[np.int64]) -> Any:  # noqa: ANN401 - batches of the published code
        batches = []
        per_batch = PUBLISHED_ORBITALS // N_ORBITALS
        for first in range(0, len(rows), per_batch):
            wanted = rows[first : first + per_batch].tolist()
            query = f"SELECT * FROM data WHERE id IN ({str(wanted)[1:-1]})"  # noqa: S608 - numbers
            found = {row[0]: row for row in connection.execute(query)}
            batches.append(read_batch([found[row] for row in wanted]))
        return batches

    return read


def check_squares(batches: list[dict[str, Any]], records: list[Conformation], rows: Any) -> None:  # noqa: ANN401
    """Make sure that the published way gives the Hamiltonians that were written.

    Raises:
        AssertionError: It does not.
    """
    chosen = iter(rows.tolist())
    for batch in batches:
        hamiltonian, mask = batch["matrices"][0], batch["mask"]
        start = 0
        while start < len(hamiltonian):
            square = records[next(chosen)].require("hamiltonian").astype("f4")
            stop = start + len(square)
            np.testing.assert_array_equal(hamiltonian[start:stop, start:stop], square)
            assert (mask[start:stop, start:stop] == 1).all()
            start = stop


def cutting_reader(path: Path) -> Read:
    """Read whole rows and cut one block after the other."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def read(rows: NDArray[np.int64]) -> tuple[torch.Tensor, Any]:
        blocks, molecules = [], []
        for row in rows.tolist():
            ((_, z, _, _, _, h, s, _),) = connection.execute(
                "SELECT * FROM data WHERE id = ?", (row,)
            )
            numbers = np.frombuffer(z, "<i4")
            counts = DEF2_SVP.orbitals_per_atom(numbers)
            n = int(counts.sum())
            hamiltonian = np.frombuffer(h, "<f4").reshape(n, n)
            np.frombuffer(s, "<f4").reshape(n, n)
            bounds = list(pairwise(np.cumsum([0, *counts]).tolist()))
            for i, (top, bottom) in enumerate(bounds):
                for left, right in bounds[: i + 1]:
                    blocks.append(hamiltonian[top:bottom, left:right].ravel())
            molecules.append(numbers)
        return torch.from_numpy(np.concatenate(blocks)), layout_of(molecules)

    return read


def gathering_reader(path: Path) -> Read:
    """Read Hamiltonians alone, and take the blocks of a molecule at once, as our datasets do."""
    from nabladft.data.block_index import block_index  # noqa: PLC0415 - only here

    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def read(rows: NDArray[np.int64]) -> tuple[torch.Tensor, Any]:
        values, molecules = [], []
        for row in rows.tolist():
            ((z, h),) = connection.execute("SELECT Z, H FROM data WHERE id = ?", (row,))
            numbers = np.frombuffer(z, "<i4")
            square = np.frombuffer(h, "<f4")
            n = int(np.sqrt(len(square)))
            index, _ = block_index(numbers, "def2-svp", source="ascending", target="ascending")
            values.append(pack_lower(square.reshape(n, n))[index])
            molecules.append(numbers)
        return torch.from_numpy(np.concatenate(values)), layout_of(molecules)

    return read


def layout_of(molecules: list[NDArray[np.integer]]) -> Any:  # noqa: ANN401 - a BlockLayout
    """Lay out the blocks of a batch."""
    offsets = np.cumsum([0, *map(len, molecules)])
    numbers = torch.from_numpy(np.concatenate(molecules).astype(np.int64))
    return block_layout(numbers, torch.from_numpy(offsets), "def2-svp", "ascending")


def dataset_reader(path: Path, *, forgets: bool) -> Read:
    """Read a store through the data set that training uses.

    The molecules here are few, so that the indices of all of them are kept; with ``forgets`` none
    is, as in a large set of many elements.
    """
    dataset = HamiltonianDataset(Store(path))

    def read(rows: NDArray[np.int64]) -> tuple[torch.Tensor, Any]:
        if forgets:
            block_index_module._index.cache_clear()  # noqa: SLF001 - what is measured
        batch = dataset.collate(dataset.__getitems__(rows))
        return batch.labels["hamiltonian"], batch.blocks

    return read
