"""``nabladft inspect-h``: look at one predicted Hamiltonian."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nabladft.benchmark.inspection import inspect_hamiltonian
from nabladft.benchmark.inspection_figure import draw_inspection
from nabladft.benchmark.tables import UNIT_SYMBOLS
from nabladft.benchmark.tasks import task_named
from nabladft.chemistry.units import convert
from nabladft.metrics import METRICS
from nabladft.predictions import Predictions
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from nabladft.benchmark.inspection import Inspection

_EPILOG = """\
examples:
  nabladft inspect-h predictions.h5 --data nano --molecule 12
  nabladft inspect-h predictions.h5 --data nano --molecule 12 --conformation 3 --out pictures/
  nabladft inspect-h predictions.h5 --data nano --molecule 12 --scf          with DFT cycles saved

The picture shows where the error is between atomic and between molecular orbitals, the orbital
energies, and the error against distance or, with --scf, the cycles that a self-consistent field
needs from the prediction. What the numbers are: docs/metrics.md.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "inspect-h",
        help="look at one predicted Hamiltonian",
        description="Draw where a predicted Hamiltonian is wrong, and what that does.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", help="predictions file (.h5)")
    parser.add_argument("--data", required=True, help="data set name, store folder or file")
    parser.add_argument("--molecule", required=True, type=int, metavar="ID", help="molecule_id")
    parser.add_argument(
        "--conformation", type=int, metavar="ID", help="conformation_id (default: the first)"
    )
    parser.add_argument(
        "--scf",
        nargs="?",
        const="quick",
        choices=("quick", "labels"),
        help="converge a DFT calculation from it, on a coarse grid or as the labels (needs PySCF)",
    )
    parser.add_argument("--out", default=".", help="folder for the picture (default: this one)")


def run(args: argparse.Namespace) -> int:
    """Draw the picture and print the numbers."""
    found = inspect_hamiltonian(
        Predictions(args.predictions),
        open_source(args.data),
        molecule_id=args.molecule,
        conformation_id=args.conformation,
        scf=args.scf,
    )
    name = f"hamiltonian-{found.model}-{found.molecule_id}-{found.conformation_id}.png"
    path = draw_inspection(found, Path(args.out) / name.replace("/", "_"))
    _report(found)
    print(f"\n{path}")
    return 0


def _report(found: Inspection) -> None:
    what = found.smiles or f"molecule {found.molecule_id}"
    print(
        f"{found.model}: {what}, molecule_id {found.molecule_id}, "
        f"conformation_id {found.conformation_id}, {len(found.atomic_numbers)} atoms, "
        f"{len(found.error)} orbitals\n"
    )
    task = task_named("hamiltonian")
    for metric, value in found.metrics.items():
        unit = task.units.get(metric)
        if unit is not None:
            shown = float(convert(value, source=METRICS[metric].unit, target=unit))
            print(f"  {METRICS[metric].title:<44} {shown:10.4g} {UNIT_SYMBOLS[unit]}")
    starts = found.starts
    if starts is not None:
        print(
            f"\n  Fock matrices until converged: {starts.predicted_cycles} from the prediction, "
            f"{starts.guess_cycles} from {starts.guess}, {starts.guarded_cycles} guarded"
            + (f" ({starts.rejection})" if starts.rejection else "")
        )
