"""``nabladft leaderboard blind``: the public copy of private data, without labels."""

from __future__ import annotations

import argparse
from typing import Any

from nabladft.leaderboard.server.blinding import write_public_copy
from nabladft.splits import TEST_PARTS, read_split
from nabladft.storage.opening import open_source

_EPILOG = """\
examples:
  nabladft leaderboard blind private/store --split split.json --out public

The new folder has the store `data`, with ids and geometries of the test parts and no labels, and
`split.json`. Publish both. The hash that is printed belongs into the configuration of the server.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "blind",
        help="make the public copy of private data, without labels",
        description="Copy ids and geometries, but no labels, of the parts that are scored.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", help="private data: a store, a file, or the name of a data set")
    parser.add_argument("--split", required=True, help="split file or name")
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument(
        "--parts", nargs="+", default=list(TEST_PARTS), help="default: the three test parts"
    )


def run(args: argparse.Namespace) -> int:
    """Write the copy and say what the server needs to know."""
    copy = write_public_copy(
        open_source(args.data), read_split(args.split), args.out, parts=args.parts
    )
    print(f"{copy.n_conformations} conformations without labels in {copy.store}")
    print(f"ids by part in {copy.split}")
    print(f'data_hash = "{copy.data_hash}"')
    return 0
