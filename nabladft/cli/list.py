"""``nabladft list``: what there is, how large, and what of it is on this machine."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from argparse import RawDescriptionHelpFormatter
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.describing import (
    count_text,
    product_document,
    product_row,
    size_text,
    state_of,
    with_fields,
)
from nabladft.catalog.places import data_folder, find_local
from nabladft.cli.info import aligned_table

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from nabladft.catalog.product import Product

_EPILOG = """\
examples:
  nabladft list                               everything
  nabladft list energy                        energies and forces of v2
  nabladft list "*train-*"                    the training sets
  nabladft list v1                            the first release
  nabladft list --fields forces,hamiltonian   what holds both
  nabladft list --here                        what is on this machine, and where
  nabladft list --csv                         for a spreadsheet; --json has everything

~ marks an estimate, ? what nobody has written down. `nabladft info NAME` says more of one product,
with units and known defects. docs/get-the-data.md says which one to take.
"""

_HEADER: Final = ("name", "what", "conformations", "molecules", "size", "here")
#: Columns of numbers, flush right.
_NUMBERS: Final = frozenset({2, 3, 4})
_WHAT: Final = 1
_MOLECULES: Final = 3
_NARROWEST: Final = 12


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "list",
        help="what data there are, how large, and what is on this machine",
        description="List the products of the catalogue: published files and embedded data sets.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "pattern", nargs="?", help='a folder ("energy"), a pattern ("*tiny") or a part of a name'
    )
    parser.add_argument(
        "--fields",
        metavar="NAME,...",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        default=[],
        help="only what holds all these fields; energy and formation_energy find each other",
    )
    parser.add_argument("--here", action="store_true", help="only what is on this machine")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--csv", action="store_true", help="print comma-separated values")


def run(args: Namespace) -> int:
    """List products, on standard output."""
    products = with_fields(load_catalogue().select(args.pattern), args.fields)
    if args.here:
        products = tuple(product for product in products if find_local(product) is not None)
    if args.json:
        documents = [product_document(product) for product in products]
        print(json.dumps(documents, indent=2, ensure_ascii=False))
    elif args.csv:
        _write_csv(products)
    elif args.here:
        _print_places(products)
    else:
        print("\n".join(_table(products)))
    return 0


def _write_csv(products: Sequence[Product]) -> None:
    if not products:
        return
    rows = [product_row(product) for product in products]
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_places(products: Sequence[Product]) -> None:
    places = {product.name: str(find_local(product)) for product in products}
    print("\n".join(aligned_table(places)))
    if not any(not product.embedded for product in products):
        print(f"\nNothing is downloaded yet. Downloads go to {data_folder()}")


def _table(products: Sequence[Product]) -> Iterator[str]:
    """Lay the table out; in a terminal, texts are cut and columns left out until it fits."""
    if not products:
        yield "Nothing holds all of these fields."
        return
    rows = [_HEADER, *(_row(product) for product in products)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    shown = list(range(len(_HEADER)))
    if sys.stdout.isatty():
        shown = _fit(widths, shutil.get_terminal_size().columns)
    yield _line(_HEADER, widths, shown)
    for number, (_, members) in enumerate(groupby(products, key=_group)):
        if number:
            yield ""
        yield from (_line(_row(product), widths, shown) for product in members)


def _fit(widths: list[int], room: int) -> list[int]:
    """Narrow the column of texts, in place, and say which columns to show."""
    shown = list(range(len(_HEADER)))
    for left_out in (None, _MOLECULES, _WHAT):
        if left_out is not None:
            shown.remove(left_out)
        others = sum(widths[column] + 2 for column in shown if column != _WHAT) - 2
        if others + 2 + _NARROWEST <= room:
            break
    widths[_WHAT] = max(min(widths[_WHAT], room - others - 2), _NARROWEST)
    return shown


def _row(product: Product) -> tuple[str, ...]:
    return (
        product.name,
        product.what,
        count_text(product.n_conformations, product.n_conformations_about),
        count_text(product.n_molecules),
        _size(product),
        state_of(product) or ("-" if product.urls or product.embedded else "no address"),
    )


def _size(product: Product) -> str:
    if not product.embedded:
        return size_text(product.n_bytes, product.n_bytes_about)
    return "packaged" if find_local(product) is not None else "in the clone"


def _line(row: Sequence[str], widths: Sequence[int], shown: Sequence[int]) -> str:
    cells = []
    for column in shown:
        text, width = row[column], widths[column]
        cut = text if len(text) <= width else f"{text[: width - 3].rstrip()}..."
        cells.append(cut.rjust(width) if column in _NUMBERS else cut.ljust(width))
    return "  ".join(cells).rstrip()


def _group(product: Product) -> str:
    return product.name.rpartition("/")[0]
