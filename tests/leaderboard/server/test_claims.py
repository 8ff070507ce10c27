import threading
import time

import pytest

from nabladft.leaderboard.server.audit import lines
from nabladft.leaderboard.server.claims import Claims
from nabladft.leaderboard.server.database import submissions as table


def claims_of(board, name="worker"):
    return Claims(board.place.settings, board.database, worker=name)


def change(board, **values):
    with board.database.writing() as connection:
        connection.execute(table.update().values(**values))


def actions(board):
    return [line.what for line in lines(board.database) if line.what != "token_added"]


def test_the_longest_waiting_is_claimed_first_and_nothing_twice(board):
    made = [board.queue(number) for number in range(3)]
    claims = claims_of(board)

    found = [claims.claim() for _ in range(4)]

    assert [one.id for one in found[:3]] == made
    assert found[3] is None
    assert found[0].uploads[0].path.is_file()


def test_many_workers_at_once_never_get_the_same(board):
    made = {board.create(number) for number in range(10)}
    change(board, state="queued", submitted_at=1.0)
    found = []

    def work(name):
        claims = claims_of(board, name)
        while claimed := claims.claim():
            found.append(claimed.id)

    threads = [threading.Thread(target=work, args=(str(k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 10
    assert set(found) == made


def test_a_claim_whose_lease_is_over_goes_to_another_and_the_first_changes_nothing(board):
    made = board.queue(1)
    sleepy, brisk = claims_of(board, "sleepy"), claims_of(board, "brisk")
    first = sleepy.claim()
    assert brisk.claim() is None

    change(board, lease_until=time.time() - 1)
    second = brisk.claim()

    assert second.id == made
    assert not sleepy.extend(first)
    assert not sleepy.finish(first, public_scores=[], results=[])
    assert not sleepy.fail(first, "values")
    assert not sleepy.release(first)
    assert board.find(made).row["state"] == "scoring"
    assert brisk.extend(second)
    assert brisk.finish(second, public_scores=[{"part": "p"}], results=[{}])
    assert not brisk.finish(second, public_scores=[{"part": "q"}], results=[{}])
    assert board.find(made).row["public_scores"] == '[{"part": "p"}]'
    assert actions(board).count("submission_scored") == 1


def test_a_lease_that_is_extended_is_kept(new_board):
    board = new_board(scoring={"lease_seconds": 0.3})
    board.queue(1)
    claims = claims_of(board)
    claimed = claims.claim()
    for _ in range(4):
        time.sleep(0.1)
        assert claims.extend(claimed)

    assert claims_of(board, "other").claim() is None


def test_after_too_many_crashes_a_submission_has_failed(board):
    made = board.queue(1)
    claims = claims_of(board)
    for _ in range(2):
        assert claims.crashed(claims.claim())
        assert board.find(made).row["state"] == "queued"

    assert claims.crashed(claims.claim())

    row = board.find(made).row
    assert (row["state"], row["failure"]) == ("failed", "crashed")
    assert claims.claim() is None


def test_a_delayed_submission_waits_longer_and_longer_but_never_fails(new_board, database_url):
    board = new_board(database=database_url, scoring={"poll_seconds": 20.0})
    made = board.queue(1)
    claims = claims_of(board)
    pauses = []
    for _ in range(5):
        claims.delay(claims.claim())
        assert claims.claim() is None
        with board.database.reading() as connection:
            row = connection.execute(table.select()).mappings().one()
        pauses.append(row["not_before"] - time.time())
        change(board, not_before=0.0)

    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0]
    assert board.find(made).row["state"] == "queued"
    assert claims.claim().id == made


def test_a_released_submission_is_claimed_again_at_its_old_place(board):
    first, _ = board.queue(1), board.queue(2)
    claims = claims_of(board)

    claims.release(claims.claim())

    assert claims.claim().id == first


def test_old_uploads_expire_and_queued_submissions_do_not(board):
    uploading, queued = board.create(1), board.queue(2)
    change(board, created_at=time.time() - 30 * 86400)

    assert claims_of(board).expire() == 1

    assert [one.row["id"] for one in board.submissions.of_account(board.account())] == [queued]
    assert board.create(1) != uploading


@pytest.mark.parametrize("state", ["queued", "uploading"])
def test_a_worker_sweeps_the_files_of_deleted_submissions_and_no_others(state, new_board):
    board = new_board()
    gone, kept = board.create(1), board.create(2)
    change(board, state=state)
    with board.database.writing() as connection:
        connection.execute(
            table.update().where(table.c.id == gone).values(state="deleted", content_key="d")
        )

    board.worker().tidy()

    assert not board.submissions.folder(gone).exists()
    assert board.submissions.folder(kept).exists()
