import subprocess
import sys

import apsw
import numpy as np
import pytest

from nabladft.errors import CorruptStoreError, InputError, StoreError
from nabladft.storage import index as index_module
from nabladft.storage.index import (
    Index,
    index_source,
    rebuild_index,
    tag_conformations,
    update_index,
)
from nabladft.storage.index_schema import pack_inchikey, unpack_inchikey
from nabladft.storage.manifest import read_manifest
from nabladft.storage.store import Store
from nabladft.storage.writing import append

TABLES = ("shards", "compositions", "scaffolds", "molecules", "conformations", "tagged")

MOLECULES = """
SELECT molecule_id, molecules.smiles, inchikey, formula, scaffolds.smiles, n_atoms, n_heavy_atoms,
n_orbitals FROM molecules JOIN compositions USING (composition) LEFT JOIN scaffolds USING (scaffold)
ORDER BY molecule_id
"""
CONFORMATIONS = """
SELECT molecule_id, conformation_id, row, energy, name
FROM conformations LEFT JOIN origins USING (origin) ORDER BY 1, 2
"""


def ask(folder, sql):
    with Index(folder) as index:
        return index.connection.execute(sql).fetchall()


def contents(folder):
    """Everything in the index, without the numbers that interning happened to give."""
    return [ask(folder, sql) for sql in ("SELECT * FROM shards", MOLECULES, CONFORMATIONS)]


def change(folder, sql):
    connection = apsw.Connection(str(folder / "index.sqlite"))
    connection.execute(sql)
    connection.close()


def test_index_says_what_the_records_say(new_store, records):
    store = new_store(records[:5], records[5:])

    shards, molecules, conformations = contents(store.folder)

    assert [row[3:] for row in shards] == [(0, 5), (5, 7)]
    assert [row[:2] for row in molecules] == [(3, "O"), (4, "F"), (7, "CBr"), (11, "C")]
    assert [row[3] for row in molecules] == ["H2O", "FH", "CH3Br", "CH4"]
    assert [row[5:] for row in molecules] == [(3, 1, 24), (2, 1, 19), (5, 2, 61), (5, 1, 34)]
    assert [row[:2] for row in conformations] == sorted(record.key for record in records)
    for molecule_id, conformation_id, row, energy, origin in conformations:
        record = store[row]
        assert (molecule_id, conformation_id) == record.key
        assert (energy, origin) == (record.energy, record.geometry_origin)


def test_index_knows_molecules_by_inchikey_and_scaffold(new_store, record):
    pytest.importorskip("rdkit")
    store = new_store([record(3, 0), record(11, 0, smiles="C1CC1")])

    _, molecules, _ = contents(store.folder)

    assert [unpack_inchikey(row[2]) for row in molecules] == [
        "XLYOFNOQVPJJNP-UHFFFAOYSA-N",  # water
        "LVZWSLJZHVFIQJ-UHFFFAOYSA-N",  # cyclopropane
    ]
    assert [row[4] for row in molecules] == ["", "C1CC1"]


@pytest.mark.parametrize("smiles", [None, "not a smiles"])
def test_a_molecule_without_a_usable_smiles_is_indexed_all_the_same(new_store, record, smiles):
    store = new_store([record(3, 0, smiles=smiles)])

    assert contents(store.folder)[1] == [(3, smiles, None, "H2O", None, 3, 1, 24)]


def test_packed_inchikeys_keep_their_order():
    keys = [
        "LVZWSLJZHVFIQJ-UHFFFAOYSA-N",
        "XLYOFNOQVPJJNP-UHFFFAOYSA-M",
        "XLYOFNOQVPJJNP-UHFFFAOYSA-N",
        "ZZZZZZZZZZZZZZ-ZZZZZZZZZZ-Z",
    ]

    packed = [pack_inchikey(key) for key in keys]

    assert packed == sorted(packed)
    assert [unpack_inchikey(key) for key in packed] == keys
    with pytest.raises(InputError, match="'XLYO' is not an InChIKey"):
        pack_inchikey("XLYO")


