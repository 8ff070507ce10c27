import pytest
import torch

from nabladft.models.layers.spherical import Irrep, harmonics, orbital_irreps
from nabladft.models.layers.summed_products import SummedChannelProduct, SummedHarmonicsProduct
from tests.models.layers.separate_products import ChannelProduct, HarmonicsProduct

NODES = orbital_irreps(2)
OUT = (Irrep(0, 1), Irrep(1, -1), Irrep(1, 1), Irrep(2, -1), Irrep(2, 1), Irrep(3, -1))


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


def summed(product, values):
    """Add up the paths of a product that keeps them apart."""
    parts = []
    for part, count in zip(product.by_irrep(values), product.multiplicities, strict=True):
        by_path = part.unflatten(2, (count, -1))
        parts.append(by_path.sum(dim=2) / count**0.5)
    return torch.cat(parts, dim=1)


def factors(n=7, channels=3):
    torch.manual_seed(0)
    return torch.randn(2, n, 9, channels, dtype=torch.float64)


@pytest.fixture
def small_pieces(monkeypatch):
    """Two rows at a time, the last piece with one."""
    monkeypatch.setattr("nabladft.models.layers.summed_products._CACHE", 6)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("alike", [False, True])
def test_channel_product_is_the_sum_over_paths_that_are_kept_apart(alike):
    left, right = factors()
    product, apart = SummedChannelProduct(NODES, NODES, OUT), ChannelProduct(NODES, NODES, OUT)
    weights = torch.randn(7, product.n_paths, 3, dtype=torch.float64)
    weights = weights[0] if alike else weights

    found = product(left, right, weights)

    assert product.out == apart.out
    close(found, summed(apart, apart(left, right, weights)))


@pytest.mark.usefixtures("small_pieces")
def test_harmonics_product_is_the_sum_over_paths_that_are_kept_apart():
    features, _ = factors()
    directions = harmonics(torch.randn(7, 3, dtype=torch.float64), 2)
    product, apart = SummedHarmonicsProduct(NODES, NODES, OUT), HarmonicsProduct(NODES, NODES, OUT)
    weights = torch.randn(7, product.n_paths, 3, dtype=torch.float64)

    found = product(features, directions, weights)

    assert product.out == apart.out
    close(found, summed(apart, apart(features, directions, weights)))


@pytest.mark.usefixtures("small_pieces")
def test_gradients_are_those_of_finite_differences():
    left, right = (x.requires_grad_() for x in factors(n=3, channels=2))
    directions = harmonics(torch.randn(3, 3, dtype=torch.float64), 2)
    by_channel = SummedChannelProduct(NODES, NODES, OUT)
    by_harmonics = SummedHarmonicsProduct(NODES, NODES, OUT)
    weights = torch.randn(3, by_channel.n_paths, 2, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(by_channel, (left, right, weights), fast_mode=True)
    assert torch.autograd.gradcheck(by_channel, (left, right, weights[0]), fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda x, w: by_harmonics(x, directions, w), (left, weights), fast_mode=True
    )


def test_products_turn_with_their_factors(rotation, turned):
    left, right = factors()
    vectors = torch.randn(7, 3, dtype=torch.float64)
    by_channel = SummedChannelProduct(NODES, NODES, OUT)
    by_harmonics = SummedHarmonicsProduct(NODES, NODES, OUT)
    weights = torch.randn(7, by_channel.n_paths, 3, dtype=torch.float64)

    channel = by_channel(turned(left, NODES), turned(right, NODES), weights)
    around = harmonics(vectors @ torch.from_numpy(rotation).T, 2)
    harmonic = by_harmonics(turned(left, NODES), around, weights)

    close(channel, turned(by_channel(left, right, weights), by_channel.out))
    expected = by_harmonics(left, harmonics(vectors, 2), weights)
    close(harmonic, turned(expected, by_harmonics.out))


def test_no_rows_give_no_rows():
    product = SummedChannelProduct(NODES, NODES, OUT)
    none = torch.zeros(0, 9, 3, requires_grad=True)

    result = product(none, none, torch.zeros(0, product.n_paths, 3))
    result.sum().backward()

    assert result.shape == (0, sum(irrep.dim for irrep in product.out), 3)
    assert none.grad.shape == none.shape


def test_mixed_precision_sums_in_full_precision():
    left, right = (x.float() for x in factors())
    product = SummedChannelProduct(NODES, NODES, OUT)
    weights = torch.randn(7, product.n_paths, 3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = product(left, right, weights)

    assert torch.equal(mixed, product(left, right, weights))
