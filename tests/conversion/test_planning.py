from itertools import pairwise

import numpy as np
import pytest

from nabladft.conversion.planning import (
    boundaries_of,
    bytes_per_row,
    check_same,
    fields_to_store,
    level_of_theory,
    read_plan,
    select_rows,
)
from nabladft.errors import InputError, StoreError
from nabladft.storage.opening import open_source


class Keys:
    """Just the ids of a source."""

    def __init__(self, keys):
        self.keys = np.array(keys, dtype=np.int64).reshape(-1, 2)
        self.info = type("Info", (), {"name": "keys"})


@pytest.mark.parametrize("limit", [100, 1000, 10**6])
def test_shards_hold_every_row_once_within_their_size(rng, limit):
    sizes = rng.integers(1, 90, size=500).astype(float)

    cuts = boundaries_of(sizes, shard_bytes=limit, shard_rows=None)

    assert (cuts[0], cuts[-1]) == (0, 500)
    assert (np.diff(cuts) > 0).all()
    assert max(sizes[a:b].sum() for a, b in pairwise(cuts.tolist())) <= limit


def test_a_row_larger_than_a_shard_is_one_of_its_own():
    cuts = boundaries_of(np.array([5.0, 500.0, 5.0]), shard_bytes=100, shard_rows=None)
    assert cuts.tolist() == [0, 1, 2, 3]


def test_shards_by_rows():
    assert boundaries_of(np.ones(10), shard_bytes=1, shard_rows=4).tolist() == [0, 4, 8, 10]


def test_sizes_are_at_least_those_in_memory():
    nano = open_source("nano")
    rows = np.arange(0, 315, 3)
    fields = ("energy", "forces", "hamiltonian", "orbital_energies")

    sizes, _ = bytes_per_row(nano, rows, fields)

    flat = nano.read_flat(rows, fields=fields)
    real = 32 * len(flat.atomic_numbers) + sum(8 * v.size for v in flat.values.values())
    assert 0.9 * real < sizes.sum() < 2.5 * real


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


def test_one_kind_of_energy_is_stored(energy_file):
    source = open_source(energy_file)

    assert fields_to_store(source, None) == ("formation_energy", "forces")
    assert fields_to_store(source, ["energy"]) == ("energy",)
    assert fields_to_store(source, ["forces", "energy", "formation_energy"]) == (
        "formation_energy",
        "forces",
    )


def test_level_of_theory():
    details = {"program": "Psi4 1.5"}
    expected = {"functional": "wB97X-D", "basis_set": "def2-SVP", "program": "Psi4 1.5"}

    assert level_of_theory("wB97X-D/def2-SVP", details) == expected
    assert level_of_theory("GFN2-xTB", {}) == {"method": "GFN2-xTB"}
    assert level_of_theory(None, details) == {}


def test_every_difference_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a was 1, is 2; b was \[3\], is None\. Repeat the first"):
        check_same({"a": 1, "b": [3], "c": 0}, {"a": 2, "c": 0}, target=tmp_path, what="settings")
    check_same({"a": [1]}, {"a": (1,)}, target=tmp_path, what="settings")


def test_a_damaged_plan_is_told(tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(StoreError, match=r"plan\.json is damaged"):
        read_plan(tmp_path)
    assert read_plan(tmp_path / "nowhere") is None
