from pathlib import Path

import pytest

from nabladft.catalog.catalogue import PACKAGED, read_catalogue
from nabladft.catalog.places import (
    data_folder,
    find_local,
    local_path,
    locations,
    mirrors,
    settings,
)
from nabladft.errors import ConfigError
from nabladft.resources import embedded_datasets

TINY = "train_2k_v2_formation_energy_w_forces.db"


@pytest.fixture(scope="module")
def catalogue():
    return read_catalogue([PACKAGED])


@pytest.fixture
def tiny(catalogue):
    return catalogue.get("energy/train-tiny")


@pytest.fixture
def config(tmp_path, data_place, monkeypatch):
    """Write a configuration file, with no variable but the one that names it."""
    monkeypatch.delenv("NABLADFT_DATA")

    def written(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        monkeypatch.setenv("NABLADFT_CONFIG", str(path))
        return path

    return written


def test_place_of_a_product(tiny, catalogue, data_place):
    assert local_path(tiny) == data_place / "energy" / TINY
    assert local_path(catalogue.get("v1/hamiltonian/train-2k")) == (
        data_place / "v1" / "hamiltonian" / "dataset_train_2k.db"
    )
    assert local_path(catalogue.get("nano")) == embedded_datasets()["nano"]
    assert not data_place.exists()


@pytest.mark.parametrize(
    ("system", "variable", "expected"),
    [
        ("linux", None, "home/.local/share/nabladft"),
        ("linux", "XDG_DATA_HOME", "elsewhere/nabladft"),
        ("darwin", None, "home/Library/Application Support/nabladft"),
        ("win32", "LOCALAPPDATA", "elsewhere/nabladft"),
    ],
)
def test_default_place_is_that_of_the_platform(tmp_path, monkeypatch, system, variable, expected):
    for name in ("NABLADFT_DATA", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NABLADFT_CONFIG", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr("sys.platform", system)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))

    assert data_folder() == tmp_path / expected


def test_configuration_file(config, tmp_path):
    config('data = "here"\nmirrors = ["/share/x", "https://m.example.org"]\ncatalogs = ["c.toml"]')

    assert data_folder() == tmp_path / "here"
    assert mirrors() == ("/share/x", "https://m.example.org")
    assert settings().catalogs == (tmp_path / "c.toml",)


def test_variables_replace_what_the_file_says(config, monkeypatch, tmp_path):
    config('data = "here"\nmirrors = ["/share/x"]\ncatalogs = ["c.toml"]')
    monkeypatch.setenv("NABLADFT_DATA", str(tmp_path / "there"))
    monkeypatch.setenv("NABLADFT_MIRRORS", "https://a.example.org  /share/b")
    monkeypatch.setenv("NABLADFT_CATALOG", "")

    found = settings()

    assert found.data == tmp_path / "there"
    assert found.mirrors == ("https://a.example.org", "/share/b")
    assert found.catalogs == ()


def test_configuration_is_found_in_its_usual_place(tmp_path, monkeypatch):
    monkeypatch.delenv("NABLADFT_CONFIG", raising=False)
    monkeypatch.delenv("NABLADFT_MIRRORS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings().config_file is None

    (tmp_path / "nabladft").mkdir()
    (tmp_path / "nabladft" / "config.toml").write_text('mirrors = ["/share"]')

    assert settings().mirrors == ("/share",)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("mirors = []", r"config\.toml: unknown key 'mirors'. Did you mean 'mirrors'"),
        ('mirrors = "https://x"', "mirrors must be a list of texts, got 'https://x'"),
        ("data = 3", "data must be a text, got 3"),
        ("data = ", "cannot be read"),
    ],
)
def test_wrong_configuration_is_refused(config, text, match):
    config(text)

    with pytest.raises(ConfigError, match=match):
        settings()


def test_a_named_configuration_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("NABLADFT_CONFIG", str(tmp_path / "none.toml"))

    with pytest.raises(ConfigError, match="that NABLADFT_CONFIG names does not exist"):
        settings()


def test_locations_are_mirrors_first_each_in_three_layouts(tiny, data_place, monkeypatch):
    monkeypatch.setenv("NABLADFT_MIRRORS", "/share")

    assert locations(tiny, ["https://m.example.org/nabla/"]) == (
        f"https://m.example.org/nabla/energy/{TINY}",
        f"https://m.example.org/nabla/data/nablaDFTv2/energy_databases/{TINY}",
        f"https://m.example.org/nabla/{TINY}",
        f"/share/energy/{TINY}",
        f"/share/data/nablaDFTv2/energy_databases/{TINY}",
        f"/share/{TINY}",
        *tiny.urls,
    )


def test_nothing_is_where_nothing_is_known(catalogue, data_place):
    assert locations(catalogue.get("energy/train-full")) == ()


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("inside", ["", "energy/", "data/nablaDFTv2/energy_databases/"])
def test_mirror_folders_are_looked_into(tiny, data_place, tmp_path, monkeypatch, scheme, inside):
    assert find_local(tiny) is None
    file = tmp_path / "share" / inside / TINY
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("NABLADFT_MIRRORS", f"https://m.example.org {scheme}{tmp_path / 'share'}")

    assert find_local(tiny) == file

    local_path(tiny).parent.mkdir(parents=True)
    local_path(tiny).touch()
    assert find_local(tiny) == local_path(tiny)
