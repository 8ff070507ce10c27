import numpy as np
import pytest

from nabladft.errors import InputError, MissingExtraError, QueryError, StoreError, UnknownNameError
from nabladft.queries import count, index_of, query
from nabladft.splits import Split, read_split
from nabladft.storage.index import Index, rebuild_index, tag_conformations
from nabladft.storage.opening import open_source
from nabladft.storage.writing import append, create_store

pytest.importorskip("rdkit")

HARTREE_IN_KCAL = 627.5094740631


@pytest.fixture(scope="module")
def records():
    return list(open_source("nano"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("NABLADFT_INDEX_CACHE", str(folder))
    return folder


def z_count(record, number):
    return int((record.atomic_numbers == number).sum())


def lowest(records, molecule_id):
    return min(record.energy for record in records if record.molecule_id == molecule_id)


#: Every query beside the same in Python, on whole records.
CASES = {
    "n_atoms < 12": lambda r, _: r.n_atoms < 12,
    "n_atoms between 8 and 9": lambda r, _: 8 <= r.n_atoms <= 9,
    "n_heavy_atoms = 5": lambda r, _: r.n_atoms - z_count(r, 1) == 5,
    "n_orbitals > 120": lambda r, _: len(r.hamiltonian) > 120,
    "n_conformations >= 4": lambda r, all_: sum(o.molecule_id == r.molecule_id for o in all_) >= 4,
    "molecule_id in (3, 8) and conformation_id != 0": (
        lambda r, _: r.molecule_id in (3, 8) and r.conformation_id != 0
    ),
    "elements contain Br": lambda r, _: z_count(r, 35) > 0,
    "elements contain S, N": lambda r, _: z_count(r, 16) > 0 and z_count(r, 7) > 0,
    "elements only (H, C, O)": lambda r, _: set(r.atomic_numbers.tolist()) <= {1, 6, 8},
    "not elements contain C": lambda r, _: z_count(r, 6) == 0,
    "n_O >= 2": lambda r, _: z_count(r, 8) >= 2,
    "n_O < 2": lambda r, _: z_count(r, 8) < 2,
    "n_O = 0": lambda r, _: z_count(r, 8) == 0,
    "n_O != 1": lambda r, _: z_count(r, 8) != 1,
    "n_O <= 0 and n_N > 0": lambda r, _: z_count(r, 8) == 0 and z_count(r, 7) > 0,
    "formula = 'OC4H4'": lambda r, _: r.formula == "C4H4O",
    "formula != 'C4H4O' and formula like 'C4H4%'": (
        lambda r, _: r.formula != "C4H4O" and r.formula.startswith("C4H4")
    ),
    "energy < -400 Eh": lambda r, _: r.energy < -400,
    "energy between -400 and -300": lambda r, _: -400 <= r.energy <= -300,
    "formation_energy > -700 kcal/mol": (lambda r, _: r.formation_energy * HARTREE_IN_KCAL > -700),
    "relative_energy > 5 kcal/mol": (
        lambda r, all_: (r.energy - lowest(all_, r.molecule_id)) * HARTREE_IN_KCAL > 5
    ),
    "geometry_origin = 'etkdg'": lambda r, _: r.geometry_origin == "etkdg",
    "geometry_origin like 'thermal%'": lambda r, _: r.geometry_origin.startswith("thermal"),
    "n_Br > 0 or n_Cl > 0 and n_atoms < 10": (
        lambda r, _: z_count(r, 35) > 0 or (z_count(r, 17) > 0 and r.n_atoms < 10)
    ),
    "not (n_Br > 0 or n_Cl > 0)": lambda r, _: z_count(r, 35) == 0 and z_count(r, 17) == 0,
    "": lambda _, __: True,
}


@pytest.mark.parametrize("text", CASES)
def test_a_query_gives_what_looking_at_every_record_gives(text, records):
    expected = sorted(record.key for record in records if CASES[text](record, records))

    found = query("nano", text)

    assert [tuple(key) for key in found.keys.tolist()] == expected
    assert [records[row].key for row in found.rows.tolist()] == expected
    assert count("nano", text) == len(expected)
    assert text in {"", "not elements contain C"} or 0 < len(expected) < len(records)


def matches_of(records, smarts):
    from rdkit import Chem

    pattern = Chem.MolFromSmarts(smarts)
    return sorted(r.key for r in records if Chem.MolFromSmiles(r.smiles).HasSubstructMatch(pattern))


@pytest.mark.parametrize(
    "smarts",
    [
        *("c1ccccc1", "[Br,Cl]", "C(=O)[O;H1]", "[#6]~[#7]", "[!#6;!#1]", "[R]", "[nH]", "C#N"),
        *("[$(C=O)]", "c1ccc[o,s]1", "C.C.C", "[CH3]", "[Si]", "S"),
    ],
)
def test_a_pattern_finds_what_rdkit_finds_in_every_molecule(smarts, records):
    expected = matches_of(records, smarts)

    assert [tuple(key) for key in query("nano", f"smarts '{smarts}'").keys.tolist()] == expected
    assert count("nano", f"not substructure '{smarts}'") == len(records) - len(expected)


def test_a_pattern_stands_beside_other_conditions(records):
    text = "smarts 'c' and n_atoms < 11 and not smarts 'S' and split = 'train'"
    train = {tuple(key) for key in read_split("nano").parts["train"].tolist()}
    small = {record.key for record in records if record.n_atoms < 11}
    expected = (set(matches_of(records, "c")) & small & train) - set(matches_of(records, "S"))

    assert {tuple(key) for key in query("nano", text).keys.tolist()} == expected


def test_the_fingerprint_leaves_nothing_out(records, monkeypatch):
    screened = query("nano", "smarts 'c1ccoc1'").keys

    monkeypatch.setattr("nabladft.queries.substructure.rdkit_version", lambda: "another")

    np.testing.assert_array_equal(query("nano", "smarts 'c1ccoc1'").keys, screened)


def test_a_molecule_is_found_however_its_smiles_is_written(records):
    expected = [record.key for record in records if record.smiles == "c1cc[nH]c1"]

    for text in ("smiles = 'C1=CNC=C1'", "scaffold = 'C1=CNC=C1' and formula = 'C4H5N'"):
        assert [tuple(key) for key in query("nano", text).keys.tolist()] == expected
    beginning = query("nano", "inchikey like 'KAESVJOAVNADME%'").keys.tolist()
    assert [tuple(key) for key in beginning] == expected
    assert count("nano", "inchikey = 'KAESVJOAVNADME-UHFFFAOYSA-N'") == len(expected)
    assert count("nano", "smiles like 'c1cc[nH]%'") == len(expected)
    assert count("nano", "smiles != 'C1=CNC=C1'") == len(records) - len(expected)


def test_parts_come_from_the_split_of_the_data_and_from_files(tmp_path):
    own = read_split("nano")
    other = Split(
        name="mine", dataset="nano", data_hash=own.data_hash, parts={"few": own.parts["train"][:5]}
    )

    assert count("nano", "split = 'test_scaffolds'") == len(own.parts["test_scaffolds"])
    assert count("nano", "split in ('train', 'validation')") == sum(
        len(own.parts[part]) for part in ("train", "validation")
    )
    assert query("nano", "split = 'few'", splits=[other]).keys.tolist() == (
        other.parts["few"].tolist()
    )
    with pytest.raises(QueryError, match=r"No split 'train'.* Known: few"):
        count("nano", "split = 'train'", splits=[other])


@pytest.fixture
def store(tmp_path, records):
    folder = tmp_path / "some"
    create_store(folder, name="some", level_of_theory={"functional": "PBE"}, fields=["energy"])
    append(folder, records[:20])
    return folder


def test_tags_are_sets_that_can_be_asked_for(store):
    tag_conformations(store, "first", np.array([[1, 0], [1, 1]]))

    assert query(store, "tag = 'first'").keys.tolist() == [[1, 0], [1, 1]]
    assert query(store, "split = 'first'").keys.tolist() == [[1, 0], [1, 1]]
    assert count(store, "tag != 'first'") == 18
    assert query(store, "tag = 'first' and conformation_id > 0").keys.tolist() == [[1, 1]]
    assert count(store, "tag != 'first' and molecule_id = 1") == (
        count(store, "molecule_id = 1") - 2
    )


def test_energies_that_are_not_known_are_refused(store):
    assert count(store, "energy < 0") == 20
    with pytest.raises(QueryError, match=r"hold energy; formation_energy does not follow"):
        count(store, "formation_energy < 0")


def test_ids_restrict_a_query(records):
    ids = np.array([records[40].key, records[3].key, (9999, 0)])

    assert sorted(query("nano", "", ids=ids).rows.tolist()) == [3, 40]
    assert count("nano", "n_atoms > 1000", ids=ids) == 0


def test_order_limit_and_sample(records):
    energies = sorted(record.energy for record in records)

    assert (
        query("nano", order_by="energy", limit=3).table(["energy"]).energy.tolist()
        == (energies[:3])
    )
    assert query("nano", order_by="-energy", limit=1).table(["energy"]).energy[0] == energies[-1]
    one, same, other = (query("nano", sample=10, seed=seed).rows.tolist() for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == len(set(one)) == 10
    assert len(query("nano", sample=10_000)) == len(records)
    assert len(query("nano", sample=10, limit=4)) == 4
    with pytest.raises(InputError, match="at least 1"):
        query("nano", sample=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'energy'"):
        query("nano", order_by="enrgy")
    with pytest.raises(InputError, match="'split' cannot be shown or sorted by"):
        query("nano", order_by="split")


def test_a_table_shows_what_the_records_are(records):
    columns = ["molecule_id", "formula", "n_Br", "inchikey", "scaffold", "formation_energy"]
    found = query("nano", "elements contain Br", limit=3)

    table = found.table(columns)

    assert list(table.columns) == columns
    for row, line in zip(found.rows.tolist(), table.itertuples(), strict=True):
        assert (line.molecule_id, line.formula) == (records[row].molecule_id, records[row].formula)
        assert line.formation_energy == pytest.approx(records[row].formation_energy, abs=1e-9)
        assert len(line.inchikey) == 27


def test_a_published_file_gets_an_index_that_is_kept(published_energy_file, cache):
    expected = [r.key for r in open_source(published_energy_file) if 35 in r.atomic_numbers]

    found = query(published_energy_file, "elements contain Br")

    assert sorted(map(tuple, found.keys.tolist())) == sorted(expected)
    (made,) = cache.glob("*.sqlite")
    before = made.stat().st_mtime_ns
    assert count(published_energy_file, "smarts 'S(=O)(=O)N'") > 0
    assert made.stat().st_mtime_ns == before


def test_a_store_without_a_current_index_is_asked_through_one_made_for_it(store, cache, records):
    (store / "index.sqlite").unlink()

    assert count(store, "n_atoms < 100") == 20
    assert len(list(cache.glob("*.sqlite"))) == 1

    append(store, records[20:25])
    with index_of(open_source(store)) as index:
        assert index.path == store / "index.sqlite"


def test_a_source_in_memory_is_asked_too(memory_source, records):
    assert count(memory_source(records[:30]), "n_atoms > 0") == 30


def test_many_processes_find_the_same(records, monkeypatch):
    monkeypatch.setattr("nabladft.queries.substructure._WORTH_PROCESSES", 0)

    assert [tuple(k) for k in query("nano", "smarts 'c'", processes=2).keys.tolist()] == (
        matches_of(records, "c")
    )


def test_without_rdkit_patterns_are_refused_and_texts_compared(monkeypatch):
    import importlib

    real = importlib.import_module

    def without(name, *rest):
        if name.startswith("rdkit"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)

    assert count("nano", "smiles = 'c1cc[nH]c1'") == 4
    assert count("nano", "smiles = 'C1=CNC=C1'") == 0
    with pytest.raises(MissingExtraError, match=r"nabladft\[chem\]"):
        count("nano", "smarts 'c'")


def test_a_query_cannot_change_anything(store):
    rebuild_index(store)
    before = (store / "index.sqlite").read_bytes()

    query(store, 'smiles like "x\'; DROP TABLE molecules; --"')

    assert (store / "index.sqlite").read_bytes() == before
    with Index(store) as index:
        assert len(index) == 20


def test_an_index_of_another_version_in_the_cache_says_how_to_get_rid_of_it(store, cache):
    import apsw

    (store / "index.sqlite").unlink()
    count(store, "")
    (made,) = cache.glob("*.sqlite")
    connection = apsw.Connection(str(made))
    connection.execute("PRAGMA user_version = 1")
    connection.close()

    with pytest.raises(StoreError, match=r"older version.*Remove it"):
        count(store, "")


@pytest.fixture
def served(store, tmp_path, monkeypatch):
    from tests.range_server import RangeServer

    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path / "remote-cache"))
    monkeypatch.setenv("NABLADFT_ATTEMPTS", "1")
    with RangeServer(tmp_path) as server:
        yield server


def test_a_store_at_a_server_is_asked_through_its_index(store, served, records):
    tag_conformations(store, "first", np.array([[1, 0], [1, 1]]))
    expected = count(store, "smarts 'c' and n_atoms < 12")

    url = served.url("some")

    assert count(url, "smarts 'c' and n_atoms < 12") == expected > 0
    assert query(url, "tag = 'first'").keys.tolist() == [[1, 0], [1, 1]]
    found = query(url, "", ids=np.array([records[3].key]))
    assert found.source.read(found.rows)[0].key == records[3].key


def test_a_store_at_a_server_without_an_index_is_refused(store, served):
    (store / "index.sqlite").unlink()

    with pytest.raises(StoreError, match=r"no index at the server.*Download it first"):
        count(served.url("some"), "n_atoms < 12")
