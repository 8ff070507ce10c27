"""``nabladft leaderboard``: check, show, build and serve the leaderboard.

A subcommand is one module of this package, ``leaderboard_<name>.py``, with ``add_parser`` and
``run`` as for a verb.
"""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import ModuleType

#: Subcommands, in the order of the help.
SUBCOMMANDS: Final = ("verify", "table", "build", "blind", "serve", "work", "token", "audit")

_EPILOG = """\
examples:
  nabladft leaderboard verify                compute every row again whose predictions are at hand
  nabladft leaderboard table                 the tables, in the terminal
  nabladft leaderboard build --out site      the static site
  nabladft leaderboard serve --config server.toml
                                             a blind scoring server (docs/server.md)

How to submit a row: nabladft submit --help
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb and its subcommands."""
    parser = subparsers.add_parser(
        "leaderboard",
        help="check and show the leaderboard",
        description="Check and show the leaderboard.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name in SUBCOMMANDS:
        _module(name).add_parser(actions)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    return int(_module(args.action).run(args))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"nabladft.cli.leaderboard_{name.replace('-', '_')}")
