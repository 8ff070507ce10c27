import numpy as np
import pytest

from nabladft.chemistry.elements import (
    DATASET_ELEMENTS,
    ISOLATED_ATOM_ENERGIES,
    SYMBOLS,
    atomic_number,
    formula,
    isolated_atoms_energy,
    symbol_of,
)
from nabladft.errors import UnsupportedElementError


def test_symbols_and_numbers_are_inverse():
    for number in range(1, len(SYMBOLS)):
        assert atomic_number(SYMBOLS[number]) == number


@pytest.mark.parametrize(
    ("symbol", "number"), [("H", 1), ("C", 6), ("Cl", 17), ("Br", 35), ("Kr", 36), ("Rn", 86)]
)
def test_numbers_of_known_elements(symbol, number):
    assert atomic_number(symbol) == number
    assert symbol_of(number) == symbol


def test_the_eight_elements_of_the_data_set():
    assert " ".join(symbol_of(number) for number in DATASET_ELEMENTS) == "H C N O F S Cl Br"
    assert set(DATASET_ELEMENTS) <= set(ISOLATED_ATOM_ENERGIES)


def test_symbols_agree_with_ase():
    from ase.data import chemical_symbols

    assert list(SYMBOLS) == chemical_symbols[: len(SYMBOLS)]


def test_isolated_atoms_of_methanol_sum_up():
    methanol = np.array([6, 8, 1, 1, 1, 1])

    energy = isolated_atoms_energy(methanol)

    by_hand = -37.79809934247253 - 74.97667809850873 - 4 * 0.5024932583661139
    assert energy == pytest.approx(by_hand, abs=1e-12)


def test_isolated_atoms_do_not_depend_on_the_sequence(rng):
    numbers = rng.choice(DATASET_ELEMENTS, size=40)

    assert isolated_atoms_energy(numbers) == isolated_atoms_energy(rng.permutation(numbers))


def test_an_element_without_isolated_atom_is_named():
    with pytest.raises(UnsupportedElementError, match=r"energy for Na, Z=120\. Available: H, C, N"):
        isolated_atoms_energy(np.array([11, 6, 120]))


def test_an_unknown_symbol_is_refused_with_the_nearest_one():
    with pytest.raises(UnsupportedElementError, match=r"No element 'CL'"):
        atomic_number("CL")
    with pytest.raises(UnsupportedElementError, match=r"'Bro'\. Did you mean 'Br'"):
        atomic_number("Bro")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([8, 1, 6, 1, 1, 1], "CH4O"),
        ([1, 8, 1], "H2O"),
        ([35, 6, 17, 16, 1], "CHBrClS"),
        ([1, 17], "ClH"),
        ([1], "H"),
    ],
)
def test_formulas_are_in_hill_order(numbers, expected):
    assert formula(np.array(numbers)) == expected
