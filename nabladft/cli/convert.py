"""``nabladft convert``: any source into a store or an exported file, whatever the size."""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from nabladft.conversion.converting import convert
from nabladft.conversion.exporting import EXPORT_FORMATS, export, format_of
from nabladft.conversion.partial import Wanted
from nabladft.conversion.settings import ConversionSettings
from nabladft.conversion.sources import SourceReference
from nabladft.conversion.verifying import verify
from nabladft.errors import ConfigError
from nabladft.splits import read_split
from nabladft.storage.manifest import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nabladft.conversion.rows import BadRow
    from nabladft.conversion.settings import ConversionReport, Progress, TargetFormat
    from nabladft.conversion.verifying import Verification

_EPILOG = """\
examples:
  nabladft convert train_2k.db train_tiny                        a published file into a store
  nabladft convert train_2k.db small --compact --error-bound hamiltonian=1e-6
  nabladft convert train_full.db full --workers 16 --verify
  nabladft convert train_full.db full --scheduler tcp://node7:8786      workers of a Dask cluster
  nabladft convert train_full.db full --scheduler scheduler.json        its scheduler file
  nabladft convert hamiltonians.db both --join energies.db --summary summary.csv.gz
  nabladft convert full test --split my_split.json --part test_scaffolds
  nabladft convert nano nano.xyz                                 export: .xyz, .extxyz, .db
  nabladft convert nano nano.db --format schnetpack

SOURCE is whatever `nabladft.open` reads. Run the same command again to continue after any
interruption; run after completion, it does nothing and says so. A row that is bad (repeated ids,
values that are not finite, no atoms, ...) is refused, or left out and listed with --skip-bad FILE;
the exit code is then 1. --verify reads both again and compares every record.
"""

