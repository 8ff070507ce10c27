"""Measure ``nabladft download`` against wget and one stream, and kill it a thousand times.

Both parts use a server on loopback, started here.

Speed: one file, with and without a limit on the speed of each connection, fetched by us with 8
connections and with 1, by ``wget -c`` and by ``curl``, where these are installed. wget and curl
write the file only; we also hash it and sync it to the disk.

Kills (``--kills N``): each run downloads a file of random size from a server that limits the speed
of connections and cuts some, is killed with SIGKILL at a random moment, begun again, in half of
the runs killed again, and so on, then finished. Counted at the server: no process may be sent a
byte that the journal held before it, and a kill may cost at most the parts in flight. Everything
random follows from the seed.

Examples:
    python benchmarks/downloading.py
    python benchmarks/downloading.py --kills 1000
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nabladft.catalog.fetching import fetch_file
from nabladft.catalog.journal import SUFFIX, Journal
from nabladft.catalog.verification import Expected
from nabladft.transport.files import TransportSettings
from tests.hostile_server import HostileServer, s3_etag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

CONNECTIONS = 8


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="runs that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the first killed run")
    parser.add_argument("--megabytes", type=int, default=64, help="size of the file for speed")
    parser.add_argument("--limit", type=float, default=2.0, help="MB/s of each connection")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.kills:
            return kill_many(Path(folder), n_runs=args.kills, first_seed=args.seed)
        compare_speed(Path(folder), n_bytes=args.megabytes * 10**6, limit=args.limit * 1e6)
    return 0


def compare_speed(folder: Path, *, n_bytes: int, limit: float) -> None:
    """Print a table of the speeds of the ways to fetch one file."""
    content = random.Random(0).randbytes(n_bytes)  # noqa: S311
    origin = folder / "origin"
    origin.write_bytes(content)
    context = multiprocessing.get_context("spawn")
    print(f"one file of {n_bytes / 1e6:.0f} MB, on loopback, {os.cpu_count()} cores\n")
    print("| fetched by | MB/s, limit per connection | MB/s, no limit | checked |")
    print("| --- | ---: | ---: | --- |")
    ways: dict[str, tuple[Callable[[str, Path], None], str]] = {
        f"`nabladft download`, {CONNECTIONS} connections": (_ours(CONNECTIONS), "ETag on the way"),
        "`nabladft download`, 1 connection": (_ours(1), "ETag on the way"),
        "`wget -c`": (_command("wget", "-q", "-c", "-O"), "length"),
        "`curl`": (_command("curl", "-s", "-o"), "length"),
    }
    etag = s3_etag(content, 8 << 20)
    for name, (fetch, checked) in ways.items():
        speeds = []
        for speed in (limit, None):
            parent, child = context.Pipe()
            server = context.Process(target=_serve, args=(child, origin, etag, speed), daemon=True)
            server.start()
            url = parent.recv()
            target = folder / "target"
            began = time.perf_counter()
            try:
                fetch(url, target)
            except FileNotFoundError:
                speeds.append("not installed")
            else:
                assert target.read_bytes() == content
                speeds.append(f"{n_bytes / (time.perf_counter() - began) / 1e6:.1f}")
            target.unlink(missing_ok=True)
            parent.send("stop")
            server.join()
        print(f"| {name} | {speeds[0]} | {speeds[1]} | {checked} |", flush=True)
    print(f"\nlimit: {limit / 1e6:g} MB/s")


def _serve(pipe: Connection, origin: Path, etag: str, speed: float | None) -> None:
    # In a process of its own: Python's threads would take time from ours.
    with HostileServer() as server:
        server.put("/file", content=origin, etag=etag, bytes_per_second=speed)
        pipe.send(server.url("/file"))
        pipe.recv()


def _ours(connections: int) -> Callable[[str, Path], None]:
    def fetch(url: str, target: Path) -> None:
        fetch_file([url], target, connections=connections)

    return fetch


def _command(*words: str) -> Callable[[str, Path], None]:
    def fetch(url: str, target: Path) -> None:
        program = shutil.which(words[0])
        if program is None:
            raise FileNotFoundError(words[0])
        subprocess.run([program, *words[1:], str(target), url], check=True)  # noqa: S603

    return fetch


def kill_many(folder: Path, *, n_runs: int, first_seed: int) -> int:
    """Download, kill, resume; print what was lost. Return 1 if anything was."""
    began = time.monotonic()
    runs = []
    for seed in range(first_seed, first_seed + n_runs):
        run = one_killed_run(folder / "run", seed=seed)
        runs.append(run)
        if run["corrupt"] or run["restarts"] or run["beyond"]:
            print(f"seed {seed}: {run}", flush=True)
        if len(runs) % 100 == 0:
            _print_kills(runs, time.monotonic() - began)
    if len(runs) % 100:
        _print_kills(runs, time.monotonic() - began)
    return int(any(run["corrupt"] or run["restarts"] or run["beyond"] for run in runs))


def _print_kills(runs: list[dict[str, float]], seconds: float) -> None:
    total = {key: sum(run[key] for run in runs) for key in runs[0]}
    print(f"\nafter {seconds:.0f} s\n\n| | |\n| --- | ---: |")
    for name, value in (
        ("runs", len(runs)),
        ("SIGKILLs that met a running download", total["kills"]),
        ("corrupt files", total["corrupt"]),
        ("processes that were sent again what a journal held", total["restarts"]),
        ("processes that cost more than the parts in flight", total["beyond"]),
        ("bytes of all files", total["size"]),
        ("bytes kept over kills, by the journals", total["kept"]),
        ("bytes fetched twice", total["twice"]),
        ("parts in flight at the kills, bytes", total["allowed"]),
    ):
        print(f"| {name} | {value:,.0f} |", flush=True)


def one_killed_run(folder: Path, *, seed: int, pace: float = 1.0) -> dict[str, float]:
    """Download one file with kills, and return the counts.

    Args:
        folder: Emptied before.
        seed: Decides everything.
        pace: Scales all times; an undisturbed download takes about 0.3 s times this.

    Returns:
        ``size``; ``kills``; ``kept``: bytes that journals held after kills; ``twice``: bytes sent
        beyond the size; ``allowed``: parts in flight at the kills; ``corrupt``: 1 if the file is
        wrong or something is left beside it; ``restarts``: processes that were sent again what the
        journal held, or that lost it; ``beyond``: kills that cost more than the parts in flight.
    """
    chance = random.Random(seed)  # noqa: S311
    size = chance.randrange(200_000, 4_000_000)
    content = chance.randbytes(size)
    part_bytes = 1 << chance.randrange(14, 18)
    s3_part = chance.choice([None, 1 << 18, 1 << 20, 300_000])
    # Of each kind of hash, and of none but the server's ETag.
    promised = chance.choice(
        [
            Expected(),
            Expected(etag=s3_etag(content, s3_part), etag_part_bytes=s3_part),
            Expected(sha256=hashlib.sha256(content).hexdigest()),
            Expected(md5=hashlib.md5(content).hexdigest()),  # noqa: S324
        ]
    )
    speed = size / CONNECTIONS / chance.uniform(0.15, 0.5) / pace
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / "file.db"
    counts = dict.fromkeys(("kills", "kept", "restarts", "beyond", "allowed"), 0) | {"size": size}
    in_flight = min(size, CONNECTIONS * part_bytes)
    with HostileServer() as server:
        server.put(
            "/file.db",
            content=content,
            etag=s3_etag(content, s3_part),
            bytes_per_second=speed,
            mean_bytes_to_drop=chance.choice([None, 4 * part_bytes]),
            seed=seed,
        )
        held, processes = 0, []
        for moment in (*_moments(chance, pace), None):
            # The query says at the server which process asked; what it sends after a kill counts.
            asked = f"/file.db?process={len(processes)}"
            killed = _killed(server.url(asked), target, promised, part_bytes, moment)
            holds = size if target.exists() else _journalled(target)
            processes.append((asked, killed, held, holds))
            counts["kills"] += killed
            counts["kept"] += holds * killed
            counts["allowed"] += in_flight * killed
            held = holds
        server.settle()
        for asked, killed, held, holds in processes:
            sent = server.sent(asked)
            counts["restarts"] += sent > size - held or holds < held
            counts["beyond"] += sent - (holds - held) > (in_flight if killed else 0)
        left = [path.name for path in folder.iterdir() if path != target]
        wrong = bool(left) or target.read_bytes() != content
        return counts | {
            "corrupt": int(wrong),
            "twice": max(0, server.sent("/file.db") - size),
        }


def _moments(chance: random.Random, pace: float) -> Iterator[float]:
    yield chance.uniform(0.0, 0.6) * pace
    while chance.random() < 0.5:
        yield chance.uniform(0.0, 0.6) * pace


def _killed(
    url: str, target: Path, promised: Expected, part_bytes: int, moment: float | None
) -> bool:
    """Download in a process of its own; kill it after so many seconds. Whether it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nabladft.catalog.fetching", "nabladft.transport.http"])
    process = context.Process(target=_download, args=(url, target, promised, part_bytes))
    process.start()
    process.join(moment)
    alive = process.is_alive()
    if alive:
        process.kill()
    process.join()
    if not alive and process.exitcode:
        raise SystemExit(f"a download ended with exit code {process.exitcode}")
    return alive


def _download(url: str, target: Path, promised: Expected, part_bytes: int) -> None:
    fetch_file(
        [url],
        target,
        expected=promised,
        connections=CONNECTIONS,
        part_bytes=part_bytes,
        settings=TransportSettings(attempts=30, first_wait=0.01, longest_wait=0.05),
    )


def _journalled(target: Path) -> int:
    path = target.with_name(target.name + SUFFIX)
    if not path.exists():
        return 0
    with Journal(path) as journal:
        return journal.done.total


if __name__ == "__main__":
    sys.exit(main())
