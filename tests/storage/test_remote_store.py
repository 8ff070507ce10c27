import multiprocessing
import pickle
import shutil

import h5py
import numpy as np
import pytest

import nabladft
from nabladft.cli.main import main
from nabladft.errors import (
    CorruptStoreError,
    InputError,
    RemoteChangedError,
    RemoteMissingError,
    StoreError,
    UnknownNameError,
)
from nabladft.storage import remote_store
from nabladft.storage.remote_store import RemoteStore
from nabladft.storage.writing import append, create_store
from tests.range_server import RangeServer
from tests.storage.conftest import LEVEL, make_record

FIELDS = ("energy", "forces", "hamiltonian", "orbital_energies", "dipole")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NABLADFT_ATTEMPTS", "1")


@pytest.fixture(scope="module", params=["plain", "compact"])
def written(request, tmp_path_factory):
    """A store of 120 conformations in three shards."""
    folder = tmp_path_factory.mktemp("stores") / request.param
    create_store(
        folder,
        name="demo",
        level_of_theory=LEVEL,
        fields=FIELDS,
        codec=request.param,
        basis_set="def2-svp",
        orbital_order="ascending",
    )
    for start in range(0, 30, 10):
        append(folder, [make_record(m, c) for c in range(start, start + 10) for m in (3, 4, 7, 11)])
    return folder


@pytest.fixture
def server(tmp_path, written):
    (tmp_path / "served").mkdir()
    shutil.copytree(written, tmp_path / "served" / "demo")
    with RangeServer(tmp_path / "served") as server:
        yield server


@pytest.fixture
def here(written):
    return nabladft.open(written)


@pytest.fixture
def there(server):
    return nabladft.open(server.url("demo"))


def test_it_reads_as_the_local_one(here, there):
    rows = [100, 3, 3, -1, 41, 7]

    assert isinstance(there, RemoteStore)
    assert len(there) == len(here) == 120
    assert there.data_hash == here.data_hash
    assert there.info.fields == here.info.fields
    assert there.info.location is None
    assert there.info.details["url"] == there.url
    for got, expected in zip(there.read(rows), here.read(rows), strict=True):
        assert got.key == expected.key
        assert got.smiles == expected.smiles
        for name in expected.fields:
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    np.testing.assert_array_equal(there.keys, here.keys)
    np.testing.assert_array_equal(there.n_atoms, here.n_atoms)


def test_errors_are_those_of_any_store(there):
    with pytest.raises(InputError, match="out of range"):
        there.read([120])
    with pytest.raises(UnknownNameError, match="No label"):
        there.read([0], fields=["colour"])
    with pytest.raises(InputError, match="1 of 2 conformations are not in"):
        there.rows_of([(3, 0), (3, 99)])


def test_ids_are_found_through_the_index(server, here, there):
    wanted = here.keys[[100, 3, 3, 77]]

    assert there.rows_of(wanted).tolist() == [100, 3, 3, 77]
    assert not any(".h5" in path for path, _, _ in server.log)


def test_ids_are_found_without_an_index(server, here):
    (server.folder / "demo" / "index.sqlite").unlink()

    assert nabladft.open(server.url("demo")).rows_of(here.keys[[100, 3]]).tolist() == [100, 3]


def test_an_index_of_another_state_is_not_believed(server, here):
    with (server.folder / "demo" / "index.sqlite").open("r+b") as file:
        file.write(b"something else")

    assert nabladft.open(server.url("demo")).rows_of(here.keys[[100, 3]]).tolist() == [100, 3]


def test_only_what_is_asked_for_moves_and_only_once(server, there):
    there.read_flat([5], fields=["energy"])
    first = server.n_bytes
    there.read_flat([5], fields=["energy"])

    assert server.n_bytes == first
    assert first < sum(p.stat().st_size for p in (server.folder / "demo").glob("*.h5")) / 2
    other = nabladft.open(server.url("demo"))
    server.forget()
    other.read_flat([5], fields=["energy"])
    assert server.log == []  # all of it is in the cache, and the shard is known by its hash


def _read(store, row, answer):
    answer.put(store.read_flat([row]).molecule_id.tolist())


def test_it_works_in_workers(here, there):
    expected = here.read_flat([50]).molecule_id.tolist()
    there.read_flat([0])

    assert pickle.loads(pickle.dumps(there)).read_flat([50]).molecule_id.tolist() == expected
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    process = context.Process(target=_read, args=(there, 50, answer))
    process.start()
    assert answer.get(timeout=20) == expected
    process.join()


def test_no_file_is_left_to_hdf5_when_python_ends(there):
    there.read_flat([0, 50])
    remote_store._close_hdf5()

    drivers = [
        file.get_access_plist().get_driver()
        for file in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)
    ]
    assert h5py.h5fd.fileobj_driver not in drivers


def test_a_public_bucket_is_read_as_a_server(server, here, monkeypatch):
    monkeypatch.setenv("NABLADFT_S3_ENDPOINT", server.url().rstrip("/"))

    store = nabladft.open("s3://demo")

    np.testing.assert_array_equal(store.read_flat([3]).positions, here.read_flat([3]).positions)


def test_info_looks_at_a_few_rows(server, capsys):
    assert main(["info", server.url("demo")]) == 0
    text = capsys.readouterr().out

    assert server.url("demo") in text
    assert "120" in text
    assert "32 of them" in text


def test_it_cannot_be_written_or_verified(there):
    with pytest.raises(StoreError, match="at a server"):
        there.verify()
    with pytest.raises(StoreError, match="download --ids"):
        _ = there.folder


def test_a_shard_that_is_gone_or_changed_is_an_error(server):
    store = nabladft.open(server.url("demo"))
    first, second, _ = sorted((server.folder / "demo").glob("*.h5"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])

    with pytest.raises(RemoteMissingError):
        store.read_flat([0])
    with pytest.raises(RemoteChangedError, match=r"bytes, .* expected"):
        store.read_flat([45])


def test_no_shard_and_a_damaged_manifest_are_refused(server):
    shard = min((server.folder / "demo").glob("*.h5"))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(CorruptStoreError, match="not an HDF5 file"):
        nabladft.open(server.url("demo")).read_flat([0])

    (server.folder / "demo" / "manifest.json").write_text("{")
    with pytest.raises(CorruptStoreError, match="damaged or not a manifest"):
        nabladft.open(server.url("demo/"))
