import numpy as np
import pytest

import nabladft
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import FormatError, MissingFieldError, OrbitalOrderError
from nabladft.storage.formats.published_hamiltonian import PublishedHamiltonianSource
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store
from tests.storage.published_files import execute, write_hamiltonian_file


def with_overlap(record):
    return record.replace(
        overlap=overlap_matrix(record.atomic_numbers, record.positions), orbital_energies=None
    )


@pytest.fixture
def published(record):
    """Six records as shipped: energy, forces, H and S, no core Hamiltonian."""
    return [with_overlap(record(m, c)) for c in range(2) for m in (3, 4, 11)]


@pytest.fixture
def hamiltonian_file(tmp_path, published):
    return write_hamiltonian_file(tmp_path / "train_2k.db", published)


def reordered(record, order):
    return record.replace(
        orbital_order=order,
        **{
            name: reorder_orbitals(
                getattr(record, name), record.atomic_numbers, source="ascending", target=order
            )
            for name in ("hamiltonian", "overlap")
        },
    )


def test_records_come_back_in_float32_precision_and_in_order(hamiltonian_file, published):
    source = PublishedHamiltonianSource(hamiltonian_file)
    wanted = [5, 0, 0, -2]

    got = source.read(wanted)

    assert len(source) == 6
    for row, record in zip(wanted, got, strict=True):
        expected = published[row]
        assert record.key == expected.key
        assert record.energy == expected.energy
        for name in ("positions", "forces", "hamiltonian", "overlap"):
            single = getattr(expected, name).astype(np.float32)
            np.testing.assert_array_equal(getattr(record, name), single)
            assert getattr(record, name).dtype == np.float64


def test_missing_columns_are_absent_labels_never_zeros(hamiltonian_file):
    execute(hamiltonian_file, "UPDATE data SET F = NULL, E = NULL")

    source = PublishedHamiltonianSource(hamiltonian_file)

    assert source.info.fields == ("hamiltonian", "overlap")
    assert source[0].forces is None
    assert source[0].core_hamiltonian is None
    assert source[0].energy is None
    with pytest.raises(MissingFieldError, match="'train_2k' does not hold 'forces'"):
        source.read([0], fields=["forces"])


def test_label_that_only_some_rows_have_is_not_held(hamiltonian_file):
    execute(hamiltonian_file, "UPDATE data SET F = NULL WHERE id = 4")

    assert "forces" not in PublishedHamiltonianSource(hamiltonian_file).info.fields


@pytest.mark.parametrize("order", ["ascending", "pyscf", "psi4"])
def test_order_of_the_orbitals_is_found_by_the_overlap(tmp_path, published, order):
    path = write_hamiltonian_file(tmp_path / "x.db", [reordered(r, order) for r in published])

    source = PublishedHamiltonianSource(path)

    assert source.info.orbital_order == order
    assert source.info.details["orbital_order_from"] == "overlap recomputed"
    back = reorder_orbitals(
        source[2].hamiltonian, source[2].atomic_numbers, source=order, target="ascending"
    )
    np.testing.assert_array_equal(back, published[2].hamiltonian.astype(np.float32))


def test_order_without_an_overlap_is_the_documented_one_and_says_so(tmp_path, published):
    path = write_hamiltonian_file(tmp_path / "x.db", [r.replace(overlap=None) for r in published])

    info = PublishedHamiltonianSource(path).info

    assert info.orbital_order == "ascending"
    assert info.details["orbital_order_from"] == "as documented, unchecked"


def test_overlap_of_other_geometries_is_refused(tmp_path, published):
    moved = [record.replace(positions=1.1 * record.positions) for record in published]
    path = write_hamiltonian_file(tmp_path / "x.db", moved)

    with pytest.raises(OrbitalOrderError, match="fits no known orbital order") as caught:
        PublishedHamiltonianSource(path).read([0])
    assert "x.db" in caught.value.__notes__[0]


