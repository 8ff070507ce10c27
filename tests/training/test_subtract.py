"""A run that learns the remainder of a reference predicts whole Hamiltonians."""

import json

import numpy as np
import pytest

from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.packing import pack_lower
from nabladft.errors import ConfigError, RunError
from nabladft.predictions import Predictions
from nabladft.splits import Split
from nabladft.storage.opening import open_source
from nabladft.training.building import read_recipe
from nabladft.training.predict import write_predictions
from nabladft.training.starting import find_start
from nabladft.training.train import train

CODE = '''
"""One number for all values."""
from dataclasses import dataclass
import torch


@dataclass(frozen=True)
class Config:
    pass


class Constant(torch.nn.Module):
    predicts = frozenset({"hamiltonian"})
    orbital_order = "ascending"
    basis_set = "def2-svp"

    def __init__(self):
        super().__init__()
        self.value = torch.nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        return {"hamiltonian": self.value.expand(batch.blocks.n_values)}


def build(config):
    return Constant()
'''


@pytest.fixture(scope="module")
def constant(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "constant"
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    (folder / "config.toml").write_text("[training]\nmax_epochs = 1\nbatch_size = 2\n")
    return folder


@pytest.fixture(scope="module")
def nano():
    return open_source("nano")


@pytest.fixture(scope="module")
def few(nano):
    parts = {
        "train": nano.keys[:2],
        "validation": nano.keys[2:3],
        "test_structures": nano.keys[3:4],
    }
    return Split(name="few", dataset=nano.info.name, data_hash=nano.data_hash, parts=parts)


@pytest.fixture(scope="module")
def run_folder(constant, nano, few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    overrides = ["training.subtract=core", "training.optimizer.learning_rate=1e-4"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nabladft.training.train.plot_learning_curve", lambda *_, **__: None)
        train(constant, nano, few, run_folder=folder, overrides=overrides, progress=False)
    return folder


def test_predictions_are_the_reference_plus_what_was_learned(run_folder, nano, tmp_path):
    path = tmp_path / "predictions.h5"

    write_predictions(run_folder, nano, path, part="test_structures")

    predictions = Predictions(path)
    record = nano[3]
    core = pack_lower(core_hamiltonian_matrix(record.atomic_numbers, record.positions))
    found = predictions.read([(record.molecule_id, record.conformation_id)])
    correction = found.values["hamiltonian"] - core
    # One step of the size of the learning rate, the same for all values.
    np.testing.assert_allclose(np.abs(correction), 1e-4, atol=2e-5)
    assert predictions.info.details["subtract"] == "core"


def test_the_run_says_what_was_subtracted_and_keeps_it(run_folder):
    record = json.loads((run_folder / "run.json").read_text())

    assert record["subtract"] == "core"
    assert record["n_parameters"] == 1
    assert len(list((run_folder / "references" / "core").iterdir())) == 3


def test_another_run_without_it_does_not_start_from_there(run_folder, constant, few):
    recipe = read_recipe(constant, constant / "config.toml")

    with pytest.raises(RunError, match="subtract = 'core' there and 'none' here"):
        find_start(run_folder, recipe, few)


def test_an_unknown_reference_is_refused_with_the_nearest_one(constant):
    with pytest.raises(ConfigError, match=r"subtract = 'cor'.*Did you mean 'core'"):
        read_recipe(constant, constant / "config.toml", ["training.subtract=cor"])
