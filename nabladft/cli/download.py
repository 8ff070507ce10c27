"""``nabladft download``: published files, fetched so that they arrive whole."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.describing import size_text
from nabladft.catalog.download import (
    check_space,
    choose_products,
    plan_downloads,
    size_of,
)
from nabladft.catalog.fetching import Reporter
from nabladft.catalog.places import find_local
from nabladft.cli import partial_download
from nabladft.errors import InputError, TransportError
from nabladft.transport.addresses import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from nabladft.catalog.download import Download
    from nabladft.catalog.fetching import Fetched

_EPILOG = """\
examples:
  nabladft download energy/train-tiny                    into the data folder (NABLADFT_DATA)
  nabladft download energy/train-tiny --to .             into this folder
  nabladft download "energy/test-*" --dry-run            what it would fetch, from where, how much
  nabladft download train-tiny --fields hamiltonian      the product of that split that has them
  nabladft download energy/train-large --mirror /share/nabladft
  nabladft download energy/train-large --mirror https://mirror.example.org/nabladft
  nabladft download hamiltonian/test-structures --ids list.csv --to sample
  nabladft download hamiltonian/train-full --split my_split.json --part train --fields hamiltonian

A download that was interrupted, by whatever, goes on where it was when the same command is given
again. A file has its final name only when it is complete and its hashes agree. Published files
are single SQLite files and are fetched whole: --fields chooses products, not columns. With --ids
or --split only those conformations are fetched, and of them those fields, into a store; NAME may
then be an address, and --to is the folder of the store.

Addresses, sizes and hashes are those of the catalogue (nabladft list). Proxies, certificates and
passwords are taken from HTTPS_PROXY, REQUESTS_CA_BUNDLE and ~/.netrc; see docs/at-your-site.md.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "download",
        help="fetch published files, from where the last attempt ended",
        description="Fetch published files in parallel parts; check, resume, use mirrors.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="products, or patterns with *")
    parser.add_argument(
        "--fields",
        metavar="NAME[,NAME...]",
        help="take the smallest products of that name that hold these fields",
    )
    parser.add_argument(
        "--connections", type=int, default=8, metavar="N", help="parts at a time (default 8)"
    )
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="URL_OR_FOLDER",
        help="look here first; may be given several times",
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="put the files here")
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched, only")
    parser.add_argument(
        "--accept-changed",
        action="store_true",
        help="take a file as its server has it now, even if the catalogue says otherwise",
    )

    partial_download.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch, and say what became of each file, on standard output."""
    return partial_download.run(args) if partial_download.is_asked(args) else _download_files(args)


def _download_files(args: argparse.Namespace) -> int:
    if args.connections < 1:
        raise InputError(f"--connections must be at least 1, got {args.connections}.")
    fields = [name.strip() for name in (args.fields or "").split(",") if name.strip()]
    products = choose_products(load_catalogue(), args.names, fields=fields)
    for product in products:
        if product.embedded and find_local(product) is not None:
            print(f"{product.name}: comes with the package, nothing to fetch")
    plans = plan_downloads(
        products, folder=args.to, mirrors=args.mirror, accept_changed=args.accept_changed
    )
    if args.dry_run:
        _print_plans(plans)
        return 0
    check_space(plans)
    failures: list[TransportError] = []
    with _terminating_like_ctrl_c():
        for plan in plans:
            try:
                with _reporter(plan) as reporter:
                    fetched = plan.fetch(connections=args.connections, reporter=reporter)
            except TransportError as error:
                if len(plans) == 1:
                    raise
                print(f"error: {plan.product.name}: {error}", file=sys.stderr)
                failures.append(error)
                continue
            print(_outcome(plan, fetched), flush=True)
    if not failures:
        return 0
    print(f"{len(failures)} of {len(plans)} files were not fetched.", file=sys.stderr)
    return 1 if len(failures) < len(plans) else 2


def _print_plans(plans: list[Download]) -> None:
    total = 0
    for plan in plans:
        missing = plan.n_missing
        total += missing or 0
        if plan.target.exists():
            state = "there already"
        elif not plan.locations:
            state = "no address is known, see `nabladft info`"
        elif missing is None:
            state = "size unknown"
        else:
            kept = (plan.product.n_bytes_expected or missing) - missing
            state = f"{'~' * plan.is_estimate}{size_text(missing)} to fetch"
            state += f", {size_text(kept)} kept from before" if kept else ""
        print(f"{plan.product.name}: {state}")
        print(f"  to    {plan.target}")
        for number, location in enumerate(plan.locations):
            print(f"  {'from ' if not number else 'else '} {shown(location)}")
        checked = ", ".join(("size",) * (plan.expected.size is not None) + plan.expected.hashes)
        print(f"  check {checked or 'the ETag of the server, if it follows from the content'}")
    print(
        f"{len(plans)} file{'s' * (len(plans) != 1)}, {size_text(total)} to fetch; "
        "nothing was fetched."
    )


def _outcome(plan: Download, fetched: Fetched) -> str:
    name = plan.product.name
    if fetched.was_there:
        known = "its size agrees" if fetched.verified else f"{size_of(plan.product)} expected"
        return f"{name}: there already ({known}; nabladft verify reads it whole): {fetched.path}"
    speed = fetched.n_fetched / max(fetched.seconds, 1e-9)
    kept = fetched.n_bytes - fetched.n_fetched
    before = f", {size_text(kept)} from before" if kept > 0 else ""
    checked = ", ".join(fetched.verified)
    said = f"{checked} agree{'s' * (len(fetched.verified) == 1)}" if checked else "not checked"
    return (
        f"{name}: {size_text(fetched.n_fetched)} in {fetched.seconds:.1f} s "
        f"({size_text(int(speed))}/s){before}; {said}: {fetched.path}"
    )


class _Lines(Reporter):
    """For logs: only what the user should know."""

    def __init__(self, name: str) -> None:
        self._name = name

    def say(self, message: str) -> None:
        print(f"{self._name}: {message}", file=sys.stderr, flush=True)


class _Bar(Reporter):
    """For terminals: a bar with speed and the time that is left."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._lock = threading.Lock()

    def begin(self, name: str, *, size: int | None, kept: int) -> None:
        del name
        self._bar = tqdm(
            total=size, initial=kept, unit="B", unit_scale=True, desc=self._name, smoothing=0.05
        )

    def advance(self, n_bytes: int) -> None:
        with self._lock:
            self._bar.update(n_bytes)

    def say(self, message: str) -> None:
        tqdm.write(f"{self._name}: {message}", file=sys.stderr)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextlib.contextmanager
def _reporter(plan: Download) -> Iterator[Reporter]:
    name = plan.product.name
    reporter = _Bar(name) if sys.stderr.isatty() else _Lines(name)
    try:
        yield reporter
    finally:
        reporter.end()


@contextlib.contextmanager
def _terminating_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which schedulers send at the time limit, keep what came, as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
