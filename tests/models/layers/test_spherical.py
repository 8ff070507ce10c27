import numpy as np
import pytest
import torch

from nabladft.chemistry.rotations import wigner_d_real
from nabladft.models.layers.spherical import (
    Irrep,
    Linear,
    NormGate,
    clebsch_gordan,
    cut,
    harmonics,
    invariants,
    normalised,
    orbital_irreps,
)

IRREPS = (Irrep(0, 1), Irrep(1, -1), Irrep(1, 1), Irrep(2, 1))
N_COMPONENTS = 12


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(5, N_COMPONENTS, 3, dtype=torch.float64)


def test_harmonics_of_degree_one_are_y_z_x():
    vectors = torch.tensor([[0.3, -0.4, 1.2]], dtype=torch.float64)

    values = harmonics(vectors, 1)[0, 1:] / 3**0.5 * vectors.norm()

    assert values.tolist() == pytest.approx([-0.4, 1.2, 0.3])


@pytest.mark.parametrize("l", range(5))
def test_harmonics_turn_as_orbitals_in_ascending_order(l, rotation):
    vectors = torch.randn(6, 3, dtype=torch.float64)

    turned = harmonics(vectors @ torch.from_numpy(rotation).T, 4)

    part = slice(l * l, (l + 1) ** 2)
    expected = harmonics(vectors, 4)[:, part] @ torch.from_numpy(wigner_d_real(l, rotation)).T
    torch.testing.assert_close(turned[:, part], expected, atol=1e-12, rtol=0)


def test_clebsch_gordan_coefficients_are_an_orthogonal_change_of_basis():
    blocks = [
        clebsch_gordan(2, 1, l, torch.float64, torch.device("cpu")).flatten(0, 1) for l in (1, 2, 3)
    ]
    matrix = torch.cat(blocks, dim=1).numpy()

    np.testing.assert_allclose(matrix @ matrix.T, np.eye(15), atol=1e-12)


def test_coefficients_made_while_predicting_can_be_trained_with():
    with torch.inference_mode():
        clebsch_gordan(5, 4, 2, torch.float64, torch.device("cpu"))

    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    table = clebsch_gordan(5, 4, 2, torch.float64, torch.device("cpu"))
    (weight * table).sum().backward()

    assert weight.grad is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(IRREPS, 3, 4),
        lambda: NormGate(IRREPS, 3),
        lambda: NormGate(IRREPS, 3, by_degree=True),
        lambda: NormGate(IRREPS, 3, hidden=5),
    ],
)
def test_layers_turn_with_their_input(make, features, turned):
    layer = make().double()

    def apply(values):
        return layer(cut(values, IRREPS)) if isinstance(layer, Linear) else layer(values)

    torch.testing.assert_close(
        apply(turned(features, IRREPS)), turned(apply(features), IRREPS), atol=1e-12, rtol=0
    )


def test_invariants_do_not_turn(features, turned):
    torch.testing.assert_close(
        invariants(turned(features, IRREPS), turned(features, IRREPS), IRREPS),
        invariants(features, features, IRREPS),
        atol=1e-12,
        rtol=0,
    )


def test_normalised_features_have_size_one(features):
    sizes = (normalised(1e3 * features) ** 2).mean(dim=(1, 2))

    torch.testing.assert_close(sizes, torch.ones_like(sizes))


def test_orbitals_have_alternating_parity():
    assert [irrep.parity for irrep in orbital_irreps(3)] == [1, -1, 1, -1]
