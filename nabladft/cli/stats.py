"""``nabladft stats``: distributions and outliers of a data set."""

from __future__ import annotations

import argparse
import csv
import json
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from nabladft.chemistry.units import convert
from nabladft.errors import InputError
from nabladft.quality import CHECKS, examine
from nabladft.quality.checks import with_thresholds
from nabladft.quality.drawing import PANELS, draw_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nabladft.quality import Report

#: Flagged records shown on the screen.
_SHOWN: Final = 10

_EPILOG = """\
examples:
  nabladft stats nano                                    tables on the screen
  nabladft stats train_2k.db --out looks                 looks/distributions.png, flagged.csv, ...
  nabladft stats my_store --threshold force_maximum=0.2 energy_z=5
  nabladft stats huge_store --limit 100000 --json        records spread evenly over all of it

checks and their thresholds:
{checks}

Everything is read once and memory does not grow with the data. Flagged records are to be looked
at, not thrown away unseen: `docs/quality.md` says what each threshold is based on. --out writes
report.json, flagged.csv (a file of ids as well: `nabladft query --ids`) and distributions.png.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    checks = "\n".join(
        f"  {name:<18} {_limit(check.threshold, check.side, check.unit):<20} {check.meaning}"
        for name, check in CHECKS.items()
    )
    parser = subparsers.add_parser(
        "stats",
        help="distributions of sizes, elements, energies, forces, gaps; records that stand out",
        description="Show distributions and find outliers.",
        epilog=_EPILOG.format(checks=checks),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="NAME_OR_PATH", help="data set name, store folder or file")
    parser.add_argument("--out", metavar="FOLDER", help="write pictures, flagged records, report")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--threshold",
        nargs="+",
        action="extend",
        default=[],
        metavar="CHECK=VALUE",
        help="other thresholds, in the units below",
    )
    parser.add_argument(
        "--eigenproblems",
        type=int,
        default=1000,
        metavar="N",
        help="Hamiltonians to diagonalise, spread over the data; -1 for all (default: 1000)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only N records, spread evenly")


def run(args: argparse.Namespace) -> int:
    """Examine and report."""
    checks = with_thresholds(dict(map(_threshold, args.threshold)))
    with _progress() as progress:
        report = examine(
            args.data,
            checks=checks,
            eigenproblems=None if args.eigenproblems == -1 else args.eigenproblems,
            limit=args.limit,
            progress=progress,
        )
    if args.out:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "report.json", json.dumps(report.to_document(), indent=1) + "\n")
        _write_flagged(folder / "flagged.csv", report)
        draw_report(report, folder / "distributions.png")
    if args.json:
        print(json.dumps(report.to_document(), indent=1, ensure_ascii=False))
    else:
        print("\n".join(_lines(report)))
        if args.out:
            print(f"\nreport.json, flagged.csv and distributions.png are in {args.out}")
    return 0


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.name}: {report.n_conformations} conformations"
    elements = report.element_conformations
    shares = (f"{s} {100 * n / report.n_conformations:.3g} %" for s, n in elements.most_common())
    yield f"elements: {', '.join(shares)}\n"
    head = ("smallest", "5 %", "median", "95 %", "largest")
    yield f"{'':<42}{'unit':<8}" + "".join(f"{text:>11}" for text in head)
    for name, found in report.distributions.items():
        title, unit, _ = PANELS[name]
        factor = convert(1.0, source=found.unit, target=unit) if unit else 1.0
        inner = (found.quantile(share) for share in (0.05, 0.5, 0.95))
        values = (found.smallest, *inner, found.largest)
        numbers = "".join(f"{factor * value:>11.4g}" for value in values)
        yield f"{title:<42}{unit.replace('angstrom', 'Å'):<8}{numbers}"
    yield ""
    yield f"{'check':<20}{'flagged if':<22}{'flagged':>8}"
    for name, check in report.checks.items():
        limit = _limit(check.threshold, check.side, check.unit)
        not_done = name in {"hamiltonian", "gap", "eigenproblem"} and not report.n_eigenproblems
        count = "-" if not_done else str(report.counts[name])
        yield f"{name:<20}{limit:<22}{count:>8}   {check.meaning}"
    if report.n_eigenproblems:
        yield f"(Hamiltonians diagonalised: {report.n_eigenproblems})"
    for flag in report.flags[:_SHOWN]:
        value = "" if flag.value is None else f" {flag.value:.4g}"
        key = f"{flag.molecule_id}/{flag.conformation_id}"
        yield f"  {flag.check}{value}: row {flag.row}, {key} {flag.remark}".rstrip()
    if len(report.flags) > _SHOWN:
        yield f"  ... and {len(report.flags) - _SHOWN} more (--out)"


def _limit(threshold: float | None, side: str, unit: str) -> str:
    if threshold is None:
        return "always"
    return f"{'>' if side == 'above' else '<'} {threshold:g} {'' if unit == '1' else unit}".strip()


def _threshold(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        message = f"--threshold is CHECK=VALUE, as force_maximum=0.2; got {text!r}."
        raise InputError(message) from None


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _write_flagged(path: Path, report: Report) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        head = ("molecule_id", "conformation_id", "row", "check", "value", "threshold", "unit")
        writer.writerow((*head, "remark"))
        for flag in report.flags:
            check = report.checks[flag.check]
            line = (flag.molecule_id, flag.conformation_id, flag.row, flag.check, flag.value)
            writer.writerow((*line, check.threshold, check.unit, flag.remark))
    temporary.replace(path)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    with ExitStack() as bars:
        known: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in known:
                bar = tqdm(total=total, desc=what, disable=None, leave=False)
                known[what] = bars.enter_context(bar)
            known[what].update(done - known[what].n)

        yield show
