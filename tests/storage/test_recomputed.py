import numpy as np
import pytest

from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.electronic import (
    density_matrix,
    n_electrons,
    orbital_energies_and_coefficients,
)
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.conformation import Conformation
from nabladft.errors import MissingFieldError, UnsupportedElementError
from nabladft.storage.opening import open_source
from nabladft.storage.recomputed import recomputable_fields
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store
from tests.storage.published_files import write_hamiltonian_file

WATER = np.array([8, 1, 1])


def water(rng, conformation_id):
    geometry = np.array([[0, 0, 0.0], [0, 1.4, 1.1], [0, -1.4, 1.1]])
    return Conformation(
        molecule_id=1,
        conformation_id=conformation_id,
        atomic_numbers=WATER,
        positions=geometry + 0.1 * rng.normal(size=(3, 3)),
        hamiltonian=np.eye(24),
        energy=-76.0,
        basis_set="def2-SVP",
        orbital_order="pyscf",
    )


@pytest.fixture
def store(tmp_path, rng):
    """Hamiltonians without overlaps, in another order than the package's own."""
    create_store(
        tmp_path / "water",
        name="water",
        level_of_theory={"functional": "wB97X-D", "basis_set": "def2-SVP"},
        fields=["energy", "hamiltonian"],
        basis_set="def2-SVP",
        orbital_order="pyscf",
    )
    append(tmp_path / "water", [water(rng, k) for k in range(4)])
    return Store(tmp_path / "water")


def test_matrices_that_are_not_stored_are_computed_when_asked_for(store):
    records = store.read([3, 0, 3], fields=["core_hamiltonian", "overlap"])

    assert [record.conformation_id for record in records] == [3, 0, 3]
    for record in records:
        assert record.hamiltonian is None
        assert record.orbital_order == "pyscf"
        geometry = record.atomic_numbers, record.positions
        np.testing.assert_allclose(
            record.overlap, overlap_matrix(*geometry, orbital_order="pyscf"), atol=1e-14
        )
        np.testing.assert_allclose(
            record.core_hamiltonian,
            core_hamiltonian_matrix(*geometry, orbital_order="pyscf"),
            atol=1e-12,
        )


def test_they_come_beside_stored_and_derived_labels_in_the_sequence_asked_for(store):
    flat = store.read_flat([1, 2], fields=["overlap", "formation_energy", "hamiltonian"])

    assert list(flat.values) == ["overlap", "formation_energy", "hamiltonian"]
    assert flat.orbital_counts.tolist() == [24, 24]
    np.testing.assert_array_equal(
        flat.values["hamiltonian"], store.read_flat([1, 2]).values["hamiltonian"]
    )


def test_they_are_not_given_unasked(store):
    assert store.recomputable_fields == ("overlap", "core_hamiltonian")
    assert "overlap" not in store.info.fields
    assert store[0].overlap is None


def test_reading_nothing_computes_nothing(store):
    assert store.read([], fields=["overlap", "core_hamiltonian"]) == []


def test_a_stored_overlap_is_read(tmp_path, rng):
    folder = create_store(
        tmp_path / "held",
        name="held",
        level_of_theory={"method": "x"},
        fields=["overlap"],
        basis_set="def2-SVP",
        orbital_order="pyscf",
    )
    append(folder, [water(rng, 0).replace(overlap=2 * np.eye(24))])

    held = Store(folder)

    assert held.recomputable_fields == ("core_hamiltonian",)
    np.testing.assert_array_equal(held[0].overlap, 2 * np.eye(24))


def test_a_source_without_a_basis_set_refuses(tmp_path, rng):
    folder = create_store(
        tmp_path / "energies", name="energies", level_of_theory={"method": "x"}, fields=["energy"]
    )
    append(folder, [water(rng, 0)])

    with pytest.raises(MissingFieldError, match="does not hold 'overlap'"):
        Store(folder).read([0], fields=["overlap"])


def test_an_element_outside_the_basis_is_named(store, monkeypatch):
    flat = store.read_flat([0], fields=[])
    iodine = type(flat)(**{**vars(flat), "atomic_numbers": np.array([53, 1, 1], dtype=np.int32)})
    monkeypatch.setattr(store, "read_stored", lambda *_: iodine)

    with pytest.raises(UnsupportedElementError, match="I has no shells"):
        store.read_flat([0], fields=["overlap"])


@pytest.mark.parametrize(
    ("basis_set", "order"), [(None, "pyscf"), ("def2-svp", None), ("x", "pyscf"), ("def2-svp", "x")]
)
def test_nothing_can_be_computed_without_a_known_basis_set_and_order(basis_set, order):
    assert recomputable_fields((), basis_set, order) == ()


def test_they_give_the_one_electron_energy_that_the_dft_program_gave():
    fields = ["hamiltonian", "overlap", "core_hamiltonian", "one_electron_energy"]
    for record in open_source("nano").read([0, 200], fields=fields):
        electrons = n_electrons(record.atomic_numbers)
        _, coefficients = orbital_energies_and_coefficients(record.hamiltonian, record.overlap)

        energy = np.sum(density_matrix(coefficients, electrons) * record.core_hamiltonian)

        # The Hamiltonian is rounded to 1e-7 hartree.
        assert energy == pytest.approx(record.one_electron_energy, abs=1e-4)


def test_a_published_file_without_core_hamiltonians_gives_them_all_the_same(tmp_path, rng):
    records = [water(rng, k).replace(orbital_order="ascending") for k in range(2)]
    file = write_hamiltonian_file(tmp_path / "test_2k.db", records)
    source = open_source(file)
    assert source[1].core_hamiltonian is None

    (record,) = source.read([1], fields=["core_hamiltonian"])

    expected = core_hamiltonian_matrix(record.atomic_numbers, record.positions)
    np.testing.assert_allclose(record.core_hamiltonian, expected, atol=1e-12)
