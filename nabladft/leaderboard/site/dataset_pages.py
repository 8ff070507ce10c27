"""A page for each data set of the catalogue: what it is, under which terms, how to get it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nabladft.catalog.describing import count_text, labels_of, size_text
from nabladft.catalog.product import KINDS
from nabladft.leaderboard.site.contests import slug_of
from nabladft.leaderboard.site.tables import (
    Cell,
    Column,
    Fact,
    Link,
    RowGroup,
    Table,
    TableRow,
    text_cell,
)
from nabladft.leaderboard.site.texts import DOCS
from nabladft.resources import embedded_datasets
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.catalog.catalogue import Catalogue
    from nabladft.catalog.product import Product
    from nabladft.leaderboard.site.contests import Contest


@dataclass(frozen=True, kw_only=True)
class DatasetPage:
    """What the page of a data set shows.

    Attributes:
        product: The data set, as the catalogue describes it.
        path: Path of the page below the root of the site.
        facts: Size, licence, level of theory, hashes.
        commands: How to get and open it.
        fields: What a record holds.
        contests: Where models are scored on it.
    """

    product: Product
    path: str
    facts: tuple[Fact, ...]
    commands: tuple[str, ...]
    fields: Table
    contests: tuple[Contest, ...]


def dataset_path(name: str) -> str:
    """Give the path of the page of a data set below the root of the site."""
    return f"datasets/{slug_of(name)}.html"


def dataset_pages(catalogue: Catalogue, contests: Sequence[Contest]) -> list[DatasetPage]:
    """Put together the pages of all data sets."""
    return [
        DatasetPage(
            product=product,
            path=dataset_path(product.name),
            facts=tuple(fact for fact in _facts(product) if fact.text),
            commands=tuple(_commands(product)),
            fields=_fields_table(product),
            contests=tuple(one for one in contests if one.data.dataset == product.name),
        )
        for product in catalogue
    ]


def datasets_table(pages: Sequence[DatasetPage]) -> Table:
    """Lay out all data sets: a row each."""
    rows = []
    for page in pages:
        product = page.product
        rows.append(
            TableRow(
                cells=(
                    text_cell(product.name, link=Link(href=page.path), note=product.what),
                    text_cell(KINDS[product.kind]),
                    text_cell(product.version),
                    _estimated(
                        product.n_conformations or product.n_conformations_about,
                        count_text(product.n_conformations, product.n_conformations_about),
                    ),
                    _estimated(
                        product.n_bytes_expected,
                        size_text(product.n_bytes, product.n_bytes_about),
                    ),
                    text_cell(", ".join(labels_of(product))),
                    text_cell(product.licence.name if product.licence else None),
                )
            )
        )
    return Table(
        slug="datasets",
        title="Data sets",
        columns=(
            Column(key="name", title="Data set", is_number=False),
            Column(key="kind", title="What", is_number=False),
            Column(key="version", title="Version", is_number=False),
            Column(key="n_conformations", title="Conformations"),
            Column(key="n_bytes", title="Size"),
            Column(key="fields", title="Fields", is_number=False, is_wide=True),
            Column(key="licence", title="Licence", is_number=False),
        ),
        groups=(RowGroup(rows=tuple(rows)),),
        note="~ marks an estimate, ? what nobody has written down.",
    )


def _estimated(value: int | None, text: str) -> Cell:
    return Cell(value=value, text=text)


def _facts(product: Product) -> list[Fact]:
    method, licence = product.method, product.licence
    facts = [
        Fact(name="What", text=f"{product.what} ({KINDS[product.kind]})"),
        Fact(name="Version", text=product.version),
        Fact(
            name="Conformations",
            text=count_text(product.n_conformations, product.n_conformations_about),
        ),
        Fact(name="Molecules", text=count_text(product.n_molecules)),
        Fact(name="Size", text=_size(product)),
    ]
    if method is not None:
        facts += [
            Fact(name="Level of theory", text=method.name),
            Fact(name="Program", text=method.program or ""),
            Fact(name="Settings", text=method.details or ""),
        ]
    if licence is not None:
        facts.append(
            Fact(name="Licence", text=". ".join(filter(None, (licence.name, licence.details))))
        )
    facts += [
        Fact(name="SHA-256", text=product.sha256 or "", is_code=True),
        Fact(name="MD5", text=product.md5 or "", is_code=True),
        Fact(name="ETag", text=product.etag or "", is_code=True),
        Fact(name="File", text="" if product.embedded else product.file_name, is_code=True),
        Fact(name="Upstream's name", text=product.registry_name or "", is_code=True),
        Fact(name="Notes", text=product.notes or ""),
    ]
    if product.embedded and product.name in embedded_datasets():
        source = open_source(embedded_datasets()[product.name])
        facts.insert(5, Fact(name="Data hash", text=source.data_hash, is_code=True))
    return facts


def _size(product: Product) -> str:
    """Write the size; what comes with the package is measured."""
    folder = embedded_datasets().get(product.name) if product.embedded else None
    if folder is None:
        return size_text(product.n_bytes, product.n_bytes_about)
    return size_text(sum(path.stat().st_size for path in folder.iterdir()))


def _commands(product: Product) -> list[str]:
    if product.embedded:
        return [
            "pip install nabladft",
            f'python -c "import nabladft; print(nabladft.open({product.name!r})[0])"',
        ]
    if not product.urls:
        return []
    return [f"nabladft download {product.name}", f"nabladft info {product.name}"]


def _fields_table(product: Product) -> Table:
    rows = [
        TableRow(
            cells=(
                text_cell(field.column),
                text_cell(field.unit),
                text_cell(field.becomes),
                text_cell(field.unit_here),
                text_cell("; ".join(filter(None, ("empty" if field.absent else "", field.remark)))),
            )
        )
        for field in product.fields
    ]
    return Table(
        slug=f"dataset-{slug_of(product.name)}-fields",
        title="What a record holds",
        columns=(
            Column(key="column", title="In the file", is_number=False),
            Column(key="unit", title="Unit there", is_number=False),
            Column(key="becomes", title="Here", is_number=False),
            Column(key="unit_here", title="Unit here", is_number=False),
            Column(key="remark", title="Remarks", is_number=False, is_wide=True),
        ),
        groups=(RowGroup(rows=tuple(rows)),),
    )


def documentation_of(product: Product) -> str:
    """Give the address of the page that says more about a data set."""
    name = f"datasets/{product.name}.md" if product.embedded else "get-the-data.md"
    return f"{DOCS}/{name}"
