"""``nabladft leaderboard work``: score what is in the queue of a scoring server."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from nabladft.leaderboard.server.settings import read_settings

_EPILOG = """\
examples:
  nabladft leaderboard work --config server.toml

`nabladft leaderboard serve` starts a worker of its own. More workers may run, also on other
machines that share the data folder and the database.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "work",
        help="score what is in the queue of the server",
        description="Score submissions, each in a child process with limits, until told to stop.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, help="configuration file (.toml)")
    parser.add_argument(
        "--with-parent", action="store_true", help="stop when standard input is closed"
    )


def run(args: argparse.Namespace) -> int:
    """Work until told to stop."""
    settings = read_settings(args.config)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # The libraries of the server are an extra.
    from nabladft.leaderboard.server.database import Database  # noqa: PLC0415
    from nabladft.leaderboard.server.supervision import wait_for_parent  # noqa: PLC0415
    from nabladft.leaderboard.server.worker import run_worker  # noqa: PLC0415

    run_worker(
        settings,
        Database(settings.database),
        lifeline=wait_for_parent if args.with_parent else None,
    )
    return 0
