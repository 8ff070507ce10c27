"""``nabladft download --ids``: only some conformations of a published file, as a store."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.describing import size_text
from nabladft.catalog.download import choose_products
from nabladft.catalog.places import data_folder, find_local, locations
from nabladft.conversion.partial import Wanted, fetch_conformations
from nabladft.conversion.settings import ConversionSettings, Silent
from nabladft.errors import InputError, RemoteMissingError
from nabladft.splits import read_split
from nabladft.storage.opening import open_source
from nabladft.transport.addresses import is_web
from nabladft.transport.cached_file import TOTAL

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from nabladft.conversion.settings import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``nabladft download`` that ask for some conformations only."""
    group = parser.add_argument_group("only some conformations, as a store")
    group.add_argument(
        "--ids",
        type=Path,
        metavar="FILE",
        help="lines of molecule_id, conformation_id; or of molecule_id alone for all of it",
    )
    group.add_argument("--split", metavar="FILE", help="the ids of a split; needs --part")
    group.add_argument("--part", metavar="NAME", help="part of the split")
    group.add_argument("--compact", action="store_true", help="a store for size, not for speed")


def is_asked(args: argparse.Namespace) -> bool:
    """Say whether only some conformations are wanted."""
    return bool(args.ids or args.split or args.part or args.compact)


def run(args: argparse.Namespace) -> int:
    """Fetch the conformations, and say what was moved, on standard output."""
    if len(args.names) != 1:
        message = "Give one NAME (or address) with --ids or --split."
        raise InputError(message)
    if (args.ids is None) == (args.split is None) or (args.split is None) != (args.part is None):
        message = "Say which conformations: --ids FILE, or --split FILE with --part NAME."
        raise InputError(message)
    name = args.names[0]
    wanted = _wanted(args)
    fields = tuple(part.strip() for part in (args.fields or "").split(",") if part.strip())
    location, product = _find(name, fields, args.mirror)
    target = _target(args.to, product)
    if args.dry_run:
        source = open_source(location)
        n = len(source.rows_of(wanted.keys(source)))
        print(f"{name}: {n} conformations to fetch from {location} into {target}")
        print(f"{TOTAL.requests} requests, {size_text(TOTAL.n_bytes)} moved to find them.")
        return 0
    settings = ConversionSettings(
        fields=fields or None, codec="compact" if args.compact else "plain", name=target.name
    )
    began = time.perf_counter()
    report = fetch_conformations(location, target, wanted, settings, watcher=_Bar())
    seconds = time.perf_counter() - began
    if report.n_now == 0:
        print(f"{name}: {report.n_conformations} conformations are there already: {report.target}")
        return 0
    before = report.n_conformations - report.n_now
    kept = f", {before} from before" if before else ""
    print(
        f"{name}: {report.n_now} conformations{kept}; moved {size_text(TOTAL.n_bytes)} in "
        f"{TOTAL.requests} requests, {seconds:.1f} s: {report.target}"
    )
    return 0


def _wanted(args: argparse.Namespace) -> Wanted:
    if args.ids is not None:
        return Wanted.from_file(args.ids)
    pairs = read_split(args.split).part(args.part)
    return Wanted(np.asarray(pairs, dtype=np.int64).reshape(-1, 2))


def _find(name: str, fields: tuple[str, ...], mirrors: list[str]) -> tuple[str, str]:
    """Find where to read from, and what to call it."""
    if is_web(name) or Path(name).exists():
        return name, Path(name.rstrip("/")).stem
    products = choose_products(load_catalogue(), [name], fields=fields)
    if len(products) != 1:
        listed = ", ".join(product.name for product in products)
        message = f"{name!r} means several products: {listed}. Give one with --ids or --split."
        raise InputError(message)
    (product,) = products
    local = find_local(product)
    short = product.name.rpartition("/")[2]
    if local is not None:
        return str(local), short
    failures = []
    for place in locations(product, mirrors):
        if not is_web(place) and not Path(place).exists():
            continue
        try:
            open_source(place)
        except RemoteMissingError as error:
            failures.append(str(error))
            continue
        return place, short
    message = f"{product.name} cannot be read anywhere. {' '.join(failures)}"
    raise RemoteMissingError(message)


def _target(given: Path | None, product: str) -> Path:
    if given is not None:
        return given
    return data_folder() / "partial" / product


class _Bar(Silent):
    """Progress on standard error: conformations, and bytes moved; quiet without a terminal."""

    @contextmanager
    def converting(self, progress: Progress) -> Iterator[Any]:
        with tqdm(
            total=progress.n_rows,
            initial=progress.n_done,
            desc="fetching",
            unit="conf",
            disable=None,
            file=sys.stderr,
        ) as bar:
            yield _WithBytes(bar)


class _WithBytes:
    def __init__(self, bar: Any) -> None:  # noqa: ANN401 - tqdm is untyped
        self._bar = bar

    def update(self, n: int) -> None:
        self._bar.set_postfix_str(f"{size_text(TOTAL.n_bytes)} moved", refresh=False)
        self._bar.update(n)
