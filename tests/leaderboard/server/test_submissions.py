import dataclasses
import threading
import time

import pytest
import sqlalchemy as sa

from benchmarks.leaderboard_place import TASK, entry_text
from nabladft.errors import SubmissionError
from nabladft.leaderboard.entry import (
    PredictionsFile,
    Score,
    ScoredData,
    Scorer,
    format_entry,
    parse_entry,
)
from nabladft.leaderboard.server.audit import lines
from nabladft.leaderboard.server.database import submissions as table
from nabladft.leaderboard.server.submissions import DeclaredFile

FILE = DeclaredFile(name="a.h5", n_bytes=5, sha256="a" * 64)


def create(board, *, name="ada", entry=None, declared=(FILE,), task=TASK):
    return board.submissions.create(
        board.account(name), task=task, entry=entry or entry_text(), declared=declared
    )


def actions(board):
    return [line.what for line in lines(board.database) if line.what.startswith("submission")]


def test_the_same_content_is_the_same_submission(board):
    first, is_first_new = create(board)
    again, is_again_new = create(board)
    # Comments and spaces of the entry are not content.
    spaced, _ = create(board, entry=f"\n\n{entry_text()} # again")

    assert (is_first_new, is_again_new) == (True, False)
    assert first.row["id"] == again.row["id"] == spaced.row["id"]
    assert actions(board) == ["submission_created"]


def test_other_content_or_another_account_is_another_submission(board):
    other = DeclaredFile(name="a.h5", n_bytes=5, sha256="b" * 64)

    made = [
        create(board),
        create(board, entry=entry_text(7)),
        create(board, declared=[other]),
        create(board, name="bob"),
    ]

    assert len({submission.row["id"] for submission, _ in made}) == 4
    assert all(is_new for _, is_new in made)


def test_many_requests_at_once_make_one_submission(board):
    board.account()
    made = []

    def ask():
        made.append(create(board)[0].row["id"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 8
    assert len(set(made)) == 1
    assert actions(board) == ["submission_created"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"task": "other"}, "unknown_task"),
        ({"entry": "name = 3"}, "entry"),
        ({"entry": entry_text().replace('"energy"', '"overlap"')}, "task_kind"),
        ({"entry": entry_text().replace("[1]", "[1, 2]")}, "number_of_files"),
        ({"entry": entry_text().replace("[1]", str(list(range(20))))}, "too_many_files"),
        ({"declared": [FILE, FILE]}, "number_of_files"),
        ({"declared": [FILE, FILE], "entry": entry_text().replace("[1]", "[1, 2]")}, "same_file"),
        (
            {"declared": [DeclaredFile(name="a", n_bytes=10**10, sha256="a" * 64)]},
            "file_too_large",
        ),
    ],
)
def test_what_cannot_be_accepted_is_refused_before_it_is_uploaded(change, code, new_board):
    board = new_board()

    with pytest.raises(SubmissionError) as caught:
        create(board, **change)

    assert caught.value.code == code
    assert actions(board) == []


def test_an_entry_that_has_scores_is_refused(new_board):
    entry = parse_entry(entry_text(), where="test")
    score = Score(
        n_conformations=1,
        n_molecules=1,
        predictions=PredictionsFile(sha256="a" * 64, n_bytes=1),
        metrics={},
    )
    scored = dataclasses.replace(
        entry,
        scores=(score,),
        data=ScoredData(dataset="nano", data_hash="a" * 64),
        scorer=Scorer(version="1", bootstrap_seed=0, n_resamples=1, confidence=0.95),
        details_sha256="a" * 64,
    )

    with pytest.raises(SubmissionError, match="has scores already"):
        create(new_board(), entry=format_entry(scored))


def test_nobody_sees_or_changes_what_another_account_has(board):
    made = board.create()

    for action in (
        lambda: board.find(made, name="bob"),
        lambda: board.submissions.submit(board.account("bob"), made),
        lambda: board.submissions.delete(board.account("bob"), made),
        lambda: board.submissions.upload(board.account("bob"), made, 0),
    ):
        with pytest.raises(SubmissionError, match="no such submission"):
            action()
    assert board.submissions.of_account(board.account("bob")) == []
    assert [one.row["id"] for one in board.submissions.of_account(board.account())] == [made]


def test_only_a_complete_submission_is_queued_and_only_once(board):
    made, _ = create(board)

    with pytest.raises(SubmissionError, match="File 0 is not complete: 0 of 5 bytes"):
        board.submissions.submit(board.account(), made.row["id"])

    queued = board.queue(3)
    again = board.submissions.submit(board.account(), queued)

    assert again.row["state"] == "queued"
    assert again.queue_position == 1
    assert actions(board).count("submission_queued") == 1


def test_the_place_in_the_queue_is_counted(board):
    first, second = board.queue(1), board.queue(2)

    assert (board.find(first).queue_position, board.find(second).queue_position) == (1, 2)


def test_what_is_deleted_is_gone_and_can_be_sent_again_as_another(board):
    made = board.create(1)
    board.submissions.delete(board.account(), made)

    with pytest.raises(SubmissionError, match="no such submission"):
        board.find(made)
    assert not board.submissions.folder(made).exists()

    assert board.create(1) != made
    assert actions(board) == ["submission_created", "submission_deleted", "submission_created"]


def test_what_is_being_scored_cannot_be_deleted(board):
    made = board.queue(1)
    with board.database.writing() as connection:
        connection.execute(table.update().values(state="scoring", claim="x", lease_until=9e9))

    with pytest.raises(SubmissionError, match="is scoring"):
        board.submissions.delete(board.account(), made)


def test_an_account_has_only_so_many_open_submissions(new_board):
    board = new_board(limits={"open_submissions": 2})
    board.create(1)
    board.queue(2)

    with pytest.raises(SubmissionError, match="2 submissions that are not finished"):
        board.create(3)
    # Another account is not concerned, and neither is what is there already.
    board.create(3, name="bob")
    board.create(1)


def test_the_limit_of_a_day_counts_identical_predictions_once(new_board, database_url):
    board = new_board(database=database_url, limits={"submissions_per_day": 2})
    first = board.queue(1)
    path = board.place.folder / "made-1.h5"
    # The same predictions under other names.
    for number in (11, 12, 13):
        board.queue(number, path=path)
    board.queue(2)

    third = board.create(3)
    with pytest.raises(SubmissionError, match="2 submissions scored today") as caught:
        board.submissions.submit(board.account(), third)
    assert caught.value.status == 429
    assert board.find(third).row["state"] == "uploading"

    # On the next day it is accepted.
    with board.database.writing() as connection:
        connection.execute(
            table.update().where(table.c.state == "queued").values(submitted_at=time.time() - 86400)
        )
    board.submissions.submit(board.account(), third)
    assert board.find(first).row["state"] == board.find(third).row["state"] == "queued"


def test_the_board_has_the_last_score_of_each_name(board):
    scores = '[{"part": "test_structures"}]'
    for number in (1, 2, 3):
        board.queue(number, entry=entry_text(5 if number < 3 else 6))
    with board.database.writing() as connection:
        connection.execute(
            table.update().values(state="scored", public_scores=scores, finished_at=1.0)
        )

    rows = board.submissions.board()

    assert sorted(row["name"] for row in rows) == ["model-5", "model-6"]
    with board.database.reading() as connection:
        last = connection.execute(
            sa.select(table.c.id)
            .where(table.c.name == "model-5")
            .order_by(table.c.submitted_at.desc())
        ).scalars()
        assert last.first() in {row["id"] for row in rows}
