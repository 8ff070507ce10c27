"""The contract of Hamiltonian models on a small version, and what is special here."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nabladft.data.blocks import diagonal_mask, symmetrise_diagonal
from nabladft.errors import ConfigError, UnsupportedElementError
from nabladft.models.contract import load_model_folder
from nabladft.testing import check_hamiltonian_model, check_hamiltonian_training
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES, Molecule

FOLDER = Path(__file__).parent
SMALL = {"lmax": 2, "channels": 4, "bottleneck": 4, "n_layers": 2, "n_radial": 8, "cutoff": 8.0}


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


@pytest.mark.parametrize(
    "options", [{"reference": "two_center"}, {"reference": "mean", "directed": "canonical"}]
)
def test_contract(options):
    check_hamiltonian_model(build(n_pair_layers=2, **options))


@pytest.mark.parametrize("directed", ["both", "canonical"])
def test_five_different_molecules_give_what_each_alone_gives(directed):
    """Single atoms, the heaviest element and sizes in no order, where offsets go wrong first."""
    rng = np.random.default_rng(5)
    compositions = [(16,), (35, 1, 6, 17), (8, 1, 1), (1,), (9, 6, 6, 7, 35, 1, 1)]
    molecules = [
        Molecule(
            np.array(numbers),
            2.5 * np.arange(len(numbers))[:, None] + rng.random((len(numbers), 3)),
        )
        for numbers in compositions
    ]
    model = build(n_pair_layers=1, directed=directed).double()

    with torch.no_grad():
        together = model(batch(molecules))["hamiltonian"]
        alone = [model(batch([molecule]))["hamiltonian"] for molecule in molecules]

    sizes = {1: 5, 6: 14, 7: 14, 8: 14, 9: 14, 16: 18, 17: 18, 35: 32}
    counts = [np.array([sizes[z] for z in numbers]) for numbers in compositions]
    n_values = [int((n.sum() ** 2 + (n**2).sum()) // 2) for n in counts]
    assert [len(values) for values in alone] == n_values
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-12, rtol=0)


def test_it_can_be_trained_and_refuses_what_it_cannot_read():
    check_hamiltonian_training(build(n_pair_layers=1))


def test_d_shells_are_equivariant_with_heavy_elements():
    molecules = [
        Molecule(np.array([35, 6, 17]), np.array([[0.0, 0.1, 0], [3.6, 0, 0], [5.2, 2.9, 0.4]])),
        Molecule(np.array([16, 9]), np.array([[0.0, 0, 0.2], [0.3, 3.0, 0]])),
    ]

    check_hamiltonian_model(build(lmax=3, n_pair_layers=1), molecules=molecules)


def test_preparing_on_constants_predicts_them_before_training():
    """Labels that are a multiple of one on each element are all reference."""

    def values_of(one):
        position = one.blocks.value_position
        on_diagonal = diagonal_mask(one.blocks) & (position[0] == position[1])
        element = one.atomic_numbers[one.blocks.pairs[0, one.blocks.value_pair]]
        return torch.where(on_diagonal, -0.5 * element.double(), torch.zeros(()).double())

    data = labelled(values_of)
    model = build(n_pair_layers=1).double()

    model.prepare([data])

    predicted = model(data)["hamiltonian"]
    assert (predicted - data.labels["hamiltonian"]).abs().max() < 1e-3


def test_paper_size_can_be_stated():
    import tomllib

    options = tomllib.loads((FOLDER / "paper.toml").read_text())["model"]

    model = load_model_folder(FOLDER, options)

    # README.md quotes this number.
    assert sum(p.numel() for p in model.parameters()) == 22_089_541


def test_unknown_element_is_refused():
    model = build(n_pair_layers=1, elements=(1, 6))

    with pytest.raises(UnsupportedElementError, match=r"has no N, O\. It was built for H, C"):
        model(batch(dtype=torch.float32))


def test_too_small_a_degree_is_refused():
    with pytest.raises(ConfigError, match="Choose a larger lmax"):
        build(lmax=1, n_pair_layers=1)


def test_more_pair_layers_than_layers_are_refused():
    with pytest.raises(ConfigError, match="1 to n_layers = 2, got 3"):
        build(n_pair_layers=3)
