import pickle
import shutil
from pathlib import Path

import apsw
import numpy as np
import pytest

import nabladft
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import (
    BadResponseError,
    FormatError,
    InputError,
    RemoteChangedError,
    RemoteMissingError,
)
from nabladft.storage.formats.published_hamiltonian import PublishedHamiltonianSource
from nabladft.storage.remote_pages import TablePages
from nabladft.storage.remote_sqlite import RemoteDatabase
from nabladft.transport.cached_file import CachedFile
from tests.range_server import RangeServer
from tests.storage.conftest import make_record
from tests.storage.published_files import execute, write_energy_file, write_hamiltonian_file


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NABLADFT_ATTEMPTS", "1")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with RangeServer(tmp_path / "served") as server:
        yield server


@pytest.fixture
def long_file(server):
    """A table of 200 rows of up to 200 kB, among others, 25 MB in all."""
    path = server.folder / "long.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE ids (id INTEGER PRIMARY KEY, a INT)")
    connection.execute(
        "CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, small BLOB, long BLOB, last BLOB)"
    )
    connection.execute("BEGIN")
    rng = np.random.default_rng(3)
    for number in range(200):
        connection.execute("INSERT INTO ids VALUES (?, ?)", (number, number * number))
        connection.execute(
            "INSERT INTO data VALUES (?, ?, ?, ?)",
            (number, rng.bytes(60), rng.bytes(int(rng.integers(0, 150_000))), rng.bytes(50_000)),
        )
    connection.execute("COMMIT")
    connection.close()
    return path


def local(path, sql):
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_queries_give_what_a_local_file_gives(server, long_file):
    remote = RemoteDatabase(server.url("long.db")).connect()

    for sql in (
        "SELECT count(*), sum(a) FROM ids",
        "SELECT id, small, last FROM data WHERE id IN (3, 199, 77)",
        "SELECT sum(length(long)) FROM data WHERE id > 190",
    ):
        assert remote.execute(sql).fetchall() == local(long_file, sql)


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_rows_are_fetched_before_sqlite_asks_for_them(server, long_file, page_size):
    execute(long_file, f"PRAGMA page_size = {page_size}")
    execute(long_file, "VACUUM")
    database = RemoteDatabase(server.url("long.db"))
    connection = database.connect()
    ids = np.random.default_rng(5).permutation(200)[:20].tolist()
    sql = "SELECT * FROM data WHERE id = ?"
    connection.execute(sql, (0,)).fetchall()
    fetched, missed = [], []

    for number in database.announced("data", ("small", "long", "last"), ids):
        before = database.file.traffic.requests
        fetched += connection.execute(sql, (number,)).fetchall()
        missed.append(database.file.traffic.requests - before)

    by_id = {row[0]: row for row in local(long_file, "SELECT * FROM data")}
    assert fetched == [by_id[number] for number in ids]
    # What runs in the background for the next rows may fall into the count of one.
    assert sum(missed) <= 25
    payload = sum(len(row[1]) + len(row[2]) + len(row[3]) for row in fetched)
    assert database.file.traffic.n_bytes < 1.35 * payload + 20 * 2 * max(4096, page_size)


def test_rows_in_pieces_all_over_the_file_are_read_right(server, long_file):
    execute(long_file, "DELETE FROM data WHERE id % 3 = 0")
    copy = "SELECT id + 1000 + id % 7 * 1000, small, last, long FROM data WHERE id % 5 = 0"
    execute(long_file, f"INSERT INTO data {copy} ORDER BY id DESC")
    database = RemoteDatabase(server.url("long.db"))
    connection = database.connect()
    by_id = {row[0]: row for row in local(long_file, "SELECT * FROM data")}

    for number in database.announced("data", ("small", "long", "last"), list(by_id)[::4]):
        (row,) = connection.execute("SELECT * FROM data WHERE id = ?", (number,)).fetchall()
        assert row == by_id[number]


def test_only_as_much_of_a_row_as_its_first_columns_need(server, long_file):
    database = RemoteDatabase(server.url("long.db"))
    ids = list(range(0, 200, 10))
    list(database.announced("data", ("small",), ids))
    little = database.file.traffic.n_bytes

    list(database.announced("data", ("small", "long"), ids))

    assert little < 20 * 3 * 4096 + 100_000
    assert database.file.traffic.n_bytes > 20 * 50_000


def test_absent_rows_and_a_page_that_is_no_tree_are_left_to_sqlite(server, long_file):
    file = CachedFile(server.url("long.db"))
    root = local(long_file, "SELECT rootpage FROM sqlite_master WHERE name = 'data'")[0][0]

    found = TablePages(file, root).of_rows([5, 1000, -3], 4)

    assert set(found) == {5}
    ((start, stop),) = found[5]
    overflow = start // 4096 + 1
    assert stop > start
    assert TablePages(file, overflow).of_rows([5], 4) == {}


