import io
import json
import textwrap

import numpy as np
import pytest

from nabladft.benchmark import suite as suite_module
from nabladft.benchmark.overview import Overview, Terminal
from nabladft.benchmark.results import read_results
from nabladft.benchmark.suite import run_benchmark
from nabladft.benchmark.suites import Suite, SuiteRun
from nabladft.errors import ConfigError, InputError, ModelError, RunError
from nabladft.predictions import Predictions
from nabladft.splits import TEST_PARTS
from tests.conftest import MemorySource
from tests.scoring_data import random_records, split_of

MODELS = {
    "shift": """
        class Shift(torch.nn.Module):
            predicts = frozenset({"formation_energy"})

            def __init__(self, value):
                super().__init__()
                self.value = torch.nn.Parameter(torch.tensor(value))

            def forward(self, batch):
                n = len(batch.molecule_id)
                return {"formation_energy": self.value.expand(n)}

        def build(config):
            return Shift(config.value)
        """,
    "drawn": """
        class Drawn(torch.nn.Module):
            predicts = frozenset({"formation_energy"})

            def __init__(self):
                super().__init__()
                self.value = torch.nn.Parameter(torch.rand(()))

            def forward(self, batch):
                return {"formation_energy": self.value.expand(len(batch.molecule_id))}

        def build(config):
            return Drawn()
        """,
    "zeros": """
        class Zeros(torch.nn.Module):
            predicts = frozenset({"hamiltonian"})
            orbital_order = "ascending"
            basis_set = "def2-svp"

            def forward(self, batch):
                return {"hamiltonian": torch.zeros(batch.blocks.n_values)}

        def build(config):
            return Zeros()
        """,
    "needy": """
        import a_package_that_nobody_has
        """,
    "forces_only": """
        class Forces(torch.nn.Module):
            predicts = frozenset({"forces"})

            def forward(self, batch):
                return {"forces": torch.zeros_like(batch.positions)}

        def build(config):
            return Forces()
        """,
    "broken": """
        class Broken(torch.nn.Module):
            predicts = frozenset({"formation_energy"})

            def forward(self, batch):
                n = len(batch.molecule_id)
                return {"formation_energy": torch.full((n,), float("nan"))}

        def build(config):
            return Broken()
        """,
}
HEAD = """
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Config:
    value: float = 0.0

"""


class Recorder:
    """Remembers what is shown."""

    def __init__(self):
        self.lines, self.notes, self.is_closed = [], [], False

    def show(self, fraction, text, *, is_news):
        self.lines.append((fraction, text, is_news))

    def note(self, text):
        self.notes.append(text)

    def close(self):
        self.is_closed = True


@pytest.fixture
def source():
    return MemorySource(random_records())


@pytest.fixture
def folder_of(tmp_path):
    def make(name):
        folder = tmp_path / "models" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "model.py").write_text(HEAD + textwrap.dedent(MODELS[name]))
            (folder / "config.toml").write_text("[training]\nmax_epochs = 2\nbatch_size = 2\n")
        return str(folder)

    return make


@pytest.fixture
def small(source, folder_of):
    """Two energy rows, one learned; one Hamiltonian row."""
    return Suite(
        name="small",
        data=source,
        split=split_of(source),
        runs=(
            SuiteRun(task="energy", baseline="isolated_atoms", minutes=0.01),
            SuiteRun(task="energy", baseline=folder_of("shift"), minutes=0.1),
            SuiteRun(task="hamiltonian", baseline=folder_of("zeros"), minutes=0.01),
        ),
    )


@pytest.fixture
def run(small, tmp_path, monkeypatch):
    """Run the small suite, without its figures, which are seconds each."""
    monkeypatch.setattr(suite_module, "draw_figures", lambda *_: [])

    def start(suite=small, **options):
        return run_benchmark(suite, **{"out": tmp_path / "out", **options})

    return start


