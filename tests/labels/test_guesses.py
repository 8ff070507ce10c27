import numpy as np
import pytest

pytest.importorskip("pyscf")

from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.errors import InputError, UnknownNameError
from nabladft.labels.guesses import GUESS_METHODS, guess_hamiltonian

WATER = np.array([8, 1, 1]), np.array([[0, 0, 0.2], [0, 1.5, -0.9], [0.1, -1.4, -0.9]])


@pytest.mark.parametrize("method", GUESS_METHODS)
def test_guesses_are_symmetric_and_bind_the_electrons(method):
    guess = guess_hamiltonian(*WATER, method=method)

    assert guess.shape == (24, 24)
    np.testing.assert_allclose(guess, guess.T, atol=1e-10)
    assert guess[0, 0] < -15  # the 1s electrons of oxygen


def test_core_is_the_core_hamiltonian_of_the_package():
    np.testing.assert_allclose(
        guess_hamiltonian(*WATER, method="core"), core_hamiltonian_matrix(*WATER), atol=1e-9
    )


def test_a_guess_does_not_depend_on_where_the_molecule_is():
    moved = guess_hamiltonian(WATER[0], WATER[1] + [3.0, -1.0, 0.5], method="sap")

    np.testing.assert_allclose(moved, guess_hamiltonian(*WATER, method="sap"), atol=1e-9)


def test_unknown_guess_and_unpaired_electron_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'minao'"):
        guess_hamiltonian(*WATER, method="minoa")
    with pytest.raises(InputError, match="9 electrons cannot be paired"):
        guess_hamiltonian(np.array([8, 1]), WATER[1][:2])
