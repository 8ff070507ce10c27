"""Load the scoring server on loopback, and measure how long its answers take.

    python benchmarks/leaderboard_load.py
    python benchmarks/leaderboard_load.py --database postgresql+psycopg://board@/board?host=/tmp/pg

Every kind of request is made a fixed number of times by a fixed number of clients, each with one
connection, against a server process started here without workers; then it ends. Uploads go in
pieces of 8 MiB, as the client of this package sends them; the last piece is answered after the file
was hashed and forced to the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.leaderboard_place import TASK, Place, entry_text, make_place
from nabladft.leaderboard.client import PIECE_BYTES
from nabladft.leaderboard.server.accounts import add_token
from nabladft.leaderboard.server.database import Database
from nabladft.leaderboard.server.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY = 10**9

#: No kind of request is made for longer than this.
_LONGEST_SECONDS = 60.0


class Client:
    """One connection with one token."""

    def __init__(self, url: str, token: str, number: int) -> None:
        """Begin a session."""
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._number = number
        self._n_made = 0
        self.created: str | None = None

    def get(self, place: str) -> None:
        """Ask for a page."""
        self._session.get(f"{self._url}{place}", timeout=60).raise_for_status()

    def show(self) -> None:
        """Ask for a submission."""
        if self.created is None:
            self.create(b"x")
        self.get(f"/v1/submissions/{self.created}")

    def create(self, content: bytes) -> None:
        """Announce a submission that is not there yet."""
        self._n_made += 1
        body = {
            "task": TASK,
            "entry": entry_text(10**6 * self._number + self._n_made),
            "files": [
                {
                    "name": "p.h5",
                    "size": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            ],
        }
        answer = self._session.post(f"{self._url}/v1/submissions", json=body, timeout=60)
        answer.raise_for_status()
        self.created = answer.json()["id"]

    def upload(self, content: bytes) -> None:
        """Send a file in pieces."""
        place = f"{self._url}/v1/submissions/{self.created}/files/0"
        for start in range(0, len(content), PIECE_BYTES):
            self._session.patch(
                place,
                data=content[start : start + PIECE_BYTES],
                headers={
                    "Upload-Offset": str(start),
                    "Content-Type": "application/offset+octet-stream",
                },
                timeout=120,
            ).raise_for_status()


def measure(
    clients: list[Client], n_requests: int, request: Callable[[Client], float]
) -> dict[str, float]:
    """Let the clients make so many requests together, and time each.

    Args:
        clients: Each in a thread of its own.
        n_requests: Of all of them.
        request: Makes one and gives the seconds that count.

    Returns:
        Number, requests per second, and the percentiles in milliseconds.
    """
    seconds: list[float] = []
    remaining = iter(range(n_requests))
    lock = threading.Lock()
    began = time.perf_counter()

    def work(client: Client) -> None:
        while time.perf_counter() - began < _LONGEST_SECONDS:
            with lock:
                if next(remaining, None) is None:
                    return
            seconds.append(request(client))

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    p50, p95, p99 = 1e3 * np.percentile(seconds, [50, 95, 99])
    return {
        "requests": len(seconds),
        "per_second": round(len(seconds) / took, 1),
        "p50_ms": round(float(p50), 1),
        "p95_ms": round(float(p95), 1),
        "p99_ms": round(float(p99), 1),
    }


def timed(action: Callable[[], None]) -> float:
    """Time one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def load(url: str, token: str, *, n_clients: int, share: float) -> dict[str, dict[str, float]]:
    """Make all kinds of requests.

    Args:
        url: Of the server.
        token: Of an account.
        n_clients: At one time.
        share: Of the usual number of requests.
    """
    clients = [Client(url, token, number) for number in range(n_clients)]
    contents = {f"{size} MB": os.urandom(size * 10**6) for size in (1, 20)}

    def upload(client: Client, content: bytes) -> float:
        # Another file each time, without the time to make it.
        own = content[:-16] + os.urandom(16)
        client.create(own)
        return timed(lambda: client.upload(own))

    kinds: dict[str, tuple[int, Callable[[Client], float]]] = {
        "GET /healthz": (2000, lambda one: timed(lambda: one.get("/healthz"))),
        "GET /status": (1000, lambda one: timed(lambda: one.get("/status"))),
        "GET /v1/submissions/ID": (1000, lambda one: timed(one.show)),
        "POST /v1/submissions": (500, lambda one: timed(lambda: one.create(os.urandom(8)))),
        "upload of 1 MB": (200, lambda one: upload(one, contents["1 MB"])),
        "upload of 20 MB": (40, lambda one: upload(one, contents["20 MB"])),
    }
    return {
        name: measure(clients, max(n_clients, int(share * number)), request)
        for name, (number, request) in kinds.items()
    }


def run_server(config: str, port: int) -> None:
    """Serve, in a process of its own."""
    from nabladft.leaderboard.server.serving import serve  # noqa: PLC0415

    serve(read_settings(config), host="127.0.0.1", port=port)


def _place(folder: Path, database: str | None) -> Place:
    return make_place(
        folder,
        database=database,
        limits={
            "requests_per_minute": _MANY,
            "address_requests_per_minute": _MANY,
            "open_submissions": _MANY,
        },
    )


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of requests")
    parser.add_argument("--database", help="address of an empty database (default: SQLite)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = _place(Path(name), args.database)
        base = Database(place.settings.database)
        base.create()
        token = add_token(base, "tester")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = multiprocessing.get_context("spawn").Process(
            target=run_server, args=(str(place.config), port)
        )
        server.start()
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url)
            found: dict[str, Any] = load(url, token, n_clients=args.clients, share=args.share)
        finally:
            server.terminate()
            server.join(20)
            server.kill()
    setting = {"clients": args.clients, "database": args.database or "SQLite"}
    print(json.dumps(setting | found, indent=2))
    return 0


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            requests.get(f"{url}/healthz", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(url)


if __name__ == "__main__":
    sys.exit(main())
