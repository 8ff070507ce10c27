"""``nabladft info``: what a data set holds, in which units, made how."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from nabladft.storage.description import describe_source
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_EPILOG = """\
examples:
  nabladft info nano                          the data set that comes with the package
  nabladft info my_store --verify             compare every byte with the manifest
  nabladft info train_2k.db                   a published file, energies or Hamiltonians
  nabladft info geometries.xyz --json         for other programs

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
    source = open_source(args.data)
    if args.verify and isinstance(source, Store):
        source.verify()
    document = describe_source(source, with_hash=True if args.hash or args.verify else None)
    if args.json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    print("\n".join(_lines(document)))
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
    yield "\ndetails"
    yield from _aligned(dict(_flattened(document["details"])))


def _summary(document: Mapping[str, Any]) -> dict[str, str]:
    size = document["bytes_on_disk"]
    values = {
        "where": document["location"],
        "on disk": None if size is None else f"{size / 1e6:.1f} MB",
        "molecules": document["n_molecules"],
        "conformations": document["n_conformations"],
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


def _aligned(values: Mapping[str, str]) -> Iterator[str]:
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        yield f"  {name:<{width}}  {value}"
