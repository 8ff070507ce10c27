import numpy as np
import pytest

from nabladft.chemistry.harmonics import solid_harmonics
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.rotations import orbital_rotation, wigner_d_real
from nabladft.errors import InputError, OrbitalOrderError


@pytest.fixture
def other_rotation(rng):
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return matrix


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
@pytest.mark.parametrize("l", range(6))
def test_wigner_matrices_represent_the_group(l, order, rotation, other_rotation):
    first, second = wigner_d_real(l, rotation, order), wigner_d_real(l, other_rotation, order)

    product = wigner_d_real(l, rotation @ other_rotation, order)

    np.testing.assert_allclose(first @ second, product, atol=1e-13)
    np.testing.assert_allclose(first @ first.T, np.eye(2 * l + 1), atol=1e-13)
    np.testing.assert_allclose(wigner_d_real(l, rotation.T, order), first.T, atol=1e-13)
    np.testing.assert_allclose(wigner_d_real(l, np.eye(3), order), np.eye(2 * l + 1), atol=1e-13)


def test_p_orbitals_of_pyscf_turn_as_vectors(rotation):
    np.testing.assert_allclose(wigner_d_real(1, rotation, "pyscf"), rotation, atol=1e-14)


def test_d_orbitals_turn_as_symmetric_traceless_matrices(rotation):
    # x_i x_j turns as R (x xᵀ) Rᵀ; an implementation that knows nothing of harmonics.
    def d_orbitals(x):  # ascending order, without the common factor
        outer = np.outer(x, x) - np.eye(3) * (x @ x) / 3
        return np.array(
            [
                outer[0, 1],
                outer[1, 2],
                outer[2, 2] * np.sqrt(3) / 2,
                outer[0, 2],
                (outer[0, 0] - outer[1, 1]) / 2,
            ]
        )

    x = np.array([0.3, -1.1, 0.7])

    turned = wigner_d_real(2, rotation) @ d_orbitals(x)

    np.testing.assert_allclose(turned, d_orbitals(rotation @ x), atol=1e-13)


@pytest.mark.parametrize("l", range(6))
def test_inversion_gives_the_parity(l):
    np.testing.assert_allclose(
        wigner_d_real(l, -np.eye(3)), (-1) ** l * np.eye(2 * l + 1), atol=1e-13
    )


@pytest.mark.parametrize("l", range(6))
def test_a_turn_about_z_mixes_only_m_and_minus_m(l):
    angle = 0.7
    c, s = np.cos(angle), np.sin(angle)

    D = wigner_d_real(l, [[c, -s, 0], [s, c, 0], [0, 0, 1]])

    expected = np.zeros_like(D)
    for m in range(-l, l + 1):
        expected[l + m, l + m] = np.cos(m * angle)
        if m:
            expected[l + m, l - m] = np.sin(-m * angle)
    np.testing.assert_allclose(D, expected, atol=1e-13)


@pytest.mark.parametrize("l", range(5))
def test_ascending_order_is_e3nns_for_positions_as_y_z_x(l, rotation, rng):
    o3 = pytest.importorskip("e3nn.o3")
    torch = pytest.importorskip("torch")
    cyclic = np.ix_([1, 2, 0], [1, 2, 0])
    vector = rng.normal(size=3)

    harmonics = o3.spherical_harmonics(
        l, torch.tensor(vector[[1, 2, 0]]), normalize=False, normalization="integral"
    )
    D = o3.Irrep(l, (-1) ** l).D_from_matrix(torch.tensor(rotation[cyclic]))

    np.testing.assert_allclose(solid_harmonics(l, vector), harmonics.numpy(), atol=1e-14)
    # e3nn finds D through Euler angles, which costs half of the digits.
    np.testing.assert_allclose(wigner_d_real(l, rotation), D.numpy(), atol=1e-5)


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_overlap_turns_with_the_molecule(all_elements, order, rotation):
    numbers, positions = all_elements
    S = overlap_matrix(numbers, positions, orbital_order=order)
    D = orbital_rotation(numbers, rotation, orbital_order=order)

    turned = overlap_matrix(numbers, positions @ rotation.T, orbital_order=order)

    np.testing.assert_allclose(turned, D @ S @ D.T, atol=1e-13)


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_core_hamiltonian_with_f_and_g_shells_turns(
    order, rotation, pyscf_molecule, large_basis, rng
):
    numbers, positions = np.array([7, 8, 9]), rng.normal(scale=2, size=(3, 3))
    basis = large_basis("def2-qzvp", numbers)

    def core_hamiltonian(x):
        molecule = pyscf_molecule(numbers, x, "def2-qzvp")
        matrix = molecule.intor("int1e_kin") + molecule.intor("int1e_nuc")
        return reorder_orbitals(matrix, numbers, source="pyscf", target=order, basis_set=basis)

    D = orbital_rotation(numbers, rotation, orbital_order=order, basis_set=basis)
    turned = core_hamiltonian(positions @ rotation.T)

    np.testing.assert_allclose(turned, D @ core_hamiltonian(positions) @ D.T, atol=1e-9, rtol=0)


def test_a_real_hamiltonian_turns_with_the_molecule(
    rotation, hypobromous_acid, solved_hypobromous_acid, hartree_fock
):
    numbers, positions = hypobromous_acid
    H = solved_hypobromous_acid.get_fock()
    turned = hartree_fock(numbers, positions @ rotation.T).get_fock()
    for order in ORBITAL_ORDERS:
        before, after = (
            reorder_orbitals(matrix, numbers, source="pyscf", target=order)
            for matrix in (H, turned)
        )

        D = orbital_rotation(numbers, rotation, orbital_order=order)

        np.testing.assert_allclose(after, D @ before @ D.T, atol=1e-8, rtol=0, err_msg=order)


def test_the_wrong_order_does_not_turn(hypobromous_acid, solved_hypobromous_acid, hartree_fock):
    # The check above can fail: with D of another order H is off by more than 0.01 Eh.
    numbers, positions = hypobromous_acid
    rotation = np.array([[0.0, -1, 0], [0.8, 0, 0.6], [-0.6, 0, 0.8]])
    turned = hartree_fock(numbers, positions @ rotation.T).get_fock()
    H = solved_hypobromous_acid.get_fock()

    D = orbital_rotation(numbers, rotation, orbital_order="ascending")

    assert np.abs(turned - D @ H @ D.T).max() > 0.01


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(2), r"shape \(3, 3\), got \(2, 2\)"),
        (np.diag([1.0, 1.0, 1.001]), r"orthogonal, but R R\^T differs from 1 by 2.0e-03"),
        (np.full((3, 3), np.nan), "orthogonal, but"),
    ],
)
def test_a_matrix_that_is_no_rotation_is_refused(matrix, message):
    with pytest.raises(InputError, match=message):
        wigner_d_real(1, matrix)


def test_an_unknown_order_is_refused():
    with pytest.raises(OrbitalOrderError, match="Did you mean 'psi4'"):
        orbital_rotation(np.array([1]), np.eye(3), orbital_order="Psi4")
