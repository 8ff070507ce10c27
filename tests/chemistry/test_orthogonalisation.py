import numpy as np
import pytest
from scipy.linalg import sqrtm

from nabladft.chemistry.molecular_orbitals import density_matrix, electrons_in, molecular_orbitals
from nabladft.chemistry.orthogonalisation import overlap_roots
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import InputError, UnknownNameError


@pytest.fixture
def overlap(all_elements):
    return overlap_matrix(*all_elements)


@pytest.fixture
def repeated(rng):
    """A Hamiltonian in three orbitals, and the same with the last of them listed twice."""
    S = np.array([[1, 0.2, 0.1], [0.2, 1, 0.3], [0.1, 0.3, 1]])
    H = rng.normal(size=(3, 3))
    H = H + H.T
    again = [0, 1, 2, 2]
    return (H, S), (H[np.ix_(again, again)], S[np.ix_(again, again)])


@pytest.mark.parametrize("dependent", ["refuse", "drop"])
def test_the_root_is_scipys_and_the_combinations_are_orthonormal(overlap, dependent):
    roots = overlap_roots(overlap, dependent=dependent)

    np.testing.assert_allclose(roots.root, sqrtm(overlap).real, atol=1e-10)
    X = roots.orthonormal
    np.testing.assert_allclose(X.T @ overlap @ X, np.eye(len(X)), atol=1e-10)
    assert roots.n_dropped == 0
    assert roots.smallest_eigenvalue == pytest.approx(np.linalg.eigvalsh(overlap)[0])


def test_loewdins_orthogonal_orbitals_are_the_inverse_root(overlap):
    roots = overlap_roots(overlap)

    np.testing.assert_allclose(roots.orthonormal @ roots.root, np.eye(len(overlap)), atol=1e-10)


def test_an_orbital_listed_twice_is_dropped_and_counted_and_changes_nothing(repeated):
    (H, S), (H_twice, S_twice) = repeated

    plain = molecular_orbitals(H, S)
    dropped = molecular_orbitals(H_twice, S_twice, dependent="drop")

    assert (plain.n_dropped, dropped.n_dropped) == (0, 1)
    assert abs(dropped.smallest_overlap_eigenvalue) < 1e-14
    assert dropped.coefficients.shape == (4, 3)
    np.testing.assert_allclose(dropped.energies, plain.energies, atol=1e-12)
    D = density_matrix(dropped.coefficients, 4)
    assert electrons_in(D, S_twice) == pytest.approx(4, abs=1e-12)


def test_an_orbital_listed_twice_is_refused_unless_it_may_be_dropped(repeated):
    _, (H, S) = repeated

    with pytest.raises(InputError, match=r"1 of 4 eigenvalues .* dependent=\"drop\" leaves"):
        molecular_orbitals(H, S)


def test_pyscf_drops_the_same_combinations(pyscf_molecule):
    addons = pytest.importorskip("pyscf.scf.addons")
    # Two atoms on top of each other: the orbitals of one are nearly those of the other.
    mol = pyscf_molecule([2, 2], np.array([[0, 0, 0], [0, 0, 1e-4]]))
    H, S = mol.intor("int1e_kin") + mol.intor("int1e_nuc"), mol.intor("int1e_ovlp")

    ours = molecular_orbitals(H, S, dependent="drop")

    X = addons.canonical_orth_(S, 1e-6)
    assert ours.n_dropped == len(S) - X.shape[1] == 5
    np.testing.assert_allclose(ours.energies, np.linalg.eigvalsh(X.T @ H @ X), atol=1e-8)


def test_matrices_that_are_no_overlap_are_refused_even_if_orbitals_may_be_dropped():
    with pytest.raises(InputError, match=r"not an overlap.*-1\.0e\+00 to 1\.0e\+00"):
        overlap_roots(np.array([[0.0, 1.0], [1.0, 0.0]]), dependent="drop")
    with pytest.raises(InputError, match="not an overlap"):
        overlap_roots(np.zeros((2, 2)), dependent="drop")


def test_unknown_treatment_is_refused(overlap):
    with pytest.raises(UnknownNameError, match="Did you mean 'drop'"):
        overlap_roots(overlap, dependent="dropp")