#: Bad rows shown at the end; all are in the file.
_SHOWN: Final = 5


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "convert",
        help="turn any file into a store, or a store into other formats",
        description="Convert a source into a store (a folder), or export it into one file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="data set name, file or folder")
    parser.add_argument("target", metavar="TARGET", help="folder of the store, or file to export")
    parser.add_argument(
        "--format",
        choices=("store", *EXPORT_FORMATS),
        help="of the target (default: by its suffix; without one, a store)",
    )
    parser.add_argument("--fields", nargs="+", metavar="FIELD", help="labels (default: all)")
    codec = parser.add_mutually_exclusive_group()
    codec.add_argument("--plain", action="store_true", help="a store for speed (default)")
    codec.add_argument("--compact", action="store_true", help="a store for size")
    parser.add_argument(
        "--error-bound",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=BOUND",
        help="with --compact: largest error of a label, in its unit",
    )
    parser.add_argument("--name", help="of the data set (default: that of the source)")
    parser.add_argument("--licence", help="terms of use (default: those the source states)")
    which = parser.add_argument_group("which conformations")
    which.add_argument("--ids", metavar="FILE", help="list of molecule_id, conformation_id")
    which.add_argument("--split", metavar="FILE", help="split file or name; needs --part")
    which.add_argument("--part", metavar="NAME", help="part of the split")
    which.add_argument("--limit", type=int, metavar="N", help="only the first N")
    which.add_argument("--skip-bad", metavar="FILE", help="leave bad rows out and list them here")
    more = parser.add_argument_group("more labels, joined by id")
    more.add_argument("--join", nargs="+", default=[], metavar="SOURCE", help="other sources")
    more.add_argument("--summary", metavar="FILE", help="the published table of properties")
    more.add_argument(
        "--summary-unit",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=UNIT",
        help="unit of a field of the table that nothing here can settle, as in dipole=debye",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    how.add_argument(
        "--scheduler", metavar="ADDRESS", help="Dask: tcp://..., a scheduler file (.json), or local"
    )
    how.add_argument("--shard-rows", type=int, metavar="N", help="conformations of one shard file")
    how.add_argument("--verify", action="store_true", help="compare every record afterwards")


def run(args: argparse.Namespace) -> int:
    """Convert, report, verify."""
    if args.workers < 1:
        message = f"--workers must be at least 1, got {args.workers}."
        raise ConfigError(message)
    target = Path(args.target)
    chosen: TargetFormat = args.format or format_of(target)
    settings = ConversionSettings(
        fields=None if args.fields is None else tuple(args.fields),
        codec="compact" if args.compact else "plain",
        error_bounds=dict(_bound(text) for text in args.error_bound),
        shard_rows=args.shard_rows,
        name=args.name,
        licence=args.licence,
        limit=args.limit,
    )
    source = SourceReference.of(
        args.source,
        joined=args.join,
        summary=args.summary,
        summary_units=dict(_unit(text) for text in args.summary_unit),
    )
    keys = _keys(args, source)
    started = time.perf_counter()
    if chosen == "store":
        report = convert(
            source,
            target,
            settings,
            keys=keys,
            skip_bad=args.skip_bad is not None,
            workers=args.workers,
            scheduler=args.scheduler,
            watcher=_Bars(),
        )
    else:
        _refuse_store_options(args)
        report = export(
            source,
            target,
            settings,
            format=chosen,
            keys=keys,
            skip_bad=args.skip_bad is not None,
            watcher=_Bars(),
        )
    _tell(report, time.perf_counter() - started)
    if args.skip_bad is not None:
        _write_bad(report.bad, Path(args.skip_bad))
    code = 1 if report.bad else 0
    if args.verify:
        result = verify(source, report, keys=keys, limit=args.limit, watcher=_Bars())
        _tell_verification(result)
        code = code if result.holds else 1
    return code


def _refuse_store_options(args: argparse.Namespace) -> None:
    given = {
        "--compact": args.compact,
        "--shard-rows": args.shard_rows is not None,
        "--workers": args.workers != 1,
        "--scheduler": args.scheduler is not None,
    }
    used = [name for name, is_used in given.items() if is_used]
    if used:
        message = (
            f"{', '.join(used)} is for stores; {args.target} is written by one process into one "
            "file. Leave it out, or give a folder as target."
        )
        raise ConfigError(message)


def _bound(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        message = f"--error-bound must be FIELD=BOUND, as in hamiltonian=1e-6, got {text!r}."
        raise ConfigError(message) from None


def _unit(text: str) -> tuple[str, str]:
    name, _, unit = text.partition("=")
    if not unit:
        message = f"--summary-unit must be FIELD=UNIT, as in dipole=debye, got {text!r}."
        raise ConfigError(message)
    return name, unit


def _keys(args: argparse.Namespace, source: SourceReference) -> NDArray[np.int64] | None:
    if args.ids is not None and args.split is not None:
        message = "Give --ids or --split, not both."
        raise ConfigError(message)
    if (args.split is None) != (args.part is None):
        message = "--split and --part go together."
        raise ConfigError(message)
    if args.ids is not None:
        return Wanted.from_file(Path(args.ids)).keys(source.open())
    if args.split is None:
        return None
    split = read_split(args.split)
    return np.asarray(split.part(args.part), dtype=np.int64).reshape(-1, 2)


def _tell(report: ConversionReport, seconds: float) -> None:
    size = f"{report.n_bytes / 1e6:.1f} MB"
    if report.n_now == 0:
        print(f"{report.target} is complete already: {report.n_conformations} conformations.")
    else:
        print(
            f"{report.target}: {report.n_conformations} conformations, {size} "
            f"({report.n_now} in {seconds:.1f} s, {report.n_now / seconds:,.0f}/s)"
        )
    for name, reason in report.details.get("summary_left_out", {}).items():
        print(f"{name} of the summary is left out: {reason}", file=sys.stderr)
    if report.bad:
        print(f"{len(report.bad)} rows were left out:", file=sys.stderr)
        for row in report.bad[:_SHOWN]:
            print(f"  {row}", file=sys.stderr)
        if len(report.bad) > _SHOWN:
            print(f"  and {len(report.bad) - _SHOWN} more", file=sys.stderr)


def _tell_verification(result: Verification) -> None:
    print(f"verified {result.n_compared} conformations against the source:")
    for line in result.lines:
        print(f"  {line}")
    for problem in result.problems:
        print(f"  WRONG: {problem}")


def _write_bad(bad: Sequence[BadRow], path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["row", "molecule_id", "conformation_id", "reason"])
    writer.writeheader()
    writer.writerows(row.to_dict() for row in bad)
    write_atomically(path, text.getvalue().encode())


class _Bars:
    """Progress on standard error: rate and time left; nothing when it is not a terminal."""

    def __init__(self) -> None:
        self._index: Any = None
        self._indexed: str | None = None

    @contextmanager
    def converting(self, progress: Progress) -> Iterator[Any]:
        with tqdm(
            total=progress.n_rows,
            initial=progress.n_done,
            desc="converting",
            unit="conf",
            unit_scale=True,
            disable=None,  # quiet when not a terminal
        ) as bar:
            yield bar

    def indexing(self, what: str, n_done: int, n_total: int) -> None:
        if self._indexed != what:
            self._indexed = what
            self._index = tqdm(total=n_total, desc=what, unit_scale=True, disable=None)
        self._index.update(n_done - self._index.n)
        if n_done >= n_total:
            self._index.close()

    @contextmanager
    def verifying(self, n_rows: int) -> Iterator[Any]:
        with tqdm(
            total=n_rows, desc="verifying", unit="conf", unit_scale=True, disable=None
        ) as bar:
            yield bar
