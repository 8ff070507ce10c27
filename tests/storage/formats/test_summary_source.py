import pickle

import numpy as np
import pytest

import nabladft
from nabladft.chemistry.electronic import homo_lumo, n_electrons
from nabladft.chemistry.nuclei import rotational_constants
from nabladft.errors import FormatError, InputError, MissingFieldError, UnitError
from nabladft.storage.formats.published_energy import PublishedEnergySource
from nabladft.storage.formats.summary_source import SummarySource
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store
from tests.storage.published_files import execute, summary_frame, write_energy_file

ADDED = (
    "nuclear_repulsion_energy",
    "one_electron_energy",
    "two_electron_energy",
    "xc_energy",
    "homo_energy",
    "lumo_energy",
    "rotational_constants",
)


@pytest.fixture(scope="module")
def records():
    return nabladft.open("nano")[::24]


@pytest.fixture
def energies(tmp_path, records):
    return PublishedEnergySource(write_energy_file(tmp_path / "energies.db", records))


@pytest.fixture
def summary(tmp_path, records):
    path = tmp_path / "summary.csv.gz"
    summary_frame(records, orbitals="eV").sample(frac=1, random_state=1).to_csv(path)
    return path


def test_labels_of_both_are_in_atomic_units(energies, summary, records):
    source = SummarySource(energies, summary)

    assert source.added == ADDED
    assert set(source.info.fields) == {"energy", "formation_energy", "forces", *ADDED}
    assert source.info.details["summary_units"]["homo_energy"].startswith("eV: LUMO - HOMO")
    assert "no dipoles" in source.info.details["summary_left_out"]["dipole"]
    for record, expected in zip(source, records, strict=True):
        assert record.key == expected.key
        homo, lumo = homo_lumo(expected.orbital_energies, n_electrons(expected.atomic_numbers))
        assert record.homo_energy == pytest.approx(homo, abs=1e-9)
        assert record.lumo_energy == pytest.approx(lumo, abs=1e-9)
        assert record.xc_energy == pytest.approx(expected.xc_energy, abs=1e-9)
        constants = rotational_constants(expected.atomic_numbers, expected.positions)
        np.testing.assert_allclose(record.rotational_constants, constants, rtol=1e-9)
        np.testing.assert_allclose(record.forces, expected.forces, rtol=1e-9)


def test_a_unit_that_is_vouched_for_is_used_and_recorded(energies, summary, records):
    source = SummarySource(energies, summary, units={"dipole": "debye"})

    assert source.info.details["summary_units"]["dipole"].startswith("debye: as told; ")
    np.testing.assert_allclose(source[4].dipole, records[4].dipole, atol=1e-9)


def test_a_unit_that_is_contradicted_is_refused(energies, summary):
    with pytest.raises(
        UnitError, match=r"homo_energy .* was said to be in hartree, but it is in eV"
    ):
        _ = SummarySource(energies, summary, units={"homo_energy": "hartree"}).info
    with pytest.raises(UnitError, match="no conversion"):
        SummarySource(energies, summary, units={"dipole": "hartree"})
    with pytest.raises(InputError, match="A summary has no 'forces'"):
        SummarySource(energies, summary, units={"forces": "hartree"})


def test_energies_come_from_the_table_where_the_geometries_have_none(energies, summary, records):
    execute(energies.path, "UPDATE systems SET data = NULL")

    source = SummarySource(open_source(energies.path), summary)

    assert source.derived_fields == ("formation_energy",)
    found = source.read([7, 0, 0], fields=["formation_energy", "energy"])
    for record, row in zip(found, (7, 0, 0), strict=True):
        assert record.energy == pytest.approx(records[row].energy, abs=1e-9)
        assert record.formation_energy == pytest.approx(records[row].formation_energy, abs=1e-8)


def test_only_what_is_asked_for_is_read_and_it_can_be_pickled(energies, summary):
    source = pickle.loads(pickle.dumps(SummarySource(energies, summary)))

    flat = source.read_flat([3, 1], fields=["xc_energy"])

    assert list(flat.values) == ["xc_energy"]
    assert source.read_flat([0], fields=[]).values == {}
    with pytest.raises(MissingFieldError, match="does not hold 'dipole'"):
        source.read([0], fields=["dipole"])


def test_joined_data_go_into_a_store(energies, summary, tmp_path):
    source = SummarySource(energies, summary)
    stored = tuple(name for name in source.info.fields if name not in source.derived_fields)
    level = {"method": source.info.method}
    create_store(tmp_path / "copy", name="copy", level_of_theory=level, fields=stored)

    append(tmp_path / "copy", source)

    assert Store(tmp_path / "copy").data_hash == source.data_hash


def test_record_that_the_table_lacks_or_has_otherwise_is_refused(energies, tmp_path, records):
    frame = summary_frame(records)
    key = "{}/{}".format(*records[-1].key)
    path = tmp_path / "summary.csv"

    frame[:-1].to_csv(path)
    with pytest.raises(InputError, match=f"Conformation {key} .*is not in it"):
        SummarySource(energies, path).read([-1])

    changed = frame.copy()
    changed.loc[len(frame) - 1, "DFT XC ENERGY"] = np.nan
    changed.to_csv(path)
    with pytest.raises(InputError, match=f"Conformation {key} .*has no xc_energy there"):
        SummarySource(energies, path).read([-1])


def test_geometry_of_another_conformation_is_refused(energies, summary):
    source = SummarySource(energies, summary)
    assert source.info.fields
    positions = energies.read([2])[0].positions * 0.6
    execute(energies.path, "UPDATE systems SET positions = ? WHERE id = 3", (positions.tobytes(),))

    with pytest.raises(InputError, match=r"has a nuclear repulsion of .* but its geometry gives"):
        source.read([2])


def test_summary_is_no_source_by_itself(summary):
    with pytest.raises(FormatError, match="summary of properties without geometries"):
        open_source(summary)
