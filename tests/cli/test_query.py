import csv
import json

import pytest

from nabladft.cli.main import main
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

pytest.importorskip("rdkit")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NABLADFT_INDEX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(*arguments):
    assert main(["query", *map(str, arguments)]) == 0


def test_a_table_is_shown_and_cut(capsys):
    run("nano", "elements contain Br")

    *lines, last = capsys.readouterr().out.strip().split("\n")
    assert len(lines) == 21
    assert lines[0].split() == [
        *("molecule_id", "conformation_id", "formula", "n_atoms", "energy", "smiles")
    ]
    assert last == "33 of 315 conformations, 20 shown (--limit, --csv)"


def test_a_count_is_one_number(capsys):
    run("nano", "split = 'test_scaffolds'", "--count")

    assert capsys.readouterr().out == "41\n"


def test_sorting_and_columns(capsys):
    options = ("--order-by", "n_atoms", "--descending", "--limit", 2, "--columns", "n_atoms", "n_C")

    run("nano", "", *options, "--json")

    document = json.loads(capsys.readouterr().out)
    assert document["count"] == 2
    assert [record["n_atoms"] for record in document["conformations"]] == [15, 15]


def test_csv_can_be_given_back_as_ids(folder, capsys):
    run("nano", "n_Br > 0", "--csv", "found.csv", "--columns", "formula")
    with (folder / "found.csv").open() as file:
        rows = list(csv.DictReader(file))

    run("nano", "--ids", "found.csv", "--count")

    assert list(rows[0]) == ["molecule_id", "conformation_id", "formula"]
    assert int(capsys.readouterr().out) == len(rows) == 33


@pytest.mark.parametrize("options", [(), ("--compact",)])
def test_a_new_store_holds_what_was_found(folder, options):
    run("nano", "formula = 'C4H4O'", "--store", "furan", *options)

    made = Store(folder / "furan")
    nano = {record.key: record for record in open_source("nano")}
    assert len(made) == 4
    assert all(record.energy == nano[record.key].energy for record in made)
    assert made.info.fields == open_source("nano").info.fields
    run(folder / "furan", "formula = 'C4H4O'", "--count")


def test_ids_a_sample_and_a_tag(folder, capsys):
    run("nano", "", "--sample", 10, "--seed", 3, "--ids-out", "ids.csv")
    run("nano", "--ids", "ids.csv", "--store", "ten")
    run("ten", "n_atoms < 12", "--tag", "small")
    capsys.readouterr()

    run("ten", "tag = 'small'", "--count")
    run("ten", "n_atoms < 12", "--count")

    one, two = capsys.readouterr().out.split()
    assert one == two


def test_a_published_file_is_asked_as_it_is(published_energy_file, capsys):
    run(published_energy_file, "smarts 'S(=O)(=O)N' and formation_energy < -7 Eh", "--count")

    expected = int(capsys.readouterr().out)
    assert 0 < expected < 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nano", "n_atom < 3"), "Did you mean 'n_atoms'?\n  n_atom < 3\n  ^"),
        (("nano", "n_atoms > 99", "--store", "none"), "No conformation fulfils 'n_atoms > 99'"),
        (("nano", "--columns", "enrgy"), "No name 'enrgy'. Did you mean 'energy'?"),
        (("nano", "--ids", "absent.csv"), "absent.csv"),
        (("nano", "--split", "absent.json"), "No split file or split 'absent.json'"),
    ],
)
def test_what_cannot_be_used_is_said(arguments, message, folder, capsys):
    assert main(["query", *arguments]) == 2

    assert message in capsys.readouterr().err
    assert not (folder / "none").exists()


def test_only_a_store_can_be_tagged(published_energy_file, capsys):
    assert main(["query", str(published_energy_file), "--tag", "x"]) == 2

    assert "Only conformations of a store can be tagged" in capsys.readouterr().err
