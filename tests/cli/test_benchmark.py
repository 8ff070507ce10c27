import subprocess
import sys

import pytest

from nabladft.benchmark import suite as suite_module
from nabladft.benchmark.suites import Suite, SuiteRun
from nabladft.cli.main import main
from tests.conftest import MemorySource
from tests.scoring_data import random_records, split_of


@pytest.fixture
def small(monkeypatch):
    """Let the name "nano" mean one baseline on synthetic data, without figures."""
    source = MemorySource(random_records())
    suite = Suite(
        name="nano",
        data=source,
        split=split_of(source),
        runs=(SuiteRun(task="energy", baseline="isolated_atoms"),),
    )
    monkeypatch.setattr(suite_module, "suite_named", {"nano": suite}.__getitem__)
    monkeypatch.setattr(suite_module, "draw_figures", lambda *_: [])
    return suite


def test_tables_and_places_are_printed(small, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code = main(["benchmark", "nano"])

    out, err = capsys.readouterr()
    assert code == 0
    assert "Energy MAE [mEh], lower is better" in out
    assert "isolated_atoms (no learning)" in out
    assert "runs/benchmark-nano" in out
    assert "Total time: " in out
    assert "[1/1] isolated_atoms" in err
    assert (tmp_path / "runs" / "benchmark-nano" / "tables.md").is_file()


def test_a_baseline_that_cannot_be_run_is_exit_code_1(small, tmp_path, capsys):
    model = tmp_path / "needy"
    model.mkdir()
    (model / "model.py").write_text("import a_package_that_nobody_has\n")
    (model / "config.toml").touch()

    code = main(["benchmark", "nano", "--out", str(tmp_path / "out"), "--baselines", str(model)])

    out, err = capsys.readouterr()
    assert code == 1
    assert "needy was not run: " in out
    assert "a_package_that_nobody_has" in err


def test_interruption_says_how_to_continue(small, tmp_path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(suite_module, "train", interrupt)

    code = main(["benchmark", "nano", "--out", str(tmp_path / "out"), "--quiet"])

    assert code == 130
    assert capsys.readouterr().err == (
        "Interrupted. Finished work is kept: run the same command again to continue.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano", "--baselines", "pain"], "No baseline of the suite or model folder 'pain'"),
        (["nano", "--seeds", "-3"], "Seeds must be different and not negative"),
        (["nano", "--out", "."], "is not empty and holds no benchmark"),
    ],
)
def test_bad_arguments_are_one_message(small, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.tex").touch()

    code = main(["benchmark", *arguments])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_an_unknown_suite_is_one_message(capsys):
    code = main(["benchmark", "nanno"])

    assert code == 2
    assert "No benchmark 'nanno'. Did you mean 'nano'?" in capsys.readouterr().err


def test_without_torch_it_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None; from nabladft.cli.benchmark import run; "
        "from argparse import Namespace; run(Namespace(suite='nano', seed=None))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert 'Running a benchmark needs torch. Install it with: pip install "nabladft[train]"' in (
        done.stderr
    )


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", "--help"])

    assert stop.value.code == 0
    assert "nabladft benchmark nano --baselines linear painn" in capsys.readouterr().out
