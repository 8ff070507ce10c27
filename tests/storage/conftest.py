"""Records and stores that the storage tests share."""

import numpy as np
import pytest

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.conformation import Conformation
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store

LEVEL = {"functional": "wB97X-D", "basis_set": "def2-SVP", "program": "PySCF"}
MATRIX_FIELDS = ("energy", "forces", "hamiltonian", "orbital_energies", "dipole")

#: Different sizes and elements; bromine has core levels of hundreds of hartree.
MOLECULES = {
    3: ([8, 1, 1], "O"),
    11: ([6, 1, 1, 1, 1], "C"),
    4: ([1, 9], "F"),
    7: ([6, 35, 1, 1, 1], "CBr"),
}


def symmetric(rng, n, scale=1.0):
    matrix = scale * rng.normal(size=(n, n))
    return matrix + matrix.T


def make_record(molecule_id, conformation_id, *, seed=0, matrices=True, **changes):
    numbers, smiles = MOLECULES[molecule_id]
    numbers = np.array(numbers)
    rng = np.random.default_rng([seed, molecule_id, conformation_id])
    values = {
        "molecule_id": molecule_id,
        "conformation_id": conformation_id,
        "atomic_numbers": numbers,
        "positions": 3.0 * rng.normal(size=(len(numbers), 3)),
        "smiles": smiles,
        "geometry_origin": "etkdg" if conformation_id % 2 else None,
        "energy": isolated_atoms_energy(numbers) - rng.uniform(0.2, 0.9),
        "forces": 0.1 * rng.normal(size=(len(numbers), 3)),
    }
    if matrices:
        n = DEF2_SVP.n_orbitals(numbers)
        values |= {
            "hamiltonian": symmetric(rng, n) - np.diag(rng.uniform(0, 480, size=n)),
            "orbital_energies": np.sort(rng.normal(size=n)),
            "dipole": rng.normal(size=3),
            "basis_set": "def2-svp",
            "orbital_order": "ascending",
        }
    return Conformation(**{**values, **changes})


@pytest.fixture
def record():
    """Builds one record: record(molecule_id, conformation_id, **changes)."""
    return make_record


@pytest.fixture
def records():
    """Twelve records of four molecules, not sorted."""
    return [make_record(m, c) for c in range(3) for m in MOLECULES]


@pytest.fixture
def new_store(tmp_path):
    """Creates a store: new_store(records, codec=...), one shard for each list of records."""

    def create(*batches, name="demo", fields=MATRIX_FIELDS, **options):
        folder = tmp_path / name
        create_store(
            folder,
            name=name,
            level_of_theory=LEVEL,
            fields=fields,
            basis_set="def2-SVP",
            orbital_order="ascending",
            **options,
        )
        for batch in batches:
            append(folder, batch)
        return Store(folder)

    return create


def assert_same_record(one, other, bounds=None):
    """Every attribute equal; labels with a bound within it, matrices' diagonals exact."""
    bounds = bounds or {}
    for name in ("key", "smiles", "geometry_origin", "fields"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("atomic_numbers", "positions", *one.fields):
        got, expected = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        if name not in bounds:
            np.testing.assert_array_equal(got, expected, err_msg=name)
        else:
            assert np.abs(got - expected).max() <= bounds[name]
            if name == "hamiltonian":
                np.testing.assert_array_equal(np.diag(got), np.diag(expected))


@pytest.fixture
def assert_same():
    return assert_same_record
