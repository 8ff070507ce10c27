"""Thermal displacement: normal modes of the force field and the classical distribution."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from nabladft.chemistry.units import (
    BOHR_IN_ANGSTROM,
    BOLTZMANN_IN_HARTREE_PER_KELVIN,
    HARTREE_IN_KCAL_PER_MOL,
)
from nabladft.errors import LabelError
from nabladft.labels.thermal import find_normal_modes


def embedded(smiles):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0
    return mol


def mmff_energy(mol, positions):
    """Energy of positions in bohr, hartree, by a fresh force field."""
    mol = Chem.Mol(mol)
    mol.GetConformer().SetPositions(np.ascontiguousarray(positions * BOHR_IN_ANGSTROM))
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
    return field.CalcEnergy() / HARTREE_IN_KCAL_PER_MOL


@pytest.mark.parametrize(
    ("smiles", "n_modes"),
    [("c1ccsc1", 3 * 9 - 6), ("OCCO", 3 * 10 - 6), ("C#N", 3 * 3 - 5), ("O=C=O", 3 * 3 - 5)],
)
def test_translation_and_rotation_are_left_out(smiles, n_modes):
    modes = find_normal_modes(embedded(smiles))

    assert modes.curvatures.shape == (n_modes,)
    np.testing.assert_allclose(modes.modes.T @ modes.modes, np.eye(n_modes), atol=1e-10)


def test_hessian_is_the_second_derivative_of_the_energy(rng):
    mol = embedded("NCC#N")
    modes = find_normal_modes(mol)
    at_minimum = mmff_energy(mol, modes.positions)
    for _ in range(5):
        step = 1e-3 * rng.standard_normal(modes.positions.shape)
        both = mmff_energy(mol, modes.positions + step) + mmff_energy(mol, modes.positions - step)
        curvature = step.ravel() @ modes.hessian @ step.ravel()

        assert both - 2 * at_minimum == pytest.approx(curvature, rel=1e-4)


def test_stretch_of_a_carbon_hydrogen_bond_has_its_known_frequency():
    # Methane: measured at 2917 (symmetric) and 3019 per centimetre; MMFF94 is fitted to such data.
    modes = find_normal_modes(embedded("C"))
    per_centimetre = 5140.4871 * np.sqrt(modes.curvatures)

    assert 2800 < per_centimetre[-4:].min() < per_centimetre[-4:].max() < 3100


@pytest.mark.parametrize("temperature", [300.0, 600.0])
def test_every_mode_holds_half_k_t_on_average(temperature, rng):
    modes = find_normal_modes(embedded("c1ccsc1"))
    n_draws, half_kt = 4000, BOLTZMANN_IN_HARTREE_PER_KELVIN * temperature / 2
    draws = np.array([modes.draw(temperature, rng).ravel() for _ in range(n_draws)])
    energies = 0.5 * np.einsum("ni,ij,nj->n", draws, modes.hessian, draws)
    n_modes = len(modes.curvatures)
    # The sum of n squares of normals: mean n, variance 2 n, in units of k T / 2.
    error = half_kt * np.sqrt(2 * n_modes / n_draws)

    assert abs(energies.mean() - n_modes * half_kt) < 4 * error

    weighted = draws * np.sqrt(np.repeat(modes.masses, 3))
    per_mode = 0.5 * modes.curvatures * (weighted @ modes.modes) ** 2
    np.testing.assert_allclose(
        per_mode.mean(axis=0), half_kt, atol=5 * half_kt * np.sqrt(2 / n_draws)
    )


def test_displacement_neither_moves_nor_turns_the_molecule(rng):
    modes = find_normal_modes(embedded("OCCO"))
    displacement = modes.draw(300.0, rng)
    centred = modes.positions - modes.masses @ modes.positions / modes.masses.sum()
    turning = np.cross(centred, modes.masses[:, None] * displacement).sum(axis=0)

    np.testing.assert_allclose(modes.masses @ displacement, 0.0, atol=1e-8)
    np.testing.assert_allclose(turning, 0.0, atol=1e-8)


def test_same_generator_same_geometry():
    modes = find_normal_modes(embedded("CC(N)=O"))
    first = modes.displaced(300.0, np.random.default_rng(5))

    np.testing.assert_array_equal(first, modes.displaced(300.0, np.random.default_rng(5)))
    assert np.abs(first - modes.displaced(300.0, np.random.default_rng(6))).max() > 1e-3


def test_bonds_stay_whole(rng):
    modes = find_normal_modes(embedded("OCCO"))
    first, second = modes.bonds.T
    at_minimum = np.linalg.norm(modes.positions[first] - modes.positions[second], axis=1)
    for _ in range(50):
        positions = modes.displaced(900.0, rng)
        lengths = np.linalg.norm(positions[first] - positions[second], axis=1)

        assert (np.abs(lengths / at_minimum - 1) < 0.25).all()


def test_a_temperature_that_breaks_bonds_is_refused(rng):
    modes = find_normal_modes(embedded("OCCO"))

    with pytest.raises(LabelError, match=r"at 100000 K bonds broke .* lower temperature"):
        modes.displaced(1e5, rng)


def test_a_symmetric_start_does_not_end_on_a_saddle_point():
    # A flat ammonia stays flat when it is minimised; its umbrella mode then has negative curvature.
    mol = embedded("N")
    flat = np.array([[0, 0, 0], [1, 0, 0], [-0.5, 3**0.5 / 2, 0], [-0.5, -(3**0.5) / 2, 0]])
    mol.GetConformer().SetPositions(flat)
    modes = find_normal_modes(mol)

    assert modes.curvatures.min() > 0
    assert mmff_energy(mol, modes.positions) < mmff_energy(mol, flat / BOHR_IN_ANGSTROM)
