"""Whole scorings, each in a child process."""

import shutil

import h5py
import numpy as np
import pytest

import nabladft
from benchmarks.leaderboard_place import local_score, write_predictions
from nabladft.leaderboard.server.audit import lines
from nabladft.leaderboard.server.database import submissions as table
from nabladft.leaderboard.server.scoring import Job
from nabladft.leaderboard.server.submissions import OPEN


def outcome(board, made):
    row = board.find(made).row
    return row["state"], row["failure"]


def test_a_submission_is_scored_as_here(board):
    import json

    made = board.queue(1)

    assert board.worker(name="w1").work_once()

    assert outcome(board, made) == ("scored", None)
    path = board.place.folder / "made-1.h5"
    assert json.loads(board.find(made).row["public_scores"]) == [local_score(board.place, path)]
    assert not board.worker().work_once()
    (line,) = [line for line in lines(board.database) if line.what == "submission_scored"]
    assert (line.who, line.subject) == ("w1", made)


def test_a_file_that_needs_more_memory_than_allowed_fails_and_the_worker_goes_on(new_board):
    board = new_board(scoring={"memory_bytes": 300_000_000})
    path = write_predictions(board.place, board.place.folder / "bomb.h5")
    with h5py.File(path, "r+") as file:
        # Small on the disk, gigabytes in memory as a table of ids.
        for name in ("molecule_id", "conformation_id"):
            del file[name]
            file.create_dataset(
                name, data=np.zeros(10**7, dtype=np.int64), chunks=(2**18,), compression=1
            )
    assert path.stat().st_size < 10**7
    bomb, good = board.queue(1, path=path), board.queue(2)
    worker = board.worker()

    assert worker.work_once()
    assert worker.work_once()

    state, failure = outcome(board, bomb)
    # Whoever notices first: the reader that the file is too much, or the system that memory is.
    assert (state, failure in {"memory", "not_predictions"}) == ("failed", True)
    assert outcome(board, good) == ("scored", None)


def test_a_scoring_that_takes_too_long_fails(new_board):
    board = new_board(scoring={"cpu_seconds": 1, "wall_seconds": 0.3})
    made = board.queue(1)

    board.worker().work_once()

    assert outcome(board, made) == ("failed", "time")


def test_labels_that_cannot_be_read_delay_a_submission_until_they_can(new_board, tmp_path):
    labels = tmp_path / "labels"
    board = new_board(labels=str(labels))
    made = board.queue(1)
    worker = board.worker()

    worker.work_once()
    assert outcome(board, made) == ("queued", None)
    assert board.find(made).row["n_delays"] == 1
    assert not worker.work_once()

    shutil.copytree(nabladft.open("nano").info.location, labels)
    with board.database.writing() as connection:
        connection.execute(table.update().values(not_before=0.0))
    worker.work_once()
    assert outcome(board, made) == ("scored", None)


def test_a_child_that_crashes_is_tried_again_and_then_given_up(new_board, monkeypatch):
    board = new_board()
    made = board.queue(1)
    worker = board.worker()
    # What the child cannot read as a job: an exception that nobody thought of.
    monkeypatch.setattr(Job, "to_json", lambda _: "{}")

    for expected in (("queued", None), ("queued", None), ("failed", "crashed")):
        worker.work_once()
        assert outcome(board, made) == expected


def test_a_worker_that_is_told_to_stop_gives_the_submission_back(new_board):
    board = new_board()
    made = board.queue(1)
    worker = board.worker()
    worker.stop.set()

    worker.work_once()

    assert outcome(board, made) == ("queued", None)
    assert board.find(made).row["state"] in OPEN


def test_a_task_that_left_the_configuration_delays_its_submissions(new_board):
    board = new_board()
    made = board.queue(1)
    with board.database.writing() as connection:
        connection.execute(table.update().values(task="gone"))

    board.worker().work_once()

    assert outcome(board, made) == ("queued", None)


@pytest.mark.parametrize("variable", ["NABLADFT_TOKEN", "NABLADFT_SERVER_DATABASE"])
def test_the_child_gets_no_secret_of_the_environment(variable):
    from nabladft.leaderboard.server import worker

    assert variable not in worker._CHILD_VARIABLES
