"""Entry point of the ``nabladft`` command.

A verb is one module of this package with ``add_parser(subparsers)`` and ``run(args) -> int``.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING

from nabladft import __version__
from nabladft.errors import NablaDFTError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

#: Verbs in the order of a user's way: look at data, make data, train, score.
VERBS = (
    "list",
    "info",
    "download",
    "verify",
    "cache",
    "convert",
    "query",
    "stats",
    "label",
    "split",
    "train",
    "predict",
    "evaluate",
    "inspect-h",
    "benchmark",
    "submit",
    "leaderboard",
)

#: Which extra of the package installs an optional module.
_EXTRAS = {
    "torch": "train",
    "lightning": "train",
    "e3nn": "train",
    "matplotlib": "plot",
    "distributed": "cluster",
    "schnetpack": "schnetpack",
    "pyscf": "label",
    "rdkit": "chem",
}

_EPILOG = """\
examples:
  nabladft benchmark nano                          train and score every baseline, ten minutes
  nabladft info nano                               what a data set holds, in which units
  nabladft convert train_2k.db my_store            a published file into a store
  nabladft label molecules.smi --out my_store      make DFT labels for your own molecules
  nabladft train baselines/painn --data nano       train one model
  nabladft evaluate predictions.h5 --data nano     score predictions, yours or anybody's

Run `nabladft VERB --help` for the options and examples of a verb.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with all verbs."""
    parser = argparse.ArgumentParser(
        prog="nabladft",
        description="Data and benchmarks for machine learning of molecular electronic structure.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nabladft {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        _module(verb).add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        Exit code: 0 done, 1 the work ran and found something wrong, 2 the input cannot be used,
        130 interrupted.
    """
    args = build_parser().parse_args(arguments)
    try:
        return int(_module(args.verb).run(args))
    except KeyboardInterrupt:
        _complain("Interrupted. Finished work is kept: run the same command again to continue.")
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) is gone; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (NablaDFTError, OSError) as error:
        if args.debug:
            raise
        _complain(f"error: {_describe(error)}")
        return 2
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if args.debug or extra is None:
            raise
        _complain(f"error: {missing_extra(f'`nabladft {args.verb}`', extra, error)}")
        return 2


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"nabladft.cli.{verb.replace('-', '_')}")


def _describe(error: Exception) -> str:
    notes = getattr(error, "__notes__", [])
    if isinstance(error, OSError) and not isinstance(error, NablaDFTError):
        place = f": {error.filename}" if error.filename else ""
        text = f"{error.strerror or error}{place}"
        if error.errno == errno.ENOSPC:
            text += ". Free some space and run the same command again; finished work is kept."
    else:
        text = str(error)
    return " ".join([text, *notes])


def _complain(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