@pytest.fixture
def calls(monkeypatch):
    """Count what is done, and optionally interrupt it."""
    counts = {"train": 0, "write_predictions": 0, "evaluate": 0}
    stop_at = {}

    def watch(name):
        original = getattr(suite_module, name)

        def watched(*arguments, **options):
            counts[name] += 1
            if stop_at.get(name) == counts[name]:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(suite_module, name, watched)

    for name in counts:
        watch(name)
    counts["stop_at"] = stop_at
    return counts


def test_every_baseline_leaves_its_folder_and_the_tables_agree_with_the_data(run, source, tmp_path):
    report = run()

    out = tmp_path / "out"
    assert report.is_complete
    assert [row.name for row in report.rows] == ["isolated_atoms", "shift", "zeros"]
    assert [row.is_learned for row in report.rows] == [False, True, False]
    for row in report.rows:
        names = {file.name for file in (out / row.name).iterdir()}
        assert {"config.toml", "run.json", "checkpoints"} <= names
        for part in TEST_PARTS:
            assert {f"predictions-{part}.h5", f"results-{part}.json"} <= names
    found = read_results(out / "zeros" / "results-test_structures.json")
    keys = split_of(source).parts["test_structures"]
    expected = [np.abs(r.hamiltonian).mean() for r in source.read(source.rows_of(keys))]
    assert found.metrics["hamiltonian_mae"].value == pytest.approx(np.mean(expected), rel=1e-6)
    assert "| isolated_atoms (no learning) |" in (out / "tables.md").read_text()
    assert (out / "tables.csv").read_text().startswith("task,baseline,learned,part,metric")
    assert json.loads((out / "benchmark.json").read_text())["data_hash"] == source.data_hash
    assert sorted(report.tables) == ["Energies and forces", "Hamiltonians"]


def test_the_figures_are_pictures(small, tmp_path):
    run_benchmark(small, out=tmp_path / "out")

    figures = {file.name: file.read_bytes() for file in (tmp_path / "out" / "figures").iterdir()}
    assert set(figures) == {
        "errors-energy.png",
        "learning-curves-energy.png",
        "error-by-size-energy.png",
        "error-by-element-energy.png",
        "errors-hamiltonian.png",
        "error-by-size-hamiltonian.png",
        "error-by-element-hamiltonian.png",
    }
    assert all(content.startswith(b"\x89PNG") for content in figures.values())


def test_a_second_call_does_nothing_again(run, calls):
    first = run()
    done = {name: calls[name] for name in ("write_predictions", "evaluate")}
    second = run()

    assert done == {"write_predictions": 9, "evaluate": 9}
    assert {name: calls[name] for name in done} == done
    assert second.rows == first.rows


@pytest.mark.parametrize(
    ("name", "call"), [("train", 2), ("write_predictions", 5), ("evaluate", 4)]
)
def test_an_interrupted_benchmark_continues_to_the_same_tables(run, calls, tmp_path, name, call):
    whole = run(out=tmp_path / "whole")
    calls.update(train=0, write_predictions=0, evaluate=0)
    calls["stop_at"][name] = call

    with pytest.raises(KeyboardInterrupt):
        run()
    continued = run()

    assert calls["evaluate"] in {9, 10}
    assert calls["write_predictions"] in {9, 10}
    for one, two in zip(whole.rows, continued.rows, strict=True):
        for part in TEST_PARTS:
            assert one.results[part].metrics == two.results[part].metrics


def test_damaged_and_foreign_predictions_are_made_again(run, calls, tmp_path):
    run()
    out = tmp_path / "out" / "shift"
    (out / "predictions-test_structures.h5").write_bytes(b"half a file")
    (out / "predictions-test_scaffolds.h5").unlink()
    (out / "predictions-test_conformations.h5").replace(out / "predictions-test_scaffolds.h5")
    calls.update(write_predictions=0, evaluate=0)

    run()

    assert calls["write_predictions"] == 3
    assert Predictions(out / "predictions-test_scaffolds.h5").info.part == "test_scaffolds"


