"""SIGKILL of server and worker at random moments: nothing is lost and nothing doubled."""

import pytest

from benchmarks.leaderboard_kills import torture


def check(outcome):
    assert outcome.audit_is_whole
    assert outcome.files_left == 0
    assert outcome.submitted >= 2
    assert (
        outcome.submitted == outcome.found == outcome.scored == outcome.scored_once == outcome.equal
    )
    assert outcome.claims >= outcome.scored


def test_ten_kills_lose_and_double_nothing(tmp_path):
    outcome = torture(tmp_path, n_kills=10, longest_pause=1.0, seed=1)

    assert outcome.kills_of_server + outcome.kills_of_worker == 10
    assert min(outcome.kills_of_server, outcome.kills_of_worker) > 0
    check(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_two_hundred_kills_lose_and_double_nothing(tmp_path, database_url):
    outcome = torture(tmp_path, n_kills=200, longest_pause=3.0, seed=2, database=database_url)

    check(outcome)
