import hashlib

import pytest

from nabladft.catalog.catalogue import PACKAGED, read_catalogue
from nabladft.catalog.product import Product
from nabladft.errors import InputError
from nabladft.storage.checking import check_data, product_of_file
from tests.storage.published_files import write_energy_file


@pytest.fixture
def file(tmp_path, record):
    records = [
        record(molecule, number, formation_energy=-0.3, energy=None)
        for molecule, number in ((3, 0), (3, 1), (4, 0))
    ]
    return write_energy_file(tmp_path / "train.db", records)


@pytest.fixture
def product(file):
    return promised(file)


def promised(file, **said):
    content = file.read_bytes()
    values = {
        "kind": "energy",
        "n_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "n_conformations": 3,
        "n_molecules": 2,
    }
    return Product(
        name="ours/train",
        version="1",
        what="ours",
        file_name=file.name,
        **{**values, **said},
    )


def etag(content, part_bytes):
    parts = [content[i : i + part_bytes] for i in range(0, len(content), part_bytes)]
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"


def said(verdict):
    return {check.what: check.is_right for check in verdict.checks}


def test_a_right_file_is_proven(file, product):
    seen = []

    verdict = check_data(file, product, progress=seen.append)

    assert verdict.is_right
    assert verdict.is_proven
    assert said(verdict) == dict.fromkeys(
        ("size", "SHA-256", "conformations", "molecules", "ids"), True
    )
    assert sum(seen) == file.stat().st_size


@pytest.mark.parametrize("part_bytes", [1 << 12, 8 << 20])
@pytest.mark.parametrize("is_known", [True, False])
def test_etags_of_any_part_size(file, part_bytes, is_known):
    product = promised(
        file,
        sha256=None,
        etag=etag(file.read_bytes(), part_bytes),
        etag_part_bytes=part_bytes if is_known else None,
    )

    assert said(check_data(file, product))["ETag"] is True


def test_an_etag_of_unusual_parts_proves_nothing_either_way(file):
    tag = etag(file.read_bytes(), 5000)

    unknown = check_data(file, promised(file, sha256=None, etag=tag))
    known = check_data(file, promised(file, sha256=None, etag=tag, etag_part_bytes=5000))

    assert said(unknown)["ETag"] is None
    assert unknown.is_right
    assert not unknown.is_proven
    assert known.is_proven


def test_one_changed_byte_is_found(file, product):
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)

    verdict = check_data(file, product)

    assert said(verdict) == {"size": True, "SHA-256": False}
    assert not verdict.is_right
    assert check_data(file, product, quick=True).is_right


def test_a_truncated_file_is_not_even_hashed(file, product):
    file.write_bytes(file.read_bytes()[:-100])

    assert said(check_data(file, product)) == {"size": False}
    assert said(check_data(file)) == {"contents": False}


def test_the_number_of_parts_bounds_an_unknown_size(file):
    size = file.stat().st_size
    tag = etag(file.read_bytes(), 4096)
    product = promised(file, n_bytes=None, sha256=None, etag=tag, etag_part_bytes=4096)
    assert check_data(file, product).is_right

    file.write_bytes(file.read_bytes()[: size - 5000])
    (check,) = check_data(file, product).checks

    assert check.is_right is False
    assert "parts of the ETag" in check.expected


@pytest.mark.parametrize(
    ("said_of", "what"),
    [({"n_conformations": 4}, "conformations"), ({"n_molecules": 3}, "molecules")],
)
def test_other_counts_than_promised(file, said_of, what):
    verdict = check_data(file, promised(file, **said_of))

    assert said(verdict)[what] is False
    assert not verdict.is_right


def test_estimated_counts_are_shown_and_prove_nothing(file):
    product = promised(
        file, n_bytes=None, n_bytes_about=10, n_conformations=None, n_conformations_about=7
    )

    checks = {check.what: check for check in check_data(file, product).checks}

    assert checks["size"].is_right is None
    assert checks["conformations"].is_right is None
    assert checks["conformations"].expected == "about 7"


def test_repeated_ids_are_wrong_but_frames_of_one_relaxation_are_not(tmp_path, record):
    row = record(3, 0, formation_energy=-0.3, energy=None)

    twice = check_data(write_energy_file(tmp_path / "twice.db", [row, row]))
    frames = check_data(write_energy_file(tmp_path / "x.db", [row, row], iterations=[0, 1]))

    assert not twice.is_right
    assert said(twice)["ids"] is False
    assert said(frames)["ids"] is True


def test_without_hash_nothing_is_proven(file):
    verdict = check_data(file, promised(file, sha256=None))

    assert verdict.is_right
    assert not verdict.is_proven
    assert said(verdict)["hash"] is None


def test_what_has_no_rows_is_compared_by_its_bytes(tmp_path):
    file = tmp_path / "summary.csv.gz"
    file.write_bytes(b"packed")

    verdict = check_data(file, promised(file, kind="summary"))

    assert said(verdict) == {"size": True, "SHA-256": True}


def test_stores_are_compared_with_their_manifest(new_store, records):
    store = new_store(records)
    assert said(check_data(store.folder)) == {
        "manifest": True,
        "conformations": None,
        "molecules": None,
        "ids": True,
    }

    shard = next(store.folder.glob("*.h5"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)

    assert not check_data(store.folder).is_right


def test_files_are_recognised_by_name_then_size(tmp_path):
    catalogue = read_catalogue([PACKAGED])
    file = tmp_path / "train_10k.db"
    file.touch()
    assert product_of_file(file, catalogue).name == "hamiltonian/train-medium"

    # v1 energies and v2 Hamiltonians have this name; only the size of the second is known.
    file = file.rename(tmp_path / "test_2k_conformers.db")
    assert product_of_file(file, catalogue).name == "v1/energy/test-conformations-2k"
    assert product_of_file(tmp_path / "mine.db", catalogue) is None


def test_a_name_of_several_products_is_not_guessed(tmp_path):
    file = tmp_path / "train_full.db"
    file.touch()
    products = [
        Product(name=name, kind="energy", version="1", what="x", file_name=file.name)
        for name in ("a", "b")
    ]

    with pytest.raises(InputError, match=r"may be any of a, b. Say which: --as a"):
        product_of_file(file, products)
