"""The contract of energy models, and the zeros."""

from pathlib import Path

import torch

from nabladft.models.contract import load_model_module
from nabladft.testing import check_energy_model
from nabladft.testing.molecules import MOLECULES, batch_of

CODE = load_model_module(Path(__file__).parent)
MODEL = CODE.build(CODE.Config())


def test_contract():
    check_energy_model(MODEL)


def test_everything_is_zero():
    output = MODEL(batch_of(MOLECULES, dtype=torch.float32))

    assert not output["formation_energy"].any()
    assert not output["forces"].any()
