import argparse
import hashlib
import json

import numpy as np
import pytest

from nabladft.cli import verify
from nabladft.conformation import Conformation
from nabladft.errors import InputError, NotDownloadedError, UnknownNameError
from nabladft.resources import embedded_datasets
from tests.storage.published_files import write_energy_file


@pytest.fixture
def run(capsys, data_place):
    def ran(*arguments):
        parser = argparse.ArgumentParser()
        verify.add_parser(parser.add_subparsers())
        code = verify.run(parser.parse_args(["verify", *map(str, arguments)]))
        return code, capsys.readouterr().out

    return ran


@pytest.fixture
def file(tmp_path, data_place, monkeypatch):
    """A product of a user's catalogue, downloaded."""
    path = data_place / "ours" / "water.db"
    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    records = [
        Conformation(
            molecule_id=1,
            conformation_id=number,
            atomic_numbers=np.array([8, 1, 1]),
            positions=rng.normal(size=(3, 3)),
            smiles="O",
            formation_energy=-0.3,
            forces=rng.normal(size=(3, 3)),
        )
        for number in range(2)
    ]
    write_energy_file(path, records)
    catalogue = tmp_path / "ours.toml"
    catalogue.write_text(
        f"""
        format = 1

        [[product]]
        name = "ours/water"
        kind = "energy"
        version = "1"
        what = "water"
        url = "https://data.example.org/water.db"
        file_name = "water.db"
        n_bytes = {path.stat().st_size}
        md5 = "{hashlib.md5(path.read_bytes()).hexdigest()}"
        n_conformations = 2
        n_molecules = 1
        """
    )
    monkeypatch.setenv("NABLADFT_CATALOG", str(catalogue))
    return path


def test_a_right_file_by_name_by_path_and_elsewhere(run, file, tmp_path):
    code, out = run("ours/water")

    assert code == 0
    assert out.splitlines()[0] == f"ours/water: {file}"
    assert out.endswith("This is right.\n")
    assert run(file) == (code, out)
    elsewhere = file.rename(tmp_path / "other.db")
    assert "not in the catalogue" in run(elsewhere)[1]
    assert run(elsewhere, "--as", "ours/water") == (0, out.replace(str(file), str(elsewhere)))


def test_a_changed_byte_is_wrong(run, file):
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)

    code, out = run("ours/water")

    assert code == 1
    assert "MD5" in out
    assert "WRONG, should be" in out
    assert out.endswith("fetch it again: nabladft download ours/water\n")
    code, out = run("ours/water", "--quick")
    assert code == 0
    assert "Nothing is wrong as far as was looked" in out


def test_everything_here_and_one_of_it_wrong(run, file):
    code, out = run("--here")
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        line
        for line in out.splitlines()
        if line.startswith(tuple(f"{name}: " for name in (*embedded_datasets(), "ours/water")))
    ]
    assert out.count("This is right.") == len(embedded_datasets()) + 1

    file.write_bytes(file.read_bytes()[:-1])
    code, out = run("--here")

    assert code == 1
    assert out.count("This is right.") == len(embedded_datasets())
    assert out.count("This is WRONG.") == 1


def test_json(run, file):
    code, out = run("ours/water", "--json")

    (document,) = json.loads(out)
    assert code == 0
    assert document["is_right"]
    assert document["is_proven"]
    assert {check["what"] for check in document["checks"]} >= {"size", "MD5", "ids"}


def test_a_real_published_file(run, published_energy_file):
    code, out = run(published_energy_file)

    assert code == 0
    assert "conformations  50" in out
    assert "no hash to prove" in out


def test_a_damaged_unknown_file_is_wrong(run, tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"SQLite format 3\x00 and then nothing")

    code, out = run(path)

    assert code == 1
    assert "contents" in out


def test_what_cannot_be_verified_is_refused(run):
    with pytest.raises(NotDownloadedError, match="nabladft download energy/train-tiny"):
        run("energy/train-tiny")
    with pytest.raises(UnknownNameError, match="Did you mean 'energy/train-tiny'"):
        run("energy/train-tny")
    with pytest.raises(InputError, match=r"no file or folder 'none\.db'"):
        run("none.db")
    with pytest.raises(InputError, match="Say what to verify"):
        run()
    with pytest.raises(InputError, match="Say what to verify"):
        run("nano", "--here")
    with pytest.raises(InputError, match="--as nano says what one file is, but 2 were given"):
        run("a", "b", "--as", "nano")
