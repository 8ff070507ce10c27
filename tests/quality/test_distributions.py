import numpy as np
import pytest

from nabladft.quality.distributions import Distribution, MoleculeCounter


def filled(values, n_pieces=7):
    found = Distribution("x", "1")
    for piece in np.array_split(values, n_pieces):
        found.add(piece)
    return found


def test_moments_and_extremes_are_those_of_all_numbers(rng):
    values = rng.normal(loc=-3.0, scale=2.0, size=5000)

    found = filled(values)

    assert (found.n, found.smallest, found.largest) == (5000, values.min(), values.max())
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(values.std())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_quantiles_are_good_to_a_bin_however_the_range_grew(rng, share):
    # The first piece covers a thousandth of the range, below and above come later.
    values = np.concatenate([rng.normal(size=1000), 100 * rng.normal(size=9000)])

    found = filled(values, n_pieces=10)

    width = 4 * (values.max() - values.min()) / 4096
    assert found.quantile(share) == pytest.approx(np.quantile(values, share), abs=width)


def test_the_histogram_counts_every_number_once(rng):
    values = rng.exponential(size=3000)

    edges, counts = filled(values).histogram(32)

    assert counts.sum() == 3000
    assert (edges[0], edges[-1]) == (values.min(), values.max())
    np.testing.assert_allclose(counts, np.histogram(values, edges)[0], atol=15)


def test_whole_numbers_get_bins_of_their_own():
    found = filled(np.repeat([3, 4, 7], [5, 2, 1]))

    edges, counts = found.histogram()

    assert counts.tolist() == [5, 2, 0, 0, 1]
    assert edges.tolist() == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert found.quantile(0.5) == 3.0


@pytest.mark.parametrize("values", [[], [4.5], [0.0, 0.0]])
def test_few_numbers_are_no_problem(values):
    found = filled(np.array(values), n_pieces=1)

    summary = found.summary()

    assert summary["n"] == len(values)
    if values:
        assert found.histogram()[1].sum() == len(values)
        assert found.quantile(0.5) == values[0]


def test_conformations_are_counted_by_molecule(rng, monkeypatch):
    monkeypatch.setattr("nabladft.quality.distributions._WAITING", 10)
    ids = rng.integers(0, 30, size=200)
    counter = MoleculeCounter()

    for piece in np.array_split(ids, 9):
        counter.add(piece)

    assert counter.counts().tolist() == np.unique(ids, return_counts=True)[1].tolist()
