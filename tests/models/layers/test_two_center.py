import pytest
import torch

from nabladft.models.layers.spherical import Irrep, harmonics
from nabladft.models.layers.two_center import TwoCenterReference, TwoCenterSample

IRREPS = (Irrep(0, 1), Irrep(1, -1), Irrep(1, 1))
WIDTHS = (2, 1, 1)


def triangle():
    """Atoms of elements 0, 1, 1, two to eight bohr apart; all ordered pairs."""
    torch.manual_seed(2)
    corners = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    positions = corners + 0.5 * torch.randn(40, 3, 3, dtype=torch.float64)
    pairs = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j])
    vectors = (positions[:, pairs[:, 1]] - positions[:, pairs[:, 0]]).reshape(-1, 3)
    shift = 3 * torch.arange(40)[:, None]
    first, second = (pairs[:, 0] + shift).flatten(), (pairs[:, 1] + shift).flatten()
    elements = torch.tensor([0, 1, 1]).repeat(40)
    return elements, first, second, vectors


def sample(pair_targets, atom_targets):
    elements, first, second, vectors = triangle()
    return TwoCenterSample(
        elements=elements,
        types=2 * elements[first] + elements[second],
        first=first,
        second=second,
        distances=vectors.norm(dim=1),
        harmonics=harmonics(vectors, 1),
        pair_targets=pair_targets,
        atom_targets=atom_targets,
    )


def test_two_centre_terms_are_found():
    elements, first, second, vectors = triangle()
    r, angles = vectors.norm(dim=1), harmonics(vectors, 1)
    types = 2 * elements[first] + elements[second]
    strength = (1.0 + types) * torch.exp(-0.4 * r)
    pairs = [
        torch.stack([strength, -strength], dim=1)[:, None],
        (strength[:, None] * angles[:, 1:])[:, :, None],
        torch.zeros(len(r), 3, 1, dtype=torch.float64),
    ]
    sums = torch.zeros(120, dtype=torch.float64).index_add(0, first, torch.exp(-0.4 * r))
    constant = torch.tensor([-80.0, -2.0], dtype=torch.float64)[elements]
    scalars = torch.stack([constant + sums, constant - sums], dim=1)[:, None]
    atoms = [scalars, *(torch.zeros(120, 3, 1, dtype=torch.float64) for _ in range(2))]
    reference = TwoCenterReference(IRREPS, WIDTHS, n_elements=2, n_radial=8, ridge=1e-8).double()
    data = sample(pairs, atoms)

    reference.fit([data])

    found = reference.pair(types, r, angles)
    torch.testing.assert_close(found[0], pairs[0], atol=5e-3, rtol=0)
    torch.testing.assert_close(found[1], pairs[1], atol=5e-3, rtol=0)
    assert found[2] is None
    found = reference.atom(elements, first, second, r, angles)
    torch.testing.assert_close(found[0], atoms[0], atol=5e-3, rtol=0)


def test_without_radial_functions_the_mean_of_each_element_is_left():
    elements, *_ = triangle()
    values = torch.randn(120, 1, 2, dtype=torch.float64)
    zeros = [torch.zeros(120, 3, 1, dtype=torch.float64) for _ in range(2)]
    nothing = [torch.zeros(240, d, w, dtype=torch.float64) for d, w in ((1, 2), (3, 1), (3, 1))]
    reference = TwoCenterReference(IRREPS, WIDTHS, n_elements=2, n_radial=0).double()
    data = sample(nothing, [values, *zeros])

    reference.fit([data])

    found = reference.atom(elements, data.first, data.second, data.distances, data.harmonics)
    for element in (0, 1):
        chosen = elements == element
        mean = values[chosen].mean(dim=0)
        torch.testing.assert_close(found[0][chosen], mean.expand_as(found[0][chosen]))
    assert reference.pair(data.types, data.distances, data.harmonics) == [None, None, None]


def test_elements_that_never_met_have_no_terms():
    data = sample(
        [torch.ones(240, d, w, dtype=torch.float64) for d, w in ((1, 2), (3, 1), (3, 1))],
        [torch.ones(120, d, w, dtype=torch.float64) for d, w in ((1, 2), (3, 1), (3, 1))],
    )
    reference = TwoCenterReference(IRREPS, WIDTHS, n_elements=2, n_radial=4).double()

    reference.fit([data])

    # There is one atom of element 0 in each molecule.
    found = reference.pair(torch.zeros(1).long(), torch.ones(1).double(), torch.ones(1, 4).double())
    assert found[0].abs().max() == 0


@pytest.mark.parametrize("distance", [30.0, 100.0])
def test_terms_fade_far_away(distance):
    reference = TwoCenterReference(IRREPS, WIDTHS, n_elements=2, n_radial=4)
    for buffer in reference.buffers():
        buffer.fill_(1.0)
    r = torch.tensor([distance])

    value = reference.pair(torch.tensor([0]), r, harmonics(torch.tensor([[0.0, 0.0, distance]]), 1))

    assert value[0].abs().max() < 4 * torch.exp(-r / 4.0)
