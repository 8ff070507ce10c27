"""``nabladft query``: which conformations, as a table, CSV, ids, JSON, a tag or a new store."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from tqdm import tqdm

from nabladft.conversion.converting import convert
from nabladft.conversion.partial import Wanted
from nabladft.conversion.settings import ConversionSettings
from nabladft.errors import InputError
from nabladft.queries import DEFAULT_COLUMNS, count, query
from nabladft.queries.names import NAMES
from nabladft.splits import write_ids
from nabladft.storage.index import tag_conformations
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nabladft.queries import Selection
    from nabladft.storage.source import ConformationSource

#: Lines of the table on the screen when no --limit says otherwise.
_SHOWN: Final = 20

_KEYS: Final = ("molecule_id", "conformation_id")

_EPILOG = """\
examples:
  nabladft query nano "n_atoms < 10 and elements contain Br"
  nabladft query nano "split = 'test_scaffolds' and energy < -400 Eh" --count
  nabladft query nano "smarts 'c1ccccc1' and not n_F > 0" --csv benzenes.csv
  nabladft query nano "smiles = 'C1=CNC=C1'"                       pyrrole, however it is written
  nabladft query nano "scaffold = 'c1ccsc1'" --order-by energy --limit 5
  nabladft query nano "relative_energy < 1 kcal/mol" --sample 100 --seed 0 --ids-out ids.csv
  nabladft query nano --ids ids.csv --store subset                  a new store of these
  nabladft query my_store "n_S > 0" --tag sulphur                   then: "tag = 'sulphur'"

conditions:
  NAME = != < <= > >= VALUE     NAME in (VALUE, ...)     NAME between VALUE and VALUE
  NAME like 'PATTERN'           elements contain S, N    elements only C, H, O
  smarts 'PATTERN'              and, or, not, ( )
  Energies are in hartree unless a unit follows (eV, meV, kcal/mol, kJ/mol, mEh). Texts in quotes.

names:
{names}
  n_<element>        number of atoms of an element: n_Br >= 1

A file that is no store is read once and its index kept. `docs/query.md` is the reference.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    names = "\n".join(f"  {name:<18} {said.meaning}" for name, said in NAMES.items())
    parser = subparsers.add_parser(
        "query",
        help="find conformations by elements, sizes, energies, scaffolds, substructures, splits",
        description="Find conformations; give them as a table, a file, or a new store.",
        epilog=_EPILOG.format(names=names),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="NAME_OR_PATH", help="data set name, store folder or file")
    parser.add_argument("text", metavar="QUERY", nargs="?", default="", help="default: everything")
    which = parser.add_argument_group("which of them")
    which.add_argument("--ids", metavar="FILE", help="only these: CSV, molecule_id,conformation_id")
    which.add_argument(
        "--split",
        metavar="FILE",
        action="append",
        default=[],
        help="split file, or name of a packaged one, whose parts the query names (repeatable)",
    )
    which.add_argument("--order-by", metavar="NAME", help="sort by a name")
    which.add_argument("--descending", action="store_true", help="with --order-by: largest first")
    which.add_argument("--limit", type=int, metavar="N", help="at most N, after sorting")
    which.add_argument("--sample", type=int, metavar="N", help="N at random")
    which.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    out = parser.add_argument_group("what to make of them (default: a table on the screen)")
    out.add_argument("--columns", nargs="+", metavar="NAME", help="of table, CSV and JSON")
    out.add_argument("--count", action="store_true", help="print how many there are")
    out.add_argument("--json", action="store_true", help="print one JSON document")
    out.add_argument("--csv", metavar="FILE", help="write a table")
    out.add_argument("--ids-out", metavar="FILE", help="write ids, for --ids here and elsewhere")
    out.add_argument("--store", metavar="FOLDER", help="make a store of them")
    out.add_argument("--compact", action="store_true", help="with --store: for size, not speed")
    out.add_argument("--tag", metavar="NAME", help="name them in the index of the store")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="for RDKit (default: 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Ask and answer."""
    source = open_source(args.data)
    ids = None if args.ids is None else Wanted.from_file(Path(args.ids)).keys(source)
    is_only_count = args.count and not (args.csv or args.ids_out or args.store or args.tag)
    common = {"splits": args.split, "ids": ids, "processes": args.processes}
    with _progress() as progress:
        if is_only_count and args.limit is None and args.sample is None:
            print(count(source, args.text, progress=progress, **common))
            return 0
        found = query(
            source,
            args.text,
            order_by=f"-{args.order_by}" if args.descending and args.order_by else args.order_by,
            limit=args.limit,
            sample=args.sample,
            seed=args.seed,
            progress=progress,
            **common,
        )
    columns = tuple(args.columns) if args.columns else _columns(source)
    if args.tag:
        _tag(args.tag, found)
    if args.ids_out:
        write_ids(found.keys, args.ids_out)
        print(f"{len(found)} ids in {args.ids_out}", file=sys.stderr)
    if args.csv:
        _write_csv(Path(args.csv), found, columns)
    if args.store:
        _make_store(args, found)
    if args.count:
        print(len(found))
    elif args.json:
        document = {"query": args.text, "count": len(found), "conformations": []}
        document["conformations"] = list(found.records(columns))
        print(json.dumps(document, indent=1, ensure_ascii=False))
    elif not (args.csv or args.ids_out or args.store or args.tag):
        _print_table(found, columns, shown=len(found) if args.limit else _SHOWN)
    return 0


def _columns(source: ConformationSource) -> tuple[str, ...]:
    """Leave the energy out where the data have none."""
    has_energy = "energy" in source.info.fields
    return tuple(name for name in DEFAULT_COLUMNS if has_energy or name != "energy")


def _print_table(found: Selection, columns: Sequence[str], *, shown: int) -> None:
    first = type(found)(found.source, found.text, found.keys[:shown], found.rows[:shown])
    table = first.table(columns)
    if len(table):
        with pd.option_context("display.max_colwidth", 60):
            print(table.to_string(index=False, float_format=lambda value: f"{value:.6f}"))
    more = f", {shown} shown (--limit, --csv)" if len(found) > shown else ""
    print(f"{len(found)} of {len(found.source)} conformations{more}")


def _write_csv(path: Path, found: Selection, columns: Sequence[str]) -> None:
    # The ids come first, always: such a file can be given to --ids.
    columns = (*_KEYS, *(name for name in columns if name not in _KEYS))
    with _atomically(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(found.records(columns))
    print(f"{len(found)} lines in {path}", file=sys.stderr)


@contextmanager
def _atomically(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_store(args: argparse.Namespace, found: Selection) -> None:
    if not len(found):
        message = f"No conformation fulfils {args.text!r}, so {args.store} was not made."
        raise InputError(message)
    settings = ConversionSettings(codec="compact" if args.compact else "plain")
    report = convert(args.data, args.store, settings, keys=found.keys)
    print(f"{report.n_conformations} conformations in {args.store}", file=sys.stderr)


def _tag(name: str, found: Selection) -> None:
    if not isinstance(found.source, Store) or found.source.info.location is None:
        message = (
            f"Only conformations of a store can be tagged, and {found.source.info.name!r} is none. "
            "Convert it first (nabladft convert)."
        )
        raise InputError(message)
    tag_conformations(found.source.folder, name, found.keys)
    print(f"{len(found)} conformations are tagged {name!r}", file=sys.stderr)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar after the other, on a terminal only."""
    with ExitStack() as bars:
        known: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.enter_context(
                    tqdm(total=total, desc=what, disable=None, leave=False, file=sys.stderr)
                )
            known[what].update(done - known[what].n)

        yield show
