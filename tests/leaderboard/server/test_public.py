import json
import math

import numpy as np
import pytest

from nabladft.benchmark.results import Results
from nabladft.leaderboard.server.public import (
    bits_of_number,
    bits_of_submission,
    public_score,
    rounded,
)
from nabladft.leaderboard.server.settings import TaskSettings
from nabladft.metrics import Estimate

TASK = TaskSettings(
    name="t1",
    kind="energy",
    labels="l",
    split="s",
    data_hash="0" * 64,
    parts=("p",),
    metrics=("energy_mae", "forces_cosine"),
)


def results(**metrics):
    return Results(
        model="m",
        dataset="d",
        data_hash="0" * 64,
        split="s",
        split_hash="1" * 64,
        part="p",
        n_conformations=9,
        n_molecules=5,
        metrics={
            name: Estimate(
                value=values[0],
                ci_low=values[1],
                ci_high=values[2],
                n_conformations=9,
                n_molecules=5,
            )
            for name, values in metrics.items()
        },
        by_element={"forces_mae": {"H": 0.123456}},
        predictions_sha256="2" * 64,
        code_version="c",
        scorer_version="v",
        bootstrap={"seed": 0},
    )


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (0.0123456, 3, 0.0123),
        (0.0123456, 1, 0.01),
        (1234567.0, 3, 1230000.0),
        (0.09996, 3, 0.1),
        (1e-12, 3, 0.0),
        (1e300, 3, 1e9),
        (0.0, 3, 0.0),
        (-0.0123456, 2, -0.012),
    ],
)
def test_numbers_are_rounded_to_significant_digits(value, digits, expected):
    assert rounded(value, digits) == expected


def test_the_ends_of_an_interval_have_the_decimals_of_the_value():
    shown = public_score(
        results(energy_mae=(0.0012345, 0.00098765, 0.0023456)), TASK, seed=1, digits=3
    )["metrics"]["energy_mae"]

    assert shown == {"value": 1.23, "ci_low": 0.99, "ci_high": 2.35, "unit": "millihartree"}


def test_only_the_metrics_of_the_task_and_nothing_by_element_or_hash_is_shown():
    shown = public_score(
        results(energy_mae=(0.1, 0.1, 0.1), forces_mae=(0.123456, 0.1, 0.2)),
        TASK,
        seed=None,
        digits=3,
    )

    assert set(shown) == {"part", "seed", "n_conformations", "n_molecules", "metrics"}
    assert set(shown["metrics"]) == {"energy_mae"}


def test_what_is_no_number_is_not_shown():
    shown = public_score(
        results(energy_mae=(math.inf, 1.0, 2.0), forces_cosine=(0.5, math.nan, None)),
        TASK,
        seed=None,
        digits=3,
    )

    assert shown["metrics"] == {
        "forces_cosine": {"value": 0.5, "ci_low": None, "ci_high": None, "unit": "1"}
    }
    json.dumps(shown, allow_nan=False)


def test_a_number_takes_no_more_values_than_its_bits_allow():
    rng = np.random.default_rng(0)
    values = 10 ** rng.uniform(-12, 12, size=200_000)

    n_values = len({rounded(value, 2) for value in values.tolist()})

    # Two digits: 90 for each of 19 powers of ten, and zero.
    assert 0.9 * (90 * 19 + 1) < n_values <= 90 * 19 + 1
    assert bits_of_number(2) == pytest.approx(math.log2(90 * 19 + 1))


def test_the_bits_of_a_submission_grow_with_files_metrics_and_digits():
    def bits(n_files, digits):
        return bits_of_submission([TASK], n_files=n_files, digits=digits)

    assert bits(2, 3) == 2 * bits(1, 3)
    assert bits(1, 3) == pytest.approx(2 * 3 * bits_of_number(3))
    assert bits(1, 4) > bits(1, 3)
