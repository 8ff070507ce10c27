"""``nabladft submit`` with predictions that come with the repository."""

import json
import re
import shutil

import h5py
import pytest

from nabladft.cli.main import main
from nabladft.leaderboard.board import board_folder, read_scored_entry
from nabladft.leaderboard.entry import EXAMPLE, parse_entry

LINEAR = board_folder() / "predictions" / "energy" / "linear-nano"
FILES = [str(path) for path in sorted(LINEAR.glob("*.h5"))]


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "entry.toml"
    path.write_text(EXAMPLE.replace("seeds = [1]", "seeds = []"))
    return path


@pytest.fixture
def run(entry, tmp_path, capsys):
    def start(*arguments, files=FILES):
        code = main(["submit", *files, "--entry", str(entry), "--out", str(tmp_path), *arguments])
        return code, *capsys.readouterr()

    return start


def test_a_submission_is_scored_and_says_what_comes_next(run, tmp_path):
    code, out, _ = run("--keep")

    path = tmp_path / "leaderboard/entries/energy/my-model.toml"
    assert code == 0
    assert "ok       all 38 conformations, each once, with the atoms of the data" in out
    assert re.search(r"Place \d+ of \d+ by energy MAE", out)
    assert f"written: {path}" in out
    assert "open a pull request" in out
    mine = read_scored_entry(path).details.results
    ours = read_scored_entry(board_folder() / "entries/energy/linear-nano.toml").details.results
    assert mine == ours
    assert main(["leaderboard", "verify", str(tmp_path / "leaderboard"), "--exact"]) == 0


def test_a_check_writes_nothing(run, tmp_path):
    code, out, _ = run("--check")

    assert code == 0
    assert "Nothing was scored or written" in out
    assert not (tmp_path / "leaderboard").exists()


def test_a_mistake_is_refused_by_its_name(run, tmp_path):
    files = [shutil.copy(file, tmp_path) for file in FILES]
    with h5py.File(files[0], "r+") as file:
        file["energy"].attrs["unit"] = "eV"

    code, _, err = run(files=files)

    assert code == 2
    assert "look like energies in hartree, stored as eV" in err
    assert "test_conformations.h5" in err
    assert not (tmp_path / "leaderboard").exists()


def test_a_missing_part_is_named(run):
    code, _, err = run(files=FILES[:2])

    assert code == 2
    assert "Predictions are missing: test_structures" in err


def test_a_missing_entry_and_what_to_do_about_it(run, entry):
    entry.unlink()

    code, _, err = run()

    assert code == 2
    assert "nabladft submit --example > entry.toml" in err


def test_an_example_is_an_entry(capsys):
    assert main(["submit", "--example"]) == 0

    assert parse_entry(capsys.readouterr().out, where="example").name == "my-model"


def test_an_example_is_filled_in_from_runs(tmp_path, capsys):
    for seed in (2, 1):
        record = {
            "model": "PaiNN",
            "predicts": ["formation_energy", "forces"],
            "n_parameters": 157_313,
            "seed": seed,
            "steps": 500,
            "seconds": 36.0 * seed,
            "data": {"name": "nano", "hash": "0"},
            "split": {"counts": {"train": {"conformations": 160}}},
            "sessions": [{"hardware": {"gpus": ["NVIDIA H100"], "cpu_count": 16}}],
        }
        (tmp_path / f"run{seed}").mkdir()
        (tmp_path / f"run{seed}" / "run.json").write_text(json.dumps(record))

    assert main(["submit", str(tmp_path / "run2"), str(tmp_path / "run1"), "--example"]) == 0

    entry = parse_entry(capsys.readouterr().out, where="draft")
    assert (entry.name, entry.task, entry.model.n_parameters) == ("painn-nano", "energy", 157_313)
    assert entry.training.seeds == (1, 2)
    assert entry.training.hours == pytest.approx(0.015)
    assert entry.training.hardware == "1 x NVIDIA H100"
    assert entry.training.n_conformations == 160


def test_an_example_of_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["submit", str(tmp_path), "--example"]) == 2

    assert "is no run folder" in capsys.readouterr().err
