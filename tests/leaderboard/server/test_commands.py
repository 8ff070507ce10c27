"""The commands of operators and of submitters."""

import re
import threading

import h5py
import pytest
import requests

from benchmarks.leaderboard_place import PART, TASK, entry_text, write_predictions
from nabladft.cli.main import main
from nabladft.leaderboard.server.accounts import find_account, list_tokens
from nabladft.leaderboard.server.database import Database
from nabladft.leaderboard.server.settings import parse_settings


@pytest.fixture
def sent(server, tmp_path, monkeypatch):
    """What a submitter has: predictions, an entry, a token; and the arguments of the command."""
    monkeypatch.delenv("NABLADFT_TOKEN", raising=False)
    server.board.account()
    (tmp_path / "token").write_text(f"{server.board.tokens['ada']}\n")
    (tmp_path / "entry.toml").write_text(entry_text(1))
    path = write_predictions(server.board.place, tmp_path / "predictions-1.h5", number=1)
    return [
        "submit", str(path), "--entry", str(tmp_path / "entry.toml"), "--server", server.url,
    ]  # fmt: skip


@pytest.fixture
def working(server):
    worker = server.board.worker()
    thread = threading.Thread(target=worker.run)
    thread.start()
    yield
    worker.stop.set()
    thread.join()


def public(place):
    folder = place.public.info.location
    return ["--data", str(folder), "--split", str(folder.parent / "split.json")]


def test_submitting_to_a_server_prints_the_rounded_score(server, sent, working, tmp_path, capsys):
    arguments = [*sent, "--token-file", str(tmp_path / "token")]

    assert main(arguments) == 0

    text = capsys.readouterr().out
    (row,) = requests.get(f"{server.url}/v1/leaderboard", timeout=20).json()["rows"]
    metric = row["scores"][0]["metrics"]["energy_mae"]
    assert f"{metric['value']:g} ({metric['ci_low']:g} to {metric['ci_high']:g}) mEh" in text
    assert PART in text
    # Again: the same submission.
    assert main(arguments) == 0
    assert f"{metric['value']:g}" in capsys.readouterr().out
    assert len(server.board.submissions.of_account(server.board.account())) == 1


def test_without_waiting_it_is_queued(server, sent, monkeypatch, capsys):
    server.board.account()
    monkeypatch.setenv("NABLADFT_TOKEN", server.board.tokens["ada"])

    assert main([*sent, "--no-wait"]) == 0

    assert "It is queued." in capsys.readouterr().out


def test_what_waits_can_be_withdrawn(server, sent, tmp_path, capsys):
    token = ["--token-file", str(tmp_path / "token")]
    main([*sent, *token, "--no-wait"])
    submission = re.search("submission ([0-9a-f]{32}) ", capsys.readouterr().out)[1]
    withdraw = ["submit", "--server", server.url, "--withdraw"]

    assert main([*withdraw, submission, *token]) == 0
    assert f"Submission {submission} is deleted" in capsys.readouterr().out
    assert server.board.submissions.of_account(server.board.account()) == []
    # Again, and in the wrong way.
    assert main([*withdraw, submission, *token]) == 2
    assert main([*withdraw, "../../v1/tasks", *token]) == 2
    assert "32 hexadecimal digits" in capsys.readouterr().err
    assert main(["submit", "--withdraw", submission]) == 2
    assert "--withdraw needs --server" in capsys.readouterr().err


def test_checking_needs_no_token_and_sends_nothing(server, sent, capsys):
    assert main([*sent, "--check", *public(server.board.place)]) == 0

    assert "Nothing was sent." in capsys.readouterr().out
    assert server.board.submissions.of_account(server.board.account()) == []


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"data_hash": "1" * 64}, "none of the tasks of the server are of that kind and data"),
        ({"split_hash": "1" * 64}, "was made for split with hash 111111111111"),
        ({"part": "train"}, "predicts part 'train'; the task has test_structures"),
    ],
)
def test_files_for_something_else_are_named_before_they_are_sent(
    attributes, message, server, sent, capsys
):
    path = write_predictions(server.board.place, server.board.place.folder / "q.h5", **attributes)

    assert main(["submit", str(path), *sent[2:], "--check"]) == 2

    assert message in capsys.readouterr().err


def test_the_place_of_a_mistake_is_named_beside_the_public_copy(server, sent, capsys):
    with h5py.File(sent[1], "r+") as file:
        file["conformation_id"][0] = 10**6

    assert main([*sent, "--check"]) == 0
    assert main([*sent, "--check", *public(server.board.place)]) == 2
    key = server.board.place.split.part(PART)[0]
    assert f"molecule_id {key[0]}, conformation_id {key[1]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "A token is needed: --token-file FILE"),
        (["--task", "nano"], f"no task 'nano'.*Known: {TASK}"),
        (["--keep"], "--keep cannot be used with --server"),
        (["--check", "--data", "nano"], "--data needs --split"),
    ],
)
def test_what_is_missing_is_said(more, message, sent, capsys):
    assert main([*sent, *more, *([] if "--task" not in more else ["--check"])]) == 2

    assert re.search(message, capsys.readouterr().err)


def test_a_failed_submission_ends_with_code_one(server, sent, working, tmp_path, capsys):
    with h5py.File(sent[1], "r+") as file:
        file["conformation_id"][0] = 10**6

    assert main([*sent, "--token-file", str(tmp_path / "token")]) == 1

    assert "failed (conformations)" in capsys.readouterr().err


def test_an_operator_makes_a_copy_a_token_and_reads_the_log(place, tmp_path, capsys):
    config = str(place.config)
    copy = tmp_path / "copy"

    assert main(["leaderboard", "blind", "nano", "--split", "nano", "--out", str(copy)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert main(["leaderboard", "serve", "--example"]) == 0
    example = capsys.readouterr().out
    lines = [last if line.startswith("data_hash") else line for line in example.splitlines()]
    settings = parse_settings("\n".join(lines), place=tmp_path / "new.toml")
    assert settings.tasks["nano-energy"].data_hash in last

    assert main(["leaderboard", "token", "add", "ada", "--config", config]) == 0
    token = capsys.readouterr().out.strip()
    database = Database(place.settings.database)
    assert find_account(database, token).name == "ada"
    token_id = list_tokens(database)[0].id
    assert main(["leaderboard", "token", "list", "--config", config]) == 0
    assert capsys.readouterr().out == f"{token_id}  good     ada\n"
    assert main(["leaderboard", "token", "revoke", token_id, "--config", config]) == 0
    assert main(["leaderboard", "token", "revoke", token_id, "--config", config]) == 2
    capsys.readouterr()
    assert main(["leaderboard", "audit", "--config", config]) == 0
    assert [line.split("  ")[3] for line in capsys.readouterr().out.splitlines()] == [
        "token_added",
        "token_revoked",
    ]
    with database.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_delete")
        connection.exec_driver_sql("DELETE FROM audit_log WHERE number = 1")
    assert main(["leaderboard", "audit", "--config", config]) == 1
    assert "changed at or before line 2" in capsys.readouterr().err


def test_serving_needs_a_configuration(capsys):
    assert main(["leaderboard", "serve"]) == 2
    assert "--config is needed" in capsys.readouterr().err
