import gzip
import re

import numpy as np
import pytest

import nabladft
from nabladft.errors import FormatError, InputError
from nabladft.storage.formats import summary_table
from nabladft.storage.formats.summary_table import (
    COLUMNS,
    is_summary,
    keys_with_tag,
    open_summary,
    read_summary,
    split_tags,
)
from tests.storage.published_files import summary_frame


@pytest.fixture(scope="module")
def records():
    return nabladft.open("nano")[:40:2]


@pytest.fixture(scope="module")
def frame(records):
    return summary_frame(records)


@pytest.fixture(params=["summary.csv", "summary.csv.gz", "summary.csv.xz", "summary.csv.bz2"])
def summary_file(request, tmp_path, frame):
    path = tmp_path / request.param
    frame.to_csv(path)
    return path


def test_numbers_come_back_whatever_packs_them(summary_file, frame, records):
    table = open_summary(summary_file)

    rows = table.find([records[5].key, (10**6, 0), records[0].key])

    assert len(table) == 20
    assert rows[1] == -1
    expected = frame.loc[[5, 0], list(COLUMNS)].to_numpy()
    np.testing.assert_array_equal(table.read(rows[[0, 2]], COLUMNS), expected)
    assert table.keys.tolist() == sorted(list(record.key) for record in records)
    assert is_summary(summary_file)


def test_chunks_are_the_whole_in_order(summary_file, frame):
    found = list(read_summary(summary_file, chunk=7))

    assert [len(one) for one in found] == [7, 7, 6]
    ids = np.concatenate([one["MOSES id"] for one in found])
    np.testing.assert_array_equal(ids, frame["MOSES id"])


def test_large_table_is_prepared_once(tmp_path, frame, monkeypatch, records):
    monkeypatch.setattr(summary_table, "_SMALL", 0)
    monkeypatch.setattr(summary_table, "_CHUNK", 6)
    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "summary.csv.gz"
    frame.sample(frac=1, random_state=3).to_csv(path)

    table = open_summary(path)
    monkeypatch.setattr(summary_table, "read_summary", None)  # not read a second time
    again = open_summary(path)

    rows = again.find([record.key for record in records])
    np.testing.assert_array_equal(again.read(rows, COLUMNS), frame[list(COLUMNS)].to_numpy())
    np.testing.assert_array_equal(table.ids, again.ids)
    (prepared,) = (tmp_path / "cache" / "summaries").iterdir()
    assert sorted(file.name for file in prepared.iterdir()) == ["ids.npy", "values.npy"]


def test_preparation_that_fails_leaves_nothing(tmp_path, frame, monkeypatch):
    monkeypatch.setattr(summary_table, "_SMALL", 0)
    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "summary.csv.gz"
    frame.to_csv(path)
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(FormatError, match="truncated"):
        open_summary(path)
    assert list((tmp_path / "cache" / "summaries").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("train_full", {"train_full"}),
        ("train_full,train_100k", {"train_full", "train_100k"}),
        ("['train_full', 'train_100k']", {"train_full", "train_100k"}),
        ("train_full|train_100k;train_10k", {"train_full", "train_100k", "train_10k"}),
        (float("nan"), set()),
    ],
)
def test_tags_are_a_set_whatever_separates_them(text, tags):
    assert split_tags(text) == tags


def test_conformations_with_several_tags_are_in_each(summary_file, records):
    assert len(keys_with_tag(summary_file, "train_full")) == 20
    keys = keys_with_tag(summary_file, "train_100k")
    assert keys.tolist() == [list(record.key) for record in records[1::2]]
    with pytest.raises(InputError, match=r"the tag 'test'.*train_100k \(10\), train_full \(20\)"):
        keys_with_tag(summary_file, "test")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text[: len(text) // 2], "is truncated: its last line has no end"),
        (lambda text: "", "is empty"),
        (lambda text: text.replace("DFT HOMO,", "HOMO,"), "lacks the columns DFT HOMO"),
        (lambda text: "a,b\n1,2\n", "lacks the columns MOSES id, CONFORMER id"),
        (
            lambda text: text.replace(text.split("\n")[3].split(",")[4], "much"),
            "line 4, column 'DFT TOTAL ENERGY' cannot be read",
        ),
        (
            lambda text: re.sub(r"\n5,\d+", "\n5,1.5", text),
            "line 7, column 'MOSES id' cannot be read",
        ),
        (lambda text: text + text.split("\n")[1] + "\n", "on two lines, 2 and 22"),
        (lambda text: text + "20,-5" + text[text.index(",", 400) :], "out of range|cannot be read"),
    ],
)
def test_damage_is_refused_with_its_place(tmp_path, frame, change, match):
    path = tmp_path / "summary.csv"
    frame.to_csv(path)
    path.write_text(change(path.read_text()))

    with pytest.raises(FormatError, match=match):
        open_summary(path)


def test_truncated_gzip_and_zstd_are_refused(tmp_path, frame):
    path = tmp_path / "summary.csv.gz"
    path.write_bytes(gzip.compress(frame.to_csv().encode())[:-50])
    with pytest.raises(FormatError, match="is truncated or damaged"):
        open_summary(path)

    content = bytearray(gzip.compress(frame.to_csv().encode()))
    content[300:320] = bytes(20)
    path.write_bytes(bytes(content))
    with pytest.raises(FormatError, match="is truncated or damaged"):
        open_summary(path)

    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"0" * 50)
    with pytest.raises(FormatError, match=r"unzstd|truncated|cannot be read"):
        open_summary(path)


def test_other_files_are_no_summaries(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n")

    assert not is_summary(path)
