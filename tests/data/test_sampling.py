import itertools

import numpy as np
import pytest

from nabladft.data import SizeAwareBatchSampler
from nabladft.errors import InputError

SIZES = np.random.default_rng(1).integers(1, 40, size=101)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("epoch", [0, 1])
def test_processes_share_every_record_exactly_once_in_equal_steps(world_size, epoch):
    samplers = [
        SizeAwareBatchSampler(SIZES, budget=100, rank=rank, world_size=world_size, seed=5)
        for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)

    batches = [list(sampler) for sampler in samplers]

    records = list(itertools.chain.from_iterable(itertools.chain.from_iterable(batches)))
    assert sorted(records) == list(range(len(SIZES)))
    assert {len(one) for one in batches} == {len(samplers[0])}


def test_no_batch_exceeds_the_budget_but_single_records():
    batches = list(SizeAwareBatchSampler(SIZES, budget=30))

    assert all(len(batch) == 1 or SIZES[batch].sum() <= 30 for batch in batches)
    assert any(SIZES[batch].sum() > 30 for batch in batches)


def test_order_depends_on_seed_and_epoch_only():
    first = SizeAwareBatchSampler(SIZES, budget=50, seed=2)
    again = SizeAwareBatchSampler(SIZES, budget=50, seed=2)
    other = SizeAwareBatchSampler(SIZES, budget=50, seed=3)

    before = list(first)
    first.set_epoch(1)

    assert before == list(again)
    assert before != list(first)
    assert before != list(other)


def test_without_shuffling_records_keep_their_order():
    batches = list(SizeAwareBatchSampler(SIZES, budget=50, shuffle=False))

    assert list(itertools.chain.from_iterable(batches)) == list(range(len(SIZES)))


def test_fewer_records_than_processes_are_refused():
    with pytest.raises(InputError, match="2 records cannot be shared by 3 processes"):
        SizeAwareBatchSampler([1, 1], budget=4, world_size=3)


def test_sizes_must_be_positive():
    with pytest.raises(InputError, match="must be positive"):
        SizeAwareBatchSampler([3, 0], budget=4)


def test_rank_must_be_below_the_world_size():
    with pytest.raises(InputError, match="rank 2 must be 0 to"):
        SizeAwareBatchSampler([1, 1], budget=4, rank=2, world_size=2)
