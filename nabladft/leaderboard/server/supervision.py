"""Worker processes beside the server: started again when they end, ended with the server."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

_log: Final = logging.getLogger(__name__)

#: A worker that ends is started again after so long.
_PAUSE_SECONDS: Final = 2.0


class Supervisor:
    """Keeps so many workers running, and stops them at the end.

    Each worker holds the other end of a pipe as its standard input, so it ends when this process
    does, however that happens.
    """

    def __init__(self, command: Sequence[str], n_workers: int) -> None:
        """Keep them; nothing is started yet."""
        self._command = tuple(command)
        self._threads = [
            threading.Thread(target=self._keep_running, daemon=True) for _ in range(n_workers)
        ]
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        """Start the workers."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the workers; what they were scoring goes back to the queue."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep_running(self) -> None:
        while not self._stop.is_set():
            # Our own command, no shell.
            with subprocess.Popen(self._command, stdin=subprocess.PIPE) as worker:  # noqa: S603
                while worker.poll() is None and not self._stop.wait(0.2):
                    pass
                if self._stop.is_set():
                    worker.terminate()
                    assert worker.stdin is not None
                    worker.stdin.close()
            if not self._stop.is_set():
                _log.error("a worker ended with code %s; it is started again", worker.returncode)
                self._stop.wait(_PAUSE_SECONDS)


def worker_command(config: Path) -> tuple[str, ...]:
    """Give the command that starts a worker beside the server."""
    return (
        sys.executable,
        "-m",
        "nabladft.cli.main",
        "leaderboard",
        "work",
        "--config",
        str(config),
        "--with-parent",
    )


def wait_for_parent() -> None:
    """Return when the process at the other end of standard input is gone."""
    while os.read(sys.stdin.fileno(), 1 << 10):
        pass
