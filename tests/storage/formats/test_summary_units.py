import numpy as np
import pytest

import nabladft
from nabladft.errors import InputError, UnitError
from nabladft.storage.formats.summary_table import open_summary
from nabladft.storage.formats.summary_units import require_unit, settle_units
from tests.storage.published_files import summary_frame, write_energy_file, write_hamiltonian_file


@pytest.fixture(scope="module")
def records():
    return nabladft.open("nano")[::12]


@pytest.fixture(scope="module")
def nano():
    return nabladft.open("nano")


@pytest.fixture
def table(tmp_path, records):
    """Writes a summary: table(energy="eV", ...) and, with ``change``, something done to it."""

    def write(change=None, **units):
        frame = summary_frame(records, **units)
        if change is not None:
            change(frame)
        frame.to_csv(tmp_path / "summary.csv")
        return open_summary(tmp_path / "summary.csv")

    return write


ENERGIES = (
    "energy",
    "formation_energy",
    "xc_energy",
    "nuclear_repulsion_energy",
    "one_electron_energy",
    "two_electron_energy",
)


@pytest.mark.parametrize("energy", ["hartree", "eV", "kcal/mol"])
@pytest.mark.parametrize("orbitals", ["hartree", "eV"])
@pytest.mark.parametrize(("dipole", "rotation"), [("debye", "cm^-1"), ("e*bohr", "MHz")])
def test_units_are_those_in_which_the_table_was_written(
    table, nano, energy, orbitals, dipole, rotation
):
    units = {"energy": energy, "orbitals": orbitals, "dipole": dipole, "rotation": rotation}

    settled = settle_units(table(**units), nano, sample=8)

    assert {settled[name].unit for name in ENERGIES} == {energy}
    assert {settled[name].unit for name in ("homo_energy", "lumo_energy")} == {orbitals}
    assert require_unit(settled, "dipole") == dipole
    assert require_unit(settled, "rotational_constants") == rotation
    assert "equal within" in settled["nuclear_repulsion_energy"].evidence
    assert "the dispersion" in settled["energy"].evidence


def test_what_a_source_cannot_tell_stays_without_a_unit(table, nano, records, tmp_path):
    path = write_energy_file(tmp_path / "energies.db", records)

    settled = settle_units(table(orbitals="eV"), nabladft.open(path))

    assert settled["energy"].unit == "hartree"
    assert settled["homo_energy"].unit == "eV"
    assert "which for molecules is in eV" in settled["homo_energy"].evidence
    assert settled["dipole"].unit is None
    with pytest.raises(
        UnitError, match=r"unit of dipole .* is not known: .*no dipoles to tell debye"
    ):
        require_unit(settled, "dipole")


@pytest.fixture
def hamiltonians(tmp_path, records):
    """A Hamiltonian file of the smallest conformations: hamiltonians(n)."""

    def write(n):
        chosen = sorted(records, key=lambda record: record.n_atoms)[:n]
        chosen = [record.replace(forces=None) for record in chosen]
        return nabladft.open(write_hamiltonian_file(tmp_path / f"{n}.db", chosen))

    return write


@pytest.mark.parametrize(("dipole", "orbitals"), [("e*bohr", "eV"), ("debye", "hartree")])
def test_hamiltonians_tell_the_units_of_levels_and_dipoles(table, hamiltonians, dipole, orbitals):
    settled = settle_units(table(dipole=dipole, orbitals=orbitals), hamiltonians(10))

    assert settled["dipole"].unit == dipole
    assert "of the Mulliken charges are" in settled["dipole"].evidence
    assert settled["homo_energy"].unit == orbitals
    assert "orbital energies: equal within" in settled["homo_energy"].evidence


def test_dipoles_that_fit_no_unit_or_are_too_few_are_not_settled(table, hamiltonians):
    def scale(frame):
        frame[["DFT DIPOLE X", "DFT DIPOLE Y", "DFT DIPOLE Z", "DFT TOTAL DIPOLE"]] *= 20

    spoiled = settle_units(table(scale), hamiltonians(10))["dipole"]
    assert spoiled.unit is None
    assert "which fits no unit" in spoiled.evidence
    sparse = settle_units(table(), hamiltonians(3))["dipole"]
    assert sparse.unit is None
    assert "only 3 dipoles" in sparse.evidence


def test_rotated_dipoles_settle_the_unit_as_well(table, nano):
    def turn(frame):
        frame["DFT DIPOLE X"], frame["DFT DIPOLE Y"] = -frame["DFT DIPOLE Y"], frame["DFT DIPOLE X"]

    assert settle_units(table(turn), nano)["dipole"].unit == "debye"


@pytest.mark.parametrize(
    ("column", "fields", "evidence"),
    [
        ("DFT TOTAL DIPOLE", {"dipole"}, "is not TOTAL"),
        ("DFT HOMO-LUMO GAP", {"homo_energy", "lumo_energy"}, "gap and LUMO - HOMO differ"),
        ("DFT ROT CONSTANT B", {"rotational_constants"}, "differs by factors of"),
        ("DFT ATOMIC ENERGY", {"formation_energy"}, "sum of the isolated atoms"),
        (
            "DFT XC ENERGY",
            {
                "energy",
                "one_electron_energy",
                "two_electron_energy",
                "xc_energy",
                "formation_energy",
            },
            "total minus",
        ),
    ],
)
def test_columns_that_break_an_identity_are_not_settled(table, nano, column, fields, evidence):
    def spoil(frame):
        frame[column] *= 1.5

    settled = settle_units(table(spoil), nano)

    assert {name for name, found in settled.items() if found.unit is None} == fields
    assert any(evidence in settled[name].evidence for name in fields)


def test_lines_without_a_value_do_not_count(table, nano):
    def empty(frame):
        frame.loc[3, "DFT DIPOLE X"] = np.nan

    assert settle_units(table(empty), nano)["dipole"].unit == "debye"


def test_table_of_other_conformations_is_refused(table, nano):
    def shift(frame):
        frame["CONFORMER id"] = np.roll(frame["CONFORMER id"], 1)
        frame["MOSES id"] = np.roll(frame["MOSES id"], 1)

    with pytest.raises(UnitError, match="not that of the geometries of 'nano' in any unit"):
        settle_units(table(shift), nano)


def test_table_without_a_common_conformation_is_refused(table, nano):
    def rename(frame):
        frame["MOSES id"] += 10**6

    with pytest.raises(InputError, match="no conformation in common"):
        settle_units(table(rename), nano)
