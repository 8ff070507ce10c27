"""Every kind of source, converted plain and compact, compared record by record."""

import numpy as np
import pytest

from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.conversion.converting import convert
from nabladft.conversion.exporting import export
from nabladft.conversion.settings import ConversionSettings
from nabladft.conversion.sources import SourceReference
from nabladft.conversion.verifying import verify
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from tests.storage.published_files import (
    write_energy_file,
    write_hamiltonian_file,
    write_qh9_file,
    write_wavefunction,
)

LABELS = ("energy", "forces", "dipole")


def small(records):
    """Records that are quick to write as wavefunctions, of the elements of QM9."""
    light = [r for r in records if set(r.atomic_numbers.tolist()) <= {1, 6, 7, 8, 9}]
    return sorted(light, key=lambda record: record.n_atoms)[:4]


def energies_v1(folder, records):
    return write_energy_file(folder / "v1.db", records, energy="energy", metadata=None)


def trajectory(folder, records):
    same = [record.replace(molecule_id=7, conformation_id=1) for record in records[:6]]
    return write_energy_file(folder / "trajectory.db", same, iterations=range(6))


def hamiltonians_without_forces(folder, records):
    bare = [record.replace(forces=None, overlap=None) for record in records]
    return write_hamiltonian_file(folder / "v1h.db", bare)


def wavefunctions(folder, records):
    for record in small(records):
        write_wavefunction(folder, record)
    return folder


def qh9_stable(folder, records):
    return write_qh9_file(folder / "QH9Stable.db", small(records), kind="stable")


def qh9_dynamic(folder, records):
    return write_qh9_file(folder / "QH9Dynamic_300k.db", small(records), kind="dynamic")


def ase_database(folder, records):
    export("nano", folder / "a.db", ConversionSettings(fields=LABELS, limit=9), format="db")
    return folder / "a.db"


def extended_xyz(folder, records):
    export("nano", folder / "a.xyz", ConversionSettings(fields=LABELS, limit=9), format="extxyz")
    return folder / "a.xyz"


def schnetpack_database(folder, records):
    settings = ConversionSettings(fields=LABELS, limit=9)
    export("nano", folder / "a.db", settings, format="schnetpack")
    return folder / "a.db"


def store(folder, records):
    convert("nano", folder / "first", ConversionSettings(limit=9))
    return folder / "first"


KINDS = (
    energies_v1,
    trajectory,
    hamiltonians_without_forces,
    wavefunctions,
    qh9_stable,
    qh9_dynamic,
    ase_database,
    extended_xyz,
    schnetpack_database,
    store,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_source_round_trips(kind, nano_records, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    path = kind(folder, nano_records)
    source = open_source(path)

    plain = convert(path, tmp_path / "plain", ConversionSettings(shard_rows=4))
    compact = convert(path, tmp_path / "compact", ConversionSettings(codec="compact"))

    for report in (plain, compact):
        result = verify(SourceReference.of(path), report)
        assert result.problems == []
        assert result.n_compared == len(source)
    assert set(verify(SourceReference.of(path), plain).deviations.values()) == {0.0}
    made = Store(tmp_path / "plain")
    assert made.data_hash == source.data_hash
    assert set(source.info.fields) <= set(made.info.fields)
    assert (made.info.orbital_order, made.info.method) == (
        source.info.orbital_order,
        source.info.method,
    )


def test_positions_are_those_of_the_file_in_the_bohr_of_its_authors(nano_records, tmp_path):
    path = write_energy_file(tmp_path / "e.db", nano_records[:1])

    convert(path, tmp_path / "store")

    angstrom = Store(tmp_path / "store")[0].positions * PUBLISHED_BOHR_IN_ANGSTROM
    expected = nano_records[0].positions * PUBLISHED_BOHR_IN_ANGSTROM
    np.testing.assert_allclose(angstrom, expected, rtol=1e-15)
