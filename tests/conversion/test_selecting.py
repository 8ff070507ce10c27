import numpy as np
import pytest

from nabladft.conversion.selecting import select_rows
from nabladft.errors import InputError


class Keys:
    """Just the ids of a source."""

    def __init__(self, keys):
        self.keys = np.array(keys, dtype=np.int64).reshape(-1, 2)
        self.info = type("Info", (), {"name": "keys"})


@pytest.mark.parametrize("scale", [1, 2**40])
def test_rows_are_selected_by_id_in_the_order_of_the_source(rng, scale):
    keys = rng.permutation(np.stack(np.divmod(np.arange(200), 7), axis=1)) * scale - 3
    wanted = rng.permutation(keys)[:50]

    rows, bad = select_rows(Keys(keys), wanted, None)

    assert bad == ()
    assert (np.diff(rows) > 0).all()
    assert {tuple(k) for k in keys[rows].tolist()} == {tuple(k) for k in wanted.tolist()}


def test_repeated_ids_are_bad_from_the_second_on():
    rows, bad = select_rows(Keys([[1, 0], [2, 0], [1, 0], [1, 1], [1, 0]]), None, None)

    assert rows.tolist() == [0, 1, 3]
    assert [row.row for row in bad] == [2, 4]
    rows, bad = select_rows(Keys([[1, 0], [2, 0], [1, 0]]), np.array([[1, 0]]), None)
    assert (rows.tolist(), [row.row for row in bad]) == ([0], [2])


def test_ids_that_are_not_there_and_nothing_at_all():
    with pytest.raises(InputError, match=r"2 of 3 .* first is molecule_id 9, conformation_id 9"):
        select_rows(Keys([[1, 0]]), np.array([[1, 0], [9, 9], [1, 1]]), None)
    with pytest.raises(InputError, match="nothing to convert in 'keys'"):
        select_rows(Keys([]), None, None)
