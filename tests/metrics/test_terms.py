import numpy as np
import pytest

from nabladft.errors import UnknownNameError
from nabladft.metrics import METRICS, Terms, energy_mae, estimate, metric_named


def terms_of(values):
    return Terms(numerator=np.asarray(values, float), weight=np.ones(len(values)))


def test_the_interval_equals_a_plain_loop_over_resampled_molecules():
    # The loop draws molecules itself, so the two agree only as two Monte Carlo estimates do.
    rng = np.random.default_rng(3)
    molecule_id = np.repeat(np.arange(30), rng.integers(1, 6, size=30))
    terms = Terms(
        numerator=rng.random(len(molecule_id)), weight=rng.integers(1, 9, len(molecule_id)) * 1.0
    )
    values = []
    for _ in range(4000):
        drawn = [np.flatnonzero(molecule_id == m) for m in rng.integers(0, 30, size=30)]
        rows = np.concatenate(drawn)
        values.append(terms.numerator[rows].sum() / terms.weight[rows].sum())
    expected = np.percentile(values, [2.5, 97.5])

    found = estimate({"x": terms}, molecule_id=molecule_id, n_resamples=4000)["x"]

    width = expected[1] - expected[0]
    np.testing.assert_allclose([found.ci_low, found.ci_high], expected, atol=0.05 * width)


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error():
    values = np.random.default_rng(1).normal(loc=5, size=2000)

    found = estimate({"x": terms_of(values)}, molecule_id=np.arange(2000))["x"]

    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.ci_low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.ci_high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_conformations_of_one_molecule_are_drawn_together():
    # Ten copies of each molecule carry no more information than one.
    values = np.random.default_rng(2).random(50)

    once = estimate({"x": terms_of(values)}, molecule_id=np.arange(50))["x"]
    tenfold = estimate(
        {"x": terms_of(np.repeat(values, 10))}, molecule_id=np.repeat(np.arange(50), 10)
    )["x"]

    assert tenfold.ci_low == pytest.approx(once.ci_low, rel=1e-12)
    assert tenfold.ci_high == pytest.approx(once.ci_high, rel=1e-12)
    assert (once.n_molecules, once.n_conformations) == (50, 50)
    assert (tenfold.n_molecules, tenfold.n_conformations) == (50, 500)


def test_the_order_of_the_records_does_not_matter(rng):
    molecule_id, values, order = rng.integers(0, 9, 60), rng.random(60), rng.permutation(60)

    one = estimate({"x": terms_of(values)}, molecule_id=molecule_id)["x"]
    two = estimate({"x": terms_of(values[order])}, molecule_id=molecule_id[order])["x"]

    assert two.value == pytest.approx(one.value, rel=1e-14)
    assert two.ci_low == pytest.approx(one.ci_low, rel=1e-12)


def test_a_seed_gives_one_interval_and_another_seed_another(rng):
    terms, molecule_id = {"x": terms_of(rng.random(40))}, np.arange(40)

    first, again, other = (estimate(terms, molecule_id=molecule_id, seed=s)["x"] for s in (1, 1, 2))

    assert first == again
    assert first.ci_low != other.ci_low


def test_many_molecules_are_drawn_in_pieces(monkeypatch, rng):
    terms, molecule_id = {"x": terms_of(rng.random(40))}, np.arange(40)
    whole = estimate(terms, molecule_id=molecule_id)["x"]

    monkeypatch.setattr("nabladft.metrics.terms._BLOCK", 100)

    pieces = estimate(terms, molecule_id=molecule_id)["x"]
    assert pieces.ci_low == pytest.approx(whole.ci_low, rel=1e-14)
    assert pieces.ci_high == pytest.approx(whole.ci_high, rel=1e-14)


def test_weights_of_zero_do_not_count():
    terms = Terms(numerator=np.array([1.0, 3.0, 0.0]), weight=np.array([1.0, 1.0, 0.0]))

    found = estimate({"x": terms}, molecule_id=np.array([1, 2, 3]))["x"]

    assert (found.value, found.n_molecules, found.n_conformations) == (2.0, 2, 2)
    assert 1.0 <= found.ci_low <= found.ci_high <= 3.0


def test_one_molecule_has_no_interval_and_no_weight_no_value():
    one = estimate({"x": terms_of([1.0, 2.0])}, molecule_id=np.array([4, 4]))["x"]
    nothing = Terms(numerator=np.zeros(2), weight=np.zeros(2))
    none = estimate({"x": nothing}, molecule_id=np.array([4, 5]))["x"]

    assert (one.value, one.ci_low, one.ci_high) == (1.5, None, None)
    assert (none.value, none.ci_low, none.n_molecules) == (None, None, 0)


def test_the_function_of_each_metric_is_documented_with_its_formula():
    assert "1/n sum_k" in energy_mae.__doc__
    assert METRICS["forces_cosine"].better == "higher"
    with pytest.raises(UnknownNameError, match="Did you mean 'energy_mae'"):
        metric_named("energy_mea")
