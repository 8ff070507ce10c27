import dataclasses
import json

import h5py
import numpy as np
import pytest

from nabladft.benchmark.results import read_results
from nabladft.cli.main import main
from nabladft.splits import write_split
from nabladft.storage.opening import open_source
from nabladft.storage.writing import append, create_store
from tests.scoring_data import disturbed, info_for, random_records, split_of, write_predictions

PART = "test_structures"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A store, its split and predictions of one part, on disk."""
    folder = tmp_path_factory.mktemp("files")
    create_store(
        folder / "store",
        name="synthetic",
        level_of_theory={"functional": "wB97X-D", "basis_set": "def2-SVP"},
        fields=["energy", "forces", "hamiltonian"],
        basis_set="def2-svp",
        orbital_order="ascending",
    )
    append(folder / "store", random_records())
    source = open_source(folder / "store")
    split = split_of(source)
    write_split(split, folder / "split.json")
    rng = np.random.default_rng(1)
    records = [disturbed(r, rng) for r in source.read(source.rows_of(split.part(PART)))]
    write_predictions(folder / "predictions.h5", records, info_for(source, split, PART))
    return folder


@pytest.fixture
def run(files, capsys):
    """Run the verb with sensible defaults; gives exit code, stdout and stderr."""

    def start(*extra, predictions=None, data=None, split="split.json"):
        arguments = [
            *("evaluate", str(predictions or files / "predictions.h5")),
            *("--data", str(data or files / "store")),
            *(("--split", str(files / split)) if split else ()),
            *extra,
        ]
        return (main(arguments), *capsys.readouterr())

    return start


@pytest.fixture
def copy(files, tmp_path):
    """A copy of the predictions, changed by a function."""

    def make(change):
        path = tmp_path / "changed.h5"
        path.write_bytes((files / "predictions.h5").read_bytes())
        with h5py.File(path, "a") as file:
            change(file)
        return path

    return make


def test_the_table_has_every_metric_with_unit_interval_and_counts(run):
    code, out, err = run()

    assert (code, err) == (0, "")
    assert "random on synthetic, part test_structures of split memory: 9 conf" in out
    for line in ("energy MAE", "forces MAE", "forces cosine", "off-diagonal blocks MAE"):
        assert line in out
    row = next(line for line in out.splitlines() if line.startswith("forces MAE"))
    assert row.split()[2].replace(".", "").isdigit()
    assert "[" in row
    assert row.split()[-3:] == ["mEh/Å", "9", "3"]


def test_json_is_the_results_file(run, tmp_path):
    code, out, _ = run("--json", "--out", str(tmp_path / "results.json"))

    assert code == 0
    assert out == (tmp_path / "results.json").read_text()
    assert read_results(tmp_path / "results.json").part == PART
    assert json.loads(out)["metrics"]["energy_mae"]["unit"] == "hartree"


def test_seeds_are_of_the_interval_only(run):
    one, two = (json.loads(run("--json", "--seed", seed)[1]) for seed in ("1", "2"))

    assert one["metrics"]["energy_mae"]["value"] == two["metrics"]["energy_mae"]["value"]
    assert (one["bootstrap"]["seed"], two["bootstrap"]["seed"]) == (1, 2)


def test_predictions_of_a_whole_data_set_need_no_split(run, files, tmp_path):
    source = open_source(files / "store")
    info = dataclasses.replace(info_for(source), model="all")
    path = write_predictions(tmp_path / "all.h5", list(source), info)

    code, out, _ = run(predictions=path, split=None)

    assert code == 0
    assert "all on synthetic, all conformations: 24 conformations of 8 molecules" in out


def refusals():
    def nan(file):
        file["energy"][3] = np.nan

    def no_unit(file):
        del file["forces"].attrs["unit"]

    def unit(file):
        file["energy"].attrs["unit"] = "Ha"

    def other_data(file):
        file.attrs["data_hash"] = "0" * 64

    def other_part(file):
        file.attrs["part"] = "test_scaffolds"

    def other_id(file):
        file["conformation_id"][0] = 77

    return {
        "nan": (nan, "energy holds 1 values that are not finite"),
        "no unit": (no_unit, "'forces' has no attribute 'unit'"),
        "unit": (unit, "Unknown unit 'Ha'"),
        "data": (other_data, "made for data 'synthetic' with hash 0000"),
        "part": (other_part, "of part 'test_scaffolds' of split 'memory' are missing"),
        "ids": (other_id, "1 of the 9 conformations"),
    }


@pytest.mark.parametrize("case", refusals(), ids=str)
def test_predictions_that_cannot_be_scored_are_one_message(run, copy, case):
    change, message = refusals()[case]

    code, out, err = run(predictions=copy(change))

    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_bad_arguments_are_one_message(run, files, tmp_path):
    (tmp_path / "text.h5").write_text("no")
    cases = [
        ({"predictions": tmp_path / "none.h5"}, "There is no predictions file"),
        ({"predictions": tmp_path / "text.h5"}, "is not an HDF5 file"),
        ({"data": tmp_path / "none"}, "no file or folder"),
        ({"split": "none.json"}, "No split file or split"),
        ({"split": None}, "was made with that split; give its file with --split"),
    ]
    for options, message in cases:
        code, out, err = run(**options)
        assert (code, out) == (2, ""), message
        assert message in err
        assert err.count("\n") == 1
    for extra, message in (
        (["--part", "test_scafolds"], "predicts part 'test_structures', not 'test_scafolds'"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--scf", "-1"], "--scf must not be negative"),
        (["--out", "/proc/none/results.json"], "error: "),
    ):
        code, _, err = run(*extra)
        assert code == 2
        assert message in err


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--help"])

    assert stop.value.code == 0
    assert "nabladft evaluate predictions.h5 --data nano" in capsys.readouterr().out
