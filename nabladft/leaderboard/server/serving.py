"""Run the server: the API under uvicorn in this process, workers in processes beside it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from nabladft.errors import missing_extra
from nabladft.leaderboard.server.api import create_app
from nabladft.leaderboard.server.database import Database
from nabladft.leaderboard.server.supervision import Supervisor

try:
    import uvicorn
except ImportError as _error:
    raise missing_extra("The scoring server", "server", _error) from _error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nabladft.leaderboard.server.settings import ServerSettings

#: Connections at one time; more are told to come again.
_CONNECTIONS: Final = 200


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
    # With the protocol named, asyncio switches off Nagle's algorithm, which costs 40 ms an answer.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if announce is not None:
            shown = f"[{host}]" if ":" in host else host
            announce(f"http://{shown}:{listener.getsockname()[1]}")
        with Supervisor(worker_command, n_workers):
            uvicorn.Server(config).run(sockets=[listener])
