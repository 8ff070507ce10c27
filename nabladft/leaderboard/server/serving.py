"""Run the server: the API under uvicorn in this process, workers in processes beside it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

from nabladft.errors import missing_extra
from nabladft.leaderboard.server.api import create_app
from nabladft.leaderboard.server.database import Database

try:
    import uvicorn
except ImportError as _error:
    raise missing_extra("The scoring server", "server", _error) from _error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Self

    from nabladft.leaderboard.server.settings import ServerSettings

_log: Final = logging.getLogger(__name__)

#: Connections at one time; more are told to come again.
_CONNECTIONS: Final = 200

#: A worker that ends is started again after so long.
_PAUSE_SECONDS: Final = 2.0


def serve(
    settings: ServerSettings,
    *,
    host: str,
    port: int,
    worker_command: Sequence[str] = (),
    n_workers: int = 0,
    announce: Callable[[str], object] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        settings: Of the server.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        worker_command: What starts a worker that ends when its standard input does.
        n_workers: How many to run.
        announce: Called with the address once it is taken.

    Raises:
        OSError: The address cannot be had.
    """
    database = Database(settings.database)
    app = create_app(settings, database)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=10,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if announce is not None:
            shown = f"[{host}]" if ":" in host else host
            announce(f"http://{shown}:{listener.getsockname()[1]}")
        with Supervisor(worker_command, n_workers):
            uvicorn.Server(config).run(sockets=[listener])


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
