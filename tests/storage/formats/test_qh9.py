import numpy as np
import pytest

import nabladft
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.errors import FormatError
from nabladft.storage.formats.qh9 import PYSCF_BOHR_IN_ANGSTROM, QH9Source
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store
from tests.storage.published_files import execute, write_qh9_file


@pytest.fixture(scope="module")
def real():
    """Conformations of the embedded data with the elements of QM9."""
    chosen = [r for r in nabladft.open("nano") if set(r.atomic_numbers.tolist()) <= {1, 6, 7, 8, 9}]
    return chosen[:90:18]


@pytest.fixture
def stable(tmp_path, real):
    records = [record.replace(molecule_id=k) for k, record in enumerate(real)]
    return write_qh9_file(tmp_path / "QH9Stable.db", records, kind="stable")


@pytest.fixture
def dynamic(tmp_path, real):
    return write_qh9_file(tmp_path / "QH9Dynamic_300k.db", real, kind="dynamic")


def in_pyscf_order(record):
    return reorder_orbitals(
        record.hamiltonian, record.atomic_numbers, source="ascending", target="pyscf"
    )


def test_relaxed_molecules_are_those_written(stable, real):
    source = open_source(stable)

    assert isinstance(source, QH9Source)
    assert source.info.fields == ("hamiltonian",)
    assert source.info.method == "B3LYP/def2-SVP"
    assert source.info.orbital_order == "pyscf"
    assert source.info.details["orbital_order_from"].startswith("Hamiltonians correlated")
    assert source.info.details["length_unit_in_file"] == "angstrom"
    assert source.keys.tolist() == [[k, 0] for k in range(5)]
    assert source.n_atoms.tolist() == [record.n_atoms for record in real]
    for record, expected in zip(source, real, strict=True):
        np.testing.assert_array_equal(record.hamiltonian, in_pyscf_order(expected))
        np.testing.assert_allclose(record.positions, expected.positions, rtol=1e-14)
        assert record.geometry_origin == "QM9"


def test_steps_of_dynamics_have_energies_and_positions_in_bohr(dynamic, real):
    source = open_source(dynamic)

    assert source.info.fields == ("energy", "hamiltonian")
    assert source.info.details["length_unit_in_file"] == "bohr"
    assert source.keys.tolist() == [list(record.key) for record in real]
    found = source.read([3, 0, 0, -1])
    for record, row in zip(found, (3, 0, 0, 4), strict=True):
        assert record.key == real[row].key
        assert record.energy == real[row].energy
        assert record.formation_energy is None
        np.testing.assert_array_equal(record.positions, real[row].positions)
        np.testing.assert_array_equal(record.hamiltonian, in_pyscf_order(real[row]))


def test_unit_of_length_is_that_of_the_bonds(tmp_path, real):
    path = write_qh9_file(tmp_path / "x.db", real, kind="dynamic", length=PYSCF_BOHR_IN_ANGSTROM)

    source = QH9Source(path)

    assert source.info.details["length_unit_in_file"] == "angstrom"
    np.testing.assert_allclose(source[1].positions, real[1].positions, rtol=1e-14)


def test_order_is_the_documented_one_where_the_matrices_do_not_tell(tmp_path, real, rng):
    n = len(real[0].hamiltonian)
    noise = rng.normal(size=(n, n))
    record = real[0].replace(hamiltonian=noise + noise.T)
    path = write_qh9_file(tmp_path / "x.db", [record], kind="stable")

    info = QH9Source(path).info

    assert info.orbital_order == "pyscf"
    assert info.details["orbital_order_from"] == "as documented, unchecked"


def test_energies_are_read_without_matrices(dynamic, real):
    source = QH9Source(dynamic)
    assert source.info.fields
    execute(dynamic, "UPDATE data SET Ham = NULL, converged = 0")

    found = source.read_flat(range(5), fields=["energy"])

    assert found.values["energy"].tolist() == [record.energy for record in real]


def test_file_copied_into_a_store_has_the_same_hash(dynamic, tmp_path):
    source = QH9Source(dynamic)
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


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("Ham", b"12345678", "has 8 bytes in Ham"),
        ("Ham", None, "has 0 bytes in Ham"),
        ("Z", b"123", "has 3 bytes in Z"),
        ("Z", np.array([17] * 30, dtype="<i4").tobytes(), "bytes in Z"),
        ("pos", b"", "has 0 bytes in pos"),
        ("N", None, "bytes in Z; 0 expected"),
        ("converged", 0, "did not converge"),
        ("epot", None, "has no energy"),
        ("id", "seven", "has id 'seven'"),
    ],
)
def test_broken_row_is_refused_with_its_file_and_id(dynamic, column, value, match):
    source = QH9Source(dynamic)
    assert source.info.fields
    execute(dynamic, f"UPDATE data SET {column} = ? WHERE rowid = 2", (value,))

    with pytest.raises(FormatError, match=rf"QH9Dynamic_300k\.db, row with id 2, .*{match}"):
        source.read(range(5))


def test_matrix_that_is_not_symmetric_and_foreign_elements_are_refused(stable, real):
    source = QH9Source(stable)
    assert source.info.fields
    n = len(real[2].hamiltonian)
    execute(stable, "UPDATE data SET Ham = ? WHERE id = 2", (np.tri(n).tobytes(),))
    numbers = np.full(real[3].n_atoms, 17, dtype="<i4").tobytes()
    execute(stable, "UPDATE data SET Z = ? WHERE id = 3", (numbers,))

    with pytest.raises(FormatError, match="row with id 2, has a Hamiltonian that is not symmetric"):
        source.read([2])
    with pytest.raises(FormatError, match=r"row with id 3, has atomic numbers \[17\]; QH9 has H"):
        source.read([3])


def test_missing_column_truncation_and_emptiness_are_refused(stable, tmp_path):
    whole = stable.read_bytes()
    stable.write_bytes(whole[:-4096])
    with pytest.raises(FormatError, match="is incomplete"):
        open_source(stable)

    stable.write_bytes(whole)
    execute(stable, "DELETE FROM data")
    with pytest.raises(FormatError, match="holds no conformations"):
        _ = open_source(stable).info
    execute(stable, "ALTER TABLE data DROP COLUMN N")
    with pytest.raises(FormatError, match="lacks the column N of table 'data'"):
        QH9Source(stable)
