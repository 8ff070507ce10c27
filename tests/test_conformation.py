import dataclasses
import pickle

import numpy as np
import pytest

from nabladft import Conformation
from nabladft.errors import ConformationError, MissingFieldError, UnknownNameError
from nabladft.fields import LABEL_FIELDS

N_ORBITALS = 24


def water(**changes):
    """A record of water with every label, in values that say nothing."""
    rng = np.random.default_rng(3)

    def symmetric():
        matrix = rng.normal(size=(N_ORBITALS, N_ORBITALS))
        return matrix + matrix.T

    values = {
        "molecule_id": 7,
        "conformation_id": 2,
        "atomic_numbers": np.array([8, 1, 1]),
        "positions": rng.normal(size=(3, 3)),
        "smiles": "O",
        "orbital_order": "ascending",
        "basis_set": "def2-svp",
    }
    for name, field in LABEL_FIELDS.items():
        shape = field.shape_for(n_atoms=3, n_orbitals=N_ORBITALS)
        values[name] = symmetric() if field.symmetric else rng.normal(size=shape)[()]
    return Conformation(**{**values, **changes})


def test_a_full_record_gives_back_what_it_was_given():
    record = water(energy=-76.25)

    assert record.key == (7, 2)
    assert record.n_atoms == 3
    assert record.formula == "H2O"
    assert record.fields == tuple(LABEL_FIELDS)
    assert record.energy == -76.25
    assert isinstance(record.energy, float)
    for name, field in LABEL_FIELDS.items():
        assert np.asarray(record.require(name)).dtype == field.dtype


def test_a_label_that_is_missing_is_none_and_refused_on_demand():
    record = Conformation(
        molecule_id=7, conformation_id=2, atomic_numbers=np.array([2]), positions=np.zeros((1, 3))
    )

    assert record.fields == ()
    assert all(getattr(record, name) is None for name in LABEL_FIELDS)
    with pytest.raises(
        MissingFieldError, match=r"Conformation 7/2 has no 'energy'. It has: no labels"
    ):
        record.require("energy")
    with pytest.raises(MissingFieldError, match=r"no 'forces'. It has: energy"):
        record.replace(energy=-2.0).require("forces")


def test_an_unknown_field_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'hamiltonian'"):
        water().require("hamiltonain")


def test_records_cannot_be_changed():
    record = water()

    with pytest.raises(dataclasses.FrozenInstanceError):
        record.energy = 0.0
    for name in ("positions", "atomic_numbers", "forces", "hamiltonian"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(record, name)[0] = 0


def test_records_do_not_share_memory_with_what_they_were_made_of():
    positions, numbers = np.zeros((1, 3)), np.array([2], dtype=np.int32)
    record = Conformation(
        molecule_id=0, conformation_id=0, atomic_numbers=numbers, positions=positions
    )

    positions += 1
    numbers += 1

    assert record.positions.max() == 0
    assert record.atomic_numbers.tolist() == [2]


def test_a_replaced_record_is_a_checked_copy():
    record = water()

    changed = record.replace(energy=-1.0)

    assert (changed.energy, changed.key) == (-1.0, record.key)
    assert record.energy != -1.0
    with pytest.raises(ConformationError, match="forces must have shape"):
        record.replace(forces=np.zeros((2, 3)))


def test_records_survive_pickling():
    record = water()

    copy = pickle.loads(pickle.dumps(record))

    for name in LABEL_FIELDS:
        np.testing.assert_array_equal(copy.require(name), record.require(name))


@pytest.mark.parametrize("name", ["positions", *LABEL_FIELDS])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(name, value):
    spoiled = np.array(getattr(water(), name), dtype=float)
    spoiled.flat[0] = value

    with pytest.raises(
        ConformationError, match=rf"Conformation 7/2: {name} holds 1 values that are not finite"
    ):
        water(**{name: spoiled})


@pytest.mark.parametrize("name", ["positions", *LABEL_FIELDS])
def test_wrong_shapes_are_refused(name):
    with pytest.raises(ConformationError, match=rf"{name} must have shape .*, got \(5, 2\)"):
        water(**{name: np.zeros((5, 2))})


@pytest.mark.parametrize("name", [n for n, field in LABEL_FIELDS.items() if field.symmetric])
def test_a_matrix_that_is_not_symmetric_is_refused(name):
    matrix = np.eye(N_ORBITALS)
    matrix[3, 5] = 1e-3

    with pytest.raises(ConformationError, match=rf"{name} is not symmetric: .* 1.0e-03"):
        water(**{name: matrix})


def test_round_off_of_single_precision_counts_as_symmetric():
    matrix = 400 * np.eye(N_ORBITALS)
    matrix[3, 5] = 3e-5

    assert water(hamiltonian=matrix).hamiltonian[3, 5] == 3e-5


@pytest.mark.parametrize("name", [n for n, field in LABEL_FIELDS.items() if field.in_orbitals])
@pytest.mark.parametrize("absent", ["orbital_order", "basis_set"])
def test_a_matrix_without_its_orbital_order_is_refused(name, absent):
    values = dict.fromkeys(LABEL_FIELDS)
    values[name] = np.eye(N_ORBITALS)

    with pytest.raises(ConformationError, match=rf"{name} comes without its orbital_order"):
        water(**values, **{absent: None})


def test_matrices_of_different_sizes_are_refused():
    with pytest.raises(ConformationError, match=r"overlap must have shape .*\(24, 24\)"):
        water(overlap=np.eye(23))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.array([8.0, 1.0, 1.0]), "must be integers"),
        (np.array([], dtype=int), "must be integers"),
        (np.array([[8, 1, 1]]), "must be integers"),
        (np.array([8, 1, 0]), r"must be 1 to 86, got \[8, 1, 0\]"),
        (np.array([8, 1, 87]), "must be 1 to 86"),
    ],
)
def test_atomic_numbers_that_do_not_exist_are_refused(numbers, message):
    with pytest.raises(ConformationError, match=message):
        water(atomic_numbers=numbers)


def test_a_label_that_is_no_number_is_refused():
    with pytest.raises(ConformationError, match="energy is not a number"):
        water(energy="minus seventy-six")
