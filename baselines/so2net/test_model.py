"""The contract of Hamiltonian models on a small version, and what is special here."""

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from nabladft.data.blocks import symmetrise_diagonal
from nabladft.errors import ConfigError, InputError, UnsupportedElementError
from nabladft.models.contract import load_model_folder
from nabladft.testing import check_hamiltonian_model
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES, Molecule

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


#: Chiral, and with an element that has several d shells: nothing of a block is zero by symmetry.
CHIRAL = Molecule(
    np.array([35, 8, 1, 6, 16]),
    np.array([[0.0, 0, 0], [3.3, 0, 0], [3.6, 1.6, 0.8], [-1.2, 3.0, -1.9], [1.2, 2.5, -4.1]]),
)


def test_every_representation_of_a_block_is_reached():
    model, one = build().double(), batch([CHIRAL])

    values = model(one)["hamiltonian"]

    graph = model.readout.graph(one)
    for coefficients in graph.disassemble(values):
        assert min(part.abs().max() for part in coefficients) > 1e-6


def test_training_approaches_another_model_and_reaches_every_parameter():
    data = batch([*MOLECULES[:2], CHIRAL], dtype=torch.float32)
    target = build()(data)["hamiltonian"].detach()
    torch.manual_seed(6)
    model = load_model_folder(FOLDER, SMALL)

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = (model(data)["hamiltonian"] - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < 0.7 * losses[0]
    gradients = {name: p.grad for name, p in model.named_parameters()}
    dead = [name for name, g in gradients.items() if g is None or not bool(g.abs().sum() > 0)]
    assert dead == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_preparing_changes_nothing_but_buffers_and_keeps_the_precision(dtype):
    one = batch()
    values = symmetrise_diagonal(torch.ones(one.blocks.n_values).double(), one.blocks)
    data = dataclasses.replace(one, labels={"hamiltonian": values})
    model = build().to(dtype)
    before = {name: p.clone() for name, p in model.named_parameters()}

    model.prepare([data])

    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_a_single_atom_has_no_pairs_and_is_isotropic():
    oxygen = Molecule(np.array([8]), np.zeros((1, 3)))

    with torch.no_grad():
        values = build()(batch([oxygen], dtype=torch.float32))["hamiltonian"].reshape(14, 14)

    assert values[:3, 3:].abs().max() < 1e-6
    assert (values[3:6, 3:6] - values[3, 3] * torch.eye(3)).abs().max() < 1e-6


def test_mixed_precision_is_near_full_precision():
    model = build()
    one = batch(dtype=torch.float32)

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(one)["hamiltonian"].float()

    with torch.no_grad():
        full = model(one)["hamiltonian"]
    assert (mixed - full).abs().mean() < 0.05 * full.abs().mean()


def test_the_large_size_is_what_the_documentation_says():
    options = tomllib.loads((FOLDER / "large.toml").read_text())["model"]

    model = load_model_folder(FOLDER, options)

    # README.md quotes this number.
    assert sum(p.numel() for p in model.parameters()) == 6_299_981


def test_unknown_element_is_refused():
    with pytest.raises(UnsupportedElementError, match=r"has no N, O\. It was built for H, C"):
        build(elements=(1, 6))(batch(dtype=torch.float32))


def test_another_orbital_order_is_refused():
    with pytest.raises(InputError, match="order 'psi4'"):
        build()(batch(order="psi4", dtype=torch.float32))


def test_too_small_a_degree_is_refused():
    with pytest.raises(ConfigError, match="need features of degree 4, lmax is 3"):
        build(lmax=3)


def test_more_m_than_degrees_are_refused():
    with pytest.raises(ConfigError, match="mmax must be 1 to lmax = 4, got 5"):
        build(mmax=5)


def test_a_single_layer_is_refused():
    with pytest.raises(ConfigError, match="n_layers must be 2 or more"):
        build(n_layers=1)
