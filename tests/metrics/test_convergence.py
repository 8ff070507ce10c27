import numpy as np
import pytest

from nabladft.errors import InputError
from nabladft.metrics import (
    density_energy_error,
    scf_cycle_ratio,
    scf_time_ratio,
    scf_worse_rate,
)

PREDICTED, GUESS = np.array([5, 12, 8, 9]), np.array([10, 10, 8, 12])


def test_ratios_are_of_sums():
    assert scf_cycle_ratio(predicted=PREDICTED, guess=GUESS).value == pytest.approx(34 / 40)
    assert scf_time_ratio(predicted=[1.5, 2.5], guess=[4.0, 4.0]).value == 0.5


def test_worse_is_more_cycles_and_an_equal_number_is_not():
    found = scf_worse_rate(predicted=PREDICTED, guess=GUESS)

    assert found.numerator.tolist() == [0, 1, 0, 0]
    assert found.value == 0.25


def test_energies_of_densities_are_compared_without_sign():
    assert density_energy_error([0.01, -1e-9, 0.02]).value == pytest.approx(0.01, rel=1e-6)


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"same shape \(n,\), got \(2,\) and \(1,\)"):
        scf_cycle_ratio(predicted=[1, 2], guess=[1])
