import pytest

from nabladft.errors import ConfigError, InputError
from nabladft.leaderboard.server.settings import EXAMPLE, parse_settings, read_settings


def settings_of(text, tmp_path):
    return parse_settings(text, place=tmp_path / "server.toml")


def test_the_example_can_be_read_and_has_the_headlines_of_its_task(tmp_path):
    settings = settings_of(EXAMPLE, tmp_path)

    assert settings.tasks["nano-energy"].metrics == ("energy_mae", "forces_mae")
    assert settings.data == tmp_path / "data"
    assert settings.database == f"sqlite:///{tmp_path}/data/server.sqlite"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", "has no option 'titel'. Did you mean 'title'"),
        ("digits = 3", "digits = 0", "digits = 0, but it must be at least 1, at most 6"),
        ("digits = 3", "digits = 3\nwall = 1", r"\[server.scoring\] has no option 'wall'"),
        ("upload_bytes", "upload", r"\[server.limits\] has no option 'upload'"),
        (
            'kind = "energy"',
            'kind = "energies"',
            "tasks.0.kind = 'energies'.*Did you mean 'energy'",
        ),
        ('kind = "energy"', 'kind = "energy"\nmetrics = ["mae"]', "No metric 'mae'"),
        ("0" * 64, "0" * 63, "must be 64 hexadecimal digits"),
        ('name = "nano-energy"', 'name = "../x"', "must be lower case letters"),
        ('parts = ["test_conformations", ', "parts = [] # ", "must be one part or several"),
        ('labels = "nano"', "", "lacks labels"),
    ],
)
def test_what_is_wrong_is_named(old, new, message, tmp_path):
    assert old in EXAMPLE

    with pytest.raises(ConfigError, match=message):
        settings_of(EXAMPLE.replace(old, new), tmp_path)


def test_a_server_needs_a_task_and_no_task_comes_twice(tmp_path):
    before, _, table = EXAMPLE.partition("[[tasks]]")

    with pytest.raises(ConfigError, match="at least one table"):
        settings_of(before, tmp_path)
    with pytest.raises(ConfigError, match="two tasks have the name 'nano-energy'"):
        settings_of(f"{EXAMPLE}\n[[tasks]]{table}", tmp_path)


def test_places_beside_the_file_are_found_and_other_words_are_names(tmp_path):
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "split.json").touch()

    task = settings_of(EXAMPLE, tmp_path).tasks["nano-energy"]

    assert task.split == str(tmp_path / "public" / "split.json")
    assert task.labels == "nano"


def test_the_database_of_the_environment_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("NABLADFT_SERVER_DATABASE", "postgresql+psycopg://board@/board")

    assert settings_of(EXAMPLE, tmp_path).database == "postgresql+psycopg://board@/board"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no configuration file .*missing\.toml"):
        read_settings(tmp_path / "missing.toml")
