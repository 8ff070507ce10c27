import apsw
import pytest

from nabladft.errors import CorruptStoreError, StoreError
from nabladft.storage.index import Index, rebuild_index
from nabladft.storage.store import Store
from nabladft.storage.writing import append


def contents(folder):
    index = Index(folder)
    try:
        return [
            index.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("shards", "molecules", "conformations")
        ]
    finally:
        index.close()


def change(folder, sql):
    connection = apsw.Connection(str(folder / "index.sqlite"))
    connection.execute(sql)
    connection.close()


def test_index_says_what_the_records_say(new_store, records):
    store = new_store(records[:5], records[5:])

    _, molecules, conformations = contents(store.folder)

    assert [row[:2] for row in molecules] == [(3, "O"), (4, "F"), (7, "CBr"), (11, "C")]
    assert [row[3] for row in molecules] == ["H2O", "FH", "CH3Br", "CH4"]
    by_key = {record.key: record for record in records}
    for molecule_id, conformation_id, n_atoms, n_orbitals, energy, origin, *_ in conformations:
        record = by_key[molecule_id, conformation_id]
        assert (n_atoms, n_orbitals) == (record.n_atoms, len(record.hamiltonian))
        assert (energy, origin) == (record.energy, record.geometry_origin)
    assert conformations[0][6:] == (0, 0)


def test_index_knows_molecules_by_inchikey_and_scaffold(new_store, record):
    pytest.importorskip("rdkit")
    store = new_store([record(3, 0), record(11, 0, smiles="C1CC1")])

    _, molecules, _ = contents(store.folder)

    assert [row[2] for row in molecules] == [
        "XLYOFNOQVPJJNP-UHFFFAOYSA-N",  # water
        "LVZWSLJZHVFIQJ-UHFFFAOYSA-N",  # cyclopropane
    ]
    assert [row[4] for row in molecules] == ["", "C1CC1"]


def test_total_energy_is_indexed_where_formation_energy_is_stored(new_store, record):
    water = record(3, 0, matrices=False, energy=None, formation_energy=-0.35)
    store = new_store([water], fields=["formation_energy"])

    assert contents(store.folder)[2][0][4] == store[0].energy


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


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"nonsense" * 1000),
        lambda path: change(path.parent, "UPDATE shards SET sha256 = 'other'"),
    ],
    ids=["missing", "garbage", "of another store"],
)
def test_append_puts_a_useless_index_right(new_store, records, harm):
    store = new_store(records[:5])
    harm(store.folder / "index.sqlite")

    append(store.folder, records[5:])

    assert len(contents(store.folder)[2]) == 12
    Store(store.folder).verify()


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
