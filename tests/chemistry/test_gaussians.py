import json

import numpy as np
import pytest
from scipy.integrate import quad

from nabladft.chemistry import gaussians
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.gaussians import ContractedShell, GaussianBasis, gaussian_basis
from nabladft.errors import InputError, UnsupportedElementError


def test_a_shell_of_unequal_lengths_is_refused():
    with pytest.raises(InputError, match="as many coefficients as positive exponents"):
        ContractedShell.normalised(0, [1.0, 2.0], [1.0])


def test_shells_of_the_file_are_those_of_the_table():
    assert gaussian_basis(DEF2_SVP).shells == DEF2_SVP.shells


def test_the_basis_file_says_where_it_is_from():
    table = json.loads((gaussians._FOLDER / "def2-svp.json").read_text())

    assert {"source", "licence", "recipe", "layout"} <= set(table)


def test_a_shell_is_normalised_by_numerical_integration():
    shell = gaussian_basis(DEF2_SVP).contractions_of(17)[5]
    assert shell.l == 1

    def density(r):
        return r**4 * float(shell.weights @ np.exp(-shell.exponents * r**2)) ** 2

    assert quad(density, 0, 30, epsabs=1e-13, limit=400)[0] == pytest.approx(1, abs=1e-9)


def test_shells_are_sorted_by_degree_and_keep_their_sequence():
    first, second, third = (
        ContractedShell.normalised(l, [a], [1.0]) for l, a in ((1, 3.0), (0, 2.0), (1, 0.5))
    )

    basis = GaussianBasis.from_contractions("mixed", {1: [first, second, third]})

    assert basis.contractions_of(1) == (second, first, third)
    assert basis.shells_of(1) == (0, 1, 1)
    assert basis.n_orbitals(np.array([1, 1])) == 14
    assert gaussian_basis(basis) is basis


def test_an_element_without_contractions_is_named():
    basis = GaussianBasis.from_contractions("empty", {})

    with pytest.raises(UnsupportedElementError, match="C has no shells in empty"):
        basis.contractions_of(6)
