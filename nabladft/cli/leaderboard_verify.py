"""``nabladft leaderboard verify``: compute the leaderboard again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from nabladft.leaderboard.board import board_folder
from nabladft.leaderboard.verification import verify_board

if TYPE_CHECKING:
    from nabladft.leaderboard.verification import RowReport, Status, Verification

_EPILOG = """\
examples:
  nabladft leaderboard verify                                  the leaderboard of the package
  nabladft leaderboard verify --predictions runs/              with predictions of your own runs
  nabladft leaderboard verify my/leaderboard --data my_store   another one, on data of your own

Every entry is checked against its schema, its hashes and its details. Every score whose
predictions are found (by their hash) is computed again and compared to the last digit. Exit code
1 when anything differs.
"""

_WORDS: Final[dict[Status, str]] = {
    "recomputed": "recomputed, equal to the last digit",
    "round-off": "recomputed, equal but for round-off",
    "claimed": "consistent, not recomputed",
    "wrong": "WRONG",
}


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "verify",
        help="compute every row again whose predictions are at hand",
        description="Check all entries, and compute every row again whose predictions are at hand.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="leaderboard folder (default: that of the package)"
    )
    parser.add_argument(
        "--predictions",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="more folders in which to look for predictions",
    )
    parser.add_argument(
        "--data", nargs="+", default=[], help="data that cannot be opened by their name alone"
    )
    parser.add_argument(
        "--exact", action="store_true", help="take a difference of round-off for an error"
    )


def run(args: argparse.Namespace) -> int:
    """Verify and report."""
    with tqdm(desc="scoring again", unit="score", leave=False, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = verify_board(
            args.folder or board_folder(),
            predictions=args.predictions,
            data=args.data,
            progress=show,
        )
    _report(found)
    sound = found.is_sound(exact=args.exact)
    print("Nothing is wrong." if sound else "Something is wrong: see above.")
    return 0 if sound else 1


def _report(found: Verification) -> None:
    for row in found.rows:
        print(f"{_place(row)}: {_WORDS[row.status]}{f': {row.text}' if row.text else ''}")
    for problem in found.problems:
        print(f"WRONG {problem}")
    again = found.count("recomputed") + found.count("round-off")
    print(
        f"\n{again} of {len(found.rows)} scores recomputed "
        f"({found.count('recomputed')} to the last digit), {found.count('claimed')} checked for "
        f"consistency only, {found.count('wrong') + len(found.problems)} wrong."
    )
    if found.n_published:
        print(
            f"{found.n_published} published numbers are claims of their papers; nobody can "
            "recompute them here."
        )


def _place(row: RowReport) -> str:
    seed = "" if row.seed is None else f", seed {row.seed}"
    return f"{row.task}/{row.entry}, {row.part}{seed}"
