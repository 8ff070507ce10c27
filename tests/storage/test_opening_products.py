import pytest

import nabladft
from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.places import local_path
from nabladft.errors import FormatError, InputError, NotDownloadedError, UnknownNameError
from tests.storage.published_files import write_energy_file

pytestmark = pytest.mark.usefixtures("data_place")


@pytest.fixture
def file(tmp_path, record):
    return write_energy_file(tmp_path / "x.db", [record(3, 0, formation_energy=-0.3, energy=None)])


def test_a_downloaded_product_opens_by_its_name(file):
    path = local_path(load_catalogue().get("energy/train-tiny"))
    path.parent.mkdir(parents=True)
    file.rename(path)

    source = nabladft.open("energy/train-tiny")

    assert source.info.location == path
    assert source[0].formation_energy == pytest.approx(-0.3)


def test_a_file_in_a_mirror_folder_opens_where_it_lies(file, monkeypatch):
    shared = file.rename(file.with_name("train_2k_v2_formation_energy_w_forces.db"))
    monkeypatch.setenv("NABLADFT_MIRRORS", str(shared.parent))

    assert nabladft.open("energy/train-tiny").info.location == shared


def test_a_path_that_exists_wins(file, monkeypatch):
    folder = file.parent / "energy"
    folder.mkdir()
    file.rename(folder / "train-tiny")
    monkeypatch.chdir(folder.parent)

    assert len(nabladft.open("energy/train-tiny")) == 1


def test_what_is_not_here_is_refused_with_command_size_and_place(data_place):
    with pytest.raises(NotDownloadedError, match=r"\(53.3 MB\): nabladft download energy/train-t"):
        nabladft.open("energy/train-tiny")
    with pytest.raises(FileNotFoundError, match=str(data_place / "hamiltonian")):
        nabladft.open("hamiltonian/train-tiny")
    with pytest.raises(NotDownloadedError, match="No address of"):
        nabladft.open("energy/train-full")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("summary/properties", r"nabladft convert SOURCE STORE --summary .*summary\.csv\.gz"),
        ("geometries/conformations", r"Unpack the archive \(.*conformers_archive_v2\.tar\)"),
        ("wavefunctions/archive-0", "then open the folder with its"),
    ],
)
def test_a_product_without_records_says_what_to_do_with_it(name, match):
    path = local_path(load_catalogue().get(name))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"packed")

    with pytest.raises(FormatError, match=match):
        nabladft.open(name)


def test_wrong_names_and_wrong_paths_are_told_apart():
    with pytest.raises(UnknownNameError, match="Did you mean 'hamiltonian/train-tiny'"):
        nabladft.open("hamiltonian/trian-tiny")
    with pytest.raises(InputError, match="no file or folder 'folder/train-tiny'"):
        nabladft.open("folder/train-tiny")
