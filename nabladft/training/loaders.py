"""The data of a training run: batches that depend on seed and epoch only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from torch.utils.data import DataLoader

from nabladft.data.datasets import EnergyDataset, HamiltonianDataset
from nabladft.data.sampling import SizeAwareBatchSampler
from nabladft.errors import SplitError
from nabladft.models.contract import PREDICTABLE_MATRICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from nabladft.data.batch import Batch
    from nabladft.data.datasets import ConformationDataset
    from nabladft.storage.source import ConformationSource
    from nabladft.training.config import TrainingConfig

    IntArray = NDArray[np.int64]

#: Sum of sizes (atoms, or squared orbitals) up to which data are kept in memory: some 400 MB.
_SMALL: Final = 50_000_000


def open_dataset(
    model: torch.nn.Module,
    source: ConformationSource,
    keys: Sequence[tuple[int, int]] | IntArray | None,
    *,
    fields: Iterable[str],
    dtype: torch.dtype,
    in_memory: bool | None = False,
    reference_folder: Path | None = None,
) -> ConformationDataset:
    """Choose the dataset that a model needs by what it predicts.

    Args:
        model: States ``predicts``, and ``orbital_order`` with matrices; with ``reference_method``
            it gets reference Hamiltonians.
        source: Where to read.
        keys: Pairs (molecule_id, conformation_id), shape (n, 2); None takes all.
        fields: Labels to load.
        dtype: Of positions and of labels that are not energies.
        in_memory: Whether to read everything now; None does so when it is small.
        reference_folder: Where to keep reference Hamiltonians; None keeps them in memory.
    """
    kind: Callable[..., ConformationDataset] = EnergyDataset
    if PREDICTABLE_MATRICES & model.predicts:  # type: ignore[operator]
        kind = partial(
            HamiltonianDataset,
            orbital_order=str(model.orbital_order),
            reference=getattr(model, "reference_method", None),
            reference_folder=reference_folder,
        )
    build = partial(kind, source, keys=keys, fields=tuple(sorted(fields)), dtype=dtype)
    data = build()
    if in_memory is None:
        in_memory = int(data.sizes.sum()) <= _SMALL
    return build(in_memory=True) if in_memory else data


@dataclass(frozen=True)
class TrainingData:
    """Batches for one process.

    Attributes:
        train: Training part.
        validation: Validation part.
        config: Batch sizes, seed, workers.
        rank: Number of this process.
        world_size: Number of processes.
        pin_memory: Whether batches go to a GPU.

    Raises:
        SplitError: A part has fewer conformations than there are processes.
    """

    train: ConformationDataset
    validation: ConformationDataset
    config: TrainingConfig
    rank: int = 0
    world_size: int = 1
    pin_memory: bool = False

    def __post_init__(self) -> None:
        """Check that every process has something to do."""
        for name, data in (("train", self.train), ("validation", self.validation)):
            if len(data) < self.world_size:
                message = (
                    f"The part {name} has {len(data)} conformations, which is too few for "
                    f"training.devices={self.world_size}."
                )
                raise SplitError(message)

    def n_batches(self, epoch: int) -> int:
        """Count the training batches of this process in an epoch."""
        return len(self._epoch(epoch))

    def training_batches(self, epoch: int, *, start: int = 0) -> Iterable[Batch]:
        """Give the batches of an epoch, without the first ``start`` of them."""
        return self._loader(self.train, self._epoch(epoch)[start:])

    def validation_batches(self) -> Iterable[Batch]:
        """Give every conformation of the validation part once, over all processes."""
        sampler = SizeAwareBatchSampler(
            np.ones(len(self.validation), dtype=np.int64),
            budget=self.config.validation_batch_size,
            shuffle=False,
            rank=self.rank,
            world_size=self.world_size,
        )
        return self._loader(self.validation, list(sampler))

    def _epoch(self, epoch: int) -> list[list[int]]:
        budget = self.config.batch_budget
        sampler = SizeAwareBatchSampler(
            np.ones(len(self.train), dtype=np.int64) if budget is None else self.train.sizes,
            budget=budget or self.config.batch_size,
            seed=self.config.seed,
            rank=self.rank,
            world_size=self.world_size,
        )
        sampler.set_epoch(epoch)
        return list(sampler)

    def _loader(self, data: ConformationDataset, batches: list[list[int]]) -> Iterable[Batch]:
        return DataLoader(
            data,
            batch_sampler=batches,
            collate_fn=data.collate,
            num_workers=self.config.num_workers,
            pin_memory=self.pin_memory,
        )


def plain_batches(data: ConformationDataset, batch_size: int) -> Iterable[Batch]:
    """Give all conformations of a dataset in order; may be iterated more than once."""
    return DataLoader(data, batch_size=batch_size, collate_fn=data.collate)
