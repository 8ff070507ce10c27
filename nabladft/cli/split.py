"""``nabladft split``: make a split, look at one, prove that it does not leak."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nabladft.errors import InputError
from nabladft.splits import SplitRecipe, check_split, make_split, read_split, write_split
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from nabladft.splits import Split

_EPILOG = """\
examples:
  nabladft split check                              the split of nano, every promise
  nabladft split show nano
  nabladft split make --data my_store --out my_split.json --seed 7
  nabladft split check my_split.json --data my_store

Parts: train, validation, test_conformations (other conformations of training molecules),
test_structures (other molecules), test_scaffolds (other ring scaffolds). Exit code 1 when a
promise is broken.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb and its actions."""
    parser = subparsers.add_parser(
        "split",
        help="make, show and check splits",
        description="Make a split of a data set, show it, or check everything that it promises.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="prove that nothing leaks")
    check.add_argument("split", nargs="?", default="nano", help="file or name (default: nano)")
    check.add_argument("--data", help="data the split belongs to (default: the data set it names)")
    show = actions.add_parser("show", help="counts, hash and recipe")
    show.add_argument("split", help="file or name")
    make = actions.add_parser("make", help="make a split of a data set")
    defaults = SplitRecipe()
    make.add_argument("--data", required=True, help="data set name, store folder or file")
    make.add_argument("--out", required=True, help="split file to write (.json)")
    make.add_argument("--seed", type=int, default=defaults.seed)
    for share in ("scaffolds", "structures", "validation"):
        make.add_argument(
            f"--{share}",
            type=float,
            default=getattr(defaults, share),
            metavar="SHARE",
            help=f"share of the molecules (default: {getattr(defaults, share)})",
        )
    make.add_argument(
        "--conformations",
        type=float,
        default=defaults.conformations,
        metavar="SHARE",
        help=f"share of training molecules' conformations (default: {defaults.conformations})",
    )


def run(args: argparse.Namespace) -> int:
    """Run one action."""
    return {"check": _check, "show": _show, "make": _make}[args.action](args)


def _check(args: argparse.Namespace) -> int:
    split = read_split(args.split)
    checks = check_split(split, open_source(args.data or split.dataset))
    for check in checks:
        verdict = "ok   " if check.holds else "LEAK "
        print(f"{verdict} {check.promise} ({check.n_checked} checked)")
        for violation in check.violations[:5]:
            print(f"        {violation}")
    return 0 if all(check.holds for check in checks) else 1


def _show(args: argparse.Namespace) -> int:
    _print(read_split(args.split))
    return 0


def _make(args: argparse.Namespace) -> int:
    path = Path(args.out)
    if path.suffix != ".json":
        message = f"A split file ends in .json, got {path}."
        raise InputError(message)
    recipe = SplitRecipe(
        seed=args.seed,
        scaffolds=args.scaffolds,
        structures=args.structures,
        validation=args.validation,
        conformations=args.conformations,
    )
    split = make_split(open_source(args.data), recipe, name=path.stem)
    write_split(split, path)
    _print(split)
    print(f"written to {path}")
    return 0


def _print(split: Split) -> None:
    print(f"split    {split.name} of {split.dataset} (data {split.data_hash[:12]})")
    print(f"sha256   {split.sha256}")
    print(f"recipe   {', '.join(f'{key}={value}' for key, value in split.recipe.items())}")
    for part, counts in split.counts().items():
        print(
            f"{part:20s}{counts['molecules']:6d} molecules"
            f"{counts['conformations']:9d} conformations"
        )
