"""Batches of bounded size, the same number on every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

from nabladft.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class SizeAwareBatchSampler(Sampler[list[int]]):
    """Fill batches up to a budget of atoms or matrix elements instead of a number of records.

    Every record occurs exactly once per epoch over all processes together; none is dropped and
    none repeated. Every process gets the same number of batches, so none waits for a gradient that
    never comes: where the count does not divide, the largest batches are cut in two. A record that
    alone exceeds the budget is a batch of its own.

    Args:
        sizes: Cost of each record, shape (n,), positive: ``dataset.sizes``.
        budget: Largest sum of sizes of a batch.
        shuffle: Draw a new order every epoch; otherwise records keep theirs.
        seed: Seed of the order, the same on every process.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        InputError: A size or the budget is not positive, the rank is not below the world size, or
            there are fewer records than processes.

    Example:
        >>> sampler = SizeAwareBatchSampler([3, 3, 5, 9], budget=8, shuffle=False)
        >>> list(sampler)
        [[0, 1], [2], [3]]
    """

    def __init__(
        self,
        sizes: Sequence[int] | NDArray[np.integer],
        *,
        budget: int,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """See the class."""
        self._sizes = np.asarray(sizes, dtype=np.int64)
        if self._sizes.ndim != 1 or (self._sizes < 1).any() or budget < 1:
            message = "Sizes (one per record) and budget must be positive."
            raise InputError(message)
        if not 0 <= rank < world_size:
            message = f"rank {rank} must be 0 to world_size - 1 = {world_size - 1}."
            raise InputError(message)
        if len(self._sizes) < world_size:
            message = f"{len(self._sizes)} records cannot be shared by {world_size} processes."
            raise InputError(message)
        self._budget = budget
        self._shuffle = shuffle
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, which together with the seed decides the order."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Number of batches of this process in the current epoch."""
        return len(self._batches()) // self._world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Give the batches of this process in the current epoch."""
        yield from self._batches()[self._rank :: self._world_size]

    def _batches(self) -> list[list[int]]:
        """Batches of all processes; the same on each of them."""
        order = np.arange(len(self._sizes))
        if self._shuffle:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(order)
        batches: list[list[int]] = []
        filled = self._budget + 1
        for record in order.tolist():
            size = int(self._sizes[record])
            if filled + size > self._budget:
                batches.append([])
                filled = 0
            batches[-1].append(record)
            filled += size
        while len(batches) % self._world_size:
            longest = max(range(len(batches)), key=lambda k: len(batches[k]))
            half = len(batches[longest]) // 2
            batches.append(batches[longest][half:])
            batches[longest] = batches[longest][:half]
        return batches
