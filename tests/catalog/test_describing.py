import dataclasses
import json

import pytest

from nabladft.catalog.catalogue import PACKAGED, read_catalogue
from nabladft.catalog.describing import (
    count_text,
    how_to_get,
    labels_of,
    product_document,
    product_row,
    size_text,
    state_of,
    with_fields,
)
from nabladft.catalog.places import local_path
from nabladft.errors import UnknownNameError

pytestmark = pytest.mark.usefixtures("data_place")


@pytest.fixture(scope="module")
def catalogue():
    return read_catalogue([PACKAGED])


@pytest.mark.parametrize(
    ("exact", "about", "text"),
    [
        (0, None, "0 B"),
        (999, None, "999 B"),
        (1000, None, "1.0 kB"),
        (999_960, None, "1.0 MB"),
        (53_288_960, 7, "53.3 MB"),
        (None, 12_370_000_000_000, "~12.4 TB"),
        (None, None, "?"),
        (5 * 10**18, None, "5000.0 PB"),
    ],
)
def test_sizes(exact, about, text):
    assert size_text(exact, about) == text


def test_counts():
    assert [count_text(315), count_text(12_676_264), count_text(None, 1000), count_text(None)] == [
        "315",
        "12 676 264",
        "~1 000",
        "?",
    ]


def test_state_of_a_product(catalogue):
    product = catalogue.get("energy/train-tiny")
    path = local_path(product)
    assert state_of(product) == ""

    path.parent.mkdir(parents=True)
    part = path.with_name(path.name + ".part")
    part.touch()
    assert state_of(product) == "begun"

    part.rename(path)
    assert state_of(product) == "yes"
    assert state_of(catalogue.get("nano")) == "yes"


def test_how_to_get(catalogue):
    assert how_to_get(catalogue.get("hamiltonian/train-small")) == (
        "Fetch it (38.1 GB): nabladft download hamiltonian/train-small"
    )
    assert how_to_get(catalogue.get("wavefunctions/index")).startswith("No address of")
    elsewhere = dataclasses.replace(catalogue.get("nano"), notes="Clone it.")
    assert how_to_get(elsewhere) == (
        "nano is in the repository, but not in this installation. Clone it."
    )


def test_empty_columns_are_no_labels(catalogue):
    labels = labels_of(catalogue.get("v1/hamiltonian/train-2k"))

    assert "hamiltonian" in labels
    assert not {"forces", "core_hamiltonian"} & set(labels)
    assert "forces" not in labels_of(catalogue.get("energy/train-full-energies"))


def test_which_products_hold_forces_and_hamiltonians(catalogue):
    found = {p.name for p in with_fields(catalogue, ["forces", "hamiltonian"])}

    assert found == {"mini", "nano"} | {p.name for p in catalogue.select("hamiltonian")}


def test_either_energy_finds_the_other(catalogue):
    assert with_fields(catalogue, ["energy"]) == with_fields(catalogue, ["formation_energy"])
    with pytest.raises(UnknownNameError, match=r"No field 'force'. Did you mean 'forces'"):
        with_fields(catalogue, ["force"])


def test_documents_and_rows_can_be_written(catalogue):
    for product in catalogue:
        document = json.loads(json.dumps(product_document(product)))
        assert document["name"] == product.name
        assert len(document["defects"]) == len(product.defects)
        row = product_row(product)
        assert all(value is None or isinstance(value, str | int) for value in row.values())
        assert row["n_bytes_exact"] == (product.n_bytes is not None)
