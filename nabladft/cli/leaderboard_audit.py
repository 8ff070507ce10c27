"""``nabladft leaderboard audit``: read and check the audit log of a scoring server."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from nabladft.leaderboard.server.settings import read_settings

_EPILOG = """\
examples:
  nabladft leaderboard audit --config server.toml
  nabladft leaderboard audit --config server.toml --subject SUBMISSION

Exit code 1 when a line was changed or removed: each has the hash of the line before it.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "audit",
        help="read and check the audit log of the server",
        description="Print the audit log and check that no line was changed or removed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, help="configuration file (.toml)")
    parser.add_argument("--subject", help="only lines of this submission or token")


def run(args: argparse.Namespace) -> int:
    """Print the log and check it."""
    settings = read_settings(args.config)
    # The libraries of the server are an extra.
    from nabladft.leaderboard.server.audit import lines  # noqa: PLC0415
    from nabladft.leaderboard.server.database import Database  # noqa: PLC0415

    database = Database(settings.database)
    database.create()
    broken = []
    for line in lines(database):
        if not line.is_whole:
            broken.append(line.number)
        if args.subject in {None, line.subject}:
            at = datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds")
            details = json.dumps(dict(line.details), sort_keys=True)
            print(f"{line.number}  {at}  {line.who}  {line.what}  {line.subject}  {details}")
    if broken:
        print(f"The log was changed at or before line {broken[0]}.", file=sys.stderr)
        return 1
    return 0