@pytest.mark.parametrize("codec", ["plain", "compact"])
def test_total_energy_is_indexed_where_formation_energy_is_stored(new_store, record, codec):
    water = record(3, 0, matrices=False, energy=None, formation_energy=-0.35)
    store = new_store([water], fields=["formation_energy"], codec=codec)

    assert contents(store.folder)[2][0][3] == store[0].energy
    assert ask(store.folder, "SELECT isolated_atoms_energy FROM compositions") == [
        (store[0].energy + 0.35,)
    ]


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(b"nonsense" * 1000),
    ],
    ids=["missing", "empty", "truncated", "garbage"],
)
def test_index_is_rebuilt_from_the_shards(new_store, records, harm):
    store = new_store(records[:5], records[5:])
    before = contents(store.folder)
    harm(store.folder / "index.sqlite")

    rebuild_index(store.folder)

    assert contents(store.folder) == before
    Store(store.folder).verify()
    assert [path.name for path in store.folder.glob(".index*")] == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"nonsense" * 1000),
        lambda path: change(path.parent, "UPDATE shards SET sha256 = 'other'"),
        lambda path: change(path.parent, "PRAGMA user_version = 1"),
    ],
    ids=["missing", "garbage", "of another store", "of an older version"],
)
def test_append_puts_a_useless_index_right(new_store, records, harm):
    store = new_store(records[:5])
    harm(store.folder / "index.sqlite")

    append(store.folder, records[5:])

    assert len(contents(store.folder)[2]) == 12
    Store(store.folder).verify()


def test_appending_and_rebuilding_give_the_same(new_store, records):
    store = new_store(records[:3], records[3:4], records[4:])
    appended = contents(store.folder)

    rebuild_index(store.folder, processes=2)

    assert contents(store.folder) == appended


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(
    "stop_after", [("rows", 5), ("rows", 12), ("molecules", 2), ("sorting", 1)]
)
def test_a_build_that_was_stopped_goes_on(new_store, records, monkeypatch, stop_after):
    store = new_store(records[:5], records[5:8], records[8:])
    before = contents(store.folder)
    for name, value in (("_SMALL", 0), ("index_building._MOLECULES", 1)):
        monkeypatch.setattr(f"nabladft.storage.{name if '.' in name else 'index.' + name}", value)
    monkeypatch.setattr("nabladft.storage.index_building._MOLECULES_PER_COMMIT", 1)
    told = []

    def stop(what, done, total):
        told.append((what, done))
        if (what, done) == stop_after:
            raise StoppedError

    with pytest.raises(StoppedError):
        rebuild_index(store.folder, progress=stop)
    assert contents(store.folder) == before  # the old one serves until the new one is whole
    n_told = len(told)

    rebuild_index(store.folder, progress=lambda what, done, _: told.append((what, done)))

    assert contents(store.folder) == before
    assert not set(told[:n_told]) & {t for t in told[n_told:] if t[0] == "rows"}
    assert [path.name for path in store.folder.glob(".index*")] == []


@pytest.mark.slow
def test_a_build_that_is_killed_again_and_again_ends_in_the_same_index(new_store, record, rng):
    molecules = [(3, c) for c in range(300)] + [(11, c) for c in range(300)]
    store = new_store(
        *[[record(m, c, matrices=False) for m, c in molecules[k::20]] for k in range(20)],
        fields=("energy",),
    )
    before = contents(store.folder)
    code = "import sys, nabladft.storage.index as i; i._SMALL = 0; i.rebuild_index(sys.argv[1])"
    while True:
        process = subprocess.Popen([sys.executable, "-c", code, str(store.folder)])
        try:
            assert process.wait(timeout=rng.uniform(0.5, 2.5)) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert contents(store.folder) == before
    assert contents(store.folder) == before
    assert ask(store.folder, "PRAGMA integrity_check") == [("ok",)]


def test_a_stopped_build_of_another_state_of_the_store_is_left(new_store, records, monkeypatch):
    store = new_store(records[:5], records[5:])
    monkeypatch.setattr(index_module, "_SMALL", 0)

    def stop(*_):
        raise StoppedError

    with pytest.raises(StoppedError):
        rebuild_index(store.folder, progress=stop)
    change_of = store.folder / ".index.sqlite.building"
    connection = apsw.Connection(str(change_of))
    connection.execute("UPDATE shards SET sha256 = 'other'")
    connection.close()

    rebuild_index(store.folder)

    Store(store.folder).verify()
    assert len(contents(store.folder)[2]) == 12


