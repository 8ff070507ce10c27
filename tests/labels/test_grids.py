from itertools import permutations, product

import numpy as np
import pytest

pytest.importorskip("pyscf")

from pyscf import gto
from pyscf.dft import gen_grid, radi
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nabladft.labels.grids import MoleculeFixedGrids, molecular_frames, treutler_m4

#: Atomic numbers and positions in bohr; one of each kind of symmetry.
MOLECULES = {
    "asymmetric": ([8, 1, 9], [[0.0, 0, 0], [1.8, 0.2, 0], [-0.4, 2.1, 0.3]]),
    "prolate top": ([6, 1, 1, 1, 17], [[0, 0, 0], [1.9, 0, -0.6], [-0.95, 1.6454, -0.6],
                                       [-0.95, -1.6454, -0.6], [0, 0, 3.3]]),
    "oblate top": ([6, 1, 1, 1], [[0, 0, 0], [2.0, 0, 0], [-1, 3**0.5, 0], [-1, -(3**0.5), 0]]),
    "spherical top": ([6, 1, 1, 1, 1], [[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1],
                                        [-1, -1, 1]]),
    "linear": ([6, 7, 1], [[0, 0, 0], [0, 0, 2.2], [0, 0, -2.0]]),
}  # fmt: skip
OCTAHEDRON = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in permutations(range(3))
    for signs in product([1, -1], repeat=3)
]


def arrays(name):
    numbers, positions = MOLECULES[name]
    return np.array(numbers), np.array(positions, dtype=float)


def is_signed_permutation(matrix, tolerance=1e-9):
    return min(np.abs(matrix - element).max() for element in OCTAHEDRON) < tolerance


def grid_of(numbers, positions):
    mol = gto.M(
        atom=list(zip(numbers.tolist(), positions.tolist(), strict=True)),
        unit="Bohr", basis="sto-3g", charge=int(sum(numbers)) % 2, verbose=0,
    )  # fmt: skip
    grid = MoleculeFixedGrids(mol)
    grid.atom_grid = (10, 50)
    return grid.build(sort_grids=False)


@pytest.mark.parametrize("name", [name for name in MOLECULES if name != "linear"])
def test_frame_turns_with_the_molecule(name):
    numbers, positions = arrays(name)
    (frame,) = molecular_frames(numbers, positions)

    for rotation in Rotation.random(20, random_state=1).as_matrix():
        (turned,) = molecular_frames(numbers, positions @ rotation.T + 5.0)
        np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
        # Equal up to what leaves a Lebedev sphere as it is.
        assert is_signed_permutation(turned @ rotation @ frame.T)


def test_frames_of_a_linear_molecule_are_an_eighth_of_a_turn_apart():
    numbers, positions = arrays("linear")
    rotation = Rotation.random(random_state=2).as_matrix()

    first, second = molecular_frames(numbers, positions @ rotation.T)

    turn = second @ first.T
    assert np.abs(first @ rotation @ [0, 0, 1]).max() == pytest.approx(1)
    assert np.trace(turn) == pytest.approx(1 + 2 * np.cos(np.pi / 4))
    assert not is_signed_permutation(turn, tolerance=0.1)


def test_grid_of_a_linear_molecule_is_round_for_products_of_d_orbitals():
    # They vary as cos(m phi) about the axis with m up to 4. A single Lebedev sphere, symmetric
    # under a quarter of a turn only, gives m = 4 a spurious integral.
    numbers, positions = arrays("linear")
    rotation = Rotation.random(random_state=4).as_matrix()
    grid = grid_of(numbers, positions @ rotation.T)
    x, y, z = (grid.coords @ rotation).T

    for m in range(1, 8):
        harmonic = np.exp(-0.4 * (x**2 + y**2 + (z - 1) ** 2)) * (x + 1j * y) ** m
        assert abs(np.sum(grid.weights * harmonic)) < 1e-12 * np.sum(grid.weights * abs(harmonic))


def test_nearly_symmetric_molecules_keep_a_stable_frame():
    numbers, positions = arrays("spherical top")
    positions = positions + 1e-7 * np.random.default_rng(0).normal(size=positions.shape)
    (frame,) = molecular_frames(numbers, positions)
    (nudged,) = molecular_frames(numbers, positions + 1e-10)

    assert is_signed_permutation(nudged @ frame.T, tolerance=1e-5)


@pytest.mark.parametrize("name", [name for name in MOLECULES if name != "linear"])
def test_points_and_weights_turn_with_the_molecule(name):
    numbers, positions = arrays(name)
    rotation = Rotation.random(random_state=3).as_matrix()

    grid, turned_grid = grid_of(numbers, positions), grid_of(numbers, positions @ rotation.T)
    counts = grid.weights != 0
    distance, match = cKDTree(turned_grid.coords).query(grid.coords[counts] @ rotation.T)

    assert distance.max() < 1e-9
    np.testing.assert_allclose(
        turned_grid.weights[match], grid.weights[counts], rtol=1e-7, atol=1e-12
    )


@pytest.mark.parametrize(("exponent", "number"), [(0.3, 1), (1.0, 8), (300.0, 17)])
def test_radial_quadrature_integrates_gaussians(exponent, number):
    radius, weight = treutler_m4(75, number)

    integral = np.sum(weight * radius**2 * np.exp(-exponent * radius**2))

    assert integral == pytest.approx(np.sqrt(np.pi / exponent**3) / 4, rel=1e-7)


def test_radii_are_those_of_the_published_grid():
    # PySCF's map without the element's factor, stretched by the Bragg-Slater radius.
    step = np.pi / 76
    x = np.cos(np.arange(75, 0, -1) * step)
    unit = -((1 + x) ** 0.6) * np.log((1 - x) / 2) / np.log(2)

    radius, _ = treutler_m4(75, 7)

    np.testing.assert_allclose(radius, unit * radi.BRAGG_RADII[7], rtol=1e-13)
    assert (np.diff(radius) > 0).all()


def test_another_calculation_cannot_change_the_grid(monkeypatch):
    before = grid_of(*arrays("asymmetric"))

    switch = radi.ATOM_SPECIFIC_TREUTLER_GRIDS
    monkeypatch.setattr(radi, "ATOM_SPECIFIC_TREUTLER_GRIDS", not switch)
    monkeypatch.setattr(gen_grid.Grids, "radi_method", radi.delley)
    monkeypatch.setattr(gen_grid.Grids, "prune", gen_grid.sg1_prune)
    monkeypatch.setattr(gen_grid.Grids, "radii_adjust", None)
    after = grid_of(*arrays("asymmetric"))

    np.testing.assert_array_equal(after.coords, before.coords)
    np.testing.assert_array_equal(after.weights, before.weights)


def test_the_grid_of_the_labels_is_not_pruned():
    numbers, positions = arrays("asymmetric")
    mol = gto.M(
        atom=list(zip(numbers.tolist(), positions.tolist(), strict=True)),
        unit="Bohr", basis="sto-3g", verbose=0,
    )  # fmt: skip

    assert np.count_nonzero(MoleculeFixedGrids(mol).build().atm_idx >= 0) == 3 * 75 * 302
