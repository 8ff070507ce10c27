"""A store of 12.7 million rows: time to the first record, memory of a worker, rate.

The store is made of a few real shards under many names (hard links), with a manifest that lists all
of them, so that it costs minutes and half a gigabyte instead of hours and 27. A reader cannot tell:
it opens and maps every file by itself. Ids repeat, which reading does not look at. Each number is
measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

BATCH: Final = 256
FIELDS: Final = ("energy", "forces")
N_ROWS: Final = 12_700_000
SHARD_ROWS: Final = 100_000
REAL_SHARDS: Final = 3

#: Compact shards are smaller, because packing is slow; there are as many of them.
COMPACT_ROWS: Final = 4_000

#: Batches read before memory is measured.
BATCHES: Final = 400


def measure(folder: Path) -> None:
    """Build, measure in other processes, print."""
    n_shards = N_ROWS // SHARD_ROWS
    stores = {
        "plain, 1 shard": build(folder / "plain-1", 1, SHARD_ROWS, "plain"),
        f"plain, {n_shards} shards": build(folder / "plain-all", n_shards, SHARD_ROWS, "plain"),
        "compact, 1 shard": build(folder / "compact-1", 1, COMPACT_ROWS, "compact"),
        f"compact, {n_shards} shards": build(
            folder / "compact-all", n_shards, COMPACT_ROWS, "compact"
        ),
    }
    print(f"\nShuffled batches of {BATCH}, one process\n")
    print(
        "| store | rows | open, ms | first record, ms | with start of Python, ms | "
        "memory at first, MB | after, MB | of it files, MB | conformations/s |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, path in stores.items():
        results = [in_process(path) for _ in range(3)]
        first = min(results, key=lambda result: result["first"])
        total = min(result["total"] for result in results)
        rate = max(result["rate"] for result in results)
        print(
            f"| {name} | {first['rows']:,} | {1e3 * first['open']:.1f} | "
            f"{1e3 * first['first']:.1f} | {1e3 * total:.0f} | {first['before']:.0f} | "
            f"{first['after']:.0f} | {first['mapped']:.0f} | {rate:,.0f} |"
        )
    print(
        "\nMemory is what belongs to the process alone (RssAnon); pages of the mapped files are "
        "shared with the page cache and given back when memory is short (RssFile)."
    )


def build(folder: Path, n_shards: int, n_rows: int, codec: str) -> Path:
    """Write a few shards and list them under many names."""
    # Not above: the processes that are measured import only what reading needs.
    from reading import molecules, part, write_store  # noqa: PLC0415

    from nabladft.storage.manifest import read_manifest, write_manifest  # noqa: PLC0415

    real = min(REAL_SHARDS, n_shards)
    flat = molecules(real * n_rows, ragged=True)
    write_store(folder, part(flat, np.arange(real * n_rows)), n_shards=real, codec=codec)
    manifest = read_manifest(folder)
    entries = []
    for k in range(n_shards):
        entry = manifest.shards[k % real]
        file = f"shard-{k:05d}.h5"
        if k >= real:
            os.link(folder / entry.file, folder / file)
        entries.append(replace(entry, file=file))
    write_manifest(folder, replace(manifest, shards=tuple(entries)))
    return folder


def in_process(path: Path) -> dict[str, Any]:
    """Measure in a new process."""
    start = time.monotonic()
    command = [sys.executable, __file__, str(path), str(start)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this file
    return dict(json.loads(done.stdout))


def status(name: str) -> float:
    """One line of the process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def first_record_and_memory(path: Path, start: float) -> dict[str, Any]:
    """Open, read one record, then batches; the new process runs this."""
    import nabladft  # noqa: PLC0415 - its time counts

    nabladft.open  # noqa: B018 - loads the readers
    begin = time.monotonic()
    store = nabladft.open(path)
    opened = time.monotonic()
    _ = store[len(store) * 3 // 4]
    first = time.monotonic()
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(store), size=(BATCHES, BATCH))
    before = status("RssAnon")
    rates = []
    for batch in rows:
        tick = time.perf_counter()
        store.read_flat(batch, fields=FIELDS)
        rates.append(BATCH / (time.perf_counter() - tick))
    return {
        "rows": len(store),
        "open": opened - begin,
        "first": first - begin,
        "total": first - start,
        "before": before,
        "after": status("RssAnon"),
        "mapped": status("RssFile"),
        "rate": float(np.median(rates)),
    }


if __name__ == "__main__":
    print(json.dumps(first_record_and_memory(Path(sys.argv[1]), float(sys.argv[2]))))
