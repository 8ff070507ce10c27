import itertools

import numpy as np
import pytest

from nabladft.errors import InputError
from nabladft.metrics import energy_mae, energy_mae_per_atom, relative_energy_mae


@pytest.fixture
def data(rng):
    n = 40
    return {
        "predicted": -100 + rng.normal(size=n),
        "reference": -100 + rng.normal(size=n),
        "molecule_id": rng.integers(0, 12, size=n),
        "n_atoms": rng.integers(1, 20, size=n),
    }


def pair(data):
    return {name: data[name] for name in ("predicted", "reference")}


def plain_relative_energy_mae(predicted, reference, molecule_id):
    """All pairs of each molecule, one after the other."""
    molecules = []
    for molecule in sorted(set(molecule_id.tolist())):
        members = [k for k, owner in enumerate(molecule_id) if owner == molecule]
        errors = [
            abs((predicted[i] - predicted[j]) - (reference[i] - reference[j]))
            for i, j in itertools.combinations(members, 2)
        ]
        if errors:
            molecules.append(sum(errors) / len(errors))
    return sum(molecules) / len(molecules)


def test_energy_errors_equal_a_plain_loop(data):
    errors = [abs(p - r) for p, r in zip(data["predicted"], data["reference"], strict=True)]
    per_atom = [e / n for e, n in zip(errors, data["n_atoms"], strict=True)]

    assert energy_mae(**pair(data)).value == pytest.approx(sum(errors) / 40, rel=1e-14)
    assert energy_mae_per_atom(**pair(data), n_atoms=data["n_atoms"]).value == pytest.approx(
        sum(per_atom) / 40, rel=1e-14
    )


def test_relative_energy_error_equals_a_plain_loop_over_pairs(data):
    expected = plain_relative_energy_mae(**pair(data), molecule_id=data["molecule_id"])

    found = relative_energy_mae(**pair(data), molecule_id=data["molecule_id"])

    assert found.value == pytest.approx(expected, rel=1e-13)


def test_relative_energy_error_by_hand():
    # Errors 0, 1, 3 of molecule 5: pairs 1, 3, 2, mean 2. Errors 0, 1 of molecule 9: mean 1.
    # Molecule 7 has one conformation and does not count. Mean over two molecules: 1.5.
    predicted = np.array([0.0, 1.0, 3.0, 9.0, 0.0, 1.0])

    found = relative_energy_mae(
        predicted=predicted, reference=np.zeros(6), molecule_id=np.array([5, 5, 5, 7, 9, 9])
    )

    assert found.value == pytest.approx(1.5, rel=1e-15)
    assert found.weight[3] == 0


def test_a_constant_of_each_molecule_does_not_change_relative_energies(data, rng):
    shift = rng.normal(size=12)[data["molecule_id"]]
    before = relative_energy_mae(**pair(data), molecule_id=data["molecule_id"])

    data["predicted"] = data["predicted"] + 50 * shift
    after = relative_energy_mae(**pair(data), molecule_id=data["molecule_id"])

    assert after.value == pytest.approx(before.value, rel=1e-11)


def test_the_order_of_the_records_does_not_matter(data, rng):
    order = rng.permutation(40)
    moved = {name: values[order] for name, values in data.items()}

    for function, extra in (
        (energy_mae, []),
        (energy_mae_per_atom, ["n_atoms"]),
        (relative_energy_mae, ["molecule_id"]),
    ):
        one, two = (function(**pair(d), **{name: d[name] for name in extra}) for d in (data, moved))
        np.testing.assert_allclose(two.numerator, one.numerator[order], rtol=1e-12)
        np.testing.assert_array_equal(two.weight, one.weight[order])


def test_single_conformations_have_no_relative_energy():
    found = relative_energy_mae(
        predicted=np.ones(3), reference=np.zeros(3), molecule_id=np.arange(3)
    )

    assert found.value is None


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"same shape \(n,\), got \(2,\) and \(3,\)"):
        energy_mae(predicted=np.zeros(2), reference=np.zeros(3))
