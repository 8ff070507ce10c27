import numpy as np
import pytest

from nabladft.errors import InputError
from nabladft.metrics import Terms, forces_cosine, forces_mae, forces_mae_by_element

OFFSETS = np.array([0, 3, 4, 9, 11])


@pytest.fixture
def data(rng):
    return {
        "predicted": rng.normal(size=(11, 3)),
        "reference": rng.normal(size=(11, 3)),
        "atom_offsets": OFFSETS,
    }


def test_error_equals_a_plain_loop(data):
    errors = [
        abs(data["predicted"][i, x] - data["reference"][i, x]) for i in range(11) for x in range(3)
    ]

    assert forces_mae(**data).value == pytest.approx(sum(errors) / 33, rel=1e-14)


def test_cosine_equals_a_plain_loop(data):
    cosines = [
        np.dot(p, r) / np.sqrt(np.dot(p, p)) / np.sqrt(np.dot(r, r))
        for p, r in zip(data["predicted"], data["reference"], strict=True)
    ]

    assert forces_cosine(**data).value == pytest.approx(sum(cosines) / 11, rel=1e-14)


def test_error_by_element_equals_a_selection_of_atoms(data):
    numbers = np.array([8, 1, 1, 17, 6, 1, 1, 1, 1, 9, 1])
    error = np.abs(data["predicted"] - data["reference"])

    found = forces_mae_by_element(**data, atomic_numbers=numbers)

    assert sorted(found) == [1, 6, 8, 9, 17]
    for number, terms in found.items():
        assert terms.value == pytest.approx(error[numbers == number].mean(), rel=1e-14)


def test_values_by_hand():
    # Parallel: 1; at a right angle: 0; opposite: -1; nothing predicted: 0; no force: not counted.
    reference = np.array([[2.0, 0, 0], [0, 3, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])
    predicted = np.array([[5.0, 0, 0], [1, 0, 0], [0, 0, -2], [0, 0, 0], [1, 0, 0]])
    data = {
        "predicted": predicted,
        "reference": reference,
        "atom_offsets": np.array([0, 2, 5]),
    }

    assert forces_cosine(**data).value == 0.0
    assert forces_cosine(**data).weight.tolist() == [2, 2]
    assert forces_mae(**data).value == pytest.approx((3 + 4 + 3 + 3 + 1) / 15, rel=1e-15)


def test_rotating_everything_leaves_the_cosine(data, rng):
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = data | {name: data[name] @ rotation for name in ("predicted", "reference")}

    assert forces_cosine(**turned).value == pytest.approx(forces_cosine(**data).value, abs=1e-14)


def test_batches_add_up(data):
    for function in (forces_mae, forces_cosine):
        pieces = [
            function(
                predicted=data["predicted"][OFFSETS[a] : OFFSETS[b]],
                reference=data["reference"][OFFSETS[a] : OFFSETS[b]],
                atom_offsets=OFFSETS[a : b + 1] - OFFSETS[a],
            )
            for a, b in ((0, 1), (1, 4))
        ]

        joined, whole = Terms.join(pieces), function(**data)

        np.testing.assert_allclose(joined.numerator, whole.numerator, rtol=1e-14)
        np.testing.assert_array_equal(joined.weight, whole.weight)


def test_other_shapes_are_refused(data):
    with pytest.raises(InputError, match=r"\(11, 3\), got \(10, 3\) predicted and \(11, 3\)"):
        forces_mae(**data | {"predicted": np.zeros((10, 3))})
