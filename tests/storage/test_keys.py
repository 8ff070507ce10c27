import numpy as np
import pytest

from nabladft.storage.keys import rows_of_keys


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_rows_equal_a_dictionary(rng, block):
    held = np.unique(rng.integers(-3, 40, size=(500, 2)), axis=0)
    held = held[rng.permutation(len(held))]
    wanted = rng.integers(-5, 45, size=(200, 2))
    position = {tuple(key): row for row, key in enumerate(held.tolist())}

    blocks = (held[start : start + block] for start in range(0, len(held), block))

    expected = [position.get(tuple(key), -1) for key in wanted.tolist()]
    assert rows_of_keys(blocks, wanted).tolist() == expected
    assert {-1} < set(expected)


def test_nothing_is_found_in_nothing():
    nothing = np.zeros((0, 2), dtype=np.int64)

    assert rows_of_keys([], nothing).tolist() == []
    assert rows_of_keys([nothing], np.array([[1, 2]])).tolist() == [-1]
