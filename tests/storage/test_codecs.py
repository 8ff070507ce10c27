import numpy as np
import pytest

from nabladft.errors import StoreError
from nabladft.storage.codecs import (
    dequantise,
    join_diagonal,
    quantise,
    split_diagonal,
    step_of,
)


@pytest.mark.parametrize("bound", [1e-3, 1e-7, 3.7e-9])
def test_rounding_stays_within_its_bound_up_to_the_largest_value(rng, bound):
    largest = (2**31 - 1) * step_of(bound)
    values = np.concatenate(
        [rng.normal(size=5000), rng.uniform(-largest, largest, size=5000), [largest, -largest, 0.0]]
    )

    decoded = dequantise(quantise(values, error_bound=bound), error_bound=bound)

    assert np.abs(decoded - values).max() <= bound


def test_rounding_what_was_rounded_changes_nothing(rng):
    once = dequantise(quantise(rng.normal(size=10000), error_bound=1e-7), error_bound=1e-7)

    twice = dequantise(quantise(once, error_bound=1e-7), error_bound=1e-7)

    np.testing.assert_array_equal(once, twice)


def test_zigzag_keeps_small_numbers_of_both_signs_small():
    step = step_of(0.5)

    codes = quantise(step * np.array([0.0, -1.0, 1.0, -2.0, 2.0]), error_bound=0.5)

    assert codes.tolist() == [0, 1, 2, 3, 4]


def test_value_that_does_not_fit_into_32_bits_is_refused():
    with pytest.raises(StoreError, match=r"A value of 482 does not fit into 32 bits.*1e-07"):
        quantise(np.array([0.1, -482.0]), error_bound=1e-7)


def test_diagonals_are_told_from_the_rest_and_put_back(rng):
    counts = np.array([3, 0, 1, 5])
    packed = [np.arange(n * (n + 1) // 2) + 100.0 * k for k, n in enumerate(counts)]
    values = np.concatenate(packed)

    diagonal, rest = split_diagonal(values, counts)

    # Of a packed 3 x 3 triangle, elements 0, 2 and 5 are the diagonal.
    assert diagonal[:3].tolist() == [0.0, 2.0, 5.0]
    assert rest[:3].tolist() == [1.0, 3.0, 4.0]
    np.testing.assert_array_equal(join_diagonal(diagonal, rest, counts), values)
