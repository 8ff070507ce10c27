"""``nabladft label``: make DFT labels for molecules or geometries."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from nabladft.chemistry.units import convert
from nabladft.errors import ConfigError
from nabladft.labels.backend import list_backends
from nabladft.labels.compare import check_comparable, compare_labels
from nabladft.labels.conformers import GeometrySettings
from nabladft.labels.labelling import DEFAULT_FIELDS, LabelReport, LabelSettings, label
from nabladft.labels.molecules import SMILES_SUFFIXES
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nabladft.labels.compare import Residual
    from nabladft.labels.labelling import Progress
    from nabladft.labels.runner import Outcome
    from nabladft.storage.source import ConformationSource

_EPILOG = """\
examples:
  nabladft label molecules.smi --out my_store --workers 8
  nabladft label molecules.smi --out my_store --conformations 4 --temperature 300 --seed 1
  nabladft label geometries.xyz --out my_store
  nabladft label energy_sample.db --out check --limit 5 --compare

INPUT is a list of SMILES (.smi, .smiles, .txt: one per line, a name may follow; .csv: a column
`smiles`) or geometries as they are: whatever `nabladft.open` reads (extended xyz, ASE databases,
published files, stores). Run the same command again to continue; nothing is computed twice. What
fails is listed in STORE/failures.csv with its reason and is never stored; the exit code is then 1.
"""

#: Options that make no sense when the input has geometries.
_GEOMETRY_OPTIONS: Final = ("conformations", "embeddings", "temperature", "displaced", "seed")

#: Failures shown at the end; all are in the file.
_SHOWN: Final = 10


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "label",
        help="make DFT labels for molecules or geometries",
        description="Make geometries from SMILES, or take them as they are, and label them by DFT "
        "at the level of theory of the published data set (wB97X-D/def2-SVP).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", help="list of SMILES, or geometries")
    parser.add_argument("--out", metavar="STORE", required=True, help="folder of the store")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes, one core each (default: 1)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="stop after N conformations; run again for more"
    )
    parser.add_argument(
        "--smallest-first",
        action="store_true",
        help="begin with the geometries of fewest orbitals (default: one of every molecule, then "
        "the second of each, ...)",
    )
    parser.add_argument(
        "--compare", action="store_true", help="print residuals against the labels of INPUT"
    )
    parser.add_argument("--retry", action="store_true", help="try again what failed before")
    parser.add_argument("--backend", default="pyscf", help=f"one of: {', '.join(list_backends())}")
    parser.add_argument(
        "--fields",
        metavar="NAME,...",
        help="labels to store, by name (default: all that the backend gives: "
        f"{', '.join(DEFAULT_FIELDS)})",
    )
    parser.add_argument("--name", help="name of the data set (default: that of the folder)")
    parser.add_argument("--licence", help="terms of use to write into the store")
    codec = parser.add_mutually_exclusive_group()
    codec.add_argument(
        "--plain",
        dest="codec",
        action="store_const",
        const="plain",
        default="plain",
        help="fast to read, exact (default)",
    )
    codec.add_argument(
        "--compact",
        dest="codec",
        action="store_const",
        const="compact",
        help="small: compressed, Hamiltonian to 1e-7 hartree, forces to 1e-8 hartree/bohr",
    )
    made = parser.add_argument_group("geometries from SMILES")
    defaults = GeometrySettings()
    made.add_argument(
        "--conformations",
        type=int,
        metavar="N",
        help="per molecule: distinct conformers, filled up with thermally displaced geometries "
        "(default: the conformers that cover 95 %% of the embedded ones)",
    )
    made.add_argument(
        "--temperature",
        type=float,
        metavar="KELVIN",
        help=f"of the displaced geometries (default: {defaults.temperature:g})",
    )
    made.add_argument(
        "--displaced",
        type=float,
        metavar="SHARE",
        help="least share of displaced geometries (default: 0)",
    )
    made.add_argument(
        "--embeddings",
        type=int,
        metavar="N",
        help=f"conformers to embed before clustering (default: {defaults.embeddings})",
    )
    made.add_argument("--seed", type=int, help=f"of all that is random (default: {defaults.seed})")


def run(args: argparse.Namespace) -> int:
    """Label, report, and compare if asked to.

    Returns:
        0, or 1 when conformations failed.
    """
    _check_counts(args)
    if args.compare:
        check_comparable(_open_geometries(args.input))
    settings = LabelSettings(
        backend=args.backend,
        fields=tuple(args.fields.split(",")) if args.fields else DEFAULT_FIELDS,
        codec=args.codec,
        geometries=_geometry_settings(args),
        name=args.name,
        licence=args.licence,
    )
    report = label(
        args.input,
        args.out,
        settings,
        watcher=_Bars(),
        workers=args.workers,
        limit=args.limit,
        smallest_first=args.smallest_first,
        retry=args.retry,
    )
    _print_report(report)
    if args.compare and report.n_stored:
        _print_residuals(compare_labels(Store(report.store), _open_geometries(args.input)))
    return 1 if report.failures else 0


def _check_counts(args: argparse.Namespace) -> None:
    if args.workers < 1:
        message = f"--workers must be at least 1, got {args.workers}. Cores here: {os.cpu_count()}."
        raise ConfigError(message)
    if args.limit is not None and args.limit < 0:
        message = f"--limit must not be negative, got {args.limit}."
        raise ConfigError(message)


def _geometry_settings(args: argparse.Namespace) -> GeometrySettings:
    given = {
        name: getattr(args, name) for name in _GEOMETRY_OPTIONS if getattr(args, name) is not None
    }
    if given and not _is_list(args.input):
        options = ", ".join(f"--{name}" for name in given)
        message = f"{options}: the geometries of {args.input} are taken as they are. Leave it out."
        raise ConfigError(message)
    return GeometrySettings(**given)


def _is_list(path: str) -> bool:
    return Path(path).suffix.lower() in SMILES_SUFFIXES and not Path(path).is_dir()


def _open_geometries(path: str) -> ConformationSource:
    if _is_list(path):
        message = f"--compare needs geometries with labels; {path} is a list of SMILES."
        raise ConfigError(message)
    return open_source(path)


class _Bars:
    """Progress bars on a terminal; silence elsewhere."""

    @contextmanager
    def making_geometries(self, n_molecules: int) -> Iterator[tqdm[Any]]:
        with tqdm(total=n_molecules, desc="geometries", unit="mol", disable=None) as bar:
            yield bar

    @contextmanager
    def labelling(self, progress: Progress) -> Iterator[_LabelBar]:
        text = f"{progress.n_planned} conformations: {progress.n_done} done"
        text += f", {progress.n_failed} failed before" if progress.n_failed else ""
        print(f"{text}, {progress.n_now} to do now.")
        with tqdm(total=progress.n_now, desc="labels", unit="conf", disable=None) as bar:
            yield _LabelBar(bar)


class _LabelBar:
    """Counts failures beside the bar, and says each when it happens."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar
        self._n_failed = 0

    def update(self, outcome: Outcome) -> None:
        if outcome.failure is not None:
            self._n_failed += 1
            key = f"{outcome.failure.molecule_id}/{outcome.failure.conformation_id}"
            self._bar.write(f"failed: {key} {outcome.failure.smiles} {outcome.failure.reason}")
            self._bar.set_postfix(failed=self._n_failed)
        self._bar.update()


