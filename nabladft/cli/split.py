"""``nabladft split``: make splits, cut them down, prove that they do not leak."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nabladft.errors import InputError
from nabladft.splits import (
    IdentityTable,
    SplitRecipe,
    check_nested,
    check_split,
    make_split,
    nested_subsets,
    prove,
    proxy_test,
    read_split,
    split_of_files,
    split_of_tags,
    with_validation,
    write_ids,
    write_split,
)
from nabladft.splits.files import HDF5_SUFFIX
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nabladft.splits import Split
    from nabladft.splits.leakage import Check
    from nabladft.storage.source import ConformationSource

_EPILOG = """\
examples:
  nabladft split check                              the split of nano, every promise
  nabladft split show nano
  nabladft split make --data my_store --out my_split.json --seed 7
  nabladft split check my_split.json --data my_store

published data, whole files as parts:
  nabladft split extract train=train_2k.db test_structures=structures.db --out tiny.h5
  nabladft split extract train=train_full --summary summary.csv.gz --out full.h5
  nabladft split check tiny.h5 --data train_2k.db structures.db --table identities.sqlite
  nabladft split validation tiny.h5 --share 0.1 --out tiny-val.h5
  nabladft split nested tiny-val.h5 --sizes 100 300 1000 --out subsets
  nabladft split proxy --data structures.db --part test_structures -n 1000 --out proxy.json
  nabladft split ids proxy.json --part test_structures --out proxy.csv