def test_results_of_other_predictions_or_an_older_scorer_are_made_again(
    run, calls, tmp_path, monkeypatch
):
    run()
    (tmp_path / "out" / "zeros" / "results-test_structures.json").write_text("{}")
    calls.update(write_predictions=0, evaluate=0)
    run()
    after_damage = dict(calls)
    monkeypatch.setattr(suite_module, "SCORER_VERSION", 99)
    run()

    assert (after_damage["write_predictions"], after_damage["evaluate"]) == (0, 1)
    assert (calls["write_predictions"], calls["evaluate"]) == (0, 10)


def test_a_missing_package_is_said_first_and_the_others_go_on(run, small, folder_of, calls):
    recorder = Recorder()
    runs = (SuiteRun(task="energy", baseline=folder_of("needy")), *small.runs)
    suite = Suite(name="small", data=small.data, split=small.split, runs=runs)

    report = run(suite, listener=recorder)

    assert not report.is_complete
    assert "a_package_that_nobody_has" in recorder.notes[0]
    assert "a_package_that_nobody_has" in report.rows[0].not_run
    assert all(row.results for row in report.rows[1:])
    assert calls["train"] == 3
    assert "not run" in report.tables["Energies and forces"][0].rows[0]


def test_a_baseline_that_fails_is_a_row_that_says_so(run, folder_of, small):
    runs = (SuiteRun(task="energy", baseline=folder_of("broken")), small.runs[0])
    suite = Suite(name="small", data=small.data, split=small.split, runs=runs)

    report = run(suite)

    assert not report.is_complete
    assert "it failed: Training has diverged" in report.rows[0].not_run
    assert report.rows[1].results


def test_some_baselines_and_a_folder_of_ones_own(run, folder_of, tmp_path):
    (tmp_path / "mine").mkdir()
    report = run(baselines=["zeros", folder_of("shift")])

    assert [row.name for row in report.rows] == ["shift", "zeros"]


def test_a_model_outside_the_suite_finds_its_task(run, small, folder_of):
    suite = Suite(name="small", data=small.data, split=small.split, runs=small.runs[:1])

    report = run(suite, baselines=[folder_of("zeros"), folder_of("shift")])

    assert {row.name: row.task for row in report.rows} == {
        "zeros": "hamiltonian",
        "shift": "energy",
    }


def test_a_model_for_no_task_is_refused(run, folder_of):
    with pytest.raises(ModelError, match=r"forces_only predicts \['forces'\].*no task"):
        run(baselines=[folder_of("forces_only")])


def test_a_changed_configuration_is_refused_before_anything_is_trained(run, calls, tmp_path):
    run()
    config = tmp_path / "models" / "shift" / "config.toml"
    config.write_text("[training]\nmax_epochs = 3\nbatch_size = 2\n")
    calls.update(train=0)

    with pytest.raises(RunError, match=r"another configuration.*--fresh --baselines shift"):
        run()

    assert calls["train"] == 0
    assert run(fresh=True, baselines=["shift"]).is_complete
    assert run().is_complete


def test_what_learns_is_trained_with_every_seed_and_the_table_has_the_mean(
    run, tmp_path, folder_of
):
    out, drawn = tmp_path / "out", folder_of("drawn")

    run(seeds=[17], baselines=[drawn])
    report = run(seeds=[17, 4], baselines=["isolated_atoms", drawn])

    records = {
        folder.name: json.loads((folder / "run.json").read_text())
        for folder in out.iterdir()
        if folder.is_dir()
    }
    assert set(records) == {"isolated_atoms", "drawn-seed17", "drawn-seed4"}
    assert records["drawn-seed4"]["seed"] == 4
    # The first training of the seed 17 is not repeated: it is only looked at again.
    assert len(records["drawn-seed17"]["sessions"]) == 1
    row = report.rows[1]
    found = [
        read_results(out / f"drawn-seed{seed}" / "results-test_structures.json").metrics
        for seed in (17, 4)
    ]
    values = [metrics["energy_mae"].value for metrics in found]
    assert values[0] != values[1]
    estimate = row.estimate("energy_mae", "test_structures")
    assert estimate.value == pytest.approx(np.mean(values), rel=1e-12)
    assert row.spread("energy_mae", "test_structures") == pytest.approx(np.std(values, ddof=1))
    assert report.rows[0].spread("energy_mae", "test_structures") is None
    assert row.peak_memory_bytes is None or row.peak_memory_bytes > 1e7
    assert " ± " in (out / "tables.md").read_text()