def _print_report(report: LabelReport) -> None:
    left = f", {report.n_left} left for the next run" if report.n_left else ""
    print(f"{report.store}: {report.n_stored} conformations, {report.n_new} of them new{left}.")
    if not report.failures:
        return
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(f.kind for f in report.failures).items())
    print(f"{len(report.failures)} without a label ({kinds}), all in {report.store}/failures.csv:")
    for failure in report.failures[:_SHOWN]:
        conformation = f"/{failure.conformation_id}" if failure.conformation_id >= 0 else ""
        print(f"  {failure.molecule_id}{conformation} {failure.smiles}: {failure.reason}")


def _print_residuals(residuals: list[Residual]) -> None:
    def force(value: float | None) -> str:
        if value is None:
            return f"{'-':>12}"
        return f"{convert(value, source='hartree/bohr', target='hartree/angstrom'):12.1e}"

    print("\nMade here minus given; forces per component:")
    print(
        f"{'molecule':>10} {'conf.':>6} {'formula':<18}{'atoms':>5} {'energy':>12} "
        f"{'forces max':>12} {'forces rms':>12}"
    )
    print(f"{'':>41} {'hartree':>12} {'hartree/A':>12} {'hartree/A':>12}")
    for one in residuals:
        print(
            f"{one.molecule_id:>10} {one.conformation_id:>6} {one.formula:<18}{one.n_atoms:>5} "
            f"{one.energy:>12.1e} {force(one.forces_max)} {force(one.forces_rms)}"
        )
    worst = max((abs(one.energy) for one in residuals), default=0.0)
    print(f"{len(residuals)} conformations; largest energy residual {worst:.1e} hartree.")
