import numpy as np
import pytest

from nabladft.chemistry.moments import dipole_integrals, dipole_moment
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.rotations import orbital_rotation
from nabladft.errors import InputError, OrbitalCountError, OrbitalOrderError


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_integrals_are_pyscfs_in_every_order(all_elements, pyscf_molecule, order):
    numbers, positions = all_elements

    integrals = dipole_integrals(numbers, positions, orbital_order=order)

    reference = pyscf_molecule(numbers, positions).intor("int1e_r")
    expected = reorder_orbitals(reference, numbers, source="pyscf", target=order)
    np.testing.assert_allclose(integrals, expected, atol=1e-10, rtol=0)


def test_integrals_of_f_and_g_shells_are_pyscfs(large_basis, pyscf_molecule, rng):
    numbers, positions = np.array([8, 22, 1]), rng.normal(scale=2, size=(3, 3))
    basis = large_basis("def2-qzvp", numbers)

    integrals = dipole_integrals(numbers, positions, basis_set=basis, orbital_order="pyscf")

    reference = pyscf_molecule(numbers, positions, "def2-qzvp").intor("int1e_r")
    np.testing.assert_allclose(integrals, reference, atol=1e-9, rtol=0)


def test_a_lone_atom_has_only_transitions_between_neighbouring_degrees():
    integrals = dipole_integrals(np.array([8]), np.zeros((1, 3)))

    l = np.repeat([0, 1, 2], [3, 6, 5])
    assert not integrals[:, np.abs(l[:, None] - l) != 1].any()
    # <s|x|p_x> is the same for each of x, y, z; ascending p is y, z, x.
    assert integrals[0, 0, 5] == pytest.approx(integrals[1, 0, 3])
    assert integrals[0, 0, 5] == pytest.approx(integrals[2, 0, 4])


def test_integrals_are_symmetric_and_move_with_the_origin(all_elements):
    numbers, positions = all_elements
    shift = np.array([1.0, -2.0, 0.5])

    integrals = dipole_integrals(numbers, positions)

    np.testing.assert_array_equal(integrals, integrals.swapaxes(1, 2))
    moved = dipole_integrals(numbers, positions + shift)
    S = overlap_matrix(numbers, positions)
    np.testing.assert_allclose(moved, integrals + shift[:, None, None] * S, atol=1e-12)


def test_integrals_turn_as_vectors_of_operators(all_elements, rotation):
    numbers, positions = all_elements
    D = orbital_rotation(numbers, rotation)

    turned = dipole_integrals(numbers, positions @ rotation.T)

    expected = np.einsum("xy,yij->xij", rotation, D @ dipole_integrals(numbers, positions) @ D.T)
    np.testing.assert_allclose(turned, expected, atol=1e-12)


def test_the_dipole_of_real_densities_is_pyscfs(real_hamiltonian):
    from pyscf.scf import hf

    real = real_hamiltonian

    dipole = dipole_moment(real.density, real.numbers, real.positions, orbital_order=real.order)

    expected = hf.dip_moment(real.mol, real.density_in_pyscf_order, unit="AU", verbose=0)
    np.testing.assert_allclose(dipole, expected, atol=1e-8)


def test_the_dipole_of_an_ion_moves_with_the_origin_and_that_of_a_molecule_does_not(
    real_hamiltonian,
):
    real, shift = real_hamiltonian, np.array([3.0, 0, -1])

    def dipole(density, by):
        return dipole_moment(density, real.numbers, real.positions + by, orbital_order=real.order)

    np.testing.assert_allclose(dipole(real.density, 0), dipole(real.density, shift), atol=1e-8)
    nothing = np.zeros_like(real.density)
    moved = dipole(nothing, shift) - dipole(nothing, 0)
    np.testing.assert_allclose(moved, real.numbers.sum() * shift, atol=1e-9)


def test_matrices_and_positions_that_do_not_fit_are_refused():
    water, positions = np.array([8, 1, 1]), np.eye(3)

    with pytest.raises(OrbitalCountError, match=r"24 orbitals expected"):
        dipole_moment(np.eye(23), water, positions)
    with pytest.raises(InputError, match="density matrix holds 576 values not finite"):
        dipole_moment(np.full((24, 24), np.nan), water, positions)
    with pytest.raises(InputError, match="positions must be finite"):
        dipole_moment(np.eye(24), water, np.full((3, 3), np.inf))
    with pytest.raises(OrbitalOrderError, match="Did you mean 'psi4'"):
        dipole_integrals(water, positions, orbital_order="psi")
