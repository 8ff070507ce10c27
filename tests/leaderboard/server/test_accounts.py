import pytest

from nabladft.errors import InputError, UnknownNameError
from nabladft.leaderboard.server.accounts import (
    add_token,
    find_account,
    list_tokens,
    revoke_token,
)


@pytest.fixture
def database(board):
    return board.database


def test_a_token_leads_to_its_account_until_it_is_revoked(database):
    first, second = add_token(database, "ada"), add_token(database, "ada")

    assert find_account(database, first).name == find_account(database, second).name == "ada"
    assert find_account(database, first).id == find_account(database, second).id

    revoke_token(database, find_account(database, first).token_id)

    assert find_account(database, first) is None
    assert find_account(database, second).name == "ada"
    assert [line.revoked_at is None for line in list_tokens(database)] == [False, True]


@pytest.mark.parametrize("change", [str.upper, lambda t: t[:-1], lambda t: t + "x", lambda t: ""])
def test_a_token_that_differs_is_nobodys(change, database):
    token = add_token(database, "ada")

    assert find_account(database, change(token)) is None


def test_the_right_secret_with_the_id_of_another_token_is_nobodys(database):
    first, second = add_token(database, "ada"), add_token(database, "bob")

    mixed = "_".join([*second.split("_")[:2], first.split("_", 2)[2]])

    assert find_account(database, mixed) is None


def test_the_database_holds_no_secret(new_board):
    board = new_board()
    token = add_token(board.database, "ada")
    board.database.close()

    secret = token.split("_", 2)[2].encode()
    files = [path for path in board.place.settings.data.rglob("*") if path.is_file()]

    assert files
    assert not any(secret in path.read_bytes() for path in files)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 61, "é", "a\nb"])
def test_names_that_could_confuse_are_refused(name, database):
    with pytest.raises(InputError, match="cannot be the name of an account"):
        add_token(database, name)


def test_only_a_good_token_can_be_revoked(database):
    token_id = find_account(database, add_token(database, "ada")).token_id
    revoke_token(database, token_id)

    with pytest.raises(UnknownNameError, match=f"No good token '{token_id}'"):
        revoke_token(database, token_id)
