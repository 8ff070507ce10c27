"""Fine-tuning: what a run takes over from another, and from which it does not start."""

import json
import signal

import pytest
import torch

from nabladft.errors import LeakageError, RunError
from nabladft.splits import Split
from nabladft.training.predict import predict
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


@pytest.fixture
def run(tiny_model, source, split, tmp_path, monkeypatch):
    """Train the toy model into a named folder, perhaps from another one."""
    monkeypatch.setattr("nabladft.training.train.plot_learning_curve", lambda *_, **__: None)

    def start(name, *overrides, start_from=None, progress=False, split=split):
        return train(
            tiny_model,
            source,
            split,
            run_folder=tmp_path / name,
            overrides=overrides,
            start_from=None if start_from is None else tmp_path / start_from,
            progress=progress,
        )

    return start


def last_weights(result):
    return load_checkpoint(result.folder / "checkpoints" / "last.ckpt")["model"]


def history(result):
    return (result.folder / "metrics.csv").read_text().splitlines()


def test_a_run_starts_with_the_predictions_of_the_other(run, source):
    first = run("first")
    # A step of length zero, so that what is kept is what was started with.
    tuned = run("tuned", "training.optimizer.learning_rate=1e-30", start_from="first")

    energies = [
        torch.cat([torch.tensor(batch.energy) for batch in predict(folder, source)])
        for folder in (first.folder, tuned.folder)
    ]

    assert torch.equal(*energies)
    assert tuned.best["epoch"] == 0
    assert tuned.best["score"] == first.best["score"]


def test_the_first_validation_is_that_of_the_weights_started_with(run):
    first = run("first")

    tuned = run("tuned", "training.max_epochs=2", start_from="first")

    rows = [line.split(",") for line in history(tuned)]
    columns = rows[0]
    assert [row[0] for row in rows[1:]] == ["0", "1", "2"]
    assert float(rows[1][columns.index("forces_mae")]) == first.best["forces_mae"]
    assert tuned.best["score"] <= first.best["score"]


def test_prepare_is_not_repeated(run, tiny_model, monkeypatch):
    run("first")
    monkeypatch.setattr("nabladft.training.train.plain_batches", lambda *_: pytest.fail("prepared"))

    assert run("tuned", start_from="first").status == "finished"


def test_the_record_says_where_the_weights_come_from(run):
    first = run("first")

    tuned = run("tuned", "training.seed=2", start_from="first")

    record = json.loads((tuned.folder / "run.json").read_text())
    assert record["start"]["run"] == "first"
    assert record["start"]["best"] == first.best
    assert record["identity"]["start"] == record["start"]["sha256"]
    assert json.loads((first.folder / "run.json").read_text())["identity"]["start"] is None


@pytest.mark.parametrize("step", [1, 5, 12], ids=["first step", "epoch end", "later"])
def test_an_interrupted_fine_tuning_continues_to_the_same_weights(run, step):
    run("first", "training.max_epochs=2")
    whole = run("whole", "training.seed=2", start_from="first")
    with pytest.raises(KeyboardInterrupt):
        run("broken", "training.seed=2", start_from="first", progress=InterruptAt(step))

    continued = run("broken", "training.seed=2", start_from="first")

    expected, found = last_weights(whole), last_weights(continued)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert continued.best == whole.best
    assert len(history(continued)) == len(history(whole))


def test_a_run_with_another_start_in_the_same_folder_is_refused(run):
    run("first", "training.max_epochs=1")
    run("second", "training.max_epochs=1", "training.seed=2")
    run("tuned", "training.max_epochs=1", start_from="first")

    with pytest.raises(RunError, match="holds a run with another start"):
        run("tuned", "training.max_epochs=1", start_from="second")
    with pytest.raises(RunError, match="holds a run with another start"):
        run("tuned", "training.max_epochs=1")


def test_another_size_is_refused_by_the_option_that_differs(run):
    run("first", "training.max_epochs=1")

    with pytest.raises(RunError, match=r"width = 8 there and 16 here.*--config .*first"):
        run("tuned", "model.width=16", start_from="first")


def test_other_code_is_refused(run, tiny_model):
    run("first", "training.max_epochs=1")
    code = (tiny_model / "model.py").read_text()
    (tiny_model / "model.py").write_text(code + "\n# changed\n")

    with pytest.raises(RunError, match=r"with other code.*nabladft train .*first/model"):
        run("tuned", start_from="first")


@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_another_precision_is_allowed(run, precision):
    run("first", "training.max_epochs=1")

    tuned = run("t", "training.max_epochs=1", f"training.precision={precision}", start_from="first")

    assert tuned.status == "finished"


def test_a_folder_without_a_run_is_refused(run, tmp_path):
    with pytest.raises(RunError, match=r"is no run folder to start from"):
        run("tuned", start_from="nothing")
    assert not (tmp_path / "tuned").exists()


def test_a_run_without_weights_is_refused(run, tmp_path):
    first = run("first", "training.max_epochs=1")
    (first.folder / "checkpoints" / "best.ckpt").unlink()

    with pytest.raises(RunError, match="has no weights to start from yet"):
        run("tuned", start_from="first")


def test_weights_that_have_seen_the_tests_are_refused(run, source, split):
    run("first", "training.max_epochs=1")
    parts = {
        "train": split.part("validation"),
        "validation": split.part("train")[:3],
        "test_structures": split.part("train")[3:],
    }
    other = Split(name="other", dataset="toy", data_hash=source.data_hash, parts=parts)

    with pytest.raises(LeakageError, match=r"15 conformations of the part 'test_structures'"):
        run("tuned", start_from="first", split=other)