def test_rows_are_found_by_id(new_store, records):
    store = new_store(records[:5], records[5:])
    wanted = [(7, 2), (3, 0), (7, 2), (3, 9)]

    with Index(store.folder) as index:
        rows = index.rows_of(wanted)
        held = [index.holds(key) for key in wanted]

    assert rows[:3].tolist() == store.rows_of(wanted[:3]).tolist()
    assert rows[3] == -1
    assert held == [True, True, True, False]


def test_tags_stay_when_the_index_is_rebuilt(new_store, records):
    store = new_store(records[:5])
    tag_conformations(store.folder, "small", np.array([[3, 0], [4, 0]]))
    tag_conformations(store.folder, "small", np.array([[4, 0]]))  # replaces

    append(store.folder, records[5:])
    rebuild_index(store.folder)

    with Index(store.folder) as index:
        assert index.tags() == {"small": 1}
    assert ask(store.folder, "SELECT molecule_id, conformation_id FROM tagged") == [(4, 0)]


def test_a_tag_of_something_else_is_refused(new_store, records):
    store = new_store(records)

    with pytest.raises(InputError, match=r"1 of 2 .* 'x' are not in .* molecule_id 3, conf.* 77"):
        tag_conformations(store.folder, "x", np.array([[3, 0], [3, 77]]))


def test_any_source_can_be_indexed(memory_source, records, new_store, tmp_path):
    store = new_store(records)

    index_source(memory_source(records), tmp_path / "any.sqlite")

    with Index.of_file(tmp_path / "any.sqlite") as index:
        assert index.connection.execute(MOLECULES).fetchall() == contents(store.folder)[1]
        assert index.connection.execute(CONFORMATIONS).fetchall() == contents(store.folder)[2]
    assert list(tmp_path.glob(".any*")) == []


def test_verify_finds_an_index_that_contradicts_the_shards(new_store, records):
    store = new_store(records)
    change(store.folder, "UPDATE conformations SET conformation_id = 77 WHERE row = 3")

    with pytest.raises(CorruptStoreError, match=r"index\.sqlite does not list.*rebuild_index"):
        store.verify()


def test_store_without_index_reads_and_verifies(new_store, records):
    store = new_store(records)
    (store.folder / "index.sqlite").unlink()

    Store(store.folder).verify()

    with pytest.raises(StoreError, match=r"index\.sqlite cannot be opened.*rebuild_index"):
        Index(store.folder)


@pytest.mark.parametrize(("version", "which"), [(1, "an older"), (99, "a newer")])
def test_an_index_of_another_version_is_refused(new_store, records, version, which):
    store = new_store(records)
    change(store.folder, f"PRAGMA user_version = {version}")

    with pytest.raises(StoreError, match=rf"it is of {which} version.*rebuild_index"):
        Index(store.folder)


def test_an_index_that_cannot_be_written_costs_no_records(new_store, records, monkeypatch):
    store = new_store(records[:5])

    def fail(*_, **__):
        raise apsw.FullError

    monkeypatch.setattr("nabladft.storage.index_building.IndexBuilder.sort_conformations", fail)

    with pytest.raises(StoreError, match=r"cannot be written.*records are safe.*rebuild_index"):
        append(store.folder, records[5:])

    monkeypatch.undo()
    assert len(Store(store.folder)) == 12
    update_index(store.folder, read_manifest(store.folder))
    assert len(contents(store.folder)[2]) == 12


_KILLED = """
import os, signal, sys
import apsw

connection = apsw.Connection(sys.argv[1])
connection.execute("PRAGMA cache_size = 2")
connection.execute("BEGIN")
connection.execute("UPDATE conformations SET energy = 0.0")
connection.execute("CREATE TABLE large (content BLOB)")
for _ in range(200):
    connection.execute("INSERT INTO large VALUES (randomblob(4000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_half_done_is_undone_by_the_next_reader(new_store, records):
    store = new_store(records)
    before = contents(store.folder)
    path = store.folder / "index.sqlite"

    subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)

    assert path.with_name("index.sqlite-journal").exists()
    assert contents(store.folder) == before
    store.verify()
