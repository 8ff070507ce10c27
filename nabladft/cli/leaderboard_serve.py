"""``nabladft leaderboard serve``: run the blind scoring server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nabladft.errors import InputError
from nabladft.leaderboard.server.settings import EXAMPLE, read_settings

_EPILOG = """\
examples:
  nabladft leaderboard serve --example > server.toml    a configuration to fill in
  nabladft leaderboard serve --config server.toml       the server with one worker
  nabladft leaderboard serve --config server.toml --workers 0 --port 8080

Make tokens with `nabladft leaderboard token add NAME`. The whole way: docs/server.md.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "serve",
        help="run the blind scoring server",
        description="Run the blind scoring server: uploads, queue, rounded scores.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", help="configuration file (.toml)")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any free one")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--example", action="store_true", help="print a configuration and stop")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    if args.example:
        sys.stdout.write(EXAMPLE)
        return 0
    if args.config is None:
        message = "--config is needed. `nabladft leaderboard serve --example` prints one."
        raise InputError(message)
    if args.workers < 0:
        message = f"--workers must not be negative, got {args.workers}."
        raise InputError(message)
    settings = read_settings(args.config)
    # The libraries of the server are an extra.
    from nabladft.leaderboard.server.public import bits_of_submission  # noqa: PLC0415
    from nabladft.leaderboard.server.serving import serve  # noqa: PLC0415
    from nabladft.leaderboard.server.supervision import worker_command  # noqa: PLC0415

    def announce(address: str) -> None:
        bits = bits_of_submission(
            tuple(settings.tasks.values()),
            n_files=settings.limits.files,
            digits=settings.scoring.digits,
        )
        print(f"serving {settings.title!r} at {address}", flush=True)
        print(f"the scores of one submission carry at most {bits:.0f} bits", flush=True)

    serve(
        settings,
        host=args.host,
        port=args.port,
        n_workers=args.workers,
        worker_command=worker_command(Path(args.config).resolve()),
        announce=announce,
    )
    return 0
