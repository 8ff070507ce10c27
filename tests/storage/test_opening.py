import gzip
import shutil

import apsw
import ase.io
import h5py
import pytest

import nabladft
from nabladft.errors import FormatError, InputError, StoreError, UnknownNameError
from nabladft.storage import opening
from nabladft.storage.formats.ase_formats import AseSource
from nabladft.storage.formats.published_energy import PublishedEnergySource
from nabladft.storage.formats.published_hamiltonian import PublishedHamiltonianSource
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from tests.storage.published_files import write_energy_file, write_hamiltonian_file


@pytest.fixture
def water(record):
    return record(3, 0, formation_energy=-0.3, energy=None)


def test_public_open_is_this_function():
    assert nabladft.open is open_source


def test_every_embedded_data_set_opens_by_name(new_store, records, monkeypatch):
    folder = new_store(records).folder
    monkeypatch.setattr(opening, "embedded_datasets", lambda: {"pico": folder})

    assert len(open_source("pico")) == 12


def test_files_are_told_apart_by_their_contents(tmp_path, water, new_store, monkeypatch):
    # All with the same, misleading name.
    monkeypatch.chdir(tmp_path)
    store = new_store([water.replace(energy=-76.0)])
    written = {}
    path = tmp_path / "data.txt"
    for kind, write in {
        PublishedEnergySource: lambda: write_energy_file(tmp_path / "e.db", [water]).rename(path),
        PublishedHamiltonianSource: lambda: write_hamiltonian_file(
            path, [water], energy="formation_energy"
        ),
        AseSource: lambda: ase.io.write(path, ase.Atoms("H"), format="extxyz"),
    }.items():
        path.unlink(missing_ok=True)
        write()
        written[kind] = type(open_source(path))

    assert all(kind is found for kind, found in written.items())
    assert isinstance(open_source(store.folder), Store)
    assert isinstance(open_source(store.folder / "manifest.json"), Store)
    assert isinstance(open_source("demo"), Store)


def test_ase_database_without_published_labels_is_one_of_ase(tmp_path):
    ase.io.write(tmp_path / "x.db", ase.Atoms("H"))

    assert isinstance(open_source(tmp_path / "x.db"), AseSource)


def hdf5(path, **attributes):
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)


def sqlite(path, table):
    connection = apsw.Connection(str(path))
    connection.execute(f"CREATE TABLE {table} (x)")
    connection.close()


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_text("CCO ethanol\n"), "of no format that can be read here. Rea"),
        (lambda path: path.write_bytes(gzip.compress(b"x")), "is packed. Unpack it first: gunzip"),
        (hdf5, "HDF5 file that was not written by nabladft"),
        (lambda path: hdf5(path, format="nabladft-predictions"), "nabladft evaluate"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 99), "a damaged HDF5 file"),
        (lambda path: sqlite(path, "songs"), r"unknown kind \(tables: songs\)"),
        (lambda path: path.write_bytes(b"SQLite format 3\x00"), "is not an SQLite file"),
        (lambda path: path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 9000), "Download"),
    ],
)
def test_file_of_another_kind_is_refused_by_what_it_is(tmp_path, write, match):
    path = tmp_path / "file"
    write(path)

    with pytest.raises(FormatError, match=match):
        open_source(path)


def test_parts_of_a_store_point_to_its_folder(new_store, records):
    folder = new_store(records).folder

    for name in ("shard-00000.h5", "index.sqlite"):
        with pytest.raises(FormatError, match=r"Open its folder: '.*demo'"):
            open_source(folder / name)


def test_folder_that_holds_a_store_points_to_it(new_store, records, tmp_path):
    new_store(records)

    with pytest.raises(StoreError, match=r"not a store.*Did you mean '.*demo'"):
        open_source(tmp_path)
    shutil.rmtree(tmp_path / "demo")
    with pytest.raises(StoreError, match=r"it has no manifest\.json\.$"):
        open_source(tmp_path)


def test_what_does_not_exist_is_a_wrong_path_or_a_wrong_name(new_store, records, monkeypatch):
    folder = new_store(records).folder
    monkeypatch.setattr(opening, "embedded_datasets", lambda: {"nano": folder})

    with pytest.raises(UnknownNameError, match=r"data set 'nanno'\. Did you mean 'nano'"):
        open_source("nanno")
    with pytest.raises(InputError, match=r"There is no file or folder 'train\.db'"):
        open_source("train.db")
    with pytest.raises(InputError, match="'runs/none'"):
        open_source("runs/none")


def test_lmdb_folder_points_to_the_file_that_it_is_made_from(tmp_path):
    (tmp_path / "data.mdb").touch()

    with pytest.raises(FormatError, match=r"is an LMDB environment.*made from its \.db files"):
        open_source(tmp_path)
