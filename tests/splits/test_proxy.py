"""Proxy tests represent the whole, and say by how much an average over them is off."""

import numpy as np
import pytest

from nabladft.errors import MissingFieldError, SplitError
from nabladft.splits import expected_sampling_error, proxy_test, sampling_error
from nabladft.splits.proxy import systematic_positions
from tests.conftest import MemorySource, displaced

KINDS = ["CCO", "CCBr", "c1ccccc1", "Cc1ccccc1", "CCCCF", "CSC", "C1CC1", "CCCl"]


@pytest.fixture(scope="module")
def source():
    records = [r for k in range(200) for r in displaced(KINDS[k % 8], k, 5)]
    return MemorySource(
        [records[int(i)] for i in np.random.default_rng(0).permutation(len(records))]
    )


def kind_counts(keys):
    return np.bincount(keys[:, 0] % 8, minlength=8)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_is_there_in_proportion(source, seed):
    split = proxy_test(source, 80, part="test_structures", name="p", seed=seed)

    counts = kind_counts(split.part("test_structures"))
    assert counts.sum() == 80
    assert counts.min() >= 9
    assert counts.max() <= 11


def test_molecules_are_spread_out(source):
    split = proxy_test(source, 100, part="test_structures", name="p")

    assert split.counts()["test_structures"] == {"molecules": 100, "conformations": 100}


def test_the_same_seed_gives_the_same_proxy_whatever_the_order_of_rows(source):
    again = MemorySource(list(source)[::-1])
    one, two, other = (
        proxy_test(data, 50, part="test_structures", name="p", seed=seed)
        for data, seed in ((source, 1), (again, 1), (source, 2))
    )

    assert one.sha256 == two.sha256
    assert one.sha256 != other.sha256


def test_every_position_has_the_same_chance():
    hits = np.zeros(30)
    for seed in range(3000):
        hits[systematic_positions(30, 7, seed=seed)] += 1

    # Binomial: 700 expected, standard deviation 23.
    np.testing.assert_allclose(hits, 700, atol=100)


def test_positions_are_distinct_and_inside():
    for n_total, n_sample in ((10, 9), (1_150_000, 1000), (7, 1)):
        positions = systematic_positions(n_total, n_sample, seed=3)
        assert len(np.unique(positions)) == n_sample
        assert positions.min() >= 0
        assert positions.max() < n_total


def test_expected_error_by_hand():
    # 1 / sqrt(100) * sqrt(1 - 100 / 400)
    assert expected_sampling_error(100, 400, spread=1.0) == pytest.approx(0.08660254)
    assert expected_sampling_error(400, 400, spread=1.0) == 0.0


def test_sampling_error_by_hand():
    # Differences 1, -2: variance (1 + 4) / (2 * 2) = 1.25; times (1 - 3 / 6) / 3.
    assert sampling_error([0.0, 1.0, -1.0], 6) == pytest.approx(np.sqrt(1.25 * 0.5 / 3))


def test_the_stated_error_is_what_samples_really_miss_by(rng):
    size = np.sort(rng.integers(10, 60, size=20_000))
    errors = 0.001 * size * rng.gamma(2.0, size=len(size))
    missed, stated = [], []
    for seed in range(400):
        sample = errors[systematic_positions(len(errors), 200, seed=seed)]
        missed.append(sample.mean() - errors.mean())
        stated.append(sampling_error(sample, len(errors)))

    assert np.mean(stated) == pytest.approx(np.std(missed), rel=0.15)
    spread = errors.std() / errors.mean()
    simple = errors.mean() * expected_sampling_error(200, len(errors), spread=spread)
    assert np.std(missed) < simple


def test_the_recipe_states_the_error(source):
    split = proxy_test(source, 100, part="test_structures", name="p")

    assert split.recipe["relative_sampling_error"] == pytest.approx(0.1 * np.sqrt(0.9), abs=1e-4)
    assert (split.recipe["n"], split.recipe["n_of_whole"]) == (100, 1000)


def test_known_scaffolds_and_a_part_of_the_data(source):
    keys = source.keys[source.keys[:, 0] < 100]
    scaffolds = {m: m % 3 for m in range(100)}

    split = proxy_test(source, 40, part="test_scaffolds", name="p", keys=keys, scaffolds=scaffolds)

    assert split.part("test_scaffolds")[:, 0].max() < 100
    with pytest.raises(SplitError, match=r"100 molecules have no known scaffold.*molecule_id 100"):
        proxy_test(source, 40, part="test_scaffolds", name="p", scaffolds=scaffolds)


@pytest.mark.parametrize("n", [0, 1000, 2000])
def test_a_proxy_that_is_not_smaller_is_refused(source, n):
    with pytest.raises(SplitError, match=rf"A proxy of {n} conformations.*from 1000"):
        proxy_test(source, n, part="test_structures", name="p")


def test_data_without_smiles_are_refused():
    bare = MemorySource([r.replace(smiles=None) for r in displaced("CCO", 1, 5)])

    with pytest.raises(MissingFieldError, match="draw the proxy from the energy file"):
        proxy_test(bare, 2, part="test_structures", name="p")


def test_a_single_error_gives_no_estimate():
    with pytest.raises(SplitError, match="two or more are needed"):
        sampling_error([1.0], 10)
