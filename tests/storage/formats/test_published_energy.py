import json
import multiprocessing
import pickle
import struct

import ase.db
import numpy as np
import pytest

import nabladft
from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM as ANGSTROM
from nabladft.errors import FormatError, NablaDFTError
from nabladft.storage.formats.published_energy import PublishedEnergySource
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store
from tests.conftest import SAMPLES
from tests.storage.published_files import METADATA, execute, write_energy_file


@pytest.fixture
def published(record):
    """Eight records as published: formation energies and forces."""
    return [
        record(m, c, matrices=False, energy=None, formation_energy=-0.1 * m - 0.01 * c)
        for c in range(2)
        for m in (3, 11, 4, 7)
    ]


@pytest.fixture
def energy_file(tmp_path, published):
    return write_energy_file(tmp_path / "train.db", published)


def test_real_published_rows_equal_what_ase_reads(published_energy_file):
    source = PublishedEnergySource(published_energy_file)
    rows = list(ase.db.connect(published_energy_file).select(sort="id"))

    assert len(source) == len(rows) == 50
    assert source.keys[:2].tolist() == [[331314, 2], [1745488, 13]]
    for record, row in zip(source, rows, strict=True):
        np.testing.assert_array_equal(record.atomic_numbers, row.numbers)
        np.testing.assert_allclose(record.positions * ANGSTROM, row.positions, atol=1e-14)
        np.testing.assert_allclose(record.forces / ANGSTROM, row.data["forces"], atol=1e-15)
        assert record.formation_energy == row.data["energy"][0]
        assert (record.key, record.smiles) == ((row.moses_id, row.conformation_id), row.smiles)


def test_real_published_energies_are_formation_energies(published_energy_file):
    source = PublishedEnergySource(published_energy_file)

    assert source.info.fields == ("energy", "formation_energy", "forces")
    # C14H19ClN2O3S of the published sample: total from E_form and the published isolated atoms.
    atoms = {6: 14, 1: 19, 17: 1, 7: 2, 8: 3, 16: 1}
    isolated = {6: -37.79809934247253, 1: -0.5024932583661139, 17: -459.98864965660516}
    isolated |= {7: -54.522414832380626, 8: -74.97667809850873, 16: -397.9719278356063}
    expected = -6.5379259092101165 + sum(n * isolated[z] for z, n in atoms.items())
    assert source[0].energy == pytest.approx(expected, abs=1e-9)


def test_order_and_duplicates_are_kept_where_ids_have_gaps(energy_file, published):
    execute(energy_file, "DELETE FROM systems WHERE id IN (1, 4)")
    kept = [record for k, record in enumerate(published) if k not in {0, 3}]
    source = PublishedEnergySource(energy_file)

    got = source.read([5, 0, 0, -2])

    assert [record.key for record in got] == [kept[k].key for k in (5, 0, 0, 4)]
    np.testing.assert_allclose(got[0].positions, kept[5].positions, rtol=1e-14)
    np.testing.assert_allclose(got[3].forces, kept[4].forces, rtol=1e-14)
    assert source.n_atoms.tolist() == [record.n_atoms for record in kept]
    assert source.keys.tolist() == [list(record.key) for record in kept]


def test_flat_records_equal_records(energy_file):
    source = pickle.loads(pickle.dumps(PublishedEnergySource(energy_file)))

    flat = source.read_flat([6, 1, 1])

    records = source.read([6, 1, 1])
    np.testing.assert_array_equal(
        flat.values["forces"], np.concatenate([r.forces for r in records])
    )
    assert flat.values["energy"].tolist() == [record.energy for record in records]
    assert flat.molecule_id.tolist() == [record.molecule_id for record in records]


def _energy_in_child(source, queue):
    queue.put(source[3].energy)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_open_file_can_be_used_in_another_process(energy_file, method):
    source = PublishedEnergySource(energy_file)
    expected = source[3].energy
    context = multiprocessing.get_context(method)
    queue = context.Queue()

    child = context.Process(target=_energy_in_child, args=(source, queue))
    child.start()

    assert queue.get(timeout=60) == expected
    child.join()
    assert child.exitcode == 0


