"""Predictions of a run: complete, in order, with total energies exact in float64."""

import dataclasses

import numpy as np
import pytest
import torch

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.errors import InputError, ModelError, RunError, SplitError
from nabladft.predictions import Predictions
from nabladft.training.predict import load_run, predict, write_predictions
from nabladft.training.train import train


@pytest.fixture
def run_folder(tiny_model, source, split, tmp_path, monkeypatch):
    monkeypatch.setattr("nabladft.training.train.plot_learning_curve", lambda *_, **__: None)
    overrides = ["training.max_epochs=1"]
    folder = tmp_path / "run"
    train(tiny_model, source, split, run_folder=folder, overrides=overrides, progress=False)
    return folder


class Exact(torch.nn.Module):
    """Knows nothing: the formation energy is a third of a hartree."""

    predicts = frozenset({"formation_energy"})

    def forward(self, batch):
        return {"formation_energy": torch.full((batch.n_conformations,), 1 / 3)}


def test_total_energies_add_the_isolated_atoms_in_float64(source):
    (batch,) = predict(Exact(), source, source.keys[:3])

    third = float(torch.tensor(1 / 3))
    expected = [third + isolated_atoms_energy(record.atomic_numbers) for record in source[:3]]
    assert batch.energy.dtype == np.float64
    np.testing.assert_array_equal(batch.energy, expected)
    assert batch.forces is None


def test_order_and_duplicates_are_kept(run_folder, source):
    keys = source.keys[[7, 1, 15, 1]]

    batches = list(predict(run_folder, source, keys, batch_size=3))

    np.testing.assert_array_equal(np.concatenate([b.keys for b in batches]), keys)
    energies = np.concatenate([b.energy for b in batches])
    assert energies[1] == pytest.approx(energies[3], abs=1e-6)


def test_the_batch_size_changes_nothing(run_folder, source):
    one = np.concatenate([b.forces for b in predict(run_folder, source, batch_size=1)])
    many = np.concatenate([b.forces for b in predict(run_folder, source, batch_size=9)])

    np.testing.assert_allclose(one, many, atol=1e-7)


def test_the_best_weights_are_loaded_from_the_copied_code(run_folder, tiny_model):
    (tiny_model / "model.py").write_text("raise RuntimeError")

    model = load_run(run_folder)

    best = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)["model"]
    assert not model.training
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())


def test_a_predictions_file_says_where_it_comes_from(run_folder, source, split, tmp_path):
    path = tmp_path / "predictions.h5"

    n_predicted = write_predictions(run_folder, source, path, part="test_structures")

    predictions = Predictions(path)
    keys = split.part("test_structures")
    read = predictions.read(keys)
    assert n_predicted == len(keys) == len(predictions)
    assert (predictions.info.model, predictions.info.part) == ("tiny", "test_structures")
    assert predictions.info.split_hash == split.sha256
    assert predictions.info.data_hash == source.data_hash
    assert predictions.info.details["prediction_seconds"] > 0
    assert read.values["forces"].shape == (sum(r.n_atoms for r in source[21:]), 3)


def test_other_data_can_be_predicted_whole_but_not_by_part(
    run_folder, source, memory_source, tmp_path
):
    other = memory_source(
        [dataclasses.replace(record, energy=None) for record in source[:4]], name="other"
    )

    assert write_predictions(run_folder, other, tmp_path / "all.h5") == 4
    with pytest.raises(SplitError, match="was made for data 'toy'"):
        write_predictions(run_folder, other, tmp_path / "part.h5", part="test_structures")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is no run folder: it has no run.json"):
        load_run(tmp_path)


def test_a_damaged_checkpoint_is_refused(run_folder):
    (run_folder / "checkpoints" / "best.ckpt").write_bytes(b"half a che")

    with pytest.raises(RunError, match="is damaged"):
        load_run(run_folder)


def test_a_module_that_breaks_its_word_is_refused(source):
    model = Exact()
    model.predicts = frozenset({"formation_energy", "forces"})

    with pytest.raises(ModelError, match="declares forces but returned"):
        next(predict(model, source))


@pytest.mark.parametrize("device", ["cudda", "cuda:99"])
def test_an_absent_device_is_refused(source, device):
    with pytest.raises(InputError, match=f"no device '{device}'"):
        next(predict(Exact(), source, device=device))
