"""``nabladft leaderboard table``: the tables of the leaderboard."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nabladft.benchmark.tables import markdown, terminal
from nabladft.benchmark.tasks import tasks
from nabladft.errors import UnknownNameError
from nabladft.leaderboard.board import board_folder, read_board
from nabladft.leaderboard.tables import (
    board_csv,
    board_tables,
    with_readme_block,
    write_readme_block,
)

_EPILOG = """\
examples:
  nabladft leaderboard table                          the headline metrics, in the terminal
  nabladft leaderboard table --metric gap_mae         another metric
  nabladft leaderboard table --csv > leaderboard.csv  every number, unrounded
  nabladft leaderboard table --write README.md        put the tables between the marks of a page
  nabladft leaderboard table --check README.md        exit code 1 if they are not the current ones

Only rows on the same data and split are in one table. What papers say is not in it: see
docs/published-results.md.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "table",
        help="show the tables, or write them into a page",
        description="Show the tables of the leaderboard, or write them into a page.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="leaderboard folder (default: that of the package)"
    )
    parser.add_argument("--metric", nargs="+", metavar="NAME", help="default: the headlines")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--markdown", action="store_true", help="print Markdown")
    target.add_argument("--csv", action="store_true", help="print CSV of every metric")
    target.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into a page")
    target.add_argument("--check", type=Path, metavar="PAGE", help="compare the tables of a page")


def run(args: argparse.Namespace) -> int:
    """Print, write or compare."""
    known = {metric for task in tasks().values() for metric in task.metrics}
    for metric in args.metric or ():
        if metric not in known:
            raise UnknownNameError("metric", metric, sorted(known))
    board = read_board(args.folder or board_folder())
    if args.write:
        changed = write_readme_block(args.write, board)
        print(f"{args.write}: {'tables written' if changed else 'the tables are the current ones'}")
        return 0
    if args.check:
        text = args.check.read_text(encoding="utf-8")
        if with_readme_block(text, board, where=args.check.name) != text:
            print(
                f"{args.check} differs from the entries. Run: nabladft leaderboard table --write "
                f"{args.check}"
            )
            return 1
        print(f"{args.check} shows the {len(board.entries)} entries as they are.")
        return 0
    if args.csv:
        sys.stdout.write(board_csv(board))
        return 0
    tables = board_tables(board, metrics=args.metric)
    print((markdown if args.markdown else terminal)(tables), end="")
    if not board.entries:
        print("The leaderboard has no entries yet. `nabladft submit --help` says how to add one.")
    return 0
