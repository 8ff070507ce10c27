"""``nabladft predict`` with a calculator and from a file, up to a score."""

from pathlib import Path

import pytest

from nabladft.benchmark.evaluation import evaluate
from nabladft.cli.main import main
from nabladft.predictions import Predictions
from nabladft.splits import read_split
from nabladft.storage.opening import open_source
from tests.predictions import some_calculators
from tests.predictions.foreign_files import frames_of, write_npz, xyz_text

FILE = Path(some_calculators.__file__)
PART = "test_structures"


@pytest.fixture(scope="module")
def source():
    return open_source("nano")


@pytest.fixture(scope="module")
def records(source):
    return source.read(source.rows_of(read_split("nano").part(PART)), fields=["energy", "forces"])


@pytest.fixture
def run(tmp_path, capsys):
    """Run the verb for one part of nano; gives exit code, stdout and stderr."""

    def start(*extra, part=("--part", PART)):
        out = tmp_path / "out.h5"
        code = main(["predict", "--data", "nano", *part, "--out", str(out), *map(str, extra)])
        return (code, *capsys.readouterr())

    return start


def test_a_calculator_predicts_and_its_file_can_be_scored(run, tmp_path, source):
    code, out, err = run(
        "--calculator", f"{FILE}:Springs", "--option", "strength=0.5", "--model", "Springs, weak"
    )

    assert (code, err) == (0, "")
    assert "next: nabladft evaluate" in out
    info = Predictions(tmp_path / "out.h5").info
    assert (info.model, info.part) == ("Springs, weak", PART)
    assert info.details["options"] == {"strength": 0.5}
    results = evaluate(tmp_path / "out.h5", source, split=read_split("nano"))
    assert results.metrics["forces_mae"].value > 0
    assert results.prediction_seconds > 0


@pytest.mark.parametrize("kind", ["npz", "xyz"])
def test_a_file_is_converted_and_scores_as_what_is_in_it(run, tmp_path, records, source, kind):
    if kind == "npz":
        path = write_npz(tmp_path / "labels.npz", records)
    else:
        path = tmp_path / "labels.xyz"
        path.write_text(xyz_text(frames_of(records)))

    code, out, err = run("--from", path)

    assert (code, err) == (0, "")
    assert f"{path.name} read with energy in eV, forces in eV/angstrom" in out
    results = evaluate(tmp_path / "out.h5", source, split=read_split("nano"))
    assert results.model == "labels"
    assert results.metrics["energy_mae"].value < 1e-9
    assert results.metrics["forces_mae"].value < 1e-8


def test_the_whole_data_set_needs_no_split(run, tmp_path):
    code, out, _ = run("--calculator", f"{FILE}:EnergyOnly", "--energies-only", part=())

    assert code == 0
    assert out.startswith("315 conformations predicted")
    assert Predictions(tmp_path / "out.h5").info.split is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give one of RUN, --calculator and --from, got none"),
        (("runs/x", "--from", "p.npz"), "got run and from"),
        (("runs/x", "--unit", "eV"), "--unit goes with from, not with run"),
        (("--from", "p.npz", "--batch-size", "3"), "--batch-size goes with run, not with from"),
        (("--from", "p.npz", "--option", "a=1"), "--option goes with calculator, not with from"),
        (("runs/x", "--model", "m"), "--model goes with calculator or from, not with run"),
        (("--from", "p.npz"), "There is no file p.npz"),
        (("--from", "p.npz", "--split", "no"), "No split file or split 'no'"),
        (("--calculator", "x"), "is no factory; module:factory"),
        (("--calculator", f"{FILE}:Springs", "--option", "strength"), "KEY=VALUE is expected"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(run, arguments, message):
    code, _, err = run(*arguments)

    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_an_interrupted_job_says_how_to_go_on(run, tmp_path):
    options = ("--option", "at=3", "--option", "what=interrupt")

    code, _, err = run("--calculator", f"{FILE}:Troubled", *options)

    assert code == 130
    assert "run the same command again to continue" in err
    assert (tmp_path / "out.h5.progress").exists()