def test_a_table_is_fetched_whole_in_few_requests(server, long_file):
    database = RemoteDatabase(server.url("long.db"))
    database.prefetch_table("ids")
    server.forget()

    found = database.connect().execute("SELECT * FROM ids").fetchall()

    assert found == local(long_file, "SELECT * FROM ids")
    assert server.n_bytes < 100_000


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """90 records as published; a third of them in a second file."""
    records = [
        (r := make_record(m, c)).replace(
            overlap=overlap_matrix(r.atomic_numbers, r.positions), orbital_energies=None
        )
        for c in range(45)
        for m in (3, 4)
    ]
    folder = tmp_path_factory.mktemp("written")
    return (
        write_hamiltonian_file(folder / "x.db", records),
        write_hamiltonian_file(folder / "fewer.db", records[:30]),
    )


@pytest.fixture
def published(server, written):
    """The path of a published Hamiltonian file that is served as x.db."""
    return Path(shutil.copy(written[0], server.folder))


def test_a_published_hamiltonian_file_reads_as_the_local_one(server, published):
    here, there = nabladft.open(published), nabladft.open(server.url("x.db"))
    rows = [7, 3, 3, -1, 60]

    assert isinstance(there, PublishedHamiltonianSource)
    assert len(there) == len(here) == 90
    assert (there.info.name, there.info.fields) == (here.info.name, here.info.fields)
    assert there.info.location is None
    assert there.info.details["url"] == server.url("x.db")
    got, expected = there.read_flat(rows), here.read_flat(rows)
    for name in expected.values:
        np.testing.assert_array_equal(got.values[name], expected.values[name])
    np.testing.assert_array_equal(got.molecule_id, expected.molecule_id)
    np.testing.assert_array_equal(there.keys, here.keys)
    np.testing.assert_array_equal(there.n_atoms, here.n_atoms)
    assert there.data_hash == here.data_hash
    with pytest.raises(InputError, match="out of range"):
        there.read([90])


def test_a_published_energy_file_reads_as_the_local_one(server, record):
    records = [record(m, c, matrices=False) for c in range(9) for m in (3, 4, 11)]
    path = write_energy_file(server.folder / "train_2k.db", records, energy="energy")
    here, there = nabladft.open(path), nabladft.open(server.url("train_2k.db"))

    assert there.info.fields == here.info.fields
    assert there.rows_of([(11, 2), (3, 0)]).tolist() == here.rows_of([(11, 2), (3, 0)]).tolist()
    for got, expected in zip(there.read([5, 0]), here.read([5, 0]), strict=True):
        assert got.key == expected.key
        assert got.smiles == expected.smiles
        np.testing.assert_array_equal(got.forces, expected.forces)


def test_a_remote_source_can_be_pickled(server, published):
    source = nabladft.open(server.url("x.db"))
    expected = source.read_flat([2])

    other = pickle.loads(pickle.dumps(source))

    np.testing.assert_array_equal(other.read_flat([2]).positions, expected.positions)


def test_few_rows_move_few_bytes(server, published):
    source = nabladft.open(server.url("x.db"))
    assert len(source) == 90
    assert source.info
    server.forget()

    source.read_flat([50, 51])

    assert server.n_bytes < published.stat().st_size / 5


def test_a_changed_file_is_an_error_and_opens_anew(server, published, written):
    source = nabladft.open(server.url("x.db"))
    shutil.copy(written[1], published)

    with pytest.raises(RemoteChangedError, match="changed at the server"):
        source.read(range(80, 90))
    assert len(nabladft.open(server.url("x.db"))) == 30


def test_a_truncated_file_is_refused(server, published):
    published.write_bytes(published.read_bytes()[:-5000])

    with pytest.raises(FormatError, match="incomplete"):
        nabladft.open(server.url("x.db"))


def test_a_server_without_ranges_is_refused_with_advice(server, published):
    server.ranges = False

    with pytest.raises(BadResponseError, match="Download the file"):
        nabladft.open(server.url("x.db"))


def test_nothing_there(server):
    with pytest.raises(RemoteMissingError, match=r"neither a file .* nor a store"):
        nabladft.open(server.url("x.db"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xyz", b"3\n\nO 0 0 0\n", "Download it"),
        ("x.db", b"SQLite format 3\x00" + bytes(5000), "cannot be read as SQLite"),
    ],
)
def test_other_files_are_refused(server, name, content, message):
    (server.folder / name).write_bytes(content)

    with pytest.raises(FormatError, match=message):
        nabladft.open(server.url(name))
