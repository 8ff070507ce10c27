import argparse
import csv
import io
import json
import os
import sys

import pytest

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.places import local_path
from nabladft.cli import list as listing
from nabladft.errors import UnknownNameError

pytestmark = pytest.mark.usefixtures("data_place")


@pytest.fixture
def run(capsys):
    def ran(*arguments):
        parser = argparse.ArgumentParser()
        listing.add_parser(parser.add_subparsers())
        assert listing.run(parser.parse_args(["list", *arguments])) == 0
        return capsys.readouterr().out

    return ran


def put(name):
    path = local_path(load_catalogue().get(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_everything_is_listed_once(run):
    names = [line.split()[0] for line in run().splitlines() if line.strip()]

    assert names == ["name", *load_catalogue().names]


def test_a_line_says_counts_size_and_whether_it_is_here(run):
    put("energy/train-small")
    lines = {line.split()[0]: line for line in run("energy").splitlines() if line}

    assert lines["energy/train-large"].split("  ")[-1].strip() == "-"
    assert "500 552" in lines["energy/train-large"]
    assert "2.3 GB" in lines["energy/train-large"]
    assert "~130 MB  yes" in lines["energy/train-small"]
    assert "~1 150 000" in lines["energy/test-structures"]
    assert lines["energy/train-full"].endswith("no address")
    assert "?" in lines["energy/test-trajectories"]


def test_columns_stand_below_each_other(run):
    lines = [line for line in run("hamiltonian").splitlines() if line]
    end = lines[0].index("conformations") + len("conformations")

    assert all(line[end : end + 2] == "  " and line[end - 1] != " " for line in lines)


@pytest.mark.parametrize("columns", [80, 95, 110, 300])
def test_the_table_fits_a_terminal(run, monkeypatch, columns):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))

    out = run()

    assert max(len(line) for line in out.splitlines()) <= columns
    assert ("..." in out) == (80 < columns < 300)
    assert "size" in out


def test_pattern_and_fields(run):
    names = [line.split()[0] for line in run("*tiny", "--fields", "hamiltonian").splitlines()]
    assert names == ["name", "hamiltonian/train-tiny", "hamiltonian/test-conformations-tiny"]
    assert run("summary", "--fields", "hamiltonian") == "Nothing holds all of these fields.\n"


def test_here(run, data_place):
    out = run("--here")
    assert out.split()[0] == "nano"
    assert f"Nothing is downloaded yet. Downloads go to {data_place}" in out

    path = put("energy/train-tiny")
    out = run("--here")

    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["nano", "mini", "energy/train-tiny"]
    assert str(path) in out


def test_what_an_installation_lacks_is_in_the_clone(run, monkeypatch):
    assert run("mini").splitlines()[1].split()[-2:] == ["packaged", "yes"]

    monkeypatch.setattr("nabladft.catalog.places.embedded_datasets", dict)

    assert run("mini").splitlines()[1].split()[-4:] == ["in", "the", "clone", "-"]


def test_csv_and_json_agree(run):
    rows = list(csv.DictReader(io.StringIO(run("v1", "--csv"))))
    documents = json.loads(run("v1", "--json"))

    assert [row["name"] for row in rows] == [document["name"] for document in documents]
    tiny = next(row for row in rows if row["name"] == "v1/hamiltonian/train-2k")
    assert tiny["n_bytes"] == "7430365184"
    assert tiny["n_bytes_exact"] == "True"
    assert "v1-forces-null" in tiny["defects"]
    assert all(document["defects"] for document in documents)


def test_what_is_unknown_is_refused(run):
    with pytest.raises(UnknownNameError, match="Did you mean 'energy'"):
        run("enrgy")
    with pytest.raises(UnknownNameError, match="Did you mean 'forces'"):
        run("--fields", "force")
