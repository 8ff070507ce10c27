"""The contract of energy models, on a small version."""

from pathlib import Path

from nabladft.models.contract import load_model_module
from nabladft.testing import check_energy_model

MODEL = load_model_module(Path(__file__).parent)


def test_contract():
    check_energy_model(MODEL.build(MODEL.Config(n_features=16, n_interactions=2, n_radial=8)))
