"""The contract of Hamiltonian models on a small version, and what is special here."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from nabladft.errors import ConfigError, UnsupportedElementError
from nabladft.models.contract import load_model_folder
from nabladft.testing import check_hamiltonian_model, check_hamiltonian_training
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import CHIRAL, MOLECULES, Molecule

FOLDER = Path(__file__).parent
SMALL = {
    "channels": 6,
    "frame_channels": 4,
    "bottleneck": 4,
    "n_layers": 2,
    "n_pair_layers": 1,
    "n_radial": 8,
    "cutoff": 8.0,
}


def build(**options):
    torch.manual_seed(0)
    return load_model_folder(FOLDER, SMALL | options)


def batch(molecules=MOLECULES, *, order="ascending", dtype=torch.float64):
    return batch_with_blocks(molecules, "def2-svp", order, dtype=dtype)


@pytest.mark.parametrize("reference", ["none", "mean", "two_center"])
def test_contract(reference):
    check_hamiltonian_model(build(reference=reference))


def test_it_can_be_trained_and_refuses_what_it_cannot_read():
    check_hamiltonian_training(build())


@pytest.mark.parametrize("options", [{"mmax": 4}, {"mmax": 1, "n_layers": 3}, {"lmax": 5}])
def test_contract_holds_for_other_degrees(options):
    check_hamiltonian_model(build(**options))


def test_heavy_elements_and_linear_molecules_keep_the_contract():
    molecules = [
        Molecule(np.array([35, 6, 17]), np.array([[0.0, 0.1, 0], [3.6, 0, 0], [5.2, 2.9, 0.4]])),
        Molecule(np.array([8, 6, 16]), np.array([[0.0, 0, 0], [0, 0, 2.2], [0, 0, 5.1]])),
        Molecule(np.array([16, 9]), np.array([[0.0, 0, 0.2], [0.3, 3.0, 0]])),
    ]

    check_hamiltonian_model(build(), molecules=molecules)


def test_every_representation_of_a_block_is_reached():
    model, one = build().double(), batch([CHIRAL])

    values = model(one)["hamiltonian"]

    graph = model.readout.graph(one)
    for coefficients in graph.disassemble(values):
        assert min(part.abs().max() for part in coefficients) > 1e-6


def test_the_large_size_is_what_the_documentation_says():
    options = tomllib.loads((FOLDER / "large.toml").read_text())["model"]

    model = load_model_folder(FOLDER, options)

    # README.md quotes this number.
    assert sum(p.numel() for p in model.parameters()) == 3_084_925


def test_unknown_element_is_refused():
    with pytest.raises(UnsupportedElementError, match=r"has no N, O\. It was built for H, C"):
        build(elements=(1, 6))(batch(dtype=torch.float32))


def test_too_small_a_degree_is_refused():
    with pytest.raises(ConfigError, match="need features of degree 4, lmax is 3"):
        build(lmax=3)


def test_more_m_than_degrees_are_refused():
    with pytest.raises(ConfigError, match="mmax must be 1 to lmax = 4, got 5"):
        build(mmax=5)


def test_a_single_layer_is_refused():
    with pytest.raises(ConfigError, match="n_layers must be 2 or more"):
        build(n_layers=1)
