"""Write the tables of ``docs/get-the-data.md`` from the catalogue.

Run it from the root of the repository after ``nabladft/catalog/files.toml`` was changed:

    python docs/get_the_data_tables.py

It replaces what is between the markers of each table. A test compares page and catalogue.
"""  # noqa: INP001 - a script

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from nabladft.catalog.catalogue import PACKAGED, read_catalogue
from nabladft.catalog.describing import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nabladft.catalog.catalogue import Catalogue
    from nabladft.catalog.product import Defect, Product

PAGE = Path(__file__).with_name("get-the-data.md")
UPSTREAM = "https://github.com/AIRI-Institute/nablaDFT/issues"
_TABLE = re.compile(r"(<!-- table: (?P<name>[\w/ -]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """Return the text of the page with its tables made anew."""
    catalogue = read_catalogue([PACKAGED])
    return _TABLE.sub(
        lambda match: match[1] + "\n".join(_table(match["name"], catalogue)) + "\n" + match[3], text
    )


def _table(name: str, catalogue: Catalogue) -> Iterator[str]:
    kind, _, rest = name.partition(" ")
    tables: dict[str, Callable[[str, Catalogue], Iterator[str]]] = {
        "products": _products,
        "fields": _fields,
        "defects": _defects,
    }
    return tables[kind](rest, catalogue)


def _products(folder: str, catalogue: Catalogue) -> Iterator[str]:
    products = [p for p in catalogue if p.name.rpartition("/")[0] in folder.split()]
    common = [d for d in products[0].defects if all(d in product.defects for product in products)]
    if common:
        yield f"Known defects of all of them: {_links(common)}."
        yield ""
    yield "| name | what | conformations | molecules | size | checked by | further defects |"
    yield "|---|---|---:|---:|---:|---|---|"
    for product in products:
        cells = (
            f"`{product.name}`",
            product.what,
            count_text(product.n_conformations, product.n_conformations_about),
            count_text(product.n_molecules),
            size_text(product.n_bytes, product.n_bytes_about),
            _checked_by(product),
            _links(d for d in product.defects if d not in common),
        )
        yield f"| {' | '.join(cells)} |"
    notes: dict[str, list[str]] = defaultdict(list)
    for product in products:
        if product.notes:
            notes[product.notes].append(f"`{product.name.rpartition('/')[2]}`")
    if notes:
        yield ""
    yield from (f"- {', '.join(names)}: {note}" for note, names in notes.items())


def _links(defects: Iterable[Defect]) -> str:
    return ", ".join(f"[{defect.name}](#{defect.name})" for defect in defects)


def _checked_by(product: Product) -> str:
    size = "size" if product.n_bytes is not None else ""
    parts = int((product.etag or "").partition("-")[2] or 0)
    part_size = f" of {product.etag_part_bytes >> 20} MiB" if product.etag_part_bytes else ""
    etag = f"ETag ({parts} parts{part_size})" if parts else "ETag (MD5)"
    hashes = [
        etag if name == "etag" else name.upper().replace("SHA256", "SHA-256")
        for name in product.hashes
    ]
    return ", ".join(filter(None, [size, *hashes])) or "-"


def _fields(name: str, catalogue: Catalogue) -> Iterator[str]:
    yield "| column | unit in the file | here | unit here | |"
    yield "|---|---|---|---|---|"
    for field in catalogue.get(name).fields:
        here = "absent" if field.absent else f"`{field.becomes}`" if field.becomes else "not read"
        unit = "" if field.absent else field.unit_here or ""
        yield f"| `{field.column}` | {field.unit} | {here} | {unit} | {field.remark or ''} |"


def _defects(_: str, catalogue: Catalogue) -> Iterator[str]:
    names: dict[str, list[str]] = defaultdict(list)
    defects = {}
    for product in catalogue:
        for defect in product.defects:
            defects[defect.name] = defect
            names[defect.name].append(product.name)
    yield "| defect | what is wrong, and what happens here | reported in | where |"
    yield "|---|---|---|---|"
    for name, defect in defects.items():
        issues = ", ".join(f"[#{number}]({UPSTREAM}/{number})" for number in defect.issues)
        places = _places(names[name], catalogue.names)
        yield f'| <a id="{name}"></a>{name} | {defect.text} | {issues} | {places} |'


def _places(names: list[str], known: Iterable[str]) -> str:
    """Shorten a list of products: a whole folder is one entry."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folders[name.rpartition("/")[0]].append(name)
    everything: dict[str, list[str]] = defaultdict(list)
    for name in known:
        everything[name.rpartition("/")[0]].append(name)
    found = []
    for folder, members in folders.items():
        if len(members) == len(everything[folder]) > 1:
            found.append(f"all of `{folder}`")
        elif len(members) > 3:
            found.append(f"{len(members)} of `{folder}`")
        else:
            found += [f"`{name}`" for name in members]
    return ", ".join(found)


if __name__ == "__main__":
    main()
