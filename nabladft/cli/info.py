"""``nabladft info``: what a data set holds, in which units, made how."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.describing import count_text, how_to_get, product_document, size_text
from nabladft.catalog.places import find_local
from nabladft.catalog.product import KINDS, READABLE_KINDS
from nabladft.storage.description import describe_source
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nabladft.catalog.product import Product

_EPILOG = """\
examples:
  nabladft info nano                          the data set that comes with the package
  nabladft info hamiltonian/train-tiny        a published product, downloaded or not
  nabladft info my_store --verify             compare every byte with the manifest
  nabladft info train_2k.db                   a published file, energies or Hamiltonians
  nabladft info geometries.xyz --json         for other programs

Of a product of the catalogue (`nabladft list`) it says what is published: counts, size, units in
the file and here, method, licence, and known defects with the issue that reported them; once it is
downloaded, also what the file itself says.

The kind of a file is found by looking into it, not from its name. The data hash identifies the
records whatever their order; for files other than stores it takes reading everything, so it is
given with --hash only.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "info",
        help="what a data set holds, in which units, made how",
        description="Say what a data set holds: counts, elements, fields with units, method, hash.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="NAME_OR_PATH", help="data set name, store folder or file")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--hash", action="store_true", help="compute the data hash of any file")
    parser.add_argument("--verify", action="store_true", help="read everything and check it")


def run(args: argparse.Namespace) -> int:
    """Describe the data, on standard output."""
    product = None if Path(args.data).exists() else load_catalogue().find(args.data)
    is_read = product is None or product.kind in READABLE_KINDS
    if product is not None and (find_local(product) is None or not is_read):
        _print_card(product, as_json=args.json)
        return 0
    source = open_source(args.data)
    if args.verify and isinstance(source, Store):
        source.verify()
    document = describe_source(source, with_hash=True if args.hash or args.verify else None)
    if product is not None:
        document["catalogue"] = product_document(product)
    if args.json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    print("\n".join(_lines(document)))
    if product is not None and not product.embedded:
        print("\nin the catalogue")
        print("\n".join(_card(product)))
    if args.verify:
        print(
            "\nEvery shard and the index agree with the manifest."
            if isinstance(source, Store)
            else "\nRead whole; only stores have a manifest to compare with."
        )
    return 0


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield document["name"]
    yield from _aligned(_summary(document))
    yield "\nfields"
    yield from _aligned(
        {
            name: f"{said['unit']:<14}{said['description']}{_remark(said)}"
            for name, said in document["fields"].items()
        }
    )
    if document["computed_on_request"]:
        yield f"computed when asked for: {', '.join(document['computed_on_request'])}"
    yield "\ndetails"
    yield from _aligned(dict(_flattened(document["details"])))


def _print_card(product: Product, *, as_json: bool) -> None:
    """Say what the catalogue knows of a product that is not here, or has no records to read."""
    if as_json:
        document = {"name": product.name, "catalogue": product_document(product)}
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    print(f"{product.name}: {product.what}")
    print("\n".join(_card(product)))
    found = find_local(product)
    print("\nnot on this machine" if found is None else "\non this machine")
    said = how_to_get(product) if found is None else str(found)
    print("\n".join(_wrapped(said, hang=0)))


def _card(product: Product) -> Iterator[str]:
    method, licence = product.method, product.licence
    hashes = {"ETag": product.etag, "MD5": product.md5, "SHA-256": product.sha256}
    values: dict[str, str | None] = {
        "what": f"{KINDS[product.kind]}, {product.version}",
        "conformations": count_text(product.n_conformations, product.n_conformations_about),
        "molecules": count_text(product.n_molecules),
        "size": "in the package"
        if product.embedded
        else size_text(product.n_bytes, product.n_bytes_about),
        "split": product.split,
        "conformations of": product.train_subset,
        "method": _joined(", ", method.name, method.program) if method else None,
        "method details": method.details if method else None,
        "licence": _joined(": ", licence.name, licence.details) if licence else None,
        **hashes,
        **dict(zip(("from", "or from"), product.urls, strict=False)),
        "file": product.file_name,
        "upstream's name": product.registry_name,
        "notes": product.notes,
    }
    yield from aligned_table({name: value for name, value in values.items() if value is not None})
    if product.fields:
        yield "\nfields: column, unit in the file, what it is here"
        yield from _field_lines(product)
    if product.defects:
        yield "\nknown defects (issues of github.com/AIRI-Institute/nablaDFT)"
    for defect in product.defects:
        numbers = ", ".join(f"#{number}" for number in defect.issues)
        yield from _wrapped(f"- {defect.text}{f' ({numbers})' if numbers else ''}")


def _joined(separator: str, *texts: str | None) -> str:
    return separator.join(text for text in texts if text)


def _field_lines(product: Product) -> Iterator[str]:
    widths = [
        max(len(text) for text in column)
        for column in zip(*((f.column, f.unit) for f in product.fields), strict=True)
    ]
    for field in product.fields:
        if field.absent:
            here = "absent"
        elif field.becomes is None:
            here = "not read"
        else:
            unit = "" if field.unit_here in {None, "1"} else f" ({field.unit_here})"
            here = f"{field.becomes}{unit}"
        remark = f": {field.remark}" if field.remark else ""
        first = f"  {field.column:<{widths[0]}}  {field.unit:<{widths[1]}}  "
        yield from _wrapped(f"{here}{remark}", first=first)


def _wrapped(text: str, first: str = "  ", hang: int = 2) -> list[str]:
    return textwrap.wrap(
        text,
        width=max(shutil.get_terminal_size((100, 24)).columns, len(first) + 30),
        initial_indent=first,
        subsequent_indent=" " * max(len(first), 2 + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(document: Mapping[str, Any]) -> dict[str, str]:
    size = document["bytes_on_disk"]
    looked_at = document["rows_looked_at"]
    values = {
        "where": document["location"] or document["details"].get("url"),
        "on disk": None if size is None else f"{size / 1e6:.1f} MB",
        "molecules": document["n_molecules"],
        "conformations": document["n_conformations"],
        "looked at": None if looked_at == document["n_conformations"] else f"{looked_at} of them",
        "atoms": _spread(document["n_atoms"]),
        "orbitals in def2-SVP": _spread(document["n_orbitals_def2_svp"]),
        "elements": "  ".join(f"{symbol} {n}" for symbol, n in document["elements"].items()),
        "geometries": ", ".join(f"{k}: {n}" for k, n in document["geometry_origins"].items()),
        "method": document["method"] or "not said",
        "basis set": document["basis_set"],
        "orbital order": document["orbital_order"],
        "data hash": document["data_hash"] or "not computed (--hash)",
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _spread(spread: Mapping[str, float] | None) -> str | None:
    if spread is None:
        return None
    return f"{spread['smallest']} to {spread['largest']}, median {spread['median']:g}"


def _remark(said: Mapping[str, Any]) -> str:
    if said["derived"]:
        return " (derived)"
    return f" (to {said['error_bound']:g})" if said["error_bound"] else ""


def _flattened(details: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in details.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def aligned_table(values: Mapping[str, str]) -> Iterator[str]:
    """Lay out names and values in two columns, indented by two; long values go on below."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        yield from _wrapped(value, first=f"  {name:<{width}}  ")


def _aligned(values: Mapping[str, str]) -> Iterator[str]:
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        yield f"  {name:<{width}}  {value}"
