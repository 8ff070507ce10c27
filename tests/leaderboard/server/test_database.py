import threading

import pytest
import sqlalchemy as sa

from nabladft.errors import ConfigError, StoreError
from nabladft.leaderboard.server.database import Database, accounts, meta


def test_tables_are_made_once_however_many_processes_begin_together(database_url):
    failures = []

    def begin():
        try:
            database = Database(database_url)
            database.create()
            database.close()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    with Database(database_url).reading() as connection:
        assert connection.execute(sa.select(meta.c.value)).scalars().all() == ["1"]


def test_a_database_of_another_version_is_refused(board):
    with board.database.writing() as connection:
        connection.execute(meta.update().values(value="2"))

    with pytest.raises(StoreError, match="tables of version 2; this nabladft reads version 1"):
        board.database.create()


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql://x/y", "postgresql+psycopg2://x/y"])
def test_other_databases_are_refused(url):
    with pytest.raises(ConfigError, match="expected sqlite:///"):
        Database(url)


def test_an_address_that_is_none_is_refused_without_showing_it():
    with pytest.raises(ConfigError) as caught:
        Database("secret password")
    assert "secret" not in str(caught.value)


def test_what_raises_is_rolled_back(board):
    def begin_and_fail():
        with board.database.writing() as connection:
            connection.execute(accounts.insert().values(id="x", name="x", created_at=0.0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        begin_and_fail()

    with board.database.reading() as connection:
        assert connection.execute(sa.select(accounts)).all() == []


def test_sqlite_commits_to_the_disk_and_lets_readers_read(new_board):
    database = new_board().database

    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.execute(sa.select(accounts)).all() == []
        with database.writing() as writer:
            writer.execute(accounts.insert().values(id="x", name="x", created_at=0.0))
        # A reader sees what was there when it began.
        assert connection.execute(sa.select(accounts)).all() == []
