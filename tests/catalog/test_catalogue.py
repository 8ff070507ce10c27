import json
import re
import tomllib

import jsonschema
import pytest

from nabladft.catalog.catalogue import PACKAGED, load_catalogue, read_catalogue
from nabladft.catalog.product import KINDS
from nabladft.catalog.verification import likely_part_sizes
from nabladft.chemistry.units import convert
from nabladft.errors import CatalogueError, UnknownNameError
from nabladft.fields import FIELDS
from nabladft.resources import embedded_datasets
from nabladft.storage.formats.summary_table import FIELD_COLUMNS
from nabladft.storage.opening import open_source

SCHEMA = json.loads(PACKAGED.with_name("schema.json").read_text())

pytestmark = pytest.mark.usefixtures("data_place")


@pytest.fixture(scope="module")
def packaged():
    return read_catalogue([PACKAGED])


# What is in the package.


def test_packaged_file_is_valid_by_its_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(tomllib.loads(PACKAGED.read_text()), SCHEMA)


def test_schema_and_reader_know_the_same_kinds():
    assert set(SCHEMA["$defs"]["product"]["properties"]["kind"]["enum"]) == set(KINDS)


def test_known_values(packaged):
    large = packaged.get("hamiltonian/train-large")

    assert large.n_bytes == 709_039_628_288
    assert large.etag_part_bytes == 128 << 20
    assert large.n_conformations == 500_552
    assert packaged.get("energy/train-tiny").n_bytes == 53_288_960
    assert packaged.get("energy/test-conformations-small").train_subset == "train-small"
    assert packaged.get("v1/hamiltonian/train-2k").md5 == "b9fe99dca36e3b8bddf7ca4bb4c69eae"


@pytest.mark.parametrize(
    ("folder", "kinds", "at_least"),
    [
        ("energy", {"energy", "trajectories"}, 16),
        ("hamiltonian", {"hamiltonian"}, 12),
        ("v1/energy", {"energy"}, 10),
        ("v1/hamiltonian", {"hamiltonian"}, 11),
    ],
)
def test_every_published_database_is_there(packaged, folder, kinds, at_least):
    found = packaged.select(folder)

    assert len(found) >= at_least
    assert {product.kind for product in found} == kinds


def test_parts_of_etags_agree_with_sizes(packaged):
    for product in packaged:
        n_parts = int((product.etag or "").partition("-")[2] or 0)
        if n_parts and product.n_bytes:
            assert product.etag_part_bytes in likely_part_sizes(product.n_bytes, n_parts)


def test_subsets_are_nested_and_tests_belong_to_them(packaged):
    for kind in ("energy", "hamiltonian"):
        sizes = [
            packaged.get(f"{kind}/train-{name}").n_molecules
            for name in ("tiny", "small", "medium", "large", "full")
        ]
        assert sizes == sorted(sizes)
    for product in packaged:
        if product.train_subset:
            folder = product.name.rpartition("/")[0]
            train = packaged.get(f"{folder}/{product.train_subset.rpartition('/')[2]}")
            assert (product.n_molecules or 0) < (train.n_molecules or 0)


def test_fields_are_those_of_the_package_and_units_convert(packaged):
    beside = {"molecule_id", "conformation_id", "smiles"}
    for product in packaged:
        for field in product.fields:
            assert field.becomes is None or field.becomes in {*FIELDS, *beside}, field
            if field.becomes in FIELDS and not field.absent:
                assert field.unit_here == FIELDS[field.becomes].unit, field
                if field.unit != "?":
                    assert convert(1.0, source=field.unit, target=field.unit_here) > 0


def test_the_summary_is_read_as_the_catalogue_says(packaged):
    said = {}
    for field in packaged.get("summary/properties").fields:
        if field.becomes in FIELDS:
            said.setdefault(field.becomes, []).append(field.column)

    assert {name: tuple(columns) for name, columns in said.items()} == FIELD_COLUMNS


def test_everything_published_says_licence_and_where_it_is_unknown_why(packaged):
    for product in packaged:
        assert product.licence is not None, product.name
        assert product.urls or product.embedded or product.notes, product.name
        assert product.defects or product.embedded, product.name


def test_embedded_entries_agree_with_the_stores(packaged):
    embedded = {product.name: product for product in packaged if product.embedded}

    assert set(embedded) == set(embedded_datasets())
    for name, product in embedded.items():
        source = open_source(name)
        assert product.n_conformations == len(source)
        assert product.n_molecules == len(set(source.keys[:, 0].tolist()))
        assert {field.column for field in product.fields} <= {"atomic_numbers", "positions"} | set(
            source.info.fields
        )


# Finding.


