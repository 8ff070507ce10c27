"""The contract of Hamiltonian models on a small version, and what is special here."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nabladft.data.augmentation import random_rotations, rotate
from nabladft.data.blocks import diagonal_mask, symmetrise_diagonal
from nabladft.errors import ConfigError, ModelError, UnsupportedElementError
from nabladft.models.contract import load_model_folder, load_model_module
from nabladft.testing import check_hamiltonian_model, check_hamiltonian_training
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES, Molecule

FOLDER = Path(__file__).parent
SMALL = {
    "features": 8,
    "factors": 6,
    "directions": 3,
    "n_convolutions": 1,
    "cutoff": 8.0,
    "n_radial": 8,
}
EVERYTHING = ("hamiltonian", "overlap", "formation_energy")
HEAVY = [
    Molecule(np.array([35, 6, 17]), np.array([[0.0, 0.1, 0], [3.6, 0, 0], [5.2, 2.9, 0.4]])),
    Molecule(np.array([16, 9]), np.array([[0.0, 0, 0.2], [0.3, 3.0, 0]])),
]


def build(**options):
    torch.manual_seed(0)
    return load_model_folder(FOLDER, SMALL | options)


def batch(molecules=MOLECULES, *, order="ascending", dtype=torch.float64):
    return batch_with_blocks(molecules, "def2-svp", order, dtype=dtype)


def labelled(values_of, *, dtype=torch.float64):
    """A batch whose labels are functions of its blocks and atoms."""
    one = batch(dtype=dtype)
    values = symmetrise_diagonal(values_of(one).to(dtype), one.blocks)
    energies = torch.arange(one.n_conformations).double()
    labels = {"hamiltonian": values, "overlap": values, "formation_energy": energies}
    return dataclasses.replace(one, labels=labels)


def noise(one):
    torch.manual_seed(4)
    return 0.1 * torch.randn(one.blocks.n_values)


@pytest.mark.parametrize("reference", ["mean", "two_center"])
def test_contract_but_for_rotations(reference):
    model = build(reference=reference)

    assert model.is_equivariant is False
    check_hamiltonian_model(model)


def test_it_can_be_trained_and_refuses_what_it_cannot_read():
    check_hamiltonian_training(build(predicts=EVERYTHING))


def test_contract_of_overlap_matrices_with_heavy_elements():
    check_hamiltonian_model(build(predicts=("overlap",), lmax=1), molecules=HEAVY)


def test_what_it_states_not_to_be_it_is_not():
    model = build()
    model.is_equivariant = True

    with pytest.raises(ModelError, match="A rotation does not turn the matrix"):
        check_hamiltonian_model(model)


@pytest.mark.parametrize("reference", ["mean", "two_center"])
def test_the_start_turns_with_the_molecule(reference):
    """Before the network adds anything, there is only the reference, which is equivariant."""
    model = build(reference=reference).double()
    for layer in (*model.on_site.values(), *model.off_site.values()):
        torch.nn.init.zeros_(layer.weight)
    data = labelled(noise)
    model.prepare([data])
    rotations = random_rotations(data.n_conformations, torch.Generator().manual_seed(1))

    with torch.no_grad():
        before = dataclasses.replace(data, labels={"hamiltonian": model(data)["hamiltonian"]})
        turned = rotate(before, rotations)
        found = model(turned)["hamiltonian"]

    torch.testing.assert_close(found, turned.labels["hamiltonian"], atol=1e-12, rtol=0)


def test_degree_zero_ignores_directions():
    """With L = 0 nothing but distances enters, so that turning changes no value."""
    model = build(lmax=0, reference="mean").double()
    data = batch()
    turned = rotate(data, random_rotations(data.n_conformations))

    with torch.no_grad():
        found, expected = model(turned)["hamiltonian"], model(data)["hamiltonian"]

    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_factors_of_a_reversed_pair_are_those_of_the_pair_listed_the_other_way():
    """Half of the pairs are computed with the signs of the other half."""
    module = load_model_module(FOLDER)
    torch.manual_seed(2)
    interaction = module.PairInteraction(5, 6, 8, directions=4, refines_atoms=True).double()
    graph = build().readout.graph(batch(), dtype=torch.float64)
    features = torch.randn(len(graph.elements), 5, dtype=torch.float64)
    n = len(graph.first) // 2
    swapped = copy.copy(graph)
    for name in ("first", "second", "vectors", "distances"):
        value = getattr(graph, name)
        setattr(swapped, name, torch.cat([value[n:], value[:n]]))
    mean_neighbours = torch.tensor(3.0)
    edges, reversed_edges = (
        module.Edges(pairs, module.Gaussians(8, 8.0), 8.0, mean_neighbours)
        for pairs in (graph, swapped)
    )

    update, factors = interaction(features, edges)
    same_update, others = interaction(features, reversed_edges)

    torch.testing.assert_close(torch.cat([others[n:], others[:n]]), factors)
    torch.testing.assert_close(same_update, update)


def test_gaussians_are_one_at_their_centres():
    radial = load_model_module(FOLDER).Gaussians(5, 8.0)

    values = radial(torch.tensor([[0.0], [2.0], [7.0]])) / radial.factor

    assert values[0].argmax() == 0
    assert values[1].tolist() == pytest.approx(np.exp(-0.5 * np.array([1, 0, 1, 4, 9.0])))
    assert values[2].tolist()[3:] == pytest.approx([np.exp(-0.125)] * 2)


def test_the_overlap_of_one_atom_depends_on_its_element_only():
    model = build(predicts=("overlap",)).double()
    water = batch(MOLECULES[:1])

    with torch.no_grad():
        stretched = model(water.with_positions(1.1 * water.positions))["overlap"]
        values = model(water)["overlap"]

    diagonal = diagonal_mask(water.blocks)
    torch.testing.assert_close(stretched[diagonal], values[diagonal], atol=1e-12, rtol=0)
    assert (stretched - values)[~diagonal].abs().max() > 1e-6


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


def test_preparing_brings_factors_to_size_one_and_leaves_parameters_alone():
    data = labelled(noise, dtype=torch.float32)
    model = build(predicts=EVERYTHING)
    before = {name: p.clone() for name, p in model.named_parameters()}

    model.prepare([data])

    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    graph = model.readout.graph(data)
    with torch.no_grad():
        _, products = model.features(graph.elements, model.edges(graph))
    # The first degree is the first factor alone.
    first = products[:, : SMALL["directions"] * SMALL["features"]]
    assert float(first.square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_energies_add_up_over_far_molecules():
    model = build(predicts=EVERYTHING, lmax=1).double()
    data = labelled(noise)
    model.prepare([data])
    apart = MOLECULES[0].beside(MOLECULES[3].shifted(np.array([100.0, 0, 0])))

    with torch.no_grad():
        together = model(batch([apart]))["formation_energy"]
        alone = model(batch([MOLECULES[0], MOLECULES[3]]))["formation_energy"]

    torch.testing.assert_close(together[0], alone.sum(), atol=1e-10, rtol=0)


def test_paper_size_can_be_stated():
    import tomllib

    options = tomllib.loads((FOLDER / "paper.toml").read_text())["model"]

    with torch.device("meta"):
        model = load_model_folder(FOLDER, options)

    # README.md quotes this number and explains what it lacks to the published one.
    assert sum(p.numel() for p in model.parameters()) == 242_302_841


def test_unknown_element_is_refused():
    model = build(elements=(1, 6))

    with pytest.raises(UnsupportedElementError, match=r"has no N, O\. It was built for H, C"):
        model(batch(dtype=torch.float32))


@pytest.mark.parametrize("predicts", [(), ("overlap", "overlap"), ("formation_energy",)])
def test_no_matrix_or_one_twice_is_refused(predicts):
    with pytest.raises(ConfigError, match="must list hamiltonian or overlap"):
        build(predicts=predicts)


def test_an_unknown_reference_is_refused():
    with pytest.raises(ConfigError, match="reference must be one of none, mean, two_center"):
        build(reference="core")
