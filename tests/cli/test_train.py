"""The verbs train and predict, from the command line to the files."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from nabladft.cli.main import main
from nabladft.conformation import Conformation
from nabladft.splits import Split, write_split
from nabladft.storage.opening import open_source
from nabladft.storage.writing import append, create_store

MODEL = '''
"""Each element has an energy, which gradient descent finds."""
from dataclasses import dataclass
import torch


@dataclass(frozen=True)
class Config:
    start: float = 0.0


class Elements(torch.nn.Module):
    predicts = frozenset({"formation_energy"})

    def __init__(self, config):
        super().__init__()
        self.energy = torch.nn.Parameter(torch.full((119,), config.start))

    def forward(self, batch):
        zeros = torch.zeros(batch.n_conformations, device=batch.positions.device)
        return {
            "formation_energy": zeros.index_add(
                0, batch.conformation_index, self.energy[batch.atomic_numbers]
            )
        }


def build(config):
    return Elements(config)
'''
INTERRUPT = """    def forward(self, batch):
        import pathlib, signal
        if self.training and pathlib.Path("press").exists():
            pathlib.Path("press").unlink()
            signal.raise_signal(signal.SIGINT)
"""
CONFIG = "[training]\nmax_epochs = 3\nbatch_size = 2\n[training.optimizer]\nlearning_rate = 0.05\n"


def records():
    rng = np.random.default_rng(5)
    for molecule_id in range(8):
        numbers = rng.choice([1, 6], size=3)
        positions = 2.0 * np.eye(3) + 0.1 * rng.normal(size=(3, 3))
        energy = float(-0.5 * (numbers == 1).sum() - 38.0 * (numbers == 6).sum())
        yield Conformation(
            molecule_id=molecule_id,
            conformation_id=0,
            atomic_numbers=numbers,
            positions=positions,
            energy=energy,
            forces=rng.normal(size=(3, 3)),
        )


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with a store, its split and a model from outside."""
    monkeypatch.chdir(tmp_path)
    create_store(
        tmp_path / "data",
        name="data",
        level_of_theory={"functional": "wB97X-D", "basis_set": "def2-SVP"},
        fields=["energy", "forces"],
    )
    append(tmp_path / "data", list(records()))
    source = open_source(tmp_path / "data")
    keys = source.keys
    split = Split(
        name="mine",
        dataset="data",
        data_hash=source.data_hash,
        parts={"train": keys[:4], "validation": keys[4:7], "test_structures": keys[7:]},
    )
    write_split(split, tmp_path / "mine.json")
    (tmp_path / "my_model").mkdir()
    (tmp_path / "my_model" / "model.py").write_text(MODEL)
    (tmp_path / "my_model" / "config.toml").write_text(CONFIG)
    return tmp_path


TRAIN = ("train", "my_model", "--data", "data", "--split", "mine.json")


def test_a_model_from_outside_is_trained_and_predicts(world, capsys):
    trained = main([*TRAIN, "--quiet", "--seed", "4"])
    said = capsys.readouterr().out

    part = ("--part", "test_structures")
    predicted = main(["predict", "runs/my_model-data", "--data", "data", *part, "--out", "out.h5"])

    record = json.loads((world / "runs" / "my_model-data" / "run.json").read_text())
    with h5py.File(world / "out.h5") as file:
        ids = file["molecule_id"][:].tolist()
        unit = file["energy"].attrs["unit"]
    assert (trained, predicted) == (0, 0)
    assert "finished: 3 epochs, 6 steps" in said
    assert "run folder runs/my_model-data" in said
    assert record["seed"] == 4
    assert (ids, unit) == ([7], "hartree")


def test_a_run_starts_from_the_weights_of_another(world, capsys):
    main([*TRAIN, "--quiet"])
    changed = ("--set", "training.max_epochs=1", "--set", "training.loss.formation_energy.kind=mae")

    code = main([*TRAIN, "--quiet", "--start-from", "runs/my_model-data", *changed])

    record = json.loads((world / "runs" / "my_model-data-tuned" / "run.json").read_text())
    assert code == 0
    assert record["start"]["run"] == "my_model-data"
    assert record["epochs"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "pain", "--data", "data"), "Did you mean 'painn'"),
        ((*TRAIN, "--start-from", "nowhere"), "nowhere is no run folder to start from"),
        (("train", "my_model", "--data", "nowhere"), "nowhere"),
        (("train", "my_model", "--data", "data"), "nabladft split make"),
        ((*TRAIN, "--set", "training.max_epoch=3"), "Did you mean 'max_epochs'"),
        ((*TRAIN, "--set", "model.strat=3"), "Did you mean 'start'"),
        ((*TRAIN, "--set", "training.precision=8"), "one of '32-true'"),
        ((*TRAIN, "--config", "none.toml"), "no configuration file none.toml"),
        (("predict", "my_model", "--data", "data", "--out", "x.h5"), "is no run folder"),
        (
            ("predict", "r", "--data", "data", "--out", "x.h5", "--batch-size", "0"),
            "--batch-size must be at least 1",
        ),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(world, capsys, arguments, message):
    code = main(list(arguments))

    said = capsys.readouterr().err
    assert code == 2
    assert message in said
    assert "Traceback" not in said


def test_ctrl_c_saves_and_the_same_command_continues(world, capsys):
    interrupting = MODEL.replace("    def forward(self, batch):\n", INTERRUPT)
    (world / "my_model" / "model.py").write_text(interrupting)
    (world / "press").touch()

    first = main([*TRAIN])
    said = capsys.readouterr().err
    second = main([*TRAIN])

    assert (first, second) == (130, 0)
    assert "then saving" in said
    assert "run the same command again" in said
    assert "finished: 3 epochs, 6 steps" in capsys.readouterr().out


def test_an_unknown_part_is_refused(world, capsys):
    main([*TRAIN, "--quiet", "--out", "run"])

    code = main(["predict", "run", "--data", "data", "--part", "test_structure", "--out", "x.h5"])

    assert code == 2
    assert "Did you mean 'test_structures'" in capsys.readouterr().err
    assert not (world / "x.h5").exists()


def test_two_processes_train_one_model(world):
    """DDP over two CPU processes gives what one process gives with batches twice as large."""
    common = [
        *TRAIN,
        "--quiet",
        "--set",
        "training.max_epochs=2",
        "--set",
        "training.accelerator=cpu",
    ]
    in_two = ["--out", "two", "--set", "training.devices=2", "--set", "training.batch_size=1"]
    in_one = ["--out", "one", "--set", "training.batch_size=2"]

    done = subprocess.run(
        [sys.executable, "-m", "nabladft.cli.main", *common, *in_two],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert main([*common, *in_one]) == 0

    two, one = (
        torch.load(world / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("two", "one")
    )
    assert done.stdout.count("finished") == 1
    assert two["position"]["step"] == one["position"]["step"] == 4
    # Both processes step along the mean of their gradients ...
    torch.testing.assert_close(two["model"]["energy"], one["model"]["energy"], rtol=1e-5, atol=1e-6)
    # ... and each of the three validation records, an odd number, counts once.
    best = one["position"]["best"]
    assert two["position"]["best"] == pytest.approx(best, rel=1e-5)
