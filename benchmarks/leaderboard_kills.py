"""Kill the scoring server and its worker again and again while clients submit.

    python benchmarks/leaderboard_kills.py --kills 200

Server and worker are processes on loopback that get SIGKILL at random moments and are started
again at once. Clients announce, upload in many small pieces, submit and wait, trying again whenever
a connection breaks, until the last kill; then everything that was submitted has to be there once,
with the score that is computed here.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import random
import socket
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.leaderboard_place import (
    TASK,
    Place,
    entry_text,
    local_score,
    make_place,
    write_predictions,
)
from nabladft.leaderboard.client import ScoringServer
from nabladft.leaderboard.server.accounts import add_token
from nabladft.leaderboard.server.audit import lines
from nabladft.leaderboard.server.database import (
    Database,
    files,
    private_results,
    submissions,
)
from nabladft.leaderboard.server.settings import read_settings
from nabladft.transport.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import Callable

#: Processes are forked from one that has the modules, so that kills hit work and not imports.
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOAD = ["nabladft.leaderboard.server.serving", "nabladft.leaderboard.server.worker"]

#: Clients try for minutes, with short pauses: the server is back in a moment.
_PATIENT = TransportSettings(attempts=2000, first_wait=0.05, longest_wait=0.5)

_PIECE_BYTES = 4096
_FEWEST_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out.

    Attributes:
        kills_of_server: SIGKILLs of the server.
        kills_of_worker: SIGKILLs of the worker.
        submitted: Submissions that clients made.
        found: Submissions in the database.
        scored: Those that are scored.
        scored_once: Those with one line "scored" in the audit log.
        equal: Those whose score is the one that is computed here.
        claims: Times that scoring was begun.
        files_left: Files of uploads that are neither complete nor removed.
        audit_is_whole: Whether the chain of the audit log holds.
        seconds: Wall time.
    """

    kills_of_server: int
    kills_of_worker: int
    submitted: int
    found: int
    scored: int
    scored_once: int
    equal: int
    claims: int
    files_left: int
    audit_is_whole: bool
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        counts = {self.submitted, self.found, self.scored, self.scored_once, self.equal}
        return (
            len(counts) == 1 and self.submitted > 0 and not self.files_left and self.audit_is_whole
        )


