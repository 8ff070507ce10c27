import json
import shutil

import ase.db
import ase.io
import numpy as np
import pytest

from nabladft.chemistry.elements import ISOLATED_ATOM_ENERGIES
from nabladft.chemistry.units import convert as to_unit
from nabladft.conversion import converting
from nabladft.conversion.export_formats import WRITERS
from nabladft.conversion.exporting import EXPORT_FORMATS, export, format_of, record_of
from nabladft.conversion.settings import ConversionSettings
from nabladft.conversion.sources import SourceReference
from nabladft.conversion.verifying import verify
from nabladft.errors import ConversionError, InputError, MissingFieldError
from nabladft.storage.opening import open_source
from tests.conversion.conftest import N_RECORDS

FIELDS = ("energy", "formation_energy", "forces", "dipole", "mulliken_charges", "xc_energy")
SETTINGS = ConversionSettings(fields=FIELDS, limit=12)


def target_for(tmp_path, name):
    return tmp_path / ("out.xyz" if name == "extxyz" else f"{name}.db")


def stop_after(monkeypatch, format_name, n):
    """Interrupt an export after ``n`` batches, when the batch is written and not yet noted."""
    monkeypatch.setattr("nabladft.conversion.exporting.READ_BYTES", 3000)
    writer = WRITERS[format_name]
    original = writer.append
    done = []

    def append(self, flat, texts):
        state = original(self, flat, texts)
        if len(done) == n:
            raise KeyboardInterrupt
        done.append(len(flat))
        return state

    monkeypatch.setattr(writer, "append", append)
    return done


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_an_export_reads_back(name, tmp_path):
    target = target_for(tmp_path, name)

    report = export("nano", target, SETTINGS, format=name)

    result = verify(SourceReference.of("nano"), report, limit=12)
    assert result.problems == []
    assert result.n_compared == report.n_now == 12
    assert set(result.deviations) == {"positions", *FIELDS}
    assert max(result.deviations.values()) < 1e-11
    if name == "schnetpack":  # atomic units: the very numbers
        assert set(result.deviations.values()) == {0.0}


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_an_interrupted_export_continues(name, tmp_path, monkeypatch):
    whole = target_for(tmp_path / "whole", name)
    whole.parent.mkdir()
    target = target_for(tmp_path, name)
    export("nano", whole, SETTINGS, format=name)
    with monkeypatch.context() as patch:
        done = stop_after(patch, name, 2)
        with pytest.raises(KeyboardInterrupt):
            export("nano", target, SETTINGS, format=name)
        assert not target.exists()
        patch.setattr(WRITERS[name], "append", WRITERS[name].append)
    monkeypatch.setattr("nabladft.conversion.exporting.READ_BYTES", 3000)

    report = export("nano", target, SETTINGS, format=name)

    assert report.n_now == 12 - sum(done)
    assert verify(SourceReference.of("nano"), report, limit=12).problems == []
    if name == "extxyz":
        assert target.read_bytes() == whole.read_bytes()
    else:  # ids without a gap: SchNetPack counts with them
        with ase.db.connect(target, use_lock_file=False) as database:
            assert [row.id for row in database.select()] == list(range(1, 13))
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left == {target.name, record_of(target).name}


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_running_again_does_nothing(name, tmp_path):
    target = target_for(tmp_path, name)
    export("nano", target, SETTINGS, format=name)
    before = target.read_bytes()

    report = export("nano", target, SETTINGS, format=name)

    assert (report.n_now, report.n_conformations) == (0, 12)
    assert target.read_bytes() == before
    with pytest.raises(InputError, match="other settings: limit was 12, is 13"):
        export("nano", target, ConversionSettings(fields=FIELDS, limit=13), format=name)


def test_xyz_for_other_programs(tmp_path):
    target = tmp_path / "out.xyz"
    export("nano", target, SETTINGS, format="extxyz")
    record = open_source("nano")[5]

    atoms = ase.io.read(target, index=5)

    expected = to_unit(record.energy, source="hartree", target="eV")
    assert atoms.get_potential_energy() == expected  # every digit of it
    np.testing.assert_array_equal(
        atoms.get_forces(), to_unit(record.forces, source="hartree/bohr", target="eV/angstrom")
    )
    np.testing.assert_array_equal(
        atoms.positions, to_unit(record.positions, source="bohr", target="angstrom")
    )
    assert atoms.info["smiles"] == record.smiles
    assert (atoms.info["molecule_id"], atoms.info["conformation_id"]) == record.key
    assert "formation_energy:eV" in atoms.info["units"]
    said = json.loads(record_of(target).read_text())
    assert said["units"]["forces"] == "eV/angstrom"
    assert said["source"]["data_hash"] == open_source("nano").data_hash