def test_file_copied_into_a_store_has_the_same_hash(energy_file, tmp_path):
    source = PublishedEnergySource(energy_file)
    fields = ("formation_energy", "forces")
    create_store(
        tmp_path / "copy",
        name="copy",
        level_of_theory={"method": source.info.method},
        fields=fields,
    )

    append(tmp_path / "copy", source)

    assert Store(tmp_path / "copy").data_hash == source.data_hash
    assert Store(tmp_path / "copy").info.fields == source.info.fields


def test_first_version_files_hold_total_energies_in_bohr(tmp_path, published, record):
    records = [record(m, 0, matrices=False, forces=None) for m in (3, 7)]
    path = write_energy_file(
        tmp_path / "v1.db",
        records,
        energy="energy",
        metadata={"_distance_unit": "Bohr", "_property_unit_dict": {"energy": "Hartree"}},
        length=1.0,
    )

    source = PublishedEnergySource(path)

    assert source.info.fields == ("energy", "formation_energy")
    np.testing.assert_array_equal(source[1].positions, records[1].positions)
    assert source[1].energy == records[1].energy


def test_geometries_without_labels_are_read(tmp_path, published):
    path = write_energy_file(tmp_path / "start.db", published, metadata=None)
    execute(path, "UPDATE systems SET data = NULL")

    source = PublishedEnergySource(path)

    assert source.info.fields == ()
    assert source[2].fields == ()
    assert source.smiles() == {3: "O", 11: "C", 4: "F", 7: "CBr"}


def data_blob(content, arrays=b""):
    return struct.pack("<q", 8 + len(arrays)) + arrays + json.dumps(content).encode()


def forces_blob(n_atoms, value=0.0, energy=-0.4):
    content = {"energy": [energy], "forces": {"__ndarray__": [[n_atoms, 3], "float64", 8]}}
    return data_blob(content, np.full((n_atoms, 3), value).tobytes())


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("data", data_blob({"energy": [-0.4]}), "has no forces, which other rows have"),
        ("data", forces_blob(9), r"has forces of float64 \[9, 3\], float64 \[3, 3\] expected"),
        ("data", forces_blob(3, np.nan), "has a value in forces that is not finite"),
        ("data", forces_blob(3, energy=float("nan")), "in formation_energy that is not finite"),
        ("data", forces_blob(3, energy=[1, 2]), "has an energy that is not one number"),
        ("data", forces_blob(3)[:-9], "has a damaged data column"),
        ("positions", np.full(9, np.inf).tobytes(), "in positions that is not finite"),
        ("positions", b"1234", "numbers or positions of the wrong size"),
        (
            "numbers",
            np.array([8, 1, 200], dtype="<i4").tobytes(),
            "has an atom of atomic number 200",
        ),
        ("numbers", None, "numbers or positions of the wrong size"),
        ("key_value_pairs", '{"smiles": "O"}', "has no moses_id or conformation_id"),
    ],
)
def test_broken_row_is_refused_with_its_file_and_id(energy_file, column, value, match):
    source = PublishedEnergySource(energy_file)
    assert source.info.fields
    execute(energy_file, f"UPDATE systems SET {column} = ? WHERE id = 5", (value,))

    with pytest.raises(FormatError, match=rf"train\.db, row with id 5, .*{match}"):
        source.read(range(len(source)))


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"_distance_unit": "nm"}, "declares lengths in 'nm'; known: Ang"),
        (
            METADATA | {"_property_unit_dict": {"energy": "eV"}},
            "declares energy in 'eV'; only 'Hartree'",
        ),
        (
            METADATA | {"_property_unit_dict": {"forces": "Hartree/Bohr"}},
            "declares forces in 'Hartree/Bohr'; only 'Hartree/Ang'",
        ),
    ],
)
def test_units_that_are_not_known_are_refused(tmp_path, published, metadata, match):
    source = PublishedEnergySource(
        write_energy_file(tmp_path / "x.db", published, metadata=metadata)
    )

    with pytest.raises(FormatError, match=match):
        source.read([0])


