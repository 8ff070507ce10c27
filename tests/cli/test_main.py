"""The entry point: every verb explains itself, every error is one message and an exit code."""

import errno
import itertools
import re
import shlex
import subprocess
import sys

import pytest

from nabladft.cli import main as entry
from nabladft.cli.main import VERBS, build_parser, main
from nabladft.errors import InputError


def help_of(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "nabladft.cli.main", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_help_lists_every_verb_and_examples():
    text = help_of()

    listed = {line.split()[0] for line in text.splitlines() if line.startswith("    ")}
    assert set(VERBS) <= listed
    assert "examples:" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_that_parse(verb):
    text = re.sub(r"\s*\\\n\s*", " ", help_of(verb))  # lines that go on
    examples = [
        line.strip()
        for line in text.split("examples:")[1].splitlines()
        if line.strip().startswith(f"nabladft {verb}")
    ]

    assert examples
    for example in examples:
        command = shlex.split(example.split("   ")[0].split(" | ")[0])[1:]
        build_parser().parse_args(list(itertools.takewhile(">".__ne__, command)))


def failing(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("No such thing: x."), 2, "error: No such thing: x."),
        (OSError(errno.ENOSPC, "No space left on device", "out.h5"), 2, "Free some space"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.db"), 2, "a.db"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "nabladft[train]"),
        (KeyboardInterrupt(), 130, "run the same command again to continue"),
    ],
    ids=["package error", "disk full", "missing file", "missing extra", "Ctrl-C"],
)
def test_errors_become_one_message_and_a_code(error, code, message, monkeypatch, capsys):
    monkeypatch.setattr("nabladft.cli.info.run", failing(error))

    assert main(["info", "nano"]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1


def test_notes_of_an_error_are_shown(monkeypatch, capsys):
    error = InputError("Bad value.")
    error.add_note("while reading row 7 of a.db")
    monkeypatch.setattr("nabladft.cli.info.run", failing(error))

    main(["info", "nano"])

    assert "Bad value. while reading row 7 of a.db" in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from(monkeypatch):
    monkeypatch.setattr("nabladft.cli.info.run", failing(InputError("x")))

    with pytest.raises(InputError):
        main(["--debug", "info", "nano"])


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr("nabladft.cli.info.run", failing(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        main(["info", "nano"])


def test_an_unknown_verb_exits_with_2(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["trian"])

    assert exit_info.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


def test_the_entry_point_is_the_installed_command():
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="nabladft")

    assert command.load() is entry.main
