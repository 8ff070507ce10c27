import dataclasses

import pytest

from nabladft.benchmark.suites import Suite, SuiteRun, suite_named
from nabladft.benchmark.tasks import task_named, tasks, tasks_of
from nabladft.errors import ConfigError, UnitError, UnknownNameError
from nabladft.resources import baseline_folders
from nabladft.splits import TEST_PARTS


def test_a_baseline_may_run_twice_under_two_names():
    runs = (SuiteRun(baseline="schnorb"), SuiteRun(baseline="schnorb", label="schnorb-overlap"))

    suite = Suite(name="two", data="nano", split="nano", runs=runs)

    assert [run.name for run in suite.runs] == ["schnorb", "schnorb-overlap"]
    assert [run.name for run in suite.only(["schnorb-overlap"]).runs] == ["schnorb-overlap"]


def test_tasks_are_found_by_what_is_predicted():
    assert [task.name for task in tasks_of({"energy"})] == ["energy"]
    assert [task.name for task in tasks_of({"energy", "forces"})] == ["energy"]
    assert [task.name for task in tasks_of({"hamiltonian", "energy"})] == ["energy", "hamiltonian"]
    assert tasks_of({"forces"}) == []


def test_tasks_are_scored_on_the_three_test_parts():
    assert {task.parts for task in tasks().values()} == {TEST_PARTS}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fields": ("energy", "dipole")}, ConfigError, r"unknown fields \['dipole'\]"),
        ({"headlines": ("hamiltonian_mae",)}, ConfigError, "without declaration"),
        ({"units": {}}, ConfigError, "metrics without unit"),
        ({"fields": ("energy",)}, ConfigError, "scores forces, not among its fields"),
    ],
)
def test_tasks_that_contradict_themselves_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(task_named("energy"), **change)


def test_units_of_tasks_are_checked():
    task = task_named("hamiltonian")
    units = dict.fromkeys(task.metrics, "angstrom")

    with pytest.raises(UnitError, match="no conversion"):
        dataclasses.replace(task, units=units)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'energy'"):
        task_named("enrgy")
    with pytest.raises(UnknownNameError, match=r"No benchmark 'nanno'\. Did you mean 'nano'"):
        suite_named("nanno")


def test_the_suites_name_baselines_that_exist():
    assert {run.baseline for run in suite_named("nano").runs} <= set(baseline_folders())


def test_a_suite_can_be_narrowed_in_its_own_order_and_extended_by_folders(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.py").touch()

    suite = suite_named("nano").only(["painn", str(tmp_path / "mine"), "baselines/linear"])

    assert [run.name for run in suite.runs] == ["linear", "painn", "mine"]
    assert suite.runs[2].task is None
    with pytest.raises(UnknownNameError, match="Did you mean 'painn'"):
        suite.only(["pain"])


def test_a_run_is_named_after_its_folder_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "mine" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")

    assert [SuiteRun(baseline=text).name for text in (".", "inner/..", "../mine/")] == ["mine"] * 3
    assert SuiteRun(baseline="painn").name == "painn"


def test_suites_refuse_two_runs_of_one_name_and_unknown_tasks():
    with pytest.raises(ConfigError, match="'x' has a twice"):
        Suite(
            name="x", data="d", split="s", runs=(SuiteRun(baseline="a"), SuiteRun(baseline="b/a"))
        )
    with pytest.raises(UnknownNameError, match="No task 'relaxation'"):
        Suite(name="x", data="d", split="s", runs=(SuiteRun(baseline="a", task="relaxation"),))


def test_overrides_are_put_over_every_run():
    suite = suite_named("nano").with_overrides("training.seed=3")

    assert {run.overrides[-1] for run in suite.runs} == {"training.seed=3"}