def test_truncated_file_is_refused_with_both_sizes(energy_file):
    content = energy_file.read_bytes()
    energy_file.write_bytes(content[: len(content) // 2])

    match = f"is incomplete: it has {len(content) // 2} bytes of {len(content)}. Download"
    with pytest.raises(FormatError, match=match):
        PublishedEnergySource(energy_file)


def test_overwritten_pages_are_refused(energy_file):
    content = bytearray(energy_file.read_bytes())
    content[8192:] = b"\x5a" * (len(content) - 8192)
    energy_file.write_bytes(bytes(content))

    with pytest.raises(FormatError, match=r"train\.db"):
        PublishedEnergySource(energy_file).read([0])


def test_missing_column_is_named(energy_file):
    execute(energy_file, "ALTER TABLE systems DROP COLUMN data")

    with pytest.raises(FormatError, match=r"lacks the column data of table 'systems'"):
        PublishedEnergySource(energy_file)


def test_file_without_rows_is_refused(energy_file):
    execute(energy_file, "DELETE FROM systems")

    with pytest.raises(FormatError, match="holds no conformations"):
        _ = PublishedEnergySource(energy_file).info


V1_METADATA = {"_distance_unit": "Bohr", "_property_unit_dict": {"energy": "Hartree"}}


@pytest.fixture(scope="module")
def real():
    """Five real conformations, of two molecules, with bonds of real length."""
    return [record.replace(hamiltonian=None) for record in nabladft.open("nano")[4:9]]


def test_real_relaxation_file_without_metadata():
    path = SAMPLES / "optimization_sample.db"
    if not path.is_file():
        pytest.skip(f"the published sample {path.name} is not on this machine")
    source = PublishedEnergySource(path)

    assert source.info.details["length_unit_in_file"] == "angstrom"
    assert source.info.details["length_unit_declared"] is None
    assert source.info.fields == ("energy", "formation_energy", "forces")
    assert source.keys.tolist()[:2] == [[331314, 2], [1144896, 3]]
    assert source.n_atoms.tolist() == [40, 32, 46, 30, 43]
    assert [record.n_atoms for record in source] == source.n_atoms.tolist()
    assert source[0].formation_energy == -6.5379259092101165


def test_lengths_in_angstrom_are_seen_though_bohr_is_declared(tmp_path, real):
    path = write_energy_file(
        tmp_path / "v1.db",
        [record.replace(forces=None) for record in real],
        energy="energy",
        metadata=V1_METADATA,
    )

    source = PublishedEnergySource(path)

    assert source.info.details["length_unit_declared"] == "Bohr"
    assert source.info.details["length_unit_in_file"] == "angstrom"
    np.testing.assert_allclose(source[2].positions, real[2].positions, rtol=1e-14)
    assert source[2].energy == real[2].energy
    assert source[2].formation_energy == pytest.approx(real[2].formation_energy, abs=1e-9)


def test_forces_in_a_unit_that_is_not_known_are_refused(tmp_path, real):
    metadata = V1_METADATA | {"_property_unit_dict": {"forces": "Hartree/Bohr"}}
    path = write_energy_file(tmp_path / "x.db", real, metadata=metadata)

    with pytest.raises(FormatError, match=r"in 'Bohr', but the bonds .* as long as in angstrom"):
        PublishedEnergySource(path).read([0])


def test_ids_and_sizes_are_those_of_the_rows_where_the_narrow_tables_are_not_whole(
    energy_file, published
):
    whole = PublishedEnergySource(energy_file).keys.tolist()
    execute(energy_file, "DELETE FROM number_key_values WHERE id = 3 AND key = 'conformation_id'")
    partial = PublishedEnergySource(energy_file).keys.tolist()
    execute(energy_file, "DROP TABLE number_key_values")
    without = PublishedEnergySource(energy_file).keys.tolist()

    assert whole == partial == without == [list(record.key) for record in published]


def test_atoms_are_counted_without_reading_the_rows(energy_file, published):
    execute(energy_file, "UPDATE systems SET numbers = NULL, positions = NULL")

    source = PublishedEnergySource(energy_file)

    assert source.n_atoms.tolist() == [record.n_atoms for record in published]
    assert source.smiles() == {record.molecule_id: record.smiles for record in published}


@pytest.fixture
def trajectory_file(tmp_path, published):
    """Steps 0, 1, 12 of conformation 0 of water, and 0 of conformation 1; then one of methane."""
    frames = [published[0], published[0], published[0], published[4], published[1]]
    return write_energy_file(tmp_path / "relax.db", frames, iterations=[0, 1, 12, 0, 0])


def test_frames_of_a_trajectory_are_records_of_their_own(trajectory_file, tmp_path):
    source = PublishedEnergySource(trajectory_file)

    assert source.keys.tolist() == [
        [3, 1_000_000],
        [3, 1_000_001],
        [3, 1_000_012],
        [3, 2_000_000],
        [11, 1_000_000],
    ]
    assert [record.key for record in source] == [tuple(key) for key in source.keys.tolist()]
    assert source[2].geometry_origin == "DFT relaxation, step 12"
    assert "iteration" in source.info.details["frames"]

    fields = ("formation_energy", "forces")
    level = {"method": source.info.method}
    create_store(tmp_path / "copy", name="copy", level_of_theory=level, fields=fields)
    append(tmp_path / "copy", source)
    assert Store(tmp_path / "copy").data_hash == source.data_hash


@pytest.mark.parametrize(
    ("iteration", "match"),
    [
        (0, "iteration 0, as the row with id 1 has"),
        (1_000_000, "iteration 1000000"),
    ],
)
def test_frame_that_is_there_twice_or_out_of_range_is_refused(trajectory_file, iteration, match):
    sql = "UPDATE number_key_values SET value = ? WHERE id = 2 AND key = 'iteration'"
    execute(trajectory_file, sql, (iteration,))

    with pytest.raises(FormatError, match=f"row with id 2, has .*{match}"):
        _ = PublishedEnergySource(trajectory_file).keys


def test_frame_without_iteration_is_refused(trajectory_file):
    execute(trajectory_file, "DELETE FROM number_key_values WHERE id = 2")
    pairs = '{"moses_id": 3, "conformation_id": 0}'
    execute(trajectory_file, "UPDATE systems SET key_value_pairs = ? WHERE id = 2", (pairs,))
    source = PublishedEnergySource(trajectory_file)

    for use in (lambda: source.keys, lambda: source.read([1])):
        with pytest.raises(FormatError, match=r"row with id 2, has no moses_id .* or iteration"):
            use()


@pytest.mark.parametrize(
    ("sql", "use", "match"),
    [
        (
            "UPDATE information SET value = '{oh' WHERE name = 'metadata'",
            lambda source: source.info,
            "has metadata that are not JSON",
        ),
        ("DELETE FROM species WHERE id = 4", lambda source: source.n_atoms, "id 4, has no atoms"),
        (
            "UPDATE systems SET key_value_pairs = '{oh' WHERE id = 2",
            lambda source: source.read_texts([1]),
            "row with id 2, has key_value_pairs that are not JSON",
        ),
    ],
)
def test_damage_outside_the_rows_is_refused(energy_file, sql, use, match):
    execute(energy_file, sql)

    with pytest.raises(FormatError, match=match):
        use(PublishedEnergySource(energy_file))


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_is_an_error_of_ours_or_not_seen(published_energy_file, tmp_path, seed):
    rng = np.random.default_rng(seed)
    whole = published_energy_file.read_bytes()
    path = tmp_path / "damaged.db"
    for kind in range(9):
        content = bytearray(whole)
        if kind % 3 == 0:
            content = content[: rng.integers(1, len(content))]
        elif kind % 3 == 1:
            content[rng.integers(0, len(content))] = rng.integers(0, 256)
        else:
            start = rng.integers(0, len(content))
            content[start : start + 2000] = bytes(len(content[start : start + 2000]))
        path.write_bytes(bytes(content))
        try:
            source = open_source(path)
            source.read(range(len(source)))
            source.read_texts(range(len(source)))
            assert len(source.keys) == len(source.n_atoms)
        except NablaDFTError:
            continue