def test_ase_database_for_other_programs(tmp_path):
    target = tmp_path / "out.db"
    export("nano", target, SETTINGS, format="db")
    record = open_source("nano")[5]

    with ase.db.connect(target, use_lock_file=False) as database:
        row = database.get(6)
        assert "formation_energy:eV" in database.metadata["units"]

    assert row.energy == to_unit(record.energy, source="hartree", target="eV")
    assert row.toatoms().get_forces().shape == record.forces.shape
    assert (row.molecule_id, row.conformation_id, row.smiles) == (*record.key, record.smiles)


def test_schnetpack_reads_its_format(tmp_path):
    schnetpack_data = pytest.importorskip("schnetpack.data")
    target = tmp_path / "out.db"
    export("nano", target, SETTINGS, format="schnetpack")
    record = open_source("nano")[5]

    data = schnetpack_data.ASEAtomsData(str(target))
    converted = schnetpack_data.ASEAtomsData(
        str(target), distance_unit="Ang", property_units={"energy": "eV", "forces": "eV/Ang"}
    )

    assert len(data) == 12
    assert set(data.available_properties) == set(FIELDS)
    item = data[5]
    assert item["energy"].shape == (1,)
    assert item["energy"].item() == record.energy  # float64: totals do not fit into float32
    assert item["dipole"].shape == (1, 3)
    np.testing.assert_array_equal(item["forces"].numpy(), record.forces)
    np.testing.assert_array_equal(item["_positions"].numpy(), record.positions)
    assert data.atomrefs["energy"][6].item() == pytest.approx(ISOLATED_ATOM_ENERGIES[6])
    angstrom = to_unit(record.positions, source="bohr", target="angstrom")
    np.testing.assert_allclose(converted[5]["_positions"].numpy(), angstrom, rtol=1e-6)
    assert next(iter(data.iter_properties(5, load_metadata=True)))["metadata"]["smiles"]


def test_a_published_file_is_exported_with_both_kinds_of_energy(energy_file, tmp_path):
    report = export(energy_file, tmp_path / "out.xyz", ConversionSettings(), format="extxyz")

    assert report.n_conformations == N_RECORDS
    assert set(report.details["units"]) == {"positions", "energy", "formation_energy", "forces"}
    assert verify(SourceReference.of(energy_file), report).problems == []


def test_geometries_alone_can_be_exported(tmp_path):
    source = tmp_path / "water.xyz"
    source.write_text("3\n\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n")

    report = export(source, tmp_path / "out.xyz", ConversionSettings(), format="extxyz")

    assert verify(SourceReference.of(source), report).problems == []


def test_matrices_are_refused_with_what_can_be_exported(tmp_path):
    with pytest.raises(InputError, match=r"extxyz cannot hold hamiltonian, orbital_energies.*--fi"):
        export("nano", tmp_path / "out.xyz", ConversionSettings(), format="extxyz")
    unknown = ConversionSettings(fields=("homo_energy",))
    with pytest.raises(MissingFieldError, match="does not hold 'homo_energy'"):
        export("nano", tmp_path / "out.xyz", unknown, format="extxyz")
    assert list(tmp_path.iterdir()) == []


def test_bad_rows(broken_energy_file, tmp_path):
    target = tmp_path / "out.xyz"
    with pytest.raises(InputError, match="An earlier row has these ids"):
        export(broken_energy_file, target, ConversionSettings(), format="extxyz")

    report = export(
        broken_energy_file, target, ConversionSettings(), format="extxyz", skip_bad=True
    )

    assert [row.row for row in report.bad] == [5, 12]
    assert verify(SourceReference.of(broken_energy_file), report).problems == []


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    target = tmp_path / "mine.xyz"
    target.write_text("precious")

    with pytest.raises(InputError, match="was not made by this export"):
        export("nano", target, SETTINGS, format="extxyz")
    assert target.read_text() == "precious"


def test_a_disk_that_is_too_small_is_refused_first(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(ConversionError, match="needs about"):
        export("nano", tmp_path / "out.xyz", SETTINGS, format="extxyz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.xyz", "extxyz"),
        ("a.EXTXYZ", "extxyz"),
        ("a.db", "db"),
        ("a", "store"),
        ("v1.2", "store"),
    ],
)
def test_format_follows_from_the_name(tmp_path, name, expected):
    assert format_of(tmp_path / name) == expected
