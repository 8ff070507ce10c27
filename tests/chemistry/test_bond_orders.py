from itertools import pairwise

import numpy as np
import pytest
from scipy.linalg import sqrtm

import nabladft
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.bond_orders import mayer_bond_orders, wiberg_bond_orders
from nabladft.chemistry.charges import loewdin_charges, mulliken_charges
from nabladft.chemistry.electronic import electronic_structure
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.rotations import orbital_rotation
from nabladft.errors import InputError, OrbitalCountError

ORDERS = pytest.mark.parametrize("bond_orders", [mayer_bond_orders, wiberg_bond_orders])


def sums_over_atoms(mol, products):
    """Add the elements of a matrix in PySCF's order that lie between two atoms, one by one."""
    atom_of = [label[0] for label in mol.ao_labels(fmt=None)]
    orders = np.zeros((mol.natm, mol.natm))
    for i, a in enumerate(atom_of):
        for j, b in enumerate(atom_of):
            if a != b:
                orders[a, b] += products[i, j]
    return orders


def diagonal_blocks(matrix, starts):
    return [matrix[a:b, a:b] for a, b in pairwise([*starts, len(matrix)])]


def test_mayers_are_those_of_pyscfs_density_and_overlap(real_hamiltonian):
    real = real_hamiltonian

    orders = mayer_bond_orders(real.density, real.overlap, real.numbers)

    D, S = real.density_in_pyscf_order, real.overlap_in_pyscf_order
    # Half the density of each spin, twice: 2 sum (P_a S)(P_a S) + 2 sum (P_b S)(P_b S).
    alpha = 0.5 * D @ S
    expected = sums_over_atoms(real.mol, 2 * alpha * alpha.T + 2 * alpha * alpha.T)
    np.testing.assert_allclose(orders, expected, atol=1e-8)


def test_wibergs_are_those_of_pyscfs_orthogonal_orbitals(real_hamiltonian):
    orth = pytest.importorskip("pyscf.lo.orth")
    real = real_hamiltonian

    orders = wiberg_bond_orders(real.density, real.overlap, real.numbers)

    inverse = np.linalg.inv(orth.lowdin(real.overlap_in_pyscf_order))
    P = inverse @ real.density_in_pyscf_order @ inverse.T
    np.testing.assert_allclose(orders, sums_over_atoms(real.mol, P**2), atol=1e-8)


@ORDERS
def test_one_pair_of_electrons_between_two_atoms_is_a_single_bond(bond_orders):
    # Szabo and Ostlund's H2: the bonding orbital is (a + b) / sqrt(2 (1 + s)), whatever s is.
    numbers = np.array([1, 1])
    S = overlap_matrix(numbers, [[0, 0, 0], [0, 0, 1.4]])
    bonding = np.zeros(10)
    bonding[[0, 5]] = 1
    D = 2 * np.outer(bonding, bonding) / (bonding @ S @ bonding)

    assert mayer_bond_orders(D, S, numbers)[0, 1] == pytest.approx(1, abs=1e-12)
    assert wiberg_bond_orders(D, S, numbers)[0, 1] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("bond_orders", "charges", "root"),
    [
        (mayer_bond_orders, mulliken_charges, lambda S: (np.eye(len(S)), S)),
        (wiberg_bond_orders, loewdin_charges, lambda S: (sqrtm(S).real, sqrtm(S).real)),
    ],
)
def test_rows_add_up_to_the_valence_of_a_closed_shell(real_hamiltonian, bond_orders, charges, root):
    real = real_hamiltonian

    orders = bond_orders(real.density, real.overlap, real.numbers)

    # D S D = 2 D: of its electrons, an atom shares what it does not pair up within itself.
    left, right = root(real.overlap)
    P = left @ real.density @ right
    electrons = real.numbers - charges(real.density, real.overlap, real.numbers)
    starts = DEF2_SVP.first_orbitals(real.numbers)
    within = [(block * block.T).sum() for block in diagonal_blocks(P, starts)]
    np.testing.assert_array_equal(orders, orders.T)
    assert not np.diag(orders).any()
    np.testing.assert_allclose(orders.sum(axis=1), 2 * electrons - within, atol=1e-8)


def test_bonds_of_cyclopropyl_cyanide_are_what_its_formula_says():
    record = nabladft.open("nano")[159]  # N#CC1CC1
    result = electronic_structure(
        record.hamiltonian,
        None,
        record.atomic_numbers,
        record.positions,
        orbital_order=record.orbital_order,
    )

    orders = result.mayer_bond_orders
    bonds = {(0, 1): 3, (1, 2): 1, (2, 3): 1, (2, 4): 1, (3, 4): 1, (0, 2): 0, (1, 3): 0}
    for (a, b), expected in bonds.items():
        assert orders[a, b] == pytest.approx(expected, abs=0.1)
    hydrogens = orders[record.atomic_numbers == 1]
    np.testing.assert_allclose(hydrogens.max(axis=1), 1, atol=0.1)


@ORDERS
def test_turning_the_molecule_changes_nothing(real_hamiltonian, bond_orders, rotation):
    real = real_hamiltonian
    R = orbital_rotation(real.numbers, rotation, orbital_order=real.order)

    turned = bond_orders(R @ real.density @ R.T, R @ real.overlap @ R.T, real.numbers)

    expected = bond_orders(real.density, real.overlap, real.numbers)
    np.testing.assert_allclose(turned, expected, atol=1e-10)


@ORDERS
def test_matrices_that_do_not_fit_are_refused(bond_orders):
    with pytest.raises(OrbitalCountError, match="24 orbitals expected"):
        bond_orders(np.eye(3), np.eye(3), np.array([8, 1, 1]))
    with pytest.raises(InputError, match="overlap matrix holds 25 values not finite"):
        bond_orders(np.eye(5), np.full((5, 5), np.inf), np.array([1]))


def test_wibergs_need_independent_orbitals_unless_they_may_be_dropped():
    D, S = np.zeros((10, 10)), np.ones((10, 10))

    with pytest.raises(InputError, match="singular"):
        wiberg_bond_orders(D, S, np.array([1, 1]))
    assert not wiberg_bond_orders(D, S, np.array([1, 1]), dependent="drop").any()
