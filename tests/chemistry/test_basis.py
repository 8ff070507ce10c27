import numpy as np
import pytest

from nabladft.chemistry.basis import DEF2_SVP, basis_set_named
from nabladft.chemistry.elements import SYMBOLS
from nabladft.errors import UnknownNameError, UnsupportedElementError


@pytest.mark.parametrize(
    ("number", "shells", "n_orbitals"),
    [
        (1, (0, 0, 1), 5),
        (6, (0, 0, 0, 1, 1, 2), 14),
        (7, (0, 0, 0, 1, 1, 2), 14),
        (8, (0, 0, 0, 1, 1, 2), 14),
        (9, (0, 0, 0, 1, 1, 2), 14),
        (16, (0, 0, 0, 0, 1, 1, 1, 2), 18),
        (17, (0, 0, 0, 0, 1, 1, 1, 2), 18),
        (35, (0,) * 5 + (1,) * 4 + (2,) * 3, 32),
    ],
)
def test_shells_of_the_data_set_are_the_published_ones(number, shells, n_orbitals):
    # The table `basisset` of the published Hamiltonian files.
    assert DEF2_SVP.shells_of(number) == shells
    assert DEF2_SVP.n_orbitals(np.array([number])) == n_orbitals


def test_every_element_has_the_orbitals_of_pyscf():
    gto = pytest.importorskip("pyscf.gto")
    for number in DEF2_SVP.shells:
        molecule = gto.M(atom=SYMBOLS[number], basis="def2-svp", spin=number % 2, verbose=0)

        assert [molecule.bas_angular(i) for i in range(molecule.nbas)] == list(
            DEF2_SVP.shells_of(number)
        )


def test_orbitals_are_counted_per_atom():
    assert DEF2_SVP.orbitals_per_atom(np.array([8, 1, 1])).tolist() == [14, 5, 5]


def test_every_orbital_has_the_degree_of_its_shell():
    assert DEF2_SVP.degrees(np.array([1, 8])).tolist() == [
        0,
        0,
        1,
        1,
        1,
        *[0] * 3,
        *[1] * 6,
        *[2] * 5,
    ]


def test_names_are_found_in_any_case():
    assert basis_set_named("def2-SVP") is DEF2_SVP


def test_an_unknown_basis_set_is_refused_with_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"No basis set 'def2-svpd'\. Did you mean 'def2-svp'"
    ):
        basis_set_named("def2-svpd")


def test_an_element_outside_the_basis_is_named():
    with pytest.raises(
        UnsupportedElementError, match=r"I has no shells in def2-svp here. Supported: H, He"
    ):
        DEF2_SVP.shells_of(53)
