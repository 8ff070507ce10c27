"""What the catalogue says of a product, as a plain document and as short texts for tables.

Example:
    >>> size_text(53_288_960), size_text(None, 1_595_255_488_512), size_text(None)
    ('53.3 MB', '~1.6 TB', '?')
    >>> count_text(12_145), count_text(None, 1_150_000)
    ('12 145', '~1 150 000')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nabladft.catalog.places import find_local, local_path, locations
from nabladft.catalog.product import KINDS
from nabladft.errors import UnknownNameError
from nabladft.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nabladft.catalog.product import Product

__all__ = [
    "count_text",
    "how_to_get",
    "labels_of",
    "product_document",
    "product_row",
    "size_text",
    "state_of",
    "with_fields",
]

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_THOUSAND: Final = 1000
#: Estimates from here on are written without decimals.
_COARSE: Final = 100

#: Each of the two energies follows from the other, so who asks for one is served by the other.
_EQUIVALENT: Final = {"energy": "formation_energy", "formation_energy": "energy"}


def size_text(exact: int | None, about: int | None = None) -> str:
    """Write a number of bytes for people: "53.3 MB", "~1.6 TB" if estimated, "?" if unknown."""
    n_bytes = exact if exact is not None else about
    if n_bytes is None:
        return "?"
    value, unit = float(n_bytes), 0
    while round(value, 1) >= _THOUSAND and unit < len(_UNITS) - 1:
        value, unit = value / _THOUSAND, unit + 1
    is_estimate = exact is None
    digits = 0 if unit == 0 or (is_estimate and value >= _COARSE) else 1
    return f"{'~' if is_estimate else ''}{value:.{digits}f} {_UNITS[unit]}"


def count_text(exact: int | None, about: int | None = None) -> str:
    """Write a count for people: "12 145", "~1 150 000" if estimated, "?" if unknown."""
    count = exact if exact is not None else about
    if count is None:
        return "?"
    return f"{'' if exact is not None else '~'}{count:,}".replace(",", " ")


def state_of(product: Product) -> str:
    """Say whether a product is on this machine: "yes", "begun" (half downloaded) or ""."""
    if find_local(product) is not None:
        return "yes"
    path = local_path(product)
    begun = path.with_name(f"{path.name}.part").exists()
    return "begun" if begun else ""


def how_to_get(product: Product) -> str:
    """Say in one sentence how to get a product that is not on this machine."""
    if product.embedded:
        return f"{product.name} is in the repository, but not in this installation. {product.notes}"
    if not locations(product):
        return f"No address of {product.name} is known. {product.notes}"
    size = size_text(product.n_bytes, product.n_bytes_about)
    return f"Fetch it ({size}): nabladft download {product.name}"


def labels_of(product: Product) -> tuple[str, ...]:
    """Names of the fields that a product's columns become here, each once."""
    return tuple(
        dict.fromkeys(
            field.becomes
            for field in product.fields
            if field.becomes in FIELDS and not field.absent
        )
    )


def with_fields(products: Iterable[Product], fields: Sequence[str]) -> tuple[Product, ...]:
    """Choose the products that hold all these fields.

    The total and the formation energy follow from each other, so either name finds both.

    Raises:
        UnknownNameError: There is no such field.
    """
    for name in fields:
        if name not in FIELDS:
            raise UnknownNameError("field", name, FIELDS)
    return tuple(
        product
        for product in products
        if all(
            name in held or _EQUIVALENT.get(name) in held
            for held in [set(labels_of(product))]
            for name in fields
        )
    )


def product_row(product: Product) -> dict[str, Any]:
    """Give the row of a product in tables for programs; everything is one text, number or None."""
    found = find_local(product)
    return {
        "name": product.name,
        "kind": product.kind,
        "version": product.version,
        "what": product.what,
        "n_conformations": product.n_conformations or product.n_conformations_about,
        "n_conformations_exact": product.n_conformations is not None,
        "n_molecules": product.n_molecules,
        "n_bytes": product.n_bytes_expected,
        "n_bytes_exact": product.n_bytes is not None,
        "fields": " ".join(labels_of(product)),
        "split": product.split,
        "train_subset": product.train_subset,
        "etag": product.etag,
        "md5": product.md5,
        "sha256": product.sha256,
        "licence": None if product.licence is None else product.licence.name,
        "defects": " ".join(defect.name for defect in product.defects),
        "url": product.urls[0] if product.urls else None,
        "here": None if found is None else str(found),
    }


def product_document(product: Product) -> dict[str, Any]:
    """Give everything that the catalogue says of a product; it can be written as JSON."""
    found = find_local(product)
    method, licence = product.method, product.licence
    return {
        "name": product.name,
        "kind": product.kind,
        "kind_in_words": KINDS[product.kind],
        "version": product.version,
        "what": product.what,
        "registry_name": product.registry_name,
        "file_name": product.file_name,
        "urls": list(product.urls),
        "n_conformations": product.n_conformations,
        "n_conformations_about": product.n_conformations_about,
        "n_molecules": product.n_molecules,
        "n_bytes": product.n_bytes,
        "n_bytes_about": product.n_bytes_about,
        "etag": product.etag,
        "etag_part_bytes": product.etag_part_bytes,
        "md5": product.md5,
        "sha256": product.sha256,
        "packing": product.packing,
        "split": product.split,
        "train_subset": product.train_subset,
        "method": method
        and {"name": method.name, "program": method.program, "details": method.details},
        "licence": licence and {"name": licence.name, "details": licence.details},
        "fields": [
            {
                "column": field.column,
                "unit": field.unit,
                "becomes": field.becomes,
                "unit_here": field.unit_here,
                "remark": field.remark,
                "absent": field.absent,
            }
            for field in product.fields
        ],
        "defects": [
            {"name": defect.name, "text": defect.text, "issues": list(defect.issues)}
            for defect in product.defects
        ],
        "notes": product.notes,
        "embedded": product.embedded,
        "place": str(local_path(product)),
        "here": None if found is None else str(found),
        "source": str(product.source),
    }
