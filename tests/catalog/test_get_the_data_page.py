"""The page for those who need the data says what the catalogue says."""

import importlib.util
import re
from pathlib import Path

import pytest

from nabladft.catalog.catalogue import PACKAGED, read_catalogue

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("tables", DOCS / "get_the_data_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return (DOCS / "get-the-data.md").read_text()


def test_the_tables_are_those_of_the_catalogue(script, page):
    assert script.with_tables(page) == page, "run: python docs/get_the_data_tables.py"


def test_every_product_and_every_defect_has_its_row(page):
    for product in read_catalogue([PACKAGED]):
        if not product.embedded:
            assert f"| `{product.name}` |" in page
        for defect in product.defects:
            assert f'<a id="{defect.name}">' in page


def test_every_product_named_in_the_text_exists(page):
    known = read_catalogue([PACKAGED])
    folders = "|".join(known.folders)
    named = set(re.findall(rf"`((?:{folders})/[\w-]+)`", page)) - {"v1/..."}

    assert named
    assert [name for name in named if known.find(name) is None] == []


def test_the_example_of_an_own_catalogue_is_right(page, tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "ours.toml"
    file.write_text(example)

    catalogue = read_catalogue([PACKAGED, file])

    assert catalogue.get("ours/solvents").licence.name == "CC0-1.0"
    assert catalogue.get("energy/train-full").urls == ("https://new.example.org/train_full.db",)


def test_a_changed_catalogue_is_noticed(script, page):
    assert script.with_tables(page.replace("12 145", "12 146")) == page
