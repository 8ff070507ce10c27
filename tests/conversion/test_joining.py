import numpy as np
import pytest

from nabladft.conversion.converting import convert
from nabladft.conversion.joining import JoinedSource, KeyFinder, join_sources
from nabladft.conversion.settings import ConversionSettings
from nabladft.conversion.sources import SourceReference
from nabladft.conversion.verifying import verify
from nabladft.errors import InputError
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from tests.storage.published_files import summary_frame, write_energy_file, write_hamiltonian_file


@pytest.fixture
def bare_hamiltonians(nano_records, tmp_path):
    """A Hamiltonian file as shipped: no forces."""
    bare = [record.replace(forces=None) for record in nano_records]
    return write_hamiltonian_file(tmp_path / "h.db", bare)


@pytest.fixture
def shuffled_energies(nano_records, tmp_path):
    return write_energy_file(tmp_path / "e.db", nano_records[::-1])


@pytest.fixture
def summary(nano_records, tmp_path):
    path = tmp_path / "summary.csv.gz"
    summary_frame(nano_records, orbitals="eV").to_csv(path)
    return path


def test_hamiltonians_and_forces_are_joined_by_id(
    bare_hamiltonians, shuffled_energies, nano_records, tmp_path
):
    reference = SourceReference.of(bare_hamiltonians, joined=[shuffled_energies])

    report = convert(reference, tmp_path / "store", ConversionSettings(shard_rows=5), workers=2)

    store = Store(tmp_path / "store")
    assert {"energy", "forces", "hamiltonian"} <= set(store.manifest.stored_names)
    assert store[3].key == nano_records[3].key
    np.testing.assert_allclose(store[3].forces, nano_records[3].forces, rtol=1e-12)
    assert store[3].smiles == nano_records[3].smiles  # the Hamiltonian file has none
    assert store.manifest.details["joined"] == {"e": ["forces"]}
    assert verify(reference, report).problems == []


def test_a_record_that_the_other_lacks_is_refused_or_listed(
    bare_hamiltonians, nano_records, tmp_path
):
    partial = write_energy_file(tmp_path / "partial.db", nano_records[:-2])
    reference = SourceReference.of(bare_hamiltonians, joined=[partial])

    with pytest.raises(InputError, match=r"row 22 .* is not in 'partial'"):
        convert(reference, tmp_path / "store")
    report = convert(reference, tmp_path / "store", skip_bad=True)

    assert [row.row for row in report.bad] == [22, 23]
    assert report.n_conformations == len(nano_records) - 2


def test_other_geometries_are_not_joined(bare_hamiltonians, nano_records, tmp_path):
    moved = [*nano_records]
    moved[4] = moved[4].replace(positions=moved[4].positions + 0.01)
    other = write_energy_file(tmp_path / "moved.db", moved)
    joined = JoinedSource(open_source(bare_hamiltonians), [open_source(other)])

    assert joined.read([3], fields=("forces",))[0].key == nano_records[3].key
    with pytest.raises(InputError, match=r"'moved' has coordinates that differ by 1\.0e-02 bohr"):
        joined.read([4], fields=("forces",))


def test_other_methods_are_not_joined(bare_hamiltonians, memory_source, nano_records):
    class Other(memory_source):
        @property
        def info(self):
            import dataclasses

            return dataclasses.replace(super().info, method="PBE/def2-SVP")

    with pytest.raises(InputError, match="labels of different methods"):
        JoinedSource(open_source(bare_hamiltonians), [Other(nano_records)])


def test_nothing_to_join_is_the_source_itself(energy_file):
    source = open_source(energy_file)

    assert join_sources(source, [], None) is source


def test_the_table_of_properties_is_joined(energy_file, summary, nano_records, tmp_path):
    reference = SourceReference.of(energy_file, summary=summary, summary_units={"dipole": "debye"})

    report = convert(reference, tmp_path / "store", ConversionSettings(shard_rows=9))

    store = Store(tmp_path / "store")
    assert {"dipole", "homo_energy", "lumo_energy", "xc_energy"} <= set(store.manifest.stored_names)
    np.testing.assert_allclose(store[5].dipole, nano_records[5].dipole, atol=1e-9)
    details = store.manifest.details
    assert details["summary"] == summary.name
    assert details["summary_units"]["homo_energy"].startswith("eV")
    assert details["conversion"]["source"]["summary"]["units_given"] == {"dipole": "debye"}
    assert str(tmp_path) not in (tmp_path / "store" / "manifest.json").read_text()
    assert verify(reference, report).problems == []


def test_a_row_that_the_table_lacks_is_refused_or_listed(energy_file, nano_records, tmp_path):
    path = tmp_path / "short.csv"
    summary_frame(nano_records[1:], orbitals="eV").to_csv(path)
    reference = SourceReference.of(energy_file, summary=path)

    with pytest.raises(InputError, match=r"row 0 .* is not in it"):
        convert(reference, tmp_path / "store")
    report = convert(reference, tmp_path / "store", skip_bad=True)

    assert [row.row for row in report.bad] == [0]


def test_a_table_that_changed_is_refused(energy_file, summary, nano_records, tmp_path):
    convert(SourceReference.of(energy_file, summary=summary), tmp_path / "store")
    summary_frame(nano_records[::-1], orbitals="eV").to_csv(summary)

    with pytest.raises(InputError, match="is of another source: summary was"):
        convert(SourceReference.of(energy_file, summary=summary), tmp_path / "store")


def test_keys_are_found(rng):
    keys = rng.integers(-5, 40, size=(500, 2))
    wanted = rng.integers(-8, 43, size=(300, 2))
    listed = [tuple(key) for key in keys.tolist()]
    expected = [listed.index(key) if (key := tuple(k)) in listed else -1 for k in wanted.tolist()]

    assert KeyFinder(keys).find(wanted).tolist() == expected
    assert KeyFinder(keys[:0]).find(wanted).tolist() == [-1] * 300