class Clients:
    """Threads that make one submission after the other until they are told to stop."""

    def __init__(self, place: Place, url: str, token: str, n_clients: int) -> None:
        """Keep them; nothing is sent yet."""
        self._place, self._url, self._token = place, url, token
        self._stop = threading.Event()
        self._numbers = iter(range(10**9))
        self._lock = threading.Lock()
        self.done: dict[str, tuple[Path, dict[str, Any]]] = {}
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(n_clients)]

    def start(self) -> None:
        """Let each begin."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Let each finish what it has begun."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_FEWEST_SECONDS)
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError("A client still waits for its score.")
        if self.failures:
            raise self.failures[0]

    def _run(self) -> None:
        try:
            server = ScoringServer(
                self._url, self._token, settings=_PATIENT, piece_bytes=_PIECE_BYTES
            )
            while not self._stop.is_set():
                self._submit(server)
        except BaseException as error:  # noqa: BLE001 - raised where the test waits
            self.failures.append(error)

    def _submit(self, server: ScoringServer) -> None:
        with self._lock:
            number = next(self._numbers)
        path = write_predictions(
            self._place, self._place.folder / f"predictions-{number}.h5", number=number
        )
        submission = server.create(task=TASK, entry=entry_text(number), paths=[path])
        server.upload(submission, [path])
        server.submit(submission["id"])
        self.done[submission["id"]] = path, server.wait(submission["id"])


class Victim:
    """A process that is killed and started again."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        """Start it."""
        self._target, self._arguments = target, arguments
        self.n_kills = 0
        self._start()

    def kill(self) -> None:
        """Send SIGKILL, and start it again."""
        self._process.kill()
        self._process.join()
        self.n_kills += 1
        self._start()

    def stop(self) -> None:
        """Stop it for good."""
        self._process.terminate()
        self._process.join(20)
        self._process.kill()

    def _start(self) -> None:
        self._process = _CONTEXT.Process(target=self._target, args=self._arguments)
        self._process.start()


def run_server(config: str, port: int) -> None:
    """Serve, in a process of its own."""
    from nabladft.leaderboard.server.serving import serve  # noqa: PLC0415

    serve(read_settings(config), host="127.0.0.1", port=port)


def run_worker(config: str) -> None:
    """Work, in a process of its own."""
    from nabladft.leaderboard.server import worker  # noqa: PLC0415

    settings = read_settings(config)
    worker.run_worker(settings, Database(settings.database))


def torture(
    folder: Path,
    *,
    n_kills: int,
    n_clients: int = 2,
    longest_pause: float = 1.5,
    seed: int = 0,
    database: str | None = None,
) -> Outcome:
    """Kill and check.

    Args:
        folder: An empty folder.
        n_kills: How often a process is killed.
        n_clients: Clients at one time.
        longest_pause: Longest time between two kills, in seconds.
        seed: Of which process is killed when.
        database: Address of the database; None for SQLite.
    """
    began = time.monotonic()
    rng = random.Random(seed)  # noqa: S311 - no secret
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    limits = {"requests_per_minute": 10**6, "address_requests_per_minute": 10**6}
    place = make_place(folder, database=database, limits=limits)
    base = Database(place.settings.database)
    base.create()
    token = add_token(base, "tester")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Victim(run_server, str(place.config), port)
    worker = Victim(run_worker, str(place.config))
    clients = Clients(place, f"http://127.0.0.1:{port}", token, n_clients)
    try:
        clients.start()
        for _ in range(n_kills):
            time.sleep(rng.uniform(0.02, longest_pause))
            rng.choice([server, worker]).kill()
        clients.finish()
    finally:
        server.stop()
        worker.stop()
    return _check(place, base, clients, server, worker, time.monotonic() - began)


def _check(
    place: Place,
    base: Database,
    clients: Clients,
    server: Victim,
    worker: Victim,
    seconds: float,
) -> Outcome:
    log = list(lines(base))
    once = collections.Counter(line.subject for line in log if line.what == "submission_scored")
    with base.reading() as connection:
        rows = connection.execute(sa.select(submissions)).mappings().all()
        n_results = connection.execute(
            sa.select(sa.func.count()).select_from(private_results)
        ).scalar_one()
        n_files = connection.execute(sa.select(sa.func.count()).select_from(files)).scalar_one()
    assert n_results == n_files == len(rows), (n_results, n_files, len(rows))
    uploads = place.settings.data / "uploads"
    return Outcome(
        kills_of_server=server.n_kills,
        kills_of_worker=worker.n_kills,
        submitted=len(clients.done),
        found=len(rows),
        scored=sum(row["state"] == "scored" for row in rows),
        scored_once=sum(once[row["id"]] == 1 for row in rows),
        equal=sum(
            found["scores"] == [local_score(place, path)] for path, found in clients.done.values()
        ),
        claims=sum(line.what == "submission_claimed" for line in log),
        files_left=sum(path.suffix != ".h5" for path in uploads.rglob("*.*")),
        audit_is_whole=all(line.is_whole for line in log),
        seconds=round(seconds, 1),
    )


def main() -> int:
    """Kill as often as asked, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--longest-pause", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", help="address of an empty database (default: SQLite)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = torture(
            Path(folder),
            n_kills=args.kills,
            n_clients=args.clients,
            longest_pause=args.longest_pause,
            seed=args.seed,
            database=args.database,
        )
    print(json.dumps(asdict(outcome), indent=2))
    print("nothing lost, nothing doubled" if outcome.is_good else "SOMETHING IS WRONG")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