def test_select_by_folder_pattern_and_part(packaged):
    assert len(packaged.select()) == len(packaged)
    assert packaged.select("energy") == packaged.select("energy/*")
    assert [p.name for p in packaged.select("hamiltonian/train-[tl]*")] == [
        "hamiltonian/train-tiny",
        "hamiltonian/train-large",
    ]
    assert {p.version for p in packaged.select("v1")} == {"v1"}
    assert [p.name for p in packaged.select("nano")] == ["nano"]
    assert {p.name for p in packaged.select("tiny")} == {
        f"{kind}/{part}-tiny"
        for kind in ("energy", "hamiltonian")
        for part in ("train", "test-conformations")
    }


def test_a_wrong_name_is_refused_with_the_closest(packaged):
    with pytest.raises(UnknownNameError, match=r"'energy/train-tny'.*mean 'energy/train-tiny'"):
        packaged.get("energy/train-tny")
    with pytest.raises(UnknownNameError, match="Did you mean 'energy'"):
        packaged.select("enrgy")
    assert packaged.find("energy/train-tny") is None


def test_names_of_upstream_are_explained(packaged):
    with pytest.raises(UnknownNameError, match="No product 'dataset_train_tiny'") as refusal:
        packaged.get("dataset_train_tiny")

    assert refusal.value.__notes__ == [
        "dataset_train_tiny is what upstream calls energy/train-tiny and hamiltonian/train-tiny."
    ]


# Catalogues of users.

GOOD = """
format = 1

[[product]]
name = "ours/solvents"
kind = "store"
version = "1"
what = "our solvents"
url = "https://data.example.org/solvents.tar"
file_name = "solvents.tar"
"""


