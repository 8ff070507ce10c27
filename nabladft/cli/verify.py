"""``nabladft verify``: whether files and stores are what they should be."""

from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.describing import how_to_get
from nabladft.catalog.places import find_local
from nabladft.errors import InputError, NotDownloadedError
from nabladft.storage.checking import check_data, product_of_file

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from nabladft.catalog.catalogue import Catalogue
    from nabladft.catalog.product import Product
    from nabladft.storage.checking import Check, Verdict

_EPILOG = """\
examples:
  nabladft verify energy/train-tiny                     a downloaded product
  nabladft verify --here                                everything that is on this machine
  nabladft verify /share/train_2k.db --as hamiltonian/train-tiny
  nabladft verify my_store                              a store, against its manifest
  nabladft verify --here --quick                        sizes and counts only

A product is compared with the catalogue: bytes, ETag (parts of any size), MD5, SHA-256, number of
conformations and molecules, ids given twice. A file is recognised by the name it was published
with. Of a file that is not in the catalogue it is only said whether it can be read. The exit code
is 1 when anything is wrong.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "verify",
        help="whether files and stores are what they should be",
        description="Compare files with the catalogue, and stores with their manifest.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data", nargs="*", metavar="NAME_OR_PATH", help="product, file, or folder of a store"
    )
    parser.add_argument("--here", action="store_true", help="every product on this machine")
    parser.add_argument("--as", dest="name", metavar="NAME", help="the product a file should be")
    parser.add_argument(
        "--quick", action="store_true", help="sizes and counts only; do not read every byte"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: Namespace) -> int:
    """Check and report on standard output; the exit code is 1 when anything is wrong."""
    catalogue = load_catalogue()
    targets = list(_targets(args, catalogue))
    verdicts = []
    for path, product in targets:
        verdict = _checked(path, product, quick=args.quick)
        verdicts.append(verdict)
        if not args.json:
            print("\n".join(_lines(verdict, quick=args.quick)), flush=True)
    if args.json:
        print(json.dumps([_document(verdict) for verdict in verdicts], indent=2))
    return 0 if all(verdict.is_right for verdict in verdicts) else 1


def _targets(args: Namespace, catalogue: Catalogue) -> Iterator[tuple[Path, Product | None]]:
    if args.here == bool(args.data):
        message = "Say what to verify: names or paths, or --here for everything on this machine."
        raise InputError(message)
    if args.name and len(args.data) != 1:
        message = f"--as {args.name} says what one file is, but {len(args.data)} were given."
        raise InputError(message)
    if args.here:
        for product in catalogue:
            found = find_local(product)
            if found is not None:
                yield found, product
    for name in args.data:
        yield _target(name, catalogue, args.name)


def _target(name: str, catalogue: Catalogue, given: str | None) -> tuple[Path, Product | None]:
    path = Path(name)
    if path.exists() and name not in _embedded(catalogue):
        if given is not None:
            return path, catalogue.get(given)
        same = (p for p in catalogue if (found := find_local(p)) is not None and found == path)
        product = next(same, None) or product_of_file(path, catalogue)
        return path, product if path.is_file() else None
    if path.suffix and catalogue.find(name) is None:
        message = f"There is no file or folder {name!r}."
        raise InputError(message)
    product = catalogue.get(name)
    found = find_local(product)
    if found is None:
        message = f"{name!r} is not on this machine. {how_to_get(product)}"
        raise NotDownloadedError(message)
    return found, product


def _embedded(catalogue: Catalogue) -> set[str]:
    return {product.name for product in catalogue if product.embedded}


def _checked(path: Path, product: Product | None, *, quick: bool) -> Verdict:
    size = path.stat().st_size if path.is_file() else None
    with tqdm(
        desc=f"reading {path.name}",
        total=size,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None if not quick and product is not None and size else True,
        file=sys.stderr,
    ) as bar:
        return check_data(path, product, quick=quick, progress=lambda n: _advance(bar, n))


def _advance(bar: Any, n: int) -> None:  # noqa: ANN401 - tqdm is generic in what it iterates over
    bar.update(n)


def _lines(verdict: Verdict, *, quick: bool) -> Iterator[str]:
    yield f"{verdict.product or 'not in the catalogue'}: {verdict.path}"
    width = max((len(check.what) for check in verdict.checks), default=0)
    for check in verdict.checks:
        yield f"  {check.what:<{width}}  {check.found}{_remark(check)}"
    yield f"  {_conclusion(verdict, quick=quick)}"


def _remark(check: Check) -> str:
    if check.is_right is False:
        return f"   WRONG, should be {check.expected}" if check.expected else "   WRONG"
    if check.is_right and check.expected:
        return "   as in the catalogue"
    return f"   ({check.expected} in the catalogue)" if check.expected else ""


def _conclusion(verdict: Verdict, *, quick: bool) -> str:
    if not verdict.is_right:
        again = (
            f" Move it away and fetch it again: nabladft download {verdict.product}"
            if verdict.product
            else ""
        )
        return f"This is WRONG.{again}"
    if verdict.is_proven:
        return "This is right."
    if quick:
        return "Nothing is wrong as far as was looked (--quick)."
    return "Nothing is wrong, but there is no hash to prove that it is right."


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "path": str(verdict.path),
        "product": verdict.product,
        "is_right": verdict.is_right,
        "is_proven": verdict.is_proven,
        "checks": [vars(check) for check in verdict.checks],
    }
