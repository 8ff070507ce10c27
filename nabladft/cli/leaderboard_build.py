"""``nabladft leaderboard build``: the leaderboard as a static site."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nabladft.catalog.describing import size_text

_EPILOG = """\
examples:
  nabladft leaderboard build                     into site/; open site/index.html in a browser
  nabladft leaderboard build my_board --out www  another leaderboard, another folder

The site needs no server: copy the folder to any host of static files. With the 3-D viewer of
molecules, from a clone:  make site
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "build",
        help="write the static site",
        description="Write the leaderboard as a static site that works from a folder.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="leaderboard folder (default: that of the package)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("site"), help="folder to write (default: site)"
    )
    parser.add_argument(
        "--packages",
        type=Path,
        metavar="FOLDER",
        help="where npm installed 3dmol (default: beside the package, or the working directory)",
    )


def run(args: argparse.Namespace) -> int:
    """Build the site and say what was built."""
    # The other subcommands need not load what lays out pages.
    from nabladft.leaderboard.site.building import build_site  # noqa: PLC0415

    site = build_site(args.folder, args.out, packages=args.packages)
    print(f"{site.n_pages} pages, {size_text(site.n_bytes)}: {site.folder / 'index.html'}")
    if not site.has_viewer:
        print("Without the 3-D viewer of molecules; docs/site.md says how to add it.")
    return 0
