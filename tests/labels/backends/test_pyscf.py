import copy

import numpy as np
import pytest

pytest.importorskip("pyscf")

from pyscf.dft import radi
from scipy.spatial.transform import Rotation

from nabladft.chemistry.electronic import density_matrix, orbital_energies_and_coefficients
from nabladft.chemistry.rotations import orbital_rotation
from nabladft.errors import ConvergenceError, LabelError
from nabladft.labels import kohn_sham
from nabladft.labels.backend import load_backend
from nabladft.labels.backends import pyscf as backend_module
from nabladft.labels.kohn_sham import build_molecule

HYDROGEN = np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.3]])
WATER = np.array([8, 1, 1]), np.array([[0, 0, 0.2], [0, 1.5, -0.9], [0.1, -1.4, -0.9]])
#: One of each symmetry class: what decides how the grid is turned (bohr).
SYMMETRIC = {
    "spherical top, CH4": ([6, 1, 1, 1, 1], 1.19 * np.array(
        [[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])),
    "symmetric top, NH3": ([7, 1, 1, 1], [[0, 0, 0.2], [1.77, 0, -0.5], [-0.885, 1.5329, -0.5],
                                          [-0.885, -1.5329, -0.5]]),
    "linear, CO2": ([8, 6, 8], [[0, 0, -2.2], [0, 0, 0], [0, 0, 2.2]]),
    "linear, HCN": ([1, 6, 7], [[0, 0, -2.0], [0, 0, 0], [0, 0, 2.2]]),
    "planar, S and Cl": ([16, 17, 17], [[0, 0, 0], [3.0, 2.4, 0], [-3.0, 2.4, 0]]),
    "with Br": ([35, 1], [[0, 0, 0], [0, 0, 2.7]]),
}  # fmt: skip


@pytest.fixture(scope="module")
def backend():
    return load_backend("pyscf")


@pytest.fixture(scope="module")
def water(backend):
    return backend.label(*WATER)


def rotated_error(backend, numbers, positions, result, seed=3):
    """Largest deviation of the rotated molecule's H, forces and energy from the rotated ones."""
    rotation = Rotation.random(random_state=seed).as_matrix()
    turned = backend.label(numbers, positions @ rotation.T + 1.0)
    by = orbital_rotation(numbers, rotation, orbital_order="pyscf")
    return (
        np.abs(by @ result.hamiltonian @ by.T - turned.hamiltonian).max(),
        np.abs(result.forces @ rotation.T - turned.forces).max(),
        abs(result.energy - turned.energy),
    )


def test_parts_of_the_energy_add_up(water):
    parts = ("nuclear_repulsion", "one_electron", "two_electron", "xc", "dispersion")

    assert sum(water.extras[f"{part}_energy"] for part in parts) == pytest.approx(
        water.energy, abs=1e-9
    )


def test_extras_have_the_promised_shapes_and_add_up(water):
    extras = water.extras

    assert water.orbital_order == "pyscf"
    assert water.hamiltonian.shape == (24, 24)
    assert extras["orbital_energies"].shape == (24,)
    assert extras["dipole"].shape == (3,)
    for charges in (extras["mulliken_charges"], extras["loewdin_charges"]):
        assert charges.sum() == pytest.approx(0, abs=1e-8)
        assert charges[0] < 0 < charges[1]
    assert extras["integrated_electrons"] == pytest.approx(10, abs=1e-4)


def test_the_hamiltonian_alone_gives_back_the_density(water):
    numbers, positions = WATER
    mol = build_molecule(numbers, positions, charge=0, max_memory=1000)
    energies, coefficients = orbital_energies_and_coefficients(
        water.hamiltonian, mol.intor("int1e_ovlp")
    )
    density = density_matrix(coefficients, 10)

    dipole = numbers @ positions - np.einsum("xij,ij->x", mol.intor("int1e_r"), density)

    np.testing.assert_allclose(energies, water.extras["orbital_energies"], atol=1e-9)
    np.testing.assert_allclose(dipole, water.extras["dipole"], atol=2e-6)
    assert np.vdot(density, mol.intor("int1e_kin") + mol.intor("int1e_nuc")) == pytest.approx(
        water.extras["one_electron_energy"], abs=1e-5
    )


def test_rotating_water_rotates_its_hamiltonian_and_forces(backend, water):
    hamiltonian, forces, energy = rotated_error(backend, *WATER, water)

    assert hamiltonian < 1e-7
    assert forces < 1e-7
    assert energy < 1e-9


def test_permuting_atoms_permutes_the_labels(backend, water):
    order = np.array([2, 0, 1])

    permuted = backend.label(WATER[0][order], WATER[1][order])

    assert permuted.energy == pytest.approx(water.energy, abs=1e-9)
    np.testing.assert_allclose(permuted.forces, water.forces[order], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYMMETRIC)
def test_rotating_a_symmetric_molecule_rotates_its_hamiltonian(backend, name):
    numbers, positions = (np.array(values) for values in SYMMETRIC[name])

    hamiltonian, forces, energy = rotated_error(
        backend, numbers, positions, backend.label(numbers, positions)
    )

    assert hamiltonian < 1e-7
    assert forces < 1e-6
    assert energy < 1e-9


def test_verification_compares_forces_with_the_energy():
    result = load_backend("pyscf", verify=True).label(*HYDROGEN)

    assert abs(result.extras["slope_difference"]) < 1e-3


def test_unusual_forces_are_verified_unasked(backend):
    squeezed = HYDROGEN[1] * 0.7

    assert "slope_difference" in backend.label(HYDROGEN[0], squeezed).extras
    assert "slope_difference" not in backend.label(*HYDROGEN).extras


def test_a_field_that_does_not_converge_is_no_label(backend, monkeypatch):
    monkeypatch.setattr(kohn_sham, "MAX_CYCLES", 2)

    with pytest.raises(ConvergenceError, match="No self-consistent field for H2O within 4 iter"):
        backend.label(*WATER)


def test_input_is_checked_before_anything_is_computed(backend, monkeypatch):
    monkeypatch.setattr(backend_module, "build_molecule", pytest.fail)

    with pytest.raises(LabelError, match="electrons"):
        backend.label(np.array([8, 1]), HYDROGEN[1])


def test_pyscfs_switches_neither_matter_nor_move(backend, monkeypatch):
    before = backend.label(*HYDROGEN)
    monkeypatch.setattr(radi, "ATOM_SPECIFIC_TREUTLER_GRIDS", not radi.ATOM_SPECIFIC_TREUTLER_GRIDS)
    flags = copy.copy({name: value for name, value in vars(radi).items() if name.isupper()})

    after = backend.label(*HYDROGEN)

    assert after.energy == before.energy
    np.testing.assert_array_equal(after.hamiltonian, before.hamiltonian)
    assert all(np.array_equal(value, vars(radi)[name]) for name, value in flags.items())


def test_coarse_first_iterations_change_nothing(water):
    coarse_first = load_backend("pyscf", coarse_from=1).label(*WATER)

    assert coarse_first.energy == pytest.approx(water.energy, abs=1e-9)
    np.testing.assert_allclose(coarse_first.hamiltonian, water.hamiltonian, atol=2e-6)
