"""``nabladft benchmark``: train and score every baseline of a suite."""

from __future__ import annotations

import argparse
from typing import Any

from nabladft.benchmark.suites import suite_names
from nabladft.benchmark.tables import terminal
from nabladft.errors import missing_extra

_EPILOG = """\
examples:
  nabladft benchmark nano                            every baseline, about ten minutes on two cores
  nabladft benchmark nano --baselines linear painn   some of them
  nabladft benchmark nano --baselines my_model       your model folder, in the same table
  nabladft benchmark nano --out runs/seeds --seeds 1 2 3   means over three trainings
  nabladft benchmark nano --fresh                    forget what is there, start over
  nabladft benchmark mini                            the larger data set, three seeds, 2.5 hours

Ctrl-C at any time: the same command continues. The folder then holds tables.md, tables.csv,
figures/, and for each baseline its configuration, checkpoint, predictions and results.
Exit code 1 when a baseline could not be run; the tables say why.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "benchmark",
        help="train and score every baseline, tables and figures",
        description="Train every baseline of a suite, predict its test parts, score, make tables "
        "and figures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suite", help=f"name of the suite: {', '.join(suite_names())}")
    parser.add_argument("--out", help="folder (default: runs/benchmark-SUITE)")
    parser.add_argument(
        "--baselines",
        nargs="+",
        metavar="NAME",
        help="only these; a path of a model folder adds it to the suite",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="train everything once with each (default: those of the suite)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="remove what is there of these baselines first"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Run the suite and print the tables."""
    try:
        # torch takes seconds to import and is not needed by the other verbs.
        from nabladft.benchmark.overview import Silent, Terminal  # noqa: PLC0415
        from nabladft.benchmark.suite import run_benchmark  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_extra("Running a benchmark", "train", error) from error
    report = run_benchmark(
        args.suite,
        out=args.out,
        baselines=args.baselines,
        seeds=args.seeds,
        fresh=args.fresh,
        listener=Silent() if args.quiet else Terminal(),
    )
    for title, tables in report.tables.items():
        print(f"\n{title}\n{'=' * len(title)}\n")
        print(terminal(tables), end="")
    print("\nMean [95 % bootstrap interval over molecules]; * marks the best of a column.")
    print(f"Tables, figures, predictions and checkpoints: {report.folder}")
    print(f"Total time: {report.seconds / 60:.1f} min")
    return 0 if report.is_complete else 1