@pytest.mark.parametrize("kind", ["energy", "formation_energy"])
def test_kind_of_energy_is_found_by_looking(tmp_path, published, kind):
    totals = [record.energy for record in published]
    records = [
        record.replace(
            formation_energy=record.energy - isolated_atoms_energy(record.atomic_numbers)
        )
        for record in published
    ]
    path = write_hamiltonian_file(tmp_path / "x.db", records, energy=kind)

    source = PublishedHamiltonianSource(path)

    assert source.info.details["energy_in_file"] == kind
    assert set(source.info.fields) >= {"energy", "formation_energy"}
    np.testing.assert_allclose(source.read_flat(range(6)).values["energy"], totals, atol=1e-9)


def test_only_the_columns_asked_for_are_touched(hamiltonian_file, published):
    source = PublishedHamiltonianSource(hamiltonian_file)
    assert source.info.fields
    execute(hamiltonian_file, "UPDATE data SET H = x'00' WHERE id = 1")

    record = source.read([1], fields=["energy"])[0]

    assert record.fields == ("energy",)
    assert record.energy == published[1].energy


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("H", b"1234", r"has 4 bytes in H; 1444 expected for \(19, 19\) float32"),
        ("H", None, "has no H, which other rows have"),
        ("H", np.full(361, np.nan, "<f4").tobytes(), "in hamiltonian that is not finite"),
        ("H", np.arange(361, dtype="<f4").tobytes(), "has a hamiltonian that is not symmetric"),
        ("R", np.full(6, np.nan, "<f4").tobytes(), "in positions that is not finite"),
        ("R", None, "has no R"),
        ("Z", b"123", "has atomic numbers .Z. of the wrong size"),
        ("E", None, "has no energy"),
        ("E", "much", "has no energy"),
    ],
)
def test_broken_row_is_refused_with_its_file_and_id(hamiltonian_file, column, value, match):
    source = PublishedHamiltonianSource(hamiltonian_file)
    assert source.info.fields
    execute(hamiltonian_file, f"UPDATE data SET {column} = ? WHERE id = 1", (value,))

    with pytest.raises(FormatError, match=rf"train_2k\.db, row with id 1, .*{match}"):
        source.read(range(6))


def test_row_without_ids_is_refused(hamiltonian_file):
    execute(hamiltonian_file, "DELETE FROM dataset_ids WHERE id = 3")

    with pytest.raises(FormatError, match="row with id 3, has no MOSES_ID"):
        _ = PublishedHamiltonianSource(hamiltonian_file).keys


def test_other_basis_set_is_refused(hamiltonian_file):
    shells = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3], dtype="<i4").tobytes()
    execute(hamiltonian_file, "UPDATE basisset SET orbitals = ? WHERE Z = 8", (shells,))

    with pytest.raises(FormatError, match=r"gives O shells of degrees .*but def2-svp"):
        _ = PublishedHamiltonianSource(hamiltonian_file).info


def test_truncated_and_foreign_files_are_refused(hamiltonian_file, tmp_path):
    whole = hamiltonian_file.read_bytes()
    hamiltonian_file.write_bytes(whole[:-4096])
    with pytest.raises(FormatError, match="is incomplete"):
        PublishedHamiltonianSource(hamiltonian_file)

    hamiltonian_file.write_bytes(whole)
    execute(hamiltonian_file, "DROP TABLE basisset")
    with pytest.raises(FormatError, match=r"lacks the table 'basisset'\. Its tables: data"):
        PublishedHamiltonianSource(hamiltonian_file)


def test_file_copied_into_a_store_has_the_same_hash(hamiltonian_file, tmp_path):
    source = PublishedHamiltonianSource(hamiltonian_file)
    create_store(
        tmp_path / "copy",
        name="copy",
        level_of_theory={"method": source.info.method},
        fields=("energy", "forces", "hamiltonian", "overlap"),
        basis_set=source.info.basis_set,
        orbital_order=source.info.orbital_order,
    )

    append(tmp_path / "copy", source)

    assert Store(tmp_path / "copy").data_hash == source.data_hash


