"""Training: runs that learn, stop, continue, repeat, refuse."""

import csv
import json
import signal

import pytest
import torch

from nabladft.errors import ConfigError, MissingExtraError, RunError, SplitError
from nabladft.training.progress import Silent
from nabladft.training.run_folder import load_checkpoint
from nabladft.training.train import train


class InterruptAt(Silent):
    """Press Ctrl-C after a number of steps."""

    def __init__(self, step):
        self.left = step

    def step(self, epoch):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


class Recorder(Silent):
    def __init__(self):
        self.rows, self.started_at = [], None

    def start(self, name, *, epoch, max_epochs):
        self.started_at = epoch

    def validated(self, metrics):
        self.rows.append(metrics)


@pytest.fixture
def run(tiny_model, source, split, tmp_path, monkeypatch):
    """Train the toy model into a named folder, without the picture, which takes a second."""
    monkeypatch.setattr("nabladft.training.train.plot_learning_curve", lambda *_, **__: None)

    def start(name="run", *overrides, progress=False):
        return train(
            tiny_model,
            source,
            split,
            run_folder=tmp_path / name,
            overrides=overrides,
            progress=progress,
        )

    return start


def weights(result):
    state = load_checkpoint(result.folder / "checkpoints" / "last.ckpt")
    return {**state["model"], **{f"average {k}": v for k, v in state["average"].items()}}


def assert_identical(first, second):
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_training_lowers_the_validation_error(run):
    listener = Recorder()

    result = run("run", "training.max_epochs=40", "model.dropout=0.0", progress=listener)

    first, last = listener.rows[0], result.best
    assert last["forces_mae"] < 0.6 * first["forces_mae"]
    assert last["score"] == min(row["score"] for row in listener.rows)


def test_the_run_folder_tells_the_whole_story(split, source, tiny_model, tmp_path):
    result = train(
        tiny_model,
        source,
        split,
        run_folder=tmp_path / "run",
        overrides=["training.max_epochs=2"],
        progress=False,
    )

    names = {path.name for path in result.folder.iterdir()}
    record = json.loads((result.folder / "run.json").read_text())
    rows = list(csv.DictReader((result.folder / "metrics.csv").open()))
    assert names == {
        "config.toml",
        "run.json",
        "split.json",
        "metrics.csv",
        "learning_curve.png",
        "model",
        "checkpoints",
    }
    assert (record["status"], record["epochs"], record["steps"]) == ("finished", 2, 10)
    assert record["data"]["hash"] == source.data_hash
    assert record["split"]["hash"] == split.sha256
    assert record["n_parameters"] == 6 * 8 + 8 + 8 + 1
    assert record["sessions"][0]["packages"]["torch"] == torch.__version__
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert (result.folder / "model" / "model.py").read_bytes() == (
        tiny_model / "model.py"
    ).read_bytes()


@pytest.mark.parametrize("step", [3, 5, 12], ids=["mid-epoch", "epoch end", "later"])
def test_an_interrupted_run_continues_to_the_same_weights(run, step):
    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", progress=InterruptAt(step))
    interrupted = load_checkpoint(whole.folder.parent / "broken" / "checkpoints" / "last.ckpt")

    continued = run("broken")

    assert interrupted["position"]["step"] == step
    assert_identical(weights(whole), weights(continued))
    assert [continued.best[k] for k in whole.best] == list(whole.best.values())
    assert continued.steps == whole.steps == 30


def test_plateau_and_early_stopping_continue_exactly_too(run):
    options = (
        "training.schedule.name=plateau",
        "training.schedule.patience=0",
        "training.early_stopping=2",
        "training.optimizer.learning_rate=0.3",
        "training.max_epochs=40",
    )
    whole = run("whole", *options)
    with pytest.raises(KeyboardInterrupt):
        run("broken", *options, progress=InterruptAt(12))

    continued = run("broken", *options)

    assert whole.status == continued.status == "stopped early"
    assert whole.epochs == continued.epochs < 40
    assert_identical(weights(whole), weights(continued))


def test_random_rotations_continue_exactly_too(run):
    options = ("training.augmentation=rotations", "model.dropout=0.0", "training.max_epochs=2")
    plain = run("plain", *options[1:])
    whole = run("whole", *options)
    with pytest.raises(KeyboardInterrupt):
        run("broken", *options, progress=InterruptAt(7))

    continued = run("broken", *options)

    assert_identical(weights(whole), weights(continued))
    # The toy model is invariant, so that rotations change nothing but the last digits.
    name = "network.0.weight"
    assert not torch.equal(weights(whole)[name], weights(plain)[name])
    torch.testing.assert_close(weights(whole)[name], weights(plain)[name], atol=1e-3, rtol=0)


