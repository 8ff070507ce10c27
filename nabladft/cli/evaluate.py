"""``nabladft evaluate``: score a predictions file."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nabladft.benchmark.evaluation import evaluate
from nabladft.benchmark.results import results_to_json, write_results
from nabladft.benchmark.tables import results_table, terminal
from nabladft.benchmark.tasks import tasks
from nabladft.errors import InputError
from nabladft.predictions import Predictions
from nabladft.splits import read_split
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from nabladft.benchmark.results import Results
    from nabladft.splits import Split

_EPILOG = """\
examples:
  nabladft evaluate predictions.h5 --data nano                   the part that the file names
  nabladft evaluate predictions.h5 --data nano --part test_scaffolds
  nabladft evaluate predictions.h5 --data my_store --split my_split.json --out results.json
  nabladft evaluate predictions.h5 --data nano --scf 20          with DFT cycles saved, of 20
  nabladft evaluate predictions.h5 --data nano --json | jq .metrics.energy_mae

The file must hold every conformation of the part and no other. How to write one, with h5py alone:
docs/predictions-format.md. What the numbers are: docs/metrics.md.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a predictions file",
        description="Score a predictions file against the data. No model is run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", help="predictions file (.h5)")
    parser.add_argument("--data", required=True, help="data set name, store folder or file")
    parser.add_argument("--split", help="split file or name (default: the one the file names)")
    parser.add_argument("--part", help="part of the split (default: the one the file names)")
    parser.add_argument("--out", help="results file to write (.json)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument(
        "--scf",
        type=int,
        default=0,
        metavar="N",
        help="start a DFT calculation from N of the Hamiltonians (default: 0; needs PySCF)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Score the file and print the numbers."""
    if args.seed < 0:
        message = f"--seed must not be negative, got {args.seed}."
        raise InputError(message)
    if args.scf < 0:
        message = f"--scf must not be negative, got {args.scf}."
        raise InputError(message)
    predictions = Predictions(args.predictions)
    split = _split_of(predictions, args.split)
    source = open_source(args.data)
    with tqdm(
        total=len(predictions) + min(args.scf, len(predictions)),
        desc="scoring",
        unit="conformation",
        leave=False,
        disable=None,
    ) as bar:
        results = evaluate(
            predictions,
            source,
            split=split,
            part=args.part,
            seed=args.seed,
            scf=args.scf,
            progress=lambda done: bar.update(done - bar.n),
        )
    if args.out:
        write_results(results, args.out)
    if args.json:
        sys.stdout.write(results_to_json(results))
    else:
        _report(results)
    return 0


def _split_of(predictions: Predictions, name: str | None) -> Split | None:
    """Read the split that was asked for, or the one that the file names."""
    wanted = name or predictions.info.split
    if wanted is None:
        return None
    try:
        return read_split(wanted)
    except KeyError as error:
        if name is None:
            error.add_note(
                f"{predictions.path.name} was made with that split; give its file with --split."
            )
        raise


def _report(results: Results) -> None:
    part = f"part {results.part} of split {results.split}" if results.part else "all conformations"
    print(f"{results.model} on {results.dataset}, {part}: ", end="")
    print(f"{results.n_conformations:,} conformations of {results.n_molecules:,} molecules")
    for task in tasks().values():
        table = results_table(results, task)
        if table.rows:
            print(f"\n{terminal([table])}", end="")
    print("\nIntervals: 95 %, bootstrap over molecules.")
