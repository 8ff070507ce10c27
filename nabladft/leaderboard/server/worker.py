"""The worker: takes submissions from the queue and scores each in a child process.

The worker itself opens no file of a submission. It may be killed at any moment and any number of
workers may run, also on several machines that share the data folder and the database.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Final

from nabladft.benchmark.results import parse_results
from nabladft.errors import FormatError, NablaDFTError
from nabladft.leaderboard.entry import parse_entry
from nabladft.leaderboard.server.claims import Claims
from nabladft.leaderboard.server.public import public_score
from nabladft.leaderboard.server.refusals import FAILURES
from nabladft.leaderboard.server.scoring import Job
from nabladft.leaderboard.server.uploads import remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nabladft.leaderboard.server.claims import Claimed
    from nabladft.leaderboard.server.database import Database
    from nabladft.leaderboard.server.settings import ServerSettings, TaskSettings

_log: Final = logging.getLogger(__name__)

#: A results document has about 100 kB for each file.
_LARGEST_OUTCOME: Final = 64_000_000

#: End of what the child says that is kept for the log.
_LARGEST_COMPLAINT: Final = 20_000

#: How often old uploads and files of deleted submissions are looked for.
_HOUSEKEEPING_SECONDS: Final = 60.0

#: The child gets these variables of the worker and no other: no token, no database.
_CHILD_VARIABLES: Final = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "NABLADFT_DATA",
    # What the machine says of its processor.
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
)

#: Numerical libraries allocate for every thread; limits are easier to choose with one.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class LostError(NablaDFTError):
    """The submission is another worker's now, or this worker stops."""


