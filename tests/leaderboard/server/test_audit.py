import threading

import pytest
import sqlalchemy as sa

from nabladft.leaderboard.server.audit import append, lines
from nabladft.leaderboard.server.database import audit_log


def fill(database, n=3):
    for k in range(n):
        with database.writing() as connection:
            append(connection, who="ada", what="test", subject=str(k), number=k)


def test_lines_come_back_in_order_with_a_chain_that_holds(board):
    fill(board.database)

    found = list(lines(board.database))

    assert [line.number for line in found] == [1, 2, 3]
    assert [dict(line.details) for line in found] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert all(line.is_whole for line in found)


@pytest.mark.parametrize(
    "change",
    [audit_log.update().values(who="eve"), audit_log.delete().where(audit_log.c.number == 2)],
)
def test_the_database_refuses_to_change_or_remove_lines(change, board):
    fill(board.database)

    with pytest.raises(sa.exc.DBAPIError, match="append-only"), board.database.writing() as one:
        one.execute(change)

    assert len(list(lines(board.database))) == 3


@pytest.mark.parametrize(
    ("change", "whole"),
    [
        ("UPDATE audit_log SET who = 'eve' WHERE number = 2", [True, False, True]),
        ("DELETE FROM audit_log WHERE number = 2", [True, False]),
    ],
)
def test_a_change_behind_the_back_of_the_database_breaks_the_chain(change, whole, new_board):
    database = new_board().database
    fill(database)
    with database.writing() as connection:
        for verb in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER audit_log_no_{verb}")
        connection.exec_driver_sql(change)

    assert [line.is_whole for line in lines(database)] == whole


def test_many_writers_at_once_leave_no_gap_and_no_number_twice(board):
    threads = [threading.Thread(target=fill, args=(board.database, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = list(lines(board.database))

    assert [line.number for line in found] == list(range(1, 21))
    assert all(line.is_whole for line in found)


def test_what_is_rolled_back_leaves_no_line(board):
    def begin_and_fail():
        with board.database.writing() as connection:
            append(connection, who="ada", what="test", subject="0")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        begin_and_fail()

    assert list(lines(board.database)) == []
