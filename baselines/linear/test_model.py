"""The contract of energy models, and the regression against numpy's."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from nabladft.models.contract import load_model_module
from nabladft.testing import check_energy_model
from nabladft.testing.molecules import MOLECULES, batch_of

MODEL = load_model_module(Path(__file__).parent)


def test_contract():
    check_energy_model(MODEL.build(MODEL.Config()))


def test_it_is_least_squares_on_the_composition():
    energies = np.random.default_rng(1).normal(size=len(MOLECULES))
    batch = batch_of(MOLECULES, dtype=torch.float64)
    labelled = dataclasses.replace(batch, labels={"formation_energy": torch.tensor(energies)})
    model = MODEL.build(MODEL.Config(ridge=1e-12))

    model.prepare([labelled])

    counts = np.array([[(m.atomic_numbers == z).sum() for z in (1, 6, 7, 8)] for m in MOLECULES])
    expected = counts @ np.linalg.lstsq(counts, energies, rcond=None)[0]
    np.testing.assert_allclose(model(batch)["formation_energy"].numpy(), expected, atol=1e-8)
