"""Labels in worker processes: one conformation at a time each, safe against everything but fire.

A worker stages its result itself and then says so. A worker that dies takes only its conformation
with it: that one is tried once more in a new process, then listed as a failure; the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Final

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.orbitals import orbital_order_named, reorder_orbitals
from nabladft.errors import LabelError, NablaDFTError
from nabladft.fields import LABEL_FIELDS
from nabladft.labels.backend import LabelBackend, LabelResult, load_backend
from nabladft.labels.staging import Failure, Staging

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from nabladft.conformation import Conformation

#: Order of the orbitals of stored matrices, as in the published files.
ORBITAL_ORDER: Final = "ascending"

#: A conformation whose worker died is given to a new worker up to this many times in all.
ATTEMPTS: Final = 2

#: Each worker is one process on one core: libraries must not start threads of their own.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Outcome:
    """What became of one conformation.

    Attributes:
        geometry: The conformation, without labels.
        seconds: Wall time of the worker.
        failure: Why there is no label; None when it is staged.
    """

    geometry: Conformation
    seconds: float
    failure: Failure | None = None


def labelled_record(
    geometry: Conformation, result: LabelResult, *, basis_set: str, fields: Sequence[str]
) -> Conformation:
    """Join a geometry and its labels, with matrices in :data:`ORBITAL_ORDER`.

    Args:
        geometry: Record without labels.
        result: From a backend.
        basis_set: Of the matrices.
        fields: Labels to keep.

    Raises:
        LabelError: The backend does not give one of the fields.
    """
    available: dict[str, Any] = {
        "energy": result.energy,
        "forces": result.forces,
        **{name: value for name, value in result.extras.items() if name in LABEL_FIELDS},
    }
    absent = sorted(set(fields) - set(available) - {"hamiltonian"})
    if absent:
        message = (
            f"This backend does not give {', '.join(absent)}. It gives "
            f"{', '.join([*available, 'hamiltonian'])}."
        )
        raise LabelError(message)
    labels = {name: available[name] for name in fields if name in available}
    if "hamiltonian" in fields:
        labels["hamiltonian"] = reorder_orbitals(
            result.hamiltonian,
            geometry.atomic_numbers,
            source=orbital_order_named(result.orbital_order),
            target=ORBITAL_ORDER,
            basis_set=basis_set_named(basis_set),
        )
        labels |= {"orbital_order": ORBITAL_ORDER, "basis_set": basis_set}
    return geometry.replace(**labels)


def run_labels(
    geometries: Sequence[Conformation],
    *,
    store: Path,
    backend: str,
    fields: Sequence[str],
    workers: int = 1,
    backend_options: Mapping[str, Any] | None = None,
) -> Generator[Outcome, None, None]:
    """Label conformations in worker processes; yields each as it is finished and safe on disk.

    Stopping the iteration (an exception in the consumer, Ctrl-C, ``close``) stops the workers; what
    they were at is lost, what was yielded is not.

    Args:
        geometries: Records without labels, in the order in which they are started.
        store: Folder whose staging area receives the labels.
        backend: Name, see :func:`nabladft.labels.backend.list_backends`.
        fields: Labels to keep.
        workers: Number of processes.
        backend_options: Passed to the backend.

    Raises:
        OSError: A worker could not write; the disk is full, say.
    """
    waiting = deque((geometry, 1) for geometry in geometries)
    setup = _Setup(store, backend, tuple(fields), dict(backend_options or {}))
    crew = [_Worker(setup) for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or any(worker.job for worker in crew):
            for worker in crew:
                if worker.job is None and waiting:
                    worker.give(*waiting.popleft())
            for worker in _finished(crew):
                outcome, attempt = worker.take()
                if outcome is not None:
                    yield outcome
                elif attempt < ATTEMPTS:
                    waiting.appendleft((worker.last, attempt + 1))
                else:
                    yield worker.death()
    finally:
        for worker in crew:
            worker.stop()


def _finished(crew: Sequence[_Worker]) -> list[_Worker]:
    """Wait until at least one worker has an answer, or has died."""
    busy = [worker for worker in crew if worker.job is not None]
    ready = wait([worker.connection for worker in busy])
    return [worker for worker in busy if worker.connection in ready]


@dataclass(frozen=True)
class _Setup:
    """What a worker needs to know, once."""

    store: Path
    backend: str
    fields: tuple[str, ...]
    backend_options: dict[str, Any]


class _Worker:
    """One process and the conformation it is at; started anew after a death."""

    def __init__(self, setup: _Setup) -> None:
        self._setup = setup
        self._start()
        self.job: tuple[Conformation, int] | None = None
        self.last: Conformation
        self._began = 0.0
        self._exit_code: int | None = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(theirs, os.getpid(), self._setup), daemon=True
        )
        before = {name: os.environ.get(name) for name in _ONE_THREAD}
        os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # read when libraries load, there
        try:
            self.process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()

    def give(self, geometry: Conformation, attempt: int) -> None:
        if not self.process.is_alive():
            self.stop()
            self._start()
        self.job, self.last, self._began = (geometry, attempt), geometry, time.perf_counter()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died just now: take() will see
            self.connection.send(geometry)

    def take(self) -> tuple[Outcome | None, int]:
        """Receive the outcome, None when the process died, and the number of the attempt.

        Raises:
            OSError: The worker could not write.
        """
        assert self.job is not None
        attempt, self.job = self.job[1], None
        try:
            answer: Outcome | OSError = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            self._exit_code = self.process.exitcode
            return None, attempt
        if isinstance(answer, OSError):
            raise answer
        return answer, attempt

    def death(self) -> Outcome:
        """Describe the death of the process as a failure of its conformation."""
        code = self._exit_code or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = " Was memory short? Fewer workers need less." if code == -signal.SIGKILL else ""
        reason = f"The worker process died {ATTEMPTS} times, at last {how}.{hint}"
        failure = _failure(self.last, "WorkerDied", reason)
        return Outcome(self.last, time.perf_counter() - self._began, failure)

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _work(connection: Connection, parent: int, setup: _Setup) -> None:
    """Label what comes through the connection until it closes. Runs in the worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent stops us
    backend = load_backend(setup.backend, **setup.backend_options)
    staging = Staging(setup.store)
    while True:
        try:
            geometry = connection.recv()
        except EOFError:
            return
        start = time.perf_counter()
        answer: Outcome | OSError
        try:
            failure = _label(geometry, backend, staging, setup.fields)
            answer = Outcome(geometry, time.perf_counter() - start, failure)
        except OSError as error:
            answer = error
        if os.getppid() != parent:
            return  # nobody listens; what is staged is safe
        connection.send(answer)


def _label(
    geometry: Conformation, backend: LabelBackend, staging: Staging, fields: tuple[str, ...]
) -> Failure | None:
    try:
        result = backend.label(geometry.atomic_numbers, geometry.positions)
        basis_set = backend.level_of_theory.basis_set
        record = labelled_record(geometry, result, basis_set=basis_set, fields=fields)
    except OSError:
        raise
    except NablaDFTError as error:
        return _failure(geometry, type(error).__name__, str(error))
    except Exception as error:  # noqa: BLE001 - one conformation must not stop thousands
        return _failure(geometry, type(error).__name__, f"{type(error).__name__}: {error}")
    staging.write(record)
    return None


def _failure(geometry: Conformation, kind: str, reason: str) -> Failure:
    smiles = geometry.smiles or ""
    return Failure(geometry.molecule_id, geometry.conformation_id, smiles, kind, reason)