def test_the_seed_decides_the_result(run):
    first = weights(run("a", "training.max_epochs=2"))
    again = weights(run("b", "training.max_epochs=2"))
    other = weights(run("c", "training.max_epochs=2", "training.seed=2"))

    assert_identical(first, again)
    assert not torch.equal(first["network.0.weight"], other["network.0.weight"])


def test_a_finished_run_is_not_repeated(run):
    result = run()
    listener = Recorder()

    again = run(progress=listener)

    assert listener.started_at is None
    assert again == result


def test_out_of_time_is_continued_with_more_time(run):
    stopped = run("run", "training.max_minutes=1e-6", "training.batch_size=100")

    finished = run("run", "training.batch_size=100", "training.max_minutes=10")

    assert (stopped.status, finished.status) == ("out of time", "finished")
    assert finished.epochs == 6


def test_no_time_for_one_validation_is_said(run):
    with pytest.raises(RunError, match="passed before the first validation"):
        run("run", "training.max_minutes=1e-6")


def test_another_configuration_in_the_same_folder_is_refused(run):
    run("run", "training.max_epochs=1")

    with pytest.raises(RunError, match=r"another configuration.*--out"):
        run("run", "training.max_epochs=2")


def test_changed_model_code_in_the_same_folder_is_refused(run, tiny_model):
    run("run", "training.max_epochs=1")
    code = (tiny_model / "model.py").read_text()
    (tiny_model / "model.py").write_text(code + "\n# changed\n")

    with pytest.raises(RunError, match="another model code"):
        run("run", "training.max_epochs=1")


def test_a_folder_with_other_files_is_refused(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()

    with pytest.raises(RunError, match="holds other files"):
        run("run")


def test_a_split_of_other_data_is_refused(tiny_model, source, split, memory_source, tmp_path):
    other = memory_source(source[:10], name="other")

    with pytest.raises(SplitError, match="was made for data 'toy'"):
        train(tiny_model, other, split, run_folder=tmp_path / "run", progress=False)


def test_divergence_is_said(run):
    with pytest.raises(RunError, match=r"diverged.*learning_rate"):
        run("run", "training.optimizer.learning_rate=1e30", "training.gradient_clip=none")


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_train(run, precision):
    result = run("run", f"training.precision={precision}", "training.max_epochs=2")

    kind = weights(result)["network.0.weight"].dtype
    assert kind == (torch.float64 if precision == "64-true" else torch.float32)
    assert result.status == "finished"


def test_the_average_is_what_is_validated_and_kept(run):
    result = run("run", "training.max_epochs=1")

    last = load_checkpoint(result.folder / "checkpoints" / "last.ckpt")
    best = load_checkpoint(result.folder / "checkpoints" / "best.ckpt")
    name = "network.0.weight"
    assert torch.equal(best["model"][name], last["average"][name])
    assert not torch.equal(best["model"][name], last["model"][name])


def test_a_budget_bounds_the_batches(run):
    # A budget of one atom puts each of the 18 records into a batch of its own.
    result = run("run", "training.batch_budget=1", "training.max_epochs=1")

    assert result.steps == 18


def test_a_model_without_parameters_is_complete_after_prepare(source, split, tmp_path):
    result = train("linear", source, split, run_folder=tmp_path / "run", progress=False)

    assert (result.status, result.epochs, result.n_parameters) == ("finished", 0, 0)
    assert result.best["formation_energy_mae"] < 0.05


def test_training_leaves_the_random_numbers_of_the_caller_alone(run):
    before = torch.random.get_rng_state()

    run("run", "training.max_epochs=1")

    assert torch.equal(before, torch.random.get_rng_state())


def test_a_loss_for_something_not_predicted_is_refused(run):
    with pytest.raises(ConfigError, match="hamiltonian, which the model does not predict"):
        run("run", "training.loss.hamiltonian.weight=2")


def test_more_gpus_than_there_are_is_refused(run):
    with pytest.raises(ConfigError, match=r"training.devices = 99"):
        run("run", "training.accelerator=cuda", "training.devices=99")


def test_tensorboard_gets_the_learning_curve(run):
    pytest.importorskip("tensorboard")

    result = run("run", "training.max_epochs=1", "training.loggers=['tensorboard']")

    assert list((result.folder / "tensorboard").glob("events*"))


def test_an_absent_logger_names_its_extra(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)

    with pytest.raises(MissingExtraError, match=r"nabladft\[loggers\]"):
        run("run", "training.loggers=['wandb']")
