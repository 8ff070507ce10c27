"""Reading catalogue files, and refusing wrong ones with the file and product in the message.

A catalogue file is TOML: products, and what many of them share (fields, methods, licences,
defects), to which they refer by name. ``schema.json`` beside this module describes the format for
editors and other programs; this reader checks more.

.. code-block:: toml

    format = 1

    [[product]]
    name = "ours/solvents"
    kind = "store"
    version = "2025-03"
    what = "our solvents"
    url = "https://data.example.org/solvents.tar"
    file_name = "solvents.tar"
    sha256 = "..."

Example:
    >>> reader = CatalogueReader()
    >>> reader.add(Path(__file__).with_name("files.toml"))
    >>> reader.products["energy/train-tiny"].n_molecules
    2809
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nabladft.catalog.places import relative_path
from nabladft.catalog.product import (
    KINDS,
    Defect,
    Licence,
    Method,
    Product,
    ProductField,
)
from nabladft.errors import CatalogueError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["FORMAT", "CatalogueReader"]

#: Version of the format of catalogue files.
FORMAT: Final = 1

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
_ETAG: Final = re.compile(r"[0-9a-f]{32}(-[1-9][0-9]*)?")
_URL: Final = re.compile(r"(https?|s3|file)://\S+")

#: Keys of a product that are taken as they are, and what their values must be.
_TEXT: Final = ("what", "version", "file_name", "split", "train_subset", "notes", "registry_name")
_COUNT: Final = (
    "n_bytes",
    "n_bytes_about",
    "etag_part_bytes",
    "n_conformations",
    "n_conformations_about",
    "n_molecules",
)
_PATTERNED: Final = {
    "name": (_NAME, "small letters, digits, '-', '.', '_', with '/' between the parts"),
    "url": (_URL, "an address that starts with https://, http://, s3:// or file://"),
    "etag": (_ETAG, "32 hexadecimal digits, and '-' with the number of parts if there are several"),
    "md5": (re.compile(r"[0-9a-f]{32}"), "32 hexadecimal digits"),
    "sha256": (re.compile(r"[0-9a-f]{64}"), "64 hexadecimal digits"),
}
_PACKINGS: Final = ("gz", "tar", "tar.gz", "7z", "zip")
_PRODUCT_KEYS: Final = (
    *_PATTERNED,
    *_TEXT,
    *_COUNT,
    "kind",
    "mirrors",
    "fields",
    "method",
    "licence",
    "defects",
    "packing",
    "embedded",
    "overrides",
)
_REQUIRED: Final = ("name", "kind", "version", "what", "file_name")
_TABLES: Final = ("format", "methods", "licences", "defects", "field_sets", "product")


class CatalogueReader:
    """Reads catalogue files one after the other.

    Attributes:
        products: What has been read so far, by name.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.products: dict[str, Product] = {}
        self.shared: dict[str, dict[str, Any]] = {
            "methods": {},
            "licences": {},
            "defects": {},
            "field_sets": {},
        }
        self.file = Path()

    def add(self, file: Path) -> None:
        """Read one file, which may refer to what earlier ones define.

        Raises:
            CatalogueError: It cannot be read or is wrong; the message names file and product.
        """
        self.file = file
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            message = f"The catalogue file {file} cannot be read: {error}"
            raise CatalogueError(message) from error
        self._check_keys(document, _TABLES, "the file")
        if document.get("format") != FORMAT:
            self._refuse("the file", f"format must be {FORMAT}, got {document.get('format')!r}")
        self._share("methods", document, self._method)
        self._share("licences", document, self._licence)
        self._share("defects", document, self._defect)
        self._share("field_sets", document, self._field_set)
        tables = document.get("product", [])
        if not isinstance(tables, list):
            self._refuse("the file", "write products as [[product]], with two brackets")
        before = set(self.products)
        for number, table in enumerate(tables, start=1):
            self._add_product(number, table, before)
        self._check_places()

    def _share(
        self, kind: str, document: Mapping[str, Any], read: Callable[[str, Any], object]
    ) -> None:
        tables = document.get(kind, {})
        if not isinstance(tables, dict):
            self._refuse(kind, f"must be tables, got {tables!r}")
        for name, table in tables.items():
            if name in self.shared[kind]:
                self._refuse(f"{kind}.{name}", "is defined already; give yours another name")
            self.shared[kind][name] = read(f"{kind}.{name}", table)

    def _method(self, where: str, table: Any) -> Method:  # noqa: ANN401 - from TOML
        self._check_keys(table, ("name", "program", "details"), where, required=("name",))
        return Method(**self._texts(where, table, ("name", "program", "details")))

    def _licence(self, where: str, table: Any) -> Licence:  # noqa: ANN401
        self._check_keys(table, ("name", "details"), where, required=("name",))
        return Licence(**self._texts(where, table, ("name", "details")))

    def _defect(self, where: str, table: Any) -> Defect:  # noqa: ANN401
        self._check_keys(table, ("text", "issues"), where, required=("text",))
        issues = table.get("issues", [])
        if not isinstance(issues, list) or not all(_is_count(one) for one in issues):
            self._refuse(where, f"issues must be a list of numbers, got {issues!r}")
        return Defect(
            name=where.partition(".")[2],
            issues=tuple(issues),
            **self._texts(where, table, ("text",)),
        )

    def _field_set(self, where: str, tables: Any) -> tuple[ProductField, ...]:  # noqa: ANN401
        if not isinstance(tables, list):
            self._refuse(where, f"must be a list of fields, got {tables!r}")
        return tuple(self._field(where, table) for table in tables)

    def _field(self, where: str, table: Any) -> ProductField:  # noqa: ANN401
        texts = ("column", "unit", "becomes", "unit_here", "remark")
        self._check_keys(table, (*texts, "absent"), where, required=("column", "unit"))
        where = f"{where} {table['column']!r}"
        return ProductField(
            absent=self._truth(where, table, "absent"), **self._texts(where, table, texts)
        )

    def _add_product(self, number: int, table: Any, before: set[str]) -> None:  # noqa: ANN401
        name = table.get("name") if isinstance(table, dict) else None
        where = f"product {name!r}" if isinstance(name, str) else f"product number {number}"
        product = self._product(where, table)
        overrides = self._truth(where, table, "overrides")
        if product.name in self.products:
            other = self.products[product.name]
            if not overrides:
                self._refuse(
                    where,
                    f"is in {other.source} already; to replace it, write overrides = true",
                )
            if product.name not in before:
                self._refuse(where, "is in this file twice")
        elif overrides:
            self._refuse(
                where,
                "says overrides = true but there is nothing of that name to replace."
                + suggestion(product.name, self.products),
            )
        self.products[product.name] = product

    def _product(self, where: str, table: Any) -> Product:  # noqa: ANN401
        self._check_keys(table, _PRODUCT_KEYS, where, required=_REQUIRED)
        values: dict[str, Any] = self._texts(where, table, _TEXT)
        for key in _COUNT:
            if key in table:
                if not _is_count(table[key]):
                    self._refuse(where, f"{key} must be a number above 0, got {table[key]!r}")
                values[key] = table[key]
        for key, (pattern, expected) in _PATTERNED.items():
            if key in table:
                self._match(where, key, table[key], pattern, expected)
                values[key] = table[key]
        values["kind"] = self._choice(where, "kind", table["kind"], KINDS)
        if "packing" in table:
            values["packing"] = self._choice(where, "packing", table["packing"], _PACKINGS)
        values["embedded"] = self._truth(where, table, "embedded")
        values["urls"] = self._urls(where, table)
        values.pop("url", None)
        for key, kind in (("method", "methods"), ("licence", "licences"), ("fields", "field_sets")):
            if key in table:
                values[key] = self._refer(where, kind, table[key])
        defects = table.get("defects", [])
        if not isinstance(defects, list):
            self._refuse(where, f"defects must be a list of names, got {defects!r}")
        values["defects"] = tuple(self._refer(where, "defects", one) for one in defects)
        product = Product(source=self.file, **values)
        self._check_product(where, product)
        return product

    def _check_product(self, where: str, product: Product) -> None:
        if set("/\\") & set(product.file_name) or product.file_name in {".", ".."}:
            self._refuse(where, f"file_name must be a plain name, got {product.file_name!r}")
        if not product.urls and not product.embedded and not product.notes:
            self._refuse(where, "has no url; if the address is unknown, say so in notes")
        for exact in ("n_bytes", "n_conformations"):
            about = f"{exact}_about"
            if getattr(product, exact) is not None and getattr(product, about) is not None:
                self._refuse(where, f"gives both {exact} and {about}; keep one")
        parts = int(product.etag.partition("-")[2] or 0) if product.etag else 0
        if product.etag_part_bytes and not parts:
            self._refuse(where, "gives etag_part_bytes, but its etag is not made of parts")
        if product.etag_part_bytes and product.n_bytes:
            expected = -(-product.n_bytes // product.etag_part_bytes)
            if expected != parts:
                self._refuse(
                    where,
                    f"contradicts itself: {product.n_bytes} bytes in parts of "
                    f"{product.etag_part_bytes} are {expected} parts, but the etag says {parts}",
                )

    def _check_places(self) -> None:
        places: dict[str, str] = {}
        for product in self.products.values():
            place = str(relative_path(product)).lower()
            if place in places:
                self._refuse(
                    f"product {product.name!r}",
                    f"would be saved in the same place as {places[place]!r} ({place})",
                )
            places[place] = product.name

    def _urls(self, where: str, table: Mapping[str, Any]) -> tuple[str, ...]:
        mirrors = table.get("mirrors", [])
        if not isinstance(mirrors, list):
            self._refuse(where, f"mirrors must be a list of addresses, got {mirrors!r}")
        for mirror in mirrors:
            self._match(where, "mirrors", mirror, *_PATTERNED["url"])
        if mirrors and "url" not in table:
            self._refuse(where, "has mirrors but no url")
        return (table["url"], *mirrors) if "url" in table else ()

    def _refer(self, where: str, kind: str, name: object) -> Any:  # noqa: ANN401
        known = self.shared[kind]
        if str(name) not in known:
            self._refuse(
                where,
                f"refers to {kind}.{name}, which does not exist."
                f"{suggestion(str(name), known)} Known: {', '.join(known) or 'none'}",
            )
        return known[str(name)]

    def _texts(self, where: str, table: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
        found = {}
        for key in keys:
            if key in table:
                if not isinstance(table[key], str) or not table[key].strip():
                    self._refuse(where, f"{key} must be a text, got {table[key]!r}")
                found[key] = table[key]
        return found

    def _truth(self, where: str, table: Mapping[str, Any], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            self._refuse(where, f"{key} must be true or false, got {value!r}")
        return bool(value)

    def _choice(self, where: str, key: str, value: object, known: Iterable[str]) -> str:
        known = list(known)
        if value not in known:
            near = suggestion(str(value), known)
            self._refuse(where, f"{key} {value!r} is unknown.{near} Known: {', '.join(known)}")
        return str(value)

    def _match(
        self, where: str, key: str, value: object, pattern: re.Pattern[str], expected: str
    ) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self._refuse(where, f"{key} must be {expected}, got {value!r}")

    def _check_keys(
        self,
        table: Any,  # noqa: ANN401
        known: Iterable[str],
        where: str,
        required: Iterable[str] = (),
    ) -> None:
        if not isinstance(table, dict):
            self._refuse(where, f"must be a table, got {table!r}")
        known = list(known)
        for key in table:
            if key not in known:
                near = suggestion(key, known)
                self._refuse(where, f"unknown key {key!r}.{near} Known: {', '.join(known)}")
        for key in required:
            if key not in table:
                self._refuse(where, f"has no {key}")

    def _refuse(self, where: str, problem: str) -> NoReturn:
        message = f"{self.file}: {where}: {problem}."
        raise CatalogueError(message)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
