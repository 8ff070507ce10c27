import argparse
import csv
import signal
import subprocess
import sys
import time

import pytest

from nabladft.cli import convert
from nabladft.cli.main import main
from nabladft.errors import ConfigError, InputError
from nabladft.splits import read_split
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from tests.conversion.conftest import spoil_energy
from tests.storage.published_files import write_energy_file


def run(*arguments):
    parser = argparse.ArgumentParser()
    convert.add_parser(parser.add_subparsers())
    return convert.run(parser.parse_args(["convert", *map(str, arguments)]))


@pytest.fixture(scope="module")
def energy_file(tmp_path_factory):
    records = open_source("nano").read(range(20))
    return write_energy_file(tmp_path_factory.mktemp("source") / "energies.db", records)


def test_a_file_becomes_a_store_and_is_verified(energy_file, tmp_path, capsys):
    assert run(energy_file, tmp_path / "store", "--shard-rows", 8, "--verify") == 0

    out, err = capsys.readouterr()
    assert "store: 20 conformations" in out
    assert "verified 20 conformations against the source" in out
    assert "forces: largest difference 0 hartree/bohr (allowed: none)" in out
    assert err == ""  # quiet when not a terminal
    assert len(Store(tmp_path / "store").manifest.shards) == 3


def test_running_again_says_that_nothing_is_left(energy_file, tmp_path, capsys):
    run(energy_file, tmp_path / "store")
    capsys.readouterr()

    assert run(energy_file, tmp_path / "store") == 0
    assert "store is complete already: 20 conformations." in capsys.readouterr().out


def test_options_reach_the_store(tmp_path):
    bound = ("--compact", "--error-bound", "hamiltonian=1e-6", "forces=1e-7")
    names = ("--name", "small", "--licence", "CC0-1.0", "--limit", 7)

    assert run("nano", tmp_path / "s", *bound, *names, "--fields", "forces", "hamiltonian") == 0

    store = Store(tmp_path / "s")
    assert len(store) == 7
    assert (store.info.name, store.manifest.licence) == ("small", "CC0-1.0")
    assert store.info.details["error_bounds"] == {"hamiltonian": 1e-6, "forces": 1e-7}


def test_a_part_of_a_split(tmp_path):
    assert run("nano", tmp_path / "s", "--split", "nano", "--part", "test_scaffolds") == 0

    expected = {tuple(key) for key in read_split("nano").part("test_scaffolds").tolist()}
    assert {tuple(key) for key in Store(tmp_path / "s").keys.tolist()} == expected


def test_a_list_of_ids(energy_file, tmp_path):
    keys = open_source(energy_file).keys[[3, 1]].tolist()
    ids = tmp_path / "ids.csv"
    ids.write_text("conformation_id,note,molecule_id\n" + "".join(f"{c},x,{m}\n" for m, c in keys))

    assert run(energy_file, tmp_path / "s", "--ids", ids) == 0
    assert Store(tmp_path / "s").keys.tolist() == keys[::-1]


def test_bad_rows_are_listed_and_the_exit_code_says_so(tmp_path, capsys):
    records = open_source("nano").read(range(6))
    source = spoil_energy(write_energy_file(tmp_path / "e.db", records), number=3)

    with pytest.raises(InputError, match=r"row 2 .* not finite.* --skip-bad"):
        run(source, tmp_path / "s")
    assert run(source, tmp_path / "s", "--skip-bad", tmp_path / "bad.csv", "--verify") == 1

    assert "1 rows were left out" in capsys.readouterr().err
    with (tmp_path / "bad.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["row"], row["molecule_id"]) == ("2", str(records[2].molecule_id))
    assert "not finite" in row["reason"]


def test_an_export(tmp_path, capsys):
    assert run("nano", tmp_path / "o.xyz", "--fields", "energy", "forces", "--verify") == 0
    assert "o.xyz: 315 conformations" in capsys.readouterr().out
    assert len(open_source(tmp_path / "o.xyz")) == 315


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["s", "--workers", 0], ConfigError, "--workers must be at least 1"),
        (["s", "--error-bound", "forces"], ConfigError, "FIELD=BOUND"),
        (["s", "--error-bound", "forces=1e-8"], InputError, "needs the compact codec"),
        (["s", "--compact", "--error-bound", "dipol=1"], InputError, "not stored"),
        (["s", "--ids", "a", "--split", "b"], ConfigError, "--ids or --split"),
        (["s", "--part", "train"], ConfigError, "go together"),
        (["s", "--limit", 0], InputError, "limit must be at least 1"),
        (["o.xyz", "--workers", 2, "--compact"], ConfigError, "--compact, --workers is for stores"),
    ],
)
def test_options_that_make_no_sense(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run("nano", *options)
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_molecules(tmp_path):
    molecule_id = int(open_source("nano").keys[0, 0])
    (tmp_path / "ids.txt").write_text(f"{molecule_id}\n")

    assert run("nano", tmp_path / "s", "--ids", tmp_path / "ids.txt") == 0
    assert set(Store(tmp_path / "s").keys[:, 0].tolist()) == {molecule_id}


def test_errors_have_one_message_and_exit_code_two(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "nothing.db"), str(tmp_path / "s")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    command = [sys.executable, "-m", "nabladft.cli.main", "convert", "nano", "store"]
    command += ["--shard-rows", "2", "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    staging = tmp_path / "store" / ".staging-shards"
    deadline = time.monotonic() + 30
    while not list(staging.glob("shard-*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "run the same command again" in err
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "store: 315 conformations" in done.stdout
    assert Store(tmp_path / "store").data_hash == open_source("nano").data_hash
