import numpy as np
import pytest

import nabladft
from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.storage.formats.lengths import length_unit


@pytest.fixture(scope="module")
def molecules():
    return nabladft.open("nano")[::20]


@pytest.mark.parametrize(("unit", "factor"), [("bohr", 1.0), ("angstrom", BOHR_IN_ANGSTROM)])
def test_unit_is_that_of_the_bonds_of_real_geometries(molecules, unit, factor):
    for record in molecules:
        assert length_unit([record.atomic_numbers], [factor * record.positions]) == unit


def test_unit_is_not_guessed(molecules):
    numbers, positions = molecules[0].atomic_numbers, molecules[0].positions

    assert length_unit([numbers], [10 * positions]) is None
    assert length_unit([np.full(len(numbers), 6)], [positions]) is None
    assert length_unit([np.array([1])], [np.zeros((1, 3))]) is None
