"""Split files in JSON and HDF5 hold the same; ids alone say which data they fit."""

import h5py
import numpy as np
import pytest

from nabladft.errors import SplitError
from nabladft.splits import Split, read_split, write_ids, write_split
from nabladft.splits.split import pack_keys
from tests.conftest import MemorySource, displaced

IDS = np.array([(2, 1), (1, 0), (1, 3), (900_000, 7)])


@pytest.fixture
def split():
    return Split(
        name="toy",
        dataset="big",
        data_hash=None,
        parts={"train": IDS, "validation": np.zeros((0, 2), dtype=np.int64)},
        recipe={"from": {"train": "x"}},
    )


@pytest.mark.parametrize("name", ["toy.json", "toy.h5"])
def test_both_formats_give_the_same_split_back(split, tmp_path, name):
    write_split(split, tmp_path / name)

    again = read_split(tmp_path / name)

    assert again.sha256 == split.sha256
    assert (again.name, again.dataset, again.data_hash) == ("toy", "big", None)
    assert again.recipe == split.recipe
    assert again.counts() == split.counts()
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_hdf5_needs_no_filter_of_ours(split, tmp_path):
    write_split(split, tmp_path / "toy.h5")

    with h5py.File(tmp_path / "toy.h5") as file:
        column = file["parts/train/molecule_id"]
        assert column.compression == "gzip"
        assert column[()].tolist() == [1, 1, 2, 900_000]


def test_an_edited_hdf5_file_is_noticed(split, tmp_path):
    write_split(split, tmp_path / "toy.h5")
    with h5py.File(tmp_path / "toy.h5", "a") as file:
        file["parts/train/molecule_id"][0] = 5

    with pytest.raises(SplitError, match=r"the ids have SHA-256 .* It was edited"):
        read_split(tmp_path / "toy.h5")


def test_a_truncated_hdf5_file_is_refused(split, tmp_path):
    write_split(split, tmp_path / "toy.h5")
    whole = (tmp_path / "toy.h5").read_bytes()
    (tmp_path / "toy.h5").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(SplitError, match=r"toy\.h5 is not a split file"):
        read_split(tmp_path / "toy.h5")


def test_a_write_that_fails_leaves_the_old_file(split, tmp_path, monkeypatch):
    write_split(split, tmp_path / "toy.h5")
    before = (tmp_path / "toy.h5").read_bytes()

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(OSError, match="No space left"):
        write_split(split, tmp_path / "toy.h5")

    assert (tmp_path / "toy.h5").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "toy.h5"]


def test_ids_are_written_as_csv_with_a_header(tmp_path):
    write_ids(IDS, tmp_path / "ids.csv")

    assert (tmp_path / "ids.csv").read_text().splitlines() == [
        "molecule_id,conformation_id",
        "2,1",
        "1,0",
        "1,3",
        "900000,7",
    ]


@pytest.mark.parametrize("scale", [1, 2**61], ids=["small ids", "ids of any size"])
def test_packed_keys_are_equal_where_pairs_are_and_sort_as_they_do(rng, scale):
    first = rng.integers(-3, 3, size=(200, 2)) * scale
    second = rng.integers(-3, 3, size=(100, 2)) * scale

    one, two = pack_keys(first, second)

    pairs = [tuple(pair) for pair in np.concatenate([first, second]).tolist()]
    numbers = [*one.tolist(), *two.tolist()]
    assert len(set(zip(pairs, numbers, strict=True))) == len(set(pairs)) == len(set(numbers))
    assert [pairs[k] for k in np.argsort(numbers, kind="stable")] == sorted(pairs)


def test_ids_alone_belong_to_data_that_hold_a_part_whole():
    records = [*displaced("CCO", 1, 3), *displaced("C1CC1", 2, 2)]
    split = Split(
        name="s",
        dataset="d",
        data_hash=None,
        parts={"train": np.array([(1, 0), (1, 2)]), "test_structures": np.array([(9, 0)])},
    )

    split.check_belongs_to(MemorySource(records))
    with pytest.raises(SplitError, match=r"no part of split 's' whole \(train 50.0%"):
        split.check_belongs_to(MemorySource(records[:2]))