Parts: train, validation, test_conformations (other conformations of training molecules),
test_structures (other molecules), test_scaffolds (other ring scaffolds). Split files are JSON, or
HDF5 when the name ends in .h5 (for millions of ids). Exit code 1 when a promise is broken.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb and its actions."""
    parser = subparsers.add_parser(
        "split",
        help="make, show and check splits",
        description="Make splits, cut them down, show them, or check everything they promise.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_check(actions)
    show = actions.add_parser("show", help="counts, hash and recipe")
    show.add_argument("split", help="file or name")
    _add_make(actions)
    extract = actions.add_parser("extract", help="take the ids of published parts from their files")
    extract.add_argument(
        "parts", nargs="+", metavar="PART=DATA", help="train=train_2k.db test_structures=x.db ..."
    )
    extract.add_argument(
        "--summary", metavar="FILE", help="the published summary; then parts are PART=TAG"
    )
    extract.add_argument("--dataset", default="nabla2dft", help="data set (default: nabla2dft)")
    _add_out(extract)
    validation = actions.add_parser("validation", help="cut a validation part out of train")
    validation.add_argument("split", help="file or name")
    validation.add_argument("--share", type=float, default=0.1, help="of molecules (default: 0.1)")
    _add_out(validation, seeded=True, table=True)
    nested = actions.add_parser("nested", help="nested subsets of train, for learning curves")
    nested.add_argument("split", help="file or name")
    nested.add_argument("--sizes", type=int, nargs="+", required=True, help="numbers of molecules")
    nested.add_argument("--out", required=True, metavar="FOLDER", help="one file a size goes there")
    nested.add_argument("--seed", type=int, default=0)
    nested.add_argument("--table", help="identities, so that twins stay together")
    proxy = actions.add_parser("proxy", help="draw a small test from a large one")
    proxy.add_argument("--data", required=True, help="the large test set, with SMILES")
    proxy.add_argument("--part", required=True, help="which part it is: test_structures, ...")
    proxy.add_argument("-n", type=int, default=1000, help="conformations (default: 1000)")
    proxy.add_argument("--split", help="draw from this part of a split of the data only")
    _add_out(proxy, seeded=True, table=True)
    ids = actions.add_parser("ids", help="write the ids of a part as CSV")
    ids.add_argument("split", help="file or name")
    ids.add_argument("--part", required=True)
    ids.add_argument("--out", required=True, metavar="FILE.csv")


def run(args: argparse.Namespace) -> int:
    """Run one action."""
    actions = {
        "check": _check,
        "show": _show,
        "make": _make,
        "extract": _extract,
        "validation": _validation,
        "nested": _nested,
        "proxy": _proxy,
        "ids": _ids,
    }
    return actions[args.action](args)


def _add_check(actions: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    check = actions.add_parser("check", help="prove that nothing leaks")
    check.add_argument("split", nargs="?", default="nano", help="file or name (default: nano)")
    check.add_argument(
        "--data", nargs="+", help="data of the split (default: the data set it names)"
    )
    check.add_argument("--inside", metavar="SPLIT", help="its train must be inside this one's")
    check.add_argument(
        "--table",
        metavar="FILE",
        help="of InChIKeys and scaffolds: kept, and continued when interrupted",
    )
    check.add_argument("--workers", type=int, default=1, help="processes for the chemistry")


def _add_make(actions: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    make = actions.add_parser("make", help="make a split of a data set")
    defaults = SplitRecipe()
    make.add_argument("--data", required=True, help="data set name, store folder or file")
    _add_out(make, seeded=True)
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


def _add_out(parser: argparse.ArgumentParser, *, seeded: bool = False, table: bool = False) -> None:
    parser.add_argument("--out", required=True, help="split file to write (.json or .h5)")
    if seeded:
        parser.add_argument("--seed", type=int, default=0)
    if table:
        parser.add_argument("--table", help="identities made by `split check --table`")


def _check(args: argparse.Namespace) -> int:
    split = read_split(args.split)
    checks: list[Check] = []
    if args.inside:
        checks += check_nested([split, read_split(args.inside)])
    if split.data_hash is None:
        checks += _proven(split, args)
    else:
        if args.data and len(args.data) > 1:
            message = f"Split {split.name!r} belongs to one data set, got {len(args.data)}."
            raise InputError(message)
        checks += check_split(split, open_source(args.data[0] if args.data else split.dataset))
    for check in checks:
        verdict = "ok   " if check.holds else "LEAK "
        print(f"{verdict} {check.promise} ({check.n_checked} checked)")
        for violation in check.violations[:5]:
            print(f"        {violation}")
        if len(check.violations) > 5:
            print(f"        ... {check.violations[-1]}")
    return 0 if all(check.holds for check in checks) else 1


def _proven(split: Split, args: argparse.Namespace) -> Iterable[Check]:
    """Check a split of ids alone, from tables of identities."""
    if not args.data and not args.table:
        if args.inside:
            return ()
        message = (
            f"Split {split.name!r} holds ids alone. Give the data of its parts with --data, or a "
            "complete --table."
        )
        raise InputError(message)
    with _identities(args.table) as table:
        for location in args.data or ():
            source = open_source(location)
            with _progress(source) as step:
                table.add(source, workers=args.workers, progress=step)
        proof = prove(split, table)
    print(proof.shared.to_string(index=False) + "\n")
    return proof.checks


@contextmanager
def _identities(path: str | None) -> Iterator[IdentityTable]:
    with (
        tempfile.TemporaryDirectory() as folder,
        IdentityTable(path or Path(folder) / "identities.sqlite") as table,
    ):
        yield table


@contextmanager
def _progress(source: ConformationSource) -> Iterator[Any]:
    with tqdm(
        total=len(source),
        desc=source.info.name,
        unit="rows",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        yield bar.update


def _show(args: argparse.Namespace) -> int:
    _print(read_split(args.split))
    return 0


def _make(args: argparse.Namespace) -> int:
    recipe = SplitRecipe(
        seed=args.seed,
        scaffolds=args.scaffolds,
        structures=args.structures,
        validation=args.validation,
        conformations=args.conformations,
    )
    path = _split_path(args.out)
    return _written(make_split(open_source(args.data), recipe, name=path.stem), path)


def _extract(args: argparse.Namespace) -> int:
    path = _split_path(args.out)
    given: dict[str, str] = {}
    for text in args.parts:
        part, _, origin = text.partition("=")
        if not origin:
            message = f"A part is given as PART=DATA (train=train_2k.db), got {text!r}."
            raise InputError(message)
        if part in given:
            message = f"Part {part!r} is given twice."
            raise InputError(message)
        given[part] = origin
    if args.summary:
        split = split_of_tags(args.summary, given, name=path.stem, dataset=args.dataset)
    else:
        sources = {part: open_source(location) for part, location in given.items()}
        split = split_of_files(sources, name=path.stem, dataset=args.dataset)
    return _written(split, path)


def _validation(args: argparse.Namespace) -> int:
    path = _split_path(args.out)
    split = with_validation(
        read_split(args.split), share=args.share, seed=args.seed, inchikeys=_inchikeys(args.table)
    )
    return _written(dataclasses.replace(split, name=path.stem), path)


def _nested(args: argparse.Namespace) -> int:
    subsets = nested_subsets(
        read_split(args.split), args.sizes, seed=args.seed, inchikeys=_inchikeys(args.table)
    )
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    suffix = HDF5_SUFFIX if args.split.endswith(HDF5_SUFFIX) else ".json"
    for subset in subsets:
        _written(subset, folder / f"{subset.name}{suffix}")
    return 0


def _proxy(args: argparse.Namespace) -> int:
    path = _split_path(args.out)
    scaffolds = None
    if args.table:
        with IdentityTable(args.table) as table:
            table.require_complete()
            scaffolds = table.scaffolds()
    split = proxy_test(
        open_source(args.data),
        args.n,
        part=args.part,
        name=path.stem,
        seed=args.seed,
        keys=read_split(args.split).part(args.part) if args.split else None,
        scaffolds=scaffolds,
    )
    _written(split, path)
    error = split.recipe["relative_sampling_error"]
    print(
        f"A MAE over this proxy differs from that over all {split.recipe['n_of_whole']} "
        f"conformations by {error:.1%} (one standard error)\nif the errors of conformations spread "
        f"as much as their mean, by {error / 2:.1%} if half as much; stratification makes it less."
    )
    return 0


def _ids(args: argparse.Namespace) -> int:
    keys = read_split(args.split).part(args.part)
    write_ids(keys, args.out)
    print(f"{len(keys)} ids written to {args.out}")
    return 0


def _inchikeys(path: str | None) -> dict[int, str] | None:
    if path is None:
        return None
    with IdentityTable(path) as table:
        table.require_complete()
        return table.inchikeys()


def _split_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in {".json", HDF5_SUFFIX}:
        message = f"A split file ends in .json or {HDF5_SUFFIX}, got {path}."
        raise InputError(message)
    return path


def _written(split: Split, path: Path) -> int:
    write_split(split, path)
    _print(split)
    print(f"written to {path}")
    return 0


def _print(split: Split) -> None:
    data = f"data {split.data_hash[:12]}" if split.data_hash else "ids alone"
    print(f"split    {split.name} of {split.dataset} ({data})")
    print(f"sha256   {split.sha256}")
    print(f"recipe   {', '.join(f'{key}={value}' for key, value in split.recipe.items())}")
    for part, counts in split.counts().items():
        print(
            f"{part:20s}{counts['molecules']:8d} molecules"
            f"{counts['conformations']:10d} conformations"
        )
