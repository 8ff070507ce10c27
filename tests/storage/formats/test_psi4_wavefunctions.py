import os

import numpy as np
import pytest

import nabladft
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.errors import FormatError
from nabladft.storage.formats.psi4_wavefunctions import Psi4WavefunctionSource
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store
from tests.storage.published_files import psi4_wavefunction, write_wavefunction

LABELS = (
    "energy",
    "hamiltonian",
    "overlap",
    "core_hamiltonian",
    "orbital_energies",
    "dipole",
    "nuclear_repulsion_energy",
    "one_electron_energy",
    "two_electron_energy",
    "xc_energy",
    "dispersion_energy",
)


@pytest.fixture(scope="module")
def real():
    """Four small conformations of the embedded data."""
    nano = nabladft.open("nano")
    return nano.read(np.argsort(nano.n_atoms, kind="stable")[:4])


@pytest.fixture
def folder(tmp_path, real):
    for record in real:
        write_wavefunction(tmp_path, record)
    (tmp_path / "notes.txt").write_text("not one of them")
    return tmp_path


def test_records_are_those_of_the_calculation_in_ascending_order(folder, real):
    source = open_source(folder)

    assert isinstance(source, Psi4WavefunctionSource)
    assert source.info.fields == LABELS
    assert source.info.orbital_order == "ascending"
    assert source.keys.tolist() == sorted(list(record.key) for record in real)
    by_key = {record.key: record for record in real}
    for record, n_atoms in zip(source, source.n_atoms.tolist(), strict=True):
        expected = by_key[record.key]
        assert record.n_atoms == n_atoms
        for name in set(LABELS) - {"overlap", "core_hamiltonian"}:
            np.testing.assert_array_equal(getattr(record, name), getattr(expected, name))
        geometry = (expected.atomic_numbers, expected.positions)
        np.testing.assert_array_equal(record.overlap, overlap_matrix(*geometry))
        np.testing.assert_array_equal(record.core_hamiltonian, core_hamiltonian_matrix(*geometry))


def test_order_duplicates_and_single_labels(folder):
    source = Psi4WavefunctionSource(folder)

    found = source.read([2, 0, 0, -1], fields=["energy"])

    assert [record.key for record in found] == [tuple(source.keys[k]) for k in (2, 0, 0, 3)]
    assert found[0].fields == ("energy",)
    assert found[0].basis_set is None


def test_unpacked_archive_and_single_file_are_read(folder, tmp_path, real):
    place = tmp_path / "archive" / "npys"
    place.mkdir(parents=True)
    path = write_wavefunction(place, real[0])

    assert open_source(place.parent)[0].key == real[0].key
    assert open_source(path).keys.tolist() == [list(real[0].key)]


def test_folder_copied_into_a_store_has_the_same_hash(folder, tmp_path):
    source = Psi4WavefunctionSource(folder)
    create_store(
        tmp_path / "copy",
        name="copy",
        level_of_theory={"method": source.info.method},
        fields=source.info.fields,
        basis_set=source.info.basis_set,
        orbital_order=source.info.orbital_order,
    )

    append(tmp_path / "copy", source)

    assert Store(tmp_path / "copy").data_hash == source.data_hash


def test_coordinates_in_angstrom_are_converted_and_checked(tmp_path, real):
    content = psi4_wavefunction(real[0])
    content["molecule"]["geom"] = content["molecule"]["geom"] * PUBLISHED_BOHR_IN_ANGSTROM
    content["molecule"]["units"] = "Angstrom"
    path = write_wavefunction(tmp_path, real[0], content)

    found = Psi4WavefunctionSource(path)[0]

    np.testing.assert_allclose(found.positions, real[0].positions, rtol=1e-14)


def without(content, group, name):
    return content | {group: {key: v for key, v in content[group].items() if key != name}}


def changed(content, group, **values):
    return content | {group: content[group] | values}


def ascending(content, record):
    numbers = record.atomic_numbers
    matrices = {
        key: reorder_orbitals(content["matrix"][key], numbers, source="psi4", target="ascending")
        for key in ("Fa", "Fb", "S", "H")
    }
    return changed(content, "matrix", **matrices)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c, r: without(c, "matrix", "S"), r"has no overlap matrix \(S\)"),
        (lambda c, r: {"matrix": {}}, "has no group 'molecule', which Psi4 writes"),
        (lambda c, r: changed(c, "matrix", Fb=2 * c["matrix"]["Fb"]), "of an open shell"),
        (ascending, "has its orbitals in 'ascending' order, not Psi4's"),
        (lambda c, r: changed(c, "matrix", S=np.eye(3)), "matrices that cannot be used"),
        (lambda c, r: changed(c, "matrix", Fa="many", Fb="many"), "that cannot be used"),
        (lambda c, r: changed(c, "molecule", units="Ell"), "coordinates in 'Ell'; known: Bohr"),
        (lambda c, r: changed(c, "molecule", units="Angstrom"), "the nuclei repel by"),
        (lambda c, r: changed(c, "molecule", elez=None), "has no atomic numbers"),
        (lambda c, r: changed(c, "molecule", geom=np.zeros(4)), "has no atomic numbers"),
        (
            lambda c, r: changed(c, "floatvar", **{"DFT XC ENERGY": -1.0}),
            "has energies that do not add up: .* hartree are missing",
        ),
        (
            lambda c, r: changed(
                c, "matrix", H=c["matrix"]["H"] + np.triu(np.ones_like(c["matrix"]["H"]))
            ),
            "core_hamiltonian is not symmetric",
        ),
    ],
)
def test_contradiction_is_refused_with_the_file(tmp_path, real, change, match):
    path = write_wavefunction(tmp_path, real[0], change(psi4_wavefunction(real[0]), real[0]))

    with pytest.raises(FormatError, match=rf"{path.name} .*{match}"):
        Psi4WavefunctionSource(path).read([0])


def test_truncated_and_hostile_files_are_refused(folder, tmp_path, real):
    source = Psi4WavefunctionSource(folder)
    assert source.info.fields
    path = folder / "{}_{}.npy".format(*source.keys[1])
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=f"{path.name} cannot be read: The pickle is damaged"):
        source.read([1])

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'hacked'}",)

    write_wavefunction(folder, real[0], {"matrix": Hostile()})
    with pytest.raises(FormatError, match=r"asks for .*system"):
        source.read(range(4))
    assert not (tmp_path / "hacked").exists()


def test_file_that_lacks_what_others_have_is_refused(folder, real):
    source = Psi4WavefunctionSource(folder)
    assert source.info.fields
    write_wavefunction(folder, real[1], without(psi4_wavefunction(real[1]), "matrix", "H"))

    with pytest.raises(FormatError, match="has no core_hamiltonian"):
        source.read(range(4), fields=["core_hamiltonian"])


def test_two_files_of_one_conformation_are_refused(folder):
    (folder / "01_0.npy").touch()
    (folder / "1_0.npy").touch()

    with pytest.raises(FormatError, match="are the same conformation"):
        Psi4WavefunctionSource(folder)


def test_folder_without_such_files_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"holds no files {moses_id}_"):
        Psi4WavefunctionSource(tmp_path)
