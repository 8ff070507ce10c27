"""The torch side of the data: datasets, batches, blocks of atom pairs, samplers."""

from __future__ import annotations

from nabladft.data.batch import Batch
from nabladft.data.blocks import BlockLayout
from nabladft.data.datasets import EnergyDataset, HamiltonianDataset
from nabladft.data.sampling import SizeAwareBatchSampler

__all__ = ["Batch", "BlockLayout", "EnergyDataset", "HamiltonianDataset", "SizeAwareBatchSampler"]