@pytest.mark.parametrize("seeds", [[3, 3], [-1]])
def test_seeds_twice_or_below_zero_are_refused(run, seeds):
    with pytest.raises(ConfigError, match="different and not negative"):
        run(seeds=seeds)


def test_a_folder_with_other_things_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")

    for fresh in (False, True):
        with pytest.raises(InputError, match="is not empty and holds no benchmark"):
            run(fresh=fresh)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_benchmark_of_other_data_is_refused_and_fresh_replaces_it(run, folder_of, tmp_path):
    run(baselines=["isolated_atoms"])
    other = MemorySource(random_records(seed=1))
    suite = Suite(
        name="small",
        data=other,
        split=split_of(other),
        runs=(SuiteRun(task="energy", baseline="isolated_atoms"),),
    )

    with pytest.raises(InputError, match="with another data_hash"):
        run(suite)
    assert run(suite, fresh=True).is_complete


def test_the_overview_counts_steps_and_time():
    clock = iter([0.0, *[60.0] * 99])
    recorder = Recorder()
    overview = Overview(recorder, clock=lambda: next(clock))
    overview.expect([1.0, 3.0])

    overview.baseline("one")
    overview.doing("training", 0.0)
    overview.baseline("two")
    overview.start("two", epoch=0, max_epochs=10)
    overview.step(5.0)
    overview.validated({"train_loss": 0.1, "formation_energy_mae": 0.002})
    overview.step(10.0)
    overview.doing("scoring", 0.95)
    overview.finish()

    texts = [text for _, text, _ in recorder.lines]
    fractions = [fraction for fraction, _, _ in recorder.lines]
    assert texts[0] == "[1/2] one  4 min left  training"
    assert texts[2].endswith("training, epoch 5/10")
    assert "energy 2 mEh" in texts[3]
    assert fractions == pytest.approx([0, 0.25, 0.25 + 0.75 * 0.45, 0.25 + 0.75 * 0.9, 0.9625])
    assert recorder.is_closed


def test_what_was_done_before_does_not_make_the_rest_look_fast():
    # Half of the work was there; the other half took a minute for its first half.
    clock = iter([0.0, *[60.0] * 99])
    recorder = Recorder()
    overview = Overview(recorder, clock=lambda: next(clock))
    overview.expect([10.0, 10.0])

    overview.baseline("old")
    overview.skip()
    overview.baseline("new")
    overview.start("new", epoch=0, max_epochs=9)
    overview.step(5.0)

    assert recorder.lines[-1][1].startswith("[2/2] new  1 min left  training")


class Screen(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self):
        return True


def test_a_terminal_has_one_bar_and_notes_stay_above_it():
    screen = Screen()
    terminal = Terminal(screen)

    terminal.show(0.25, "[1/2] painn", is_news=True)
    terminal.note("qhnet cannot be run")
    terminal.close()

    assert " 25%|" in screen.getvalue()
    assert "| [1/2] painn" in screen.getvalue()
    assert "qhnet cannot be run\n" in screen.getvalue()


def test_a_log_has_a_line_for_each_news():
    log = io.StringIO()
    terminal = Terminal(log)

    terminal.show(0.1, "one", is_news=True)
    terminal.show(0.2, "two", is_news=False)
    terminal.show(0.3, "three", is_news=True)
    terminal.close()

    assert log.getvalue() == " 10%  one\n 30%  three\n"
