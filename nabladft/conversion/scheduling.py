"""Who does the tasks: this process, several on this machine, or a Dask cluster.

All three are the same to the caller: a function and its tasks go in, results come out as they are
ready. Only a few tasks more than there are workers are handed out at a time, so that memory does
not grow with the number of tasks.

Example:
    >>> with in_this_process() as scheduler:
    ...     sorted(scheduler.run(abs, [-1, 2, -3]))
    [1, 2, 3]
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from nabladft import __version__
from nabladft.errors import ConversionError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Each worker is one process on one core: libraries must not start threads of their own.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Seconds to wait for a cluster to answer and to have a worker.
_PATIENCE: Final = 30.0

#: Times that a task is tried on a cluster; a worker may be lost with its node.
_RETRIES: Final = 2


class Scheduler(Protocol):
    """Does tasks."""

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        """Yield results as they are ready, in any order; the first error ends it."""


@contextmanager
def in_this_process() -> Iterator[Scheduler]:
    """Do one task after the other, here."""
    yield _Serial()


@contextmanager
def in_processes(workers: int) -> Iterator[Scheduler]:
    """Do tasks in processes of this machine.

    Workers end when this process ends, however it ends.
    """
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # read when libraries load, there
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(os.getpid(),),
    )
    try:
        yield _Processes(executor, workers)
    finally:
        executor.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def on_cluster(address: str, *, workers: int, sees: Path) -> Iterator[Scheduler]:
    """Do tasks on a Dask cluster whose workers see the same files.

    Args:
        address: Of the scheduler ("tcp://node:8786"), the scheduler file that it wrote (``.json``),
            or "local" for a cluster of processes on this machine.
        workers: Processes of a local cluster; unused otherwise.
        sees: A file that every worker must see.

    Raises:
        MissingExtraError: Dask is not installed.
        ConversionError: The scheduler does not answer, has no worker, or a worker has another
            version of nabladft or does not see the file.
    """
    try:
        import distributed  # noqa: PLC0415 - optional dependency
    except ImportError as error:
        raise missing_extra("Conversion on a cluster", "cluster", error) from error
    distributed_: Any = distributed  # its types are partial
    cluster: Any = None
    if address == "local":
        cluster = distributed_.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=40,
        )
        where: dict[str, Any] = {"address": cluster}
    elif address.endswith(".json"):
        where = {"scheduler_file": address}
    else:
        where = {"address": address}
    client: Any = None
    try:
        try:
            client = distributed_.Client(**where, timeout=_PATIENCE, set_as_default=False)
            client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            what = "does not answer" if client is None else "has no worker"
            message = (
                f"The scheduler {address} {what} ({type(error).__name__}: {error}). Start "
                "`dask scheduler` and `dask worker` first, and give its address or scheduler file."
            )
            raise ConversionError(message) from error
        _check_workers(client, sees)
        yield _Cluster(client, distributed_)
    finally:
        if client is not None:
            client.close()
        if cluster is not None:
            cluster.close()


class _Serial:
    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        for task in tasks:
            yield function(task)


class _Processes:
    def __init__(self, executor: ProcessPoolExecutor, workers: int) -> None:
        self._executor = executor
        self._workers = workers

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        waiting = iter(tasks)
        try:
            running: set[Future[Result]] = {
                self._executor.submit(function, task) for task in islice(waiting, 2 * self._workers)
            }
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                running |= {
                    self._executor.submit(function, task) for task in islice(waiting, len(done))
                }
        except BrokenProcessPool as error:
            message = (
                "A worker process died; was memory short? Fewer workers or smaller shards need "
                "less. Run the same command again to continue; finished work is kept."
            )
            raise ConversionError(message) from error


class _Cluster:
    def __init__(self, client: Any, distributed: Any) -> None:  # noqa: ANN401 - partly typed
        self._client = client
        self._distributed = distributed

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        waiting = iter(tasks)
        n_threads = sum(self._client.nthreads().values())
        submit = self._submit
        ready = self._distributed.as_completed(
            [submit(function, task) for task in islice(waiting, max(2 * n_threads, 4))],
            loop=self._client.loop,
        )
        try:
            for future in ready:
                yield future.result()
                ready.update([submit(function, task) for task in islice(waiting, 1)])
        except self._distributed.KilledWorker as error:
            message = (
                f"Workers of the cluster died again and again at the same task ({error}). Is "
                "memory short there? Smaller shards need less. Finished work is kept."
            )
            raise ConversionError(message) from error

    def _submit(self, function: Callable[[Any], Any], task: object) -> Any:  # noqa: ANN401
        return self._client.submit(function, task, pure=False, retries=_RETRIES)


def _begin(parent: int) -> None:
    """Begin a worker process: Ctrl-C is the parent's business, and without a parent it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _look(path: str) -> tuple[str, bool]:
    """Say, on a worker, which version of the package it has and whether it sees a file."""
    from pathlib import Path  # noqa: PLC0415 - runs elsewhere

    return __version__, Path(path).exists()


def _check_workers(client: Any, sees: Path) -> None:  # noqa: ANN401 - untyped
    try:
        answers: dict[str, tuple[str, bool]] = client.run(_look, str(sees))
    except ImportError as error:
        message = f"A worker of the cluster cannot import nabladft ({error}). Install it there."
        raise ConversionError(message) from error
    for worker, (version, visible) in answers.items():
        if version != __version__:
            message = f"The worker {worker} has nabladft {version}, this is {__version__}."
            raise ConversionError(message)
        if not visible:
            message = (
                f"The worker {worker} does not see {sees}. Source and target must be in a file "
                "system that all workers share, under the same path."
            )
            raise ConversionError(message)
