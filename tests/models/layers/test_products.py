import torch

from nabladft.models.layers.products import product_paths
from nabladft.models.layers.spherical import Irrep, harmonics, orbital_irreps
from tests.models.layers.separate_products import ChannelProduct, HarmonicsProduct

NODES = orbital_irreps(2)
OUT = (Irrep(0, 1), Irrep(1, -1), Irrep(1, 1), Irrep(2, -1), Irrep(2, 1), Irrep(3, -1))


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


def test_paths_keep_parity_and_the_triangle():
    paths = product_paths(NODES, NODES, OUT)

    for i, j, k in paths:
        assert NODES[i].parity * NODES[j].parity == OUT[k].parity
        assert abs(NODES[i].l - NODES[j].l) <= OUT[k].l <= NODES[i].l + NODES[j].l
    # p x p -> s, p (axial), d and p x d -> p, d (pseudo), f, twice; and so on.
    assert len(paths) == len(set(paths)) == 3 + 4 + 2 + 2 + 4 + 2


def test_harmonics_product_turns_with_its_factors(rotation, turned):
    torch.manual_seed(0)
    product = HarmonicsProduct(NODES, NODES, OUT)
    features = torch.randn(4, 9, 2, dtype=torch.float64)
    vectors = torch.randn(4, 3, dtype=torch.float64)
    weights = torch.randn(4, product.n_paths, 2, dtype=torch.float64)

    before = product(features, harmonics(vectors, 2), weights)
    after = product(
        turned(features, NODES), harmonics(vectors @ torch.from_numpy(rotation).T, 2), weights
    )

    parts = zip(product.by_irrep(before), product.by_irrep(after), product.out, strict=True)
    for one, other, irrep in parts:
        close(other, turned(one, (irrep,)))


def test_channel_product_turns_with_its_factors(turned):
    torch.manual_seed(0)
    product = ChannelProduct(NODES, NODES, OUT)
    left, right = torch.randn(2, 4, 9, 2, dtype=torch.float64)
    weights = torch.randn(product.n_paths, 2, dtype=torch.float64)

    before = product(left, right, weights)
    after = product(turned(left, NODES), turned(right, NODES), weights)

    parts = zip(product.by_irrep(before), product.by_irrep(after), product.out, strict=True)
    for one, other, irrep in parts:
        close(other, turned(one, (irrep,)))


def test_both_products_agree_where_they_mean_the_same():
    """With one channel, harmonics are just another feature."""
    torch.manual_seed(0)
    by_harmonics = HarmonicsProduct(NODES, NODES, OUT)
    by_channel = ChannelProduct(NODES, NODES, OUT)
    features = torch.randn(4, 9, 1, dtype=torch.float64)
    directions = harmonics(torch.randn(4, 3, dtype=torch.float64), 2)
    weights = torch.randn(4, by_channel.n_paths, 1, dtype=torch.float64)

    close(
        by_harmonics(features, directions, weights),
        by_channel(features, directions[:, :, None], weights),
    )


def test_each_path_has_its_own_weight():
    product = ChannelProduct(NODES, NODES, OUT)
    features = torch.randn(1, 9, 1, dtype=torch.float64)

    results = []
    for path in range(product.n_paths):
        weights = torch.zeros(product.n_paths, 1, dtype=torch.float64)
        weights[path] = 1.0
        results.append(product(features, features.flip(1), weights).flatten())

    used = torch.stack([(result != 0) for result in results])
    assert used.any(dim=1).all()
    assert (used.sum(dim=0) == 1).all()