def test_first_version_has_total_energies_and_neither_forces_nor_core_hamiltonian(
    tmp_path, published
):
    records = [record.replace(forces=None) for record in published]
    path = write_hamiltonian_file(tmp_path / "v1.db", records, energy="energy")

    source = PublishedHamiltonianSource(path)

    assert source.info.details["energy_in_file"] == "energy"
    assert source.info.fields == ("energy", "formation_energy", "hamiltonian", "overlap")
    assert source[3].forces is None


def test_columns_of_zeros_are_absent_and_named(hamiltonian_file):
    execute(
        hamiltonian_file, "UPDATE data SET F = zeroblob(length(F)), C = zeroblob(2 * length(H))"
    )

    source = PublishedHamiltonianSource(hamiltonian_file)

    assert source.info.details["columns_of_zeros"] == ("F", "C")
    assert source[0].fields == ("energy", "formation_energy", "hamiltonian", "overlap")


def test_ids_are_found_without_touching_the_matrices(hamiltonian_file, published):
    execute(hamiltonian_file, "DELETE FROM data")

    source = PublishedHamiltonianSource(hamiltonian_file)

    assert source.keys.tolist() == [list(record.key) for record in published]
    with pytest.raises(FormatError, match="row with id 0, is missing"):
        _ = source.n_atoms


def test_ids_with_gaps_and_without_a_declared_size(hamiltonian_file, published):
    for sql in ("DELETE FROM data WHERE id = 2", "DELETE FROM dataset_ids WHERE id = 2"):
        execute(hamiltonian_file, sql)
    execute(hamiltonian_file, "DROP TABLE metadata")
    kept = [record for k, record in enumerate(published) if k != 2]

    source = PublishedHamiltonianSource(hamiltonian_file)

    assert source.read([4])[0].key == kept[4].key
    assert source.keys.tolist() == [list(record.key) for record in kept]
    assert source.n_atoms.tolist() == [record.n_atoms for record in kept]


def test_elements_are_those_of_the_rows_where_the_file_lists_none(hamiltonian_file):
    execute(hamiltonian_file, "DELETE FROM nuclear_charges")

    assert "formation_energy" in PublishedHamiltonianSource(hamiltonian_file).info.fields


@pytest.fixture(scope="module")
def real():
    """Three small conformations of the embedded data."""
    nano = nabladft.open("nano")
    smallest = np.argsort(nano.n_atoms, kind="stable")[:9:3]
    return [record.replace(orbital_energies=None) for record in nano.read(smallest)]


@pytest.mark.parametrize("order", ["ascending", "psi4"])
def test_order_without_an_overlap_is_found_from_real_hamiltonians(tmp_path, real, order):
    records = [
        record.replace(
            orbital_order=order,
            hamiltonian=reorder_orbitals(
                record.hamiltonian, record.atomic_numbers, source="ascending", target=order
            ),
        )
        for record in real
    ]
    path = write_hamiltonian_file(tmp_path / "x.db", records)

    info = PublishedHamiltonianSource(path).info

    assert info.orbital_order == order
    assert info.details["orbital_order_from"].startswith("Hamiltonians correlated")
    assert info.details["matrix_in_column_H"] == "hamiltonian"


def test_core_hamiltonians_in_column_h_are_called_by_their_name(tmp_path, real):
    core = [core_hamiltonian_matrix(r.atomic_numbers, r.positions) for r in real]
    records = [
        with_overlap(r.replace(hamiltonian=h, forces=None)) for r, h in zip(real, core, strict=True)
    ]
    path = write_hamiltonian_file(tmp_path / "v1.db", records)

    source = PublishedHamiltonianSource(path)

    assert source.info.details["matrix_in_column_H"] == "core_hamiltonian"
    assert source.info.fields == ("energy", "formation_energy", "overlap", "core_hamiltonian")
    np.testing.assert_array_equal(source[1].core_hamiltonian, core[1].astype(np.float32))