@pytest.fixture
def write(tmp_path):
    def written(text, name="ours.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


def test_user_file_adds_to_the_packaged_one_and_may_use_what_it_defines(write, monkeypatch):
    file = write(GOOD + 'method = "psi4-wb97xd"\nlicence = "cc0"\nfields = "energy"\n')
    monkeypatch.setenv("NABLADFT_CATALOG", str(file))

    catalogue = load_catalogue()

    ours = catalogue.get("ours/solvents")
    assert catalogue.products[-1] is ours
    assert ours.source == file
    assert ours.method == catalogue.get("energy/train-tiny").method
    assert len(ours.fields) > 3


def test_user_file_by_configuration_is_relative_to_it(write, tmp_path, monkeypatch):
    write(GOOD)
    monkeypatch.setenv("NABLADFT_CONFIG", str(write('catalogs = ["ours.toml"]', "config.toml")))

    assert load_catalogue().find("ours/solvents") is not None


def test_mirrors_follow_the_origin(write):
    file = write(GOOD + 'mirrors = ["file:///share/solvents.tar", "s3://bucket/solvents.tar"]\n')

    assert read_catalogue([PACKAGED, file]).get("ours/solvents").urls == (
        "https://data.example.org/solvents.tar",
        "file:///share/solvents.tar",
        "s3://bucket/solvents.tar",
    )


def test_a_name_that_exists_is_replaced_only_when_asked(write):
    same = GOOD.replace("ours/solvents", "energy/train-tiny")
    with pytest.raises(CatalogueError, match=r"'energy/train-tiny': is in .*files\.toml already"):
        read_catalogue([PACKAGED, write(same)])

    catalogue = read_catalogue([PACKAGED, write(same + "overrides = true\n")])

    assert catalogue.get("energy/train-tiny").what == "our solvents"
    assert catalogue.names == read_catalogue([PACKAGED]).names


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("what =", "waht =", r"ours\.toml: product 'ours/solvents': unknown key 'waht'.*'what'"),
        ("format = 1", "format = 2", "format must be 1, got 2"),
        ("format = 1", "formt = 1", "the file: unknown key 'formt'. Did you mean 'format'"),
        ('kind = "store"', 'kind = "stor"', "kind 'stor' is unknown. Did you mean 'store'"),
        ('version = "1"\n', "", "'ours/solvents': has no version"),
        ('version = "1"', "version = 1", "version must be a text, got 1"),
        ('"ours/solvents"', '"Our Solvents"', "name must be small letters"),
        ('url = "https:', 'url = "ftp:', "url must be an address that starts with"),
        ('url = "https://data.example.org/solvents.tar"\n', "", "has no url; if the address is"),
        ('"solvents.tar"\n', '"a/b.tar"\n', "file_name must be a plain name, got 'a/b.tar'"),
        ('"solvents.tar"\n', '".."\n', "file_name must be a plain name, got '..'"),
        ('"solvents.tar"\n', r'"a\\b.tar"' + "\n", "file_name must be a plain name, got 'a"),
        ('"ours/solvents"', '"../solvents"', "name must be small letters"),
        ('"solvents.tar"\n', '"solvents.tar"\nn_bytes = -1\n', "n_bytes must be a number above 0"),
        ('"solvents.tar"\n', '"solvents.tar"\nn_bytes = true\n', "n_bytes must be a number above"),
        (
            '"solvents.tar"\n',
            '"solvents.tar"\nn_bytes = 2\nn_bytes_about = 2\n',
            "gives both n_bytes and n_bytes_about",
        ),
        ('"solvents.tar"\n', '"solvents.tar"\netag = "abc"\n', "etag must be 32 hexadecimal"),
        ('"solvents.tar"\n', '"solvents.tar"\nsha256 = "abc"\n', "sha256 must be 64 hexadecimal"),
        (
            '"solvents.tar"\n',
            f'"solvents.tar"\nn_bytes = 30\netag = "{32 * "a"}-2"\netag_part_bytes = 10\n',
            "30 bytes in parts of 10 are 3 parts, but the etag says 2",
        ),
        ('"solvents.tar"\n', '"solvents.tar"\nmethod = "psi4"\n', "refers to methods.psi4, which"),
        ('"solvents.tar"\n', '"solvents.tar"\ndefects = "x"\n', "defects must be a list of names"),
        (
            '"solvents.tar"\n',
            '"solvents.tar"\ndefects = ["core-nul"]\n',
            "refers to defects.core-nul.*Did you mean 'core-null'",
        ),
        ('"solvents.tar"\n', '"solvents.tar"\noverrides = true\n', "nothing of that name to rep"),
        ('"solvents.tar"\n', '"solvents.tar"\nmirrors = ["x"]\n', "mirrors must be an address"),
        ("[[product]]", "[product]", r"write products as \[\[product\]\], with two brackets"),
        ("format = 1", "format = 1\n[defects.core-null]\ntext = 'x'\n", "is defined already"),
        ("format = 1", "format = 1\n[defects.x]\ntxt = 'x'\n", r"defects\.x: unknown key 'txt'"),
        ("format = 1", "format = 1\n[defects.x]\ntext='x'\nissues=['1']\n", "list of numbers"),
        ("format = 1", "format = 1\n[field_sets]\nx = [{column='a'}]\n", "has no unit"),
        ("format = 1", "format =", "cannot be read"),
    ],
)
def test_wrong_files_are_refused_with_file_and_product(write, old, new, match):
    assert old in GOOD

    with pytest.raises(CatalogueError, match=match) as refusal:
        read_catalogue([PACKAGED, write(GOOD.replace(old, new, 1))])

    assert "ours.toml" in str(refusal.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("what =", "waht ="),
        ("format = 1", "format = 2"),
        ('kind = "store"', 'kind = "stor"'),
        ('version = "1"\n', ""),
        ('"ours/solvents"', '"Our Solvents"'),
        ('url = "https:', 'url = "ftp:'),
        ('url = "https://data.example.org/solvents.tar"\n', ""),
        ('"solvents.tar"\n', '"a/b.tar"\n'),
        ('"solvents.tar"\n', '".."\n'),
        ('"solvents.tar"\n', r'"a\\b.tar"' + "\n"),
        ('"ours/solvents"', '"../solvents"'),
        ('"solvents.tar"\n', '"solvents.tar"\nn_bytes = -1\n'),
        ('"solvents.tar"\n', '"solvents.tar"\nn_bytes = 2\nn_bytes_about = 2\n'),
        ('"solvents.tar"\n', '"solvents.tar"\netag = "abc"\n'),
        ('"solvents.tar"\n', '"solvents.tar"\netag_part_bytes = 5\n'),
        ("format = 1", "format = 1\n[field_sets]\nx = [{column='a'}]\n"),
        ("format = 1", "format = 1\n[defects.x]\ntext='x'\nissues=['1']\n"),
    ],
)
def test_schema_refuses_them_too(old, new):
    jsonschema.validate(tomllib.loads(GOOD), SCHEMA)

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(GOOD.replace(old, new, 1)), SCHEMA)


def test_the_same_name_or_place_twice_is_refused(write):
    second = GOOD.partition("[[product]]")[2]
    with pytest.raises(CatalogueError, match=r"'ours/solvents': is in .* already"):
        read_catalogue([write(GOOD + "[[product]]" + second)])

    other = second.replace("ours/solvents", "ours/others")
    with pytest.raises(CatalogueError, match=r"'ours/others'.*same place as 'ours/solvents'"):
        read_catalogue([write(GOOD + "[[product]]" + other)])


def test_a_missing_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NABLADFT_CATALOG", str(tmp_path / "none.toml"))

    with pytest.raises(CatalogueError, match=re.escape(str(tmp_path / "none.toml"))):
        load_catalogue()
