"""Toy molecules with an exact energy law, and a toy model folder that learns them in a second."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.conformation import Conformation
from nabladft.splits import Split

TINY_MODEL = '''
"""Pair energies by a small network with dropout; forces by autograd."""
from dataclasses import dataclass
import torch
from nabladft.models.layers.composition import CompositionEnergy
from nabladft.models.layers.neighbours import neighbour_pairs
from nabladft.training.options import PositiveInt


@dataclass(frozen=True)
class Config:
    width: PositiveInt = 8
    dropout: float = 0.1


class Tiny(torch.nn.Module):
    predicts = frozenset({"formation_energy", "forces"})
    is_conservative = True

    def __init__(self, config):
        super().__init__()
        self.composition = CompositionEnergy()
        self.network = torch.nn.Sequential(
            torch.nn.Linear(6, config.width),
            torch.nn.SiLU(),
            torch.nn.Dropout(config.dropout),
            torch.nn.Linear(config.width, 1),
        )

    def prepare(self, batches):
        self.composition.fit(batches)

    def forward(self, batch):
        positions = batch.positions.detach().requires_grad_()
        pairs = neighbour_pairs(positions, batch.atom_offsets, 6.0)
        centers = torch.arange(6).to(pairs.distances)
        features = torch.exp(-((pairs.distances[:, None] - centers) ** 2))
        energies = 0.01 * self.network(features).squeeze(1).double()
        index = batch.conformation_index[pairs.receiver]
        energy = self.composition(batch).index_add(0, index, energies)
        (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=self.training)
        return {"formation_energy": energy, "forces": -gradient}


def build(config):
    return Tiny(config)
'''

TINY_CONFIG = """
[training]
max_epochs = 6
batch_size = 4
gradient_clip = 10.0

[training.optimizer]
learning_rate = 0.02

[training.loss.forces]
weight = 10.0

[training.ema]
decay = 0.9
"""


def toy_records(n_molecules=9, n_conformations=3):
    """Molecules with E = Σ_i e_Zi + Σ_i<j 0.05 (d_ij - 2.5)² exp(-d_ij), whose forces are exact."""
    rng = np.random.default_rng(3)
    element_energy = {1: -0.1, 6: -0.5, 8: -0.3}
    records = []
    for molecule_id in range(n_molecules):
        n_atoms = int(rng.integers(3, 6))
        numbers = rng.choice([1, 6, 8], size=n_atoms)
        for conformation_id in range(n_conformations):
            grid = np.stack(np.unravel_index(np.arange(n_atoms), (2, 2, 2)), axis=1)
            positions = 2.4 * grid + 0.3 * rng.normal(size=(n_atoms, 3))
            energy = sum(element_energy[int(number)] for number in numbers)
            forces = np.zeros((n_atoms, 3))
            for i in range(n_atoms):
                for j in range(i):
                    vector = positions[i] - positions[j]
                    d = np.linalg.norm(vector)
                    energy += 0.05 * (d - 2.5) ** 2 * np.exp(-d)
                    slope = 0.05 * (2 * (d - 2.5) - (d - 2.5) ** 2) * np.exp(-d)
                    forces[i] -= slope * vector / d
                    forces[j] += slope * vector / d
            records.append(
                Conformation(
                    molecule_id=molecule_id,
                    conformation_id=conformation_id,
                    atomic_numbers=numbers,
                    positions=positions,
                    energy=energy + isolated_atoms_energy(numbers),
                    formation_energy=energy,
                    forces=forces,
                )
            )
    return records


def toy_split(source):
    """Molecules 0 to 5 train, 6 validates, the rest tests."""
    molecule = source.keys[:, 0]
    return Split(
        name="toy",
        dataset=source.info.name,
        data_hash=source.data_hash,
        parts={
            "train": source.keys[molecule < 6],
            "validation": source.keys[molecule == 6],
            "test_structures": source.keys[molecule > 6],
        },
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The same sums in the same order, whatever the machine."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def source(memory_source):
    return memory_source(toy_records(), name="toy")


@pytest.fixture
def split(source):
    return toy_split(source)


@pytest.fixture
def tiny_model(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.py").write_text(TINY_MODEL)
    (folder / "config.toml").write_text(TINY_CONFIG)
    return folder
