import json

import numpy as np
import pytest

import nabladft
from benchmarks.leaderboard_place import PART
from nabladft.errors import InputError, SplitError, UnknownNameError
from nabladft.fields import LABEL_FIELDS
from nabladft.leaderboard.server.blinding import write_public_copy
from nabladft.splits import read_split


def test_the_copy_has_ids_and_geometries_of_the_part_and_no_label(public_copy):
    labels, split = nabladft.open("nano"), read_split("nano")
    copy = nabladft.open(public_copy / "data")

    assert copy.keys.tolist() == split.part(PART).tolist()
    for mine, theirs in zip(copy, labels.read(labels.rows_of(copy.keys)), strict=True):
        assert mine.fields == ()
        assert np.array_equal(mine.positions, theirs.positions)
        assert mine.smiles == theirs.smiles
    assert copy.data_hash != labels.data_hash


def test_no_byte_of_a_label_is_in_any_file_of_the_copy(public_copy):
    labels = nabladft.open("nano")
    rows = labels.rows_of(read_split("nano").part(PART))
    files = [path.read_bytes() for path in public_copy.rglob("*") if path.is_file()]
    geometry = labels[int(rows[0])].positions
    assert any(geometry[0].tobytes() in content for content in files), "the search finds something"

    for record in labels.read(rows):
        for name in LABEL_FIELDS:
            value = getattr(record, name)
            if value is None:
                continue
            for number in np.ravel(value)[:8]:
                if number:
                    patterns = (
                        np.float64(number).tobytes(),
                        np.float64(number).byteswap().tobytes(),
                        repr(float(number)).encode(),
                    )
                    assert not any(p in content for p in patterns for content in files), name


def test_the_split_of_the_copy_has_the_same_ids_and_holds_for_copy_and_training_data(public_copy):
    split = read_split(public_copy / "split.json")

    assert split.sha256 == read_split("nano").sha256
    split.check_belongs_to(nabladft.open(public_copy / "data"))
    split.check_belongs_to(nabladft.open("nano"))


def test_the_hash_of_the_private_data_is_not_in_the_copy(public_copy):
    private = nabladft.open("nano").data_hash.encode()

    assert not any(private in path.read_bytes() for path in public_copy.rglob("*.*"))
    assert json.loads((public_copy / "split.json").read_text())["data_hash"] is None


def test_a_copy_is_made_into_a_new_folder_of_parts_that_exist(tmp_path):
    labels, split = nabladft.open("nano"), read_split("nano")

    with pytest.raises(InputError, match="is there already"):
        write_public_copy(labels, split, tmp_path)
    with pytest.raises(UnknownNameError, match="No part of the split 'test'"):
        write_public_copy(labels, split, tmp_path / "new", parts=["test"])


def test_a_split_of_other_data_is_refused(tmp_path, public_copy):
    with pytest.raises(SplitError, match="was made for data"):
        write_public_copy(nabladft.open(public_copy / "data"), read_split("nano"), tmp_path / "new")
