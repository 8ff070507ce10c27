"""``nabladft cache``: what reading from servers left on this disk."""

from __future__ import annotations

import argparse
import time
from typing import Any

from nabladft.transport.cache import FOLDER_VARIABLE, LIMIT_VARIABLE, default_cache

_EPILOG = f"""\
examples:
  nabladft cache                    where it is, how large, of which files
  nabladft cache --clear            free all of it

Stores and files at an address (nabladft.open("https://...")) are read in parts, and the parts are
kept here up to a limit; the least recently used go first. {FOLDER_VARIABLE} names another folder,
{LIMIT_VARIABLE} another limit (20GB, 500MB; 0 for no cache).
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "cache",
        help="show or clear what was kept of files at servers",
        description="Show or clear the cache of what was read from servers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clear", action="store_true", help="remove everything in it")


def run(args: argparse.Namespace) -> int:
    """Show or clear, on standard output."""
    cache = default_cache()
    usage = cache.usage()
    if usage.folder is None:
        print(f"There is no cache: {LIMIT_VARIABLE} is 0.")
        return 0
    if args.clear:
        print(f"Freed {cache.clear() / 1e6:,.1f} MB in {usage.folder}.")
        return 0
    print(f"folder  {usage.folder}")
    print(f"size    {usage.n_bytes / 1e6:,.1f} MB of at most {usage.limit / 1e6:,.0f} MB")
    for file in usage.files:
        days = (time.time() - file.last_used) / 86400
        print(f"{file.n_bytes / 1e6:>12,.1f} MB  {days:>5.1f} days ago  {file.url}")
    return 0
