"""A stranger's name for data leads to data of that name, and to no file or server."""

import socket

import pytest

import nabladft
from nabladft.errors import NablaDFTError, UnknownNameError
from nabladft.leaderboard.at_hand import open_named, split_named
from nabladft.splits import read_split


def test_names_lead_to_what_comes_with_the_package():
    assert open_named("nano").data_hash == nabladft.open("nano").data_hash
    assert split_named("nano").sha256 == read_split("nano").sha256


def test_a_path_is_no_name(tmp_path, monkeypatch):
    import shutil

    from nabladft.resources import embedded_datasets, resource_folder

    monkeypatch.chdir(tmp_path)
    shutil.copytree(embedded_datasets()["nano"], tmp_path / "mine")
    shutil.copy(resource_folder("splits") / "nano.json", tmp_path / "mine.json")

    for name in ("mine", "./mine", str(tmp_path / "mine"), "../../etc/passwd", "file:///mine"):
        with pytest.raises(UnknownNameError, match="No data set"):
            open_named(name)
    for name in ("mine.json", str(tmp_path / "mine.json"), "../nano", "nano.json"):
        with pytest.raises(UnknownNameError, match="No split"):
            split_named(name)


@pytest.mark.parametrize("name", ["https://example.org/x", "s3://bucket/x", "http://127.0.0.1:1/"])
def test_an_address_is_no_name_and_nothing_is_asked(name, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    with pytest.raises(NablaDFTError, match="No data set"):
        open_named(name)
