"""``nabladft submit``: check and score predictions, and write an entry of the leaderboard."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from nabladft.benchmark.tables import UNIT_SYMBOLS, terminal
from nabladft.cli import submit_remote
from nabladft.errors import InputError
from nabladft.leaderboard.board import ScoredEntry, board_folder, details_path_of, read_board
from nabladft.leaderboard.drafting import draft_entry
from nabladft.leaderboard.entry import EXAMPLE, read_entry
from nabladft.leaderboard.gathering import gather
from nabladft.leaderboard.submission import check, score, write_submission
from nabladft.leaderboard.tables import group_with, ranking_table
from nabladft.metrics import METRICS
from nabladft.splits import read_split
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.leaderboard.checking import Checked
    from nabladft.leaderboard.gathering import Bundle
    from nabladft.leaderboard.submission import Submission

_EPILOG = """\
examples:
  nabladft submit --example > entry.toml                     an entry to fill in
  nabladft submit runs/painn --example > entry.toml          the same, filled in from a run
  nabladft submit predictions-*.h5 --entry entry.toml --check
                                                             all checks, nothing is scored
  nabladft submit predictions-*.h5 --entry entry.toml        score, write leaderboard/entries/...
  nabladft submit runs/painn-seed1 runs/painn-seed2 --entry entry.toml
                                                             every predictions-*.h5 of two runs
  nabladft submit predictions-*.h5 --entry entry.toml --server https://board.example.org \\
    --token-file token                                       to a blind server (docs/server.md)
  nabladft submit --withdraw ID --server https://board.example.org --token-file token
                                                             take one back that waits there

One file for each part of the split and each seed of the entry. Nothing of a submission is run.
The whole way, from an ASE calculator to a row: docs/submit.md.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "submit",
        help="check and score predictions for the leaderboard",
        description="Check and score predictions, and write an entry of the leaderboard that is "
        "ready for a pull request.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "predictions", nargs="*", type=Path, help="predictions files, or folders of them"
    )
    parser.add_argument("--entry", type=Path, help="what is submitted (.toml)")
    parser.add_argument(
        "--example", action="store_true", help="print an entry to fill in, and do nothing else"
    )
    parser.add_argument("--check", action="store_true", help="check only, score and write nothing")
    parser.add_argument("--data", help="data set name, store or file (default: see the files)")
    parser.add_argument("--split", help="split file or name (default: the one the files name)")
    parser.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help="of each file, where it does not say"
    )
    parser.add_argument(
        "--partial", action="store_true", help="accept an entry that lacks parts of the task"
    )
    parser.add_argument(
        "--predictions-url",
        metavar="URL",
        help="where the file can be had, or the folder (ending in /) of several",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder in which leaderboard/ is made (default: here)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="copy the predictions to leaderboard/predictions/, if small",
    )
    parser.add_argument(
        "--replace", action="store_true", help="replace an entry of this name that differs"
    )
    submit_remote.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Check, score, write, and say what to do next."""
    if args.example:
        sys.stdout.write(draft_entry(args.predictions) if args.predictions else EXAMPLE)
        return 0
    if args.withdraw:
        return submit_remote.withdraw(args)
    if args.entry is None or not args.predictions:
        message = (
            "Give predictions files and --entry entry.toml. `nabladft submit --example > "
            "entry.toml` writes an entry to fill in."
        )
        raise InputError(message)
    if args.server:
        return submit_remote.run(args)
    bundle = gather(
        args.predictions,
        read_entry(args.entry),
        source=open_source(args.data) if args.data else None,
        split=read_split(args.split) if args.split else None,
        seeds=args.seeds,
        partial=args.partial,
    )
    with _Bar(bundle, "checking") as bar:
        checked = check(bundle, progress=bar.update)
    _report_checks(bundle, checked)
    if args.check:
        print("Nothing was scored or written. Without --check the entry is made.")
        return 0
    with _Bar(bundle, "scoring") as bar:
        submission = score(bundle, predictions_url=args.predictions_url, progress=bar.update)
    folder = args.out / "leaderboard"
    path = write_submission(submission, folder, keep=args.keep, replace=args.replace)
    _report_scores(submission, path)
    _report_next(submission, path, keep=args.keep)
    return 0


class _Bar:
    """A progress bar over all files of a submission."""

    def __init__(self, bundle: Bundle, what: str) -> None:
        self._sizes = [len(bundle.split.part(file.part)) for file in bundle.files]
        self._what = what

    def __enter__(self) -> Self:
        self._bar = tqdm(
            total=sum(self._sizes), desc=self._what, unit="conformation", leave=False, disable=None
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, number: int, done: int) -> None:
        self._bar.update(sum(self._sizes[:number]) + done - self._bar.n)


def _report_checks(bundle: Bundle, checked: Sequence[Checked]) -> None:
    entry = bundle.entry
    print(
        f"{entry.title}: {bundle.task.title}, {bundle.source.info.name}, split {bundle.split.name}"
    )
    for file, found in zip(bundle.files, checked, strict=True):
        seed = "" if file.seed is None else f", seed {file.seed}"
        print(f"\n{file.path}: part {file.part}{seed}, {file.n_bytes:,} bytes")
        for line in found.passed:
            print(f"  ok       {line}")
        for line in found.warnings:
            print(f"  warning  {line}")
    print()


def _report_scores(submission: Submission, path: Path) -> None:
    mine = ScoredEntry(entry=submission.entry, details=submission.details, path=path)
    others = [one for one in read_board(board_folder()).entries if one.data_key == mine.data_key]
    group = group_with(mine, others)
    for metric in group.task.headlines:
        if not any(metric in score.metrics for score in submission.entry.scores):
            continue
        print(terminal([ranking_table(group, metric)]))
        place = [one.entry.name for one in group.ranked(metric)].index(mine.entry.name) + 1
        print(f"Place {place} of {len(group.entries)} by {METRICS[metric].title}.\n")
    unit = UNIT_SYMBOLS[group.task.units[group.task.headlines[0]]]
    worst = submission.details.worst[:1]
    for one in worst:
        print(
            f"Worst conformation of {one.part}: {one.molecule_id}/{one.conformation_id} "
            f"({one.smiles or 'no SMILES'}); all numbers and the worst of each part are in the "
            f"details. Tables are in {unit or 'units of 1'}, the files in atomic units."
        )


def _report_next(submission: Submission, path: Path, *, keep: bool) -> None:
    print(f"\nwritten: {path}\n         {details_path_of(path)}")
    if keep:
        entry = submission.entry
        print(f"         {path.parents[2] / 'predictions' / entry.task / entry.name}/")
    print(
        "\nnext, for a row of the public leaderboard:\n"
        f"  nabladft leaderboard verify {path.parents[2]} --predictions "
        f"{submission.files[0].path.parent}\n"
        f"  commit these files in a clone, and open a pull request (docs/submit.md)"
    )
    if not keep and any(one.predictions.url is None for one in submission.entry.scores):
        print(
            "  publish the predictions and give their address with --predictions-url, or --keep "
            "them\n  if they are small: nobody can check a row whose predictions nobody has"
        )