class Worker:
    """A worker.

    Args:
        settings: Of the server.
        database: Of the server.
        name: For the audit log.

    Attributes:
        stop: Set it to let the worker stop; the submission that it has goes back to the queue.
    """

    def __init__(
        self, settings: ServerSettings, database: Database, *, name: str | None = None
    ) -> None:
        """Keep them; nothing is claimed yet."""
        self._settings = settings
        name = name or f"worker {os.getpid()} at {socket.gethostname()}"[:80]
        self._claims = Claims(settings, database, worker=name)
        self.stop = threading.Event()

    def run(self) -> None:
        """Score until told to stop."""
        tidied = 0.0
        while not self.stop.is_set():
            try:
                if time.monotonic() - tidied > _HOUSEKEEPING_SECONDS or not tidied:
                    self.tidy()
                    tidied = time.monotonic()
                worked = self.work_once()
            except Exception:  # noqa: BLE001
                # The database may be away for a while; what is claimed comes back by its lease.
                _log.exception("the worker goes on after an error")
                worked = False
            if not worked:
                self.stop.wait(self._settings.scoring.poll_seconds)

    def work_once(self) -> bool:
        """Score one submission, and tell whether there was one."""
        claimed = self._claims.claim()
        if claimed is None:
            return False
        _log.info("scoring %s", claimed.id)
        try:
            self._score(claimed)
        except LostError:
            _log.warning("%s was not finished by this worker", claimed.id)
        return True

    def tidy(self) -> None:
        """Delete old unfinished uploads, and files that a killed server left."""
        self._claims.expire()
        folder = self._settings.data / "uploads"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        for start in range(0, len(names), 500):
            for name in self._claims.deleted(names[start : start + 500]):
                remove_folder(folder / name)

    def _score(self, claimed: Claimed) -> None:
        task = self._settings.tasks.get(claimed.task)
        if task is None:
            _log.error("the configuration has no task %s any more", claimed.task)
            self._claims.delay(claimed)
            return
        scoring = self._settings.scoring
        job = Job(
            labels=task.labels,
            split=task.split,
            data_hash=task.data_hash,
            kind=task.kind,
            parts=task.parts,
            metrics=task.metrics,
            seeds=parse_entry(claimed.entry, where=claimed.id).training.seeds,
            paths=tuple(str(upload.path) for upload in claimed.uploads),
            sha256=tuple(upload.sha256 for upload in claimed.uploads),
            memory_bytes=scoring.memory_bytes,
            cpu_seconds=scoring.cpu_seconds,
        )
        outcome = self._run_child(claimed, job)
        if outcome["outcome"] == "scored":
            self._finish(claimed, job, task, outcome.get("scored", ()))
        elif outcome["outcome"] == "failed" and outcome.get("code") in FAILURES:
            self._claims.fail(claimed, outcome["code"])
        elif outcome["outcome"] == "unavailable":
            _log.error("the labels of task %s cannot be read", claimed.task)
            self._claims.delay(claimed)
        else:
            self._claims.crashed(claimed)

    def _finish(
        self, claimed: Claimed, job: Job, task: TaskSettings, scored: Sequence[Mapping[str, Any]]
    ) -> None:
        """Round here what the child has computed: it is the one that met a stranger's file."""
        try:
            results = [parse_results(one["results"], where=claimed.id) for one in scored]
            seeds = [one["seed"] for one in scored]
            found = {(one.part, seed) for one, seed in zip(results, seeds, strict=True)}
            public = [
                public_score(one, task, seed=seed, digits=self._settings.scoring.digits)
                for one, seed in zip(results, seeds, strict=True)
            ]
            public.sort(key=lambda one: (one["seed"] or 0, task.parts.index(one["part"])))
            is_right = found == {
                (part, seed) for part in job.parts for seed in job.seeds or (None,)
            }
        except (FormatError, KeyError, TypeError, ValueError):
            _log.exception("the outcome of scoring %s cannot be read", claimed.id)
            is_right = False
        if not is_right:
            self._claims.crashed(claimed)
            return
        documents = [one["results"] for one in scored]
        self._claims.finish(claimed, results=documents, public_scores=public)

    def _run_child(self, claimed: Claimed, job: Job) -> dict[str, Any]:
        """Run the child to its end while extending the lease.

        Raises:
            LostError: The submission is another worker's now, or this worker stops.
        """
        environment = {key: os.environ[key] for key in _CHILD_VARIABLES if key in os.environ}
        # A tuple of words, no shell; -P keeps the working folder out of the modules.
        with subprocess.Popen(
            (sys.executable, "-P", "-m", "nabladft.leaderboard.server.scoring"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | _ONE_THREAD,
        ) as child:
            assert child.stdin is not None
            said, complained = _Reader(child.stdout, keep="first"), _Reader(child.stderr)
            try:
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.write(f"{job.to_json()}\n".encode())
                    child.stdin.flush()
                code = self._wait(child, claimed)
            finally:
                child.kill()
            outcome, complaint = said.content(), complained.content()
        if complaint:
            _log.warning("scoring %s: %s", claimed.id, complaint.decode(errors="replace"))
        if code is None or code == -signal.SIGXCPU:
            return {"outcome": "failed", "code": "time"}
        if code == 0:
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(outcome)
                if isinstance(found, dict) and "outcome" in found:
                    return found
        _log.error("scoring %s ended with code %s", claimed.id, code)
        return {"outcome": "crashed"}

    def _wait(self, child: subprocess.Popen[bytes], claimed: Claimed) -> int | None:
        """Wait for the child; None when its time is over."""
        scoring = self._settings.scoring
        last = time.monotonic() + scoring.wall_seconds
        extended = time.monotonic()
        while True:
            try:
                return child.wait(timeout=min(1.0, scoring.lease_seconds / 4))
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            if self.stop.is_set():
                self._claims.release(claimed)
                message = "stopped"
                raise LostError(message)
            if now > last:
                return None
            if now - extended > scoring.lease_seconds / 4:
                if not self._claims.extend(claimed):
                    message = "the claim is lost"
                    raise LostError(message)
                extended = now


class _Reader:
    """Reads a pipe to its end in a thread of its own, keeping a bounded number of bytes."""

    def __init__(self, pipe: IO[bytes] | None, *, keep: str = "last") -> None:
        assert pipe is not None
        self._pipe = pipe
        self._keep_first = keep == "first"
        self._content = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def content(self) -> bytes:
        """Give what was read, after the other end was closed."""
        self._thread.join(timeout=10)
        return self._content

    def _read(self) -> None:
        while piece := os.read(self._pipe.fileno(), 1 << 16):
            if self._keep_first:
                self._content = (self._content + piece)[: _LARGEST_OUTCOME + 1]
            else:
                self._content = (self._content + piece)[-_LARGEST_COMPLAINT:]


def run_worker(
    settings: ServerSettings, database: Database, *, lifeline: Callable[[], object] | None = None
) -> None:
    """Run a worker until SIGTERM, Ctrl-C, or the end of its lifeline.

    Args:
        settings: Of the server.
        database: Of the server; its tables are made if need be.
        lifeline: Returns when the process that started this one is gone.
    """
    database.create()
    worker = Worker(settings, database)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop.set())
    if lifeline is not None:

        def watch() -> None:
            lifeline()
            worker.stop.set()

        threading.Thread(target=watch, daemon=True).start()
    worker.run()
