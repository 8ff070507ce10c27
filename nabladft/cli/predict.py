"""``nabladft predict``: predict with a trained run."""

from __future__ import annotations

import argparse
from typing import Any

from nabladft.errors import InputError
from nabladft.storage.opening import open_source

_EPILOG = """\
examples:
  nabladft predict runs/painn-nano --data nano --part test_structures --out predictions.h5
  nabladft predict runs/painn-nano --data other_molecules.xyz --out predictions.h5
  nabladft evaluate predictions.h5 --data nano

Parts: train, validation, test_conformations, test_structures, test_scaffolds, of the split that
the run was trained with. Without --part every conformation of the data is predicted.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "predict",
        help="predict with a trained run",
        description="Predict with the best weights of a run, into a predictions file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="run folder, made by `nabladft train`")
    parser.add_argument("--data", required=True, help="data set name, store folder or file")
    parser.add_argument("--part", help="part of the run's split (default: all of the data)")
    parser.add_argument("--out", required=True, help="predictions file to write (.h5)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: 32")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Predict and say how many."""
    if args.batch_size < 1:
        message = f"--batch-size must be at least 1, got {args.batch_size}."
        raise InputError(message)
    source = open_source(args.data)
    # torch takes seconds to import, which --help should not wait for.
    from nabladft.training.predict import write_predictions  # noqa: PLC0415

    n_predicted = write_predictions(
        args.run,
        source,
        args.out,
        part=args.part,
        batch_size=args.batch_size,
        device=args.device,
    )
    print(f"{n_predicted} conformations predicted, written to {args.out}")
    print(f"next: nabladft evaluate {args.out} --data {args.data}")
    return 0
