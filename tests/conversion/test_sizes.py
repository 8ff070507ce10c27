from itertools import pairwise

import numpy as np
import pytest

from nabladft.conversion.sizes import boundaries_of, bytes_per_row
from nabladft.storage.opening import open_source


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
