"""``nabladft train``: train a model folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nabladft.errors import UnknownNameError
from nabladft.resources import find_baseline
from nabladft.splits import read_split
from nabladft.storage.opening import open_source

_EPILOG = """\
examples:
  nabladft train baselines/painn --data nano
  nabladft train painn --data nano --out runs/long --set training.max_epochs=500
  nabladft train painn --data nano --seed 2 --set model.n_features=32 --set training.ema.decay=0.99
  nabladft train schnet --data nano --config paper.toml
  nabladft train my_model/ --data my_store --split my_split.json
  nabladft train painn --data nano --set training.devices=2         two processes (DDP)
  nabladft train qhnet --data nano --start-from runs/qhnet-nano --set training.max_epochs=10 \
      --set training.loss.orbitals.alignment_weight=1               fine-tuning

A model is a folder with model.py and config.toml, ours or yours: docs/add-a-baseline.md.
Ctrl-C saves; the same command continues where it stopped and gives the same weights.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "train",
        help="train a model folder, ours or yours",
        description="Train a model on the training part of a split, into a run folder.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="model folder, or name of a baseline")
    parser.add_argument("--data", required=True, help="data set name, store folder or file")
    parser.add_argument("--split", help="split file or name (default: the split of the data set)")
    parser.add_argument(
        "--out",
        help="run folder (default: runs/MODEL-DATA; with --start-from, runs/MODEL-DATA-tuned)",
    )
    parser.add_argument(
        "--start-from",
        metavar="RUN_FOLDER",
        help="fine-tune: begin with the best weights of another run of the same model",
    )
    parser.add_argument(
        "--config",
        default="config.toml",
        help="configuration file, looked for in the model folder first (default: config.toml)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="TABLE.NAME=VALUE",
        help="put one value over the configuration file; may be repeated",
    )
    parser.add_argument("--seed", type=int, help="short for --set training.seed=SEED")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Train and say where the result is."""
    model_folder = find_baseline(args.model)
    source = open_source(args.data)
    try:
        split = read_split(args.split or source.info.name)
    except UnknownNameError as error:
        error.add_note("Choose one with --split, or make one with `nabladft split make`.")
        raise
    name = f"{model_folder.resolve().name}-{source.info.name}"
    name += "" if args.start_from is None else "-tuned"
    seed = [] if args.seed is None else [f"training.seed={args.seed}"]
    # torch and Lightning take seconds to import, which --help should not wait for.
    from nabladft.training.progress import describe  # noqa: PLC0415
    from nabladft.training.train import train  # noqa: PLC0415

    result = train(
        model_folder,
        source,
        split,
        run_folder=Path(args.out or Path("runs") / name),
        config=args.config,
        overrides=[*args.overrides, *seed],
        start_from=args.start_from,
        progress=not args.quiet,
    )
    if result.is_first_process:
        print(
            f"{result.status}: {result.epochs} epochs, {result.steps} steps, "
            f"{result.seconds:.0f} s, {result.n_parameters} parameters"
        )
        print(f"best epoch {result.best['epoch']:.0f}  {describe(result.best)}")
        print(f"run folder {result.folder}")
        print(
            f"next: nabladft predict {result.folder} --data {args.data} --part test_structures "
            "--out predictions.h5"
        )
    return 0
