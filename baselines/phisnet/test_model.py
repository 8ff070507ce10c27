"""The contract of Hamiltonian models on a small version, and what is special here."""

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from nabladft.data.blocks import diagonal_mask, symmetrise_diagonal
from nabladft.errors import ConfigError, UnsupportedElementError
from nabladft.models.contract import load_model_folder, load_model_module
from nabladft.models.layers.spherical import Irrep, clebsch_gordan, harmonics, orbital_irreps
from nabladft.testing import check_hamiltonian_model, check_hamiltonian_training
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES, Molecule

FOLDER = Path(__file__).parent
MODEL = load_model_module(FOLDER)
SMALL = {
    "lmax": 2,
    "channels": 4,
    "bottleneck": 4,
    "n_modules": 2,
    "n_block_residual": 1,
    "n_radial": 8,
    "cutoff": 8.0,
}


def build(**options):
    torch.manual_seed(0)
    return load_model_folder(FOLDER, SMALL | options)


def batch(molecules=MOLECULES, *, order="ascending", dtype=torch.float64):
    return batch_with_blocks(molecules, "def2-svp", order, dtype=dtype)


def labelled(values_of):
    """A batch whose labels are a function of its blocks."""
    one = batch()
    values = symmetrise_diagonal(values_of(one), one.blocks)
    return dataclasses.replace(one, labels={"hamiltonian": values})


def stirred(model):
    """Without the zeros that residual blocks start from, so that every layer has an effect."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers.3.linear" in name:
                parameter.normal_(0.0, 0.3, generator=generator)
    return model


@pytest.mark.parametrize(
    "options",
    [{"lmax": 4, "channels": 2, "n_modules": 1}, {"reference": "two_center"}],
    ids=["published degree", "two-centre terms"],
)
def test_contract(options):
    check_hamiltonian_model(stirred(build(**options)))


def test_it_can_be_trained_and_refuses_what_it_cannot_read():
    check_hamiltonian_training(build())


def test_d_shells_are_equivariant_with_heavy_elements():
    molecules = [
        Molecule(np.array([35, 6, 17]), np.array([[0.0, 0.1, 0], [3.6, 0, 0], [5.2, 2.9, 0.4]])),
        Molecule(np.array([16, 9]), np.array([[0.0, 0, 0.2], [0.3, 3.0, 0]])),
    ]

    check_hamiltonian_model(stirred(build()), molecules=molecules)


def test_blocks_with_fewer_degrees_than_the_features_of_atoms_are_equivariant():
    """Blocks of hydrogen end at l = 2."""
    hydrogens = [
        Molecule(np.ones(3, dtype=int), np.array([[0.0, 0.1, 0], [1.6, 0, 0], [2.2, 2.9, 0.4]])),
        Molecule(np.ones(2, dtype=int), np.array([[0.0, 0, 0.2], [0.3, 3.0, 0]])),
    ]

    model = build(elements=(1,), lmax=3, n_modules=1)

    check_hamiltonian_model(stirred(model), molecules=hydrogens)


def test_mixing_is_the_sum_over_products_of_different_degrees():
    torch.manual_seed(0)
    irreps = orbital_irreps(2)
    layer = MODEL.SelfMix(irreps, (Irrep(1, -1), Irrep(2, 1)), 3).double()
    features = torch.randn(5, 9, 3, dtype=torch.float64)

    mixed = layer(features)

    # By hand: l = 1 is kept, and reached by 0 x 1 and 1 x 2; l = 2 is kept, and reached by 0 x 2.
    assert [path[2] for path in layer.paths] == [0, 0, 0, 1, 1]
    s, p, d = features[:, :1], features[:, 1:4], features[:, 4:]
    size = torch.sqrt((features**2).mean(dim=(1, 2), keepdim=True) + 1e-6)
    table = clebsch_gordan(1, 2, 1, torch.float64, torch.device("cpu"))
    product = torch.einsum("nac,nbc,abm->nmc", p, d, table)
    weights = dict(zip(layer.paths, layer.weights, strict=True))
    first = weights[0, 2, 0] * p + (weights[1, 2, 0] * s * p + weights[2, 3, 0] * product) / size
    second = weights[0, 3, 1] * d + weights[1, 3, 1] * s * d / size
    torch.testing.assert_close(mixed, torch.cat([first, second], dim=1))


@pytest.mark.parametrize("squares", [False, True])
def test_mixing_commutes_with_rotations_and_reflections(squares):
    """Features that are harmonics of vectors turn with the vectors."""
    torch.manual_seed(0)
    irreps = orbital_irreps(3)
    out = (Irrep(0, 1), Irrep(1, -1), Irrep(2, -1), Irrep(3, 1))
    layer = MODEL.SelfMix(irreps, out, 2, squares=squares).double()
    vectors = torch.randn(2, 4, 3, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turn = turn * torch.sign(torch.linalg.det(turn))

    def features(where):
        return torch.stack([harmonics(one, 3) for one in where], dim=2)

    mixed, turned = layer(features(vectors)), layer(features(vectors @ turn.T))
    inverted = layer(features(-vectors))

    signs = torch.tensor([irrep.parity for irrep in out for _ in range(irrep.dim)])
    torch.testing.assert_close(inverted, mixed * signs[:, None])
    # Of the scalar and the vector, whose rotations are known without a table.
    torch.testing.assert_close(turned[:, 0], mixed[:, 0])
    ascending = torch.eye(3, dtype=torch.float64)[[1, 2, 0]]
    matrix = ascending @ turn @ ascending.T
    torch.testing.assert_close(turned[:, 1:4], torch.einsum("ab,nbc->nac", matrix, mixed[:, 1:4]))


def test_residual_blocks_change_nothing_before_training():
    block = MODEL.Residual(orbital_irreps(2), 4)
    features = torch.randn(3, 9, 4)

    assert torch.equal(block(features), features)


def test_activation_leaves_all_but_scalars():
    features = torch.randn(3, 9, 4)

    active = MODEL.Activation(4)(features)

    scalars = features[:, :1]
    torch.testing.assert_close(active[:, :1], scalars * torch.sigmoid(1.702 * scalars))
    assert torch.equal(active[:, 1:], features[:, 1:])


def test_preparing_on_constants_predicts_them_before_training():
    """Labels that are a multiple of one on each element are all reference."""

    def values_of(one):
        position = one.blocks.value_position
        on_diagonal = diagonal_mask(one.blocks) & (position[0] == position[1])
        element = one.atomic_numbers[one.blocks.pairs[0, one.blocks.value_pair]]
        return torch.where(on_diagonal, -0.5 * element.double(), torch.zeros(()).double())

    data = labelled(values_of)
    model = build().double()

    model.prepare([data])

    predicted = model(data)["hamiltonian"]
    assert (predicted - data.labels["hamiltonian"]).abs().max() < 1e-3


def test_paper_size_can_be_stated():
    options = tomllib.loads((FOLDER / "paper.toml").read_text())["model"]

    model = load_model_folder(FOLDER, options)

    # README.md quotes this number.
    assert sum(p.numel() for p in model.parameters()) == 20_974_181


def test_unknown_element_is_refused():
    with pytest.raises(UnsupportedElementError, match=r"has no N, O\. It was built for H, C"):
        build(elements=(1, 6))(batch(dtype=torch.float32))


def test_too_small_a_degree_is_refused():
    with pytest.raises(ConfigError, match="Choose a larger lmax"):
        build(lmax=1)


def test_no_module_is_refused():
    with pytest.raises(ConfigError, match="n_modules must be at least 1, got 0"):
        build(n_modules=0)
