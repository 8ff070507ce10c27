import numpy as np
import pytest

pytest.importorskip("pyscf")

from pyscf import dft, gto

from nabladft.labels.grids import MoleculeFixedGrids
from nabladft.labels.integration import CachedIntegrator
from nabladft.labels.kohn_sham import FUNCTIONAL


@pytest.fixture(scope="module")
def molecule():
    mol = gto.M(
        atom="O 0 0 0; H 0 0.2 1.8; F 5 -1 0", unit="Bohr", basis="def2-svp", verbose=0
    )  # far enough that some orbitals miss some blocks
    grid = MoleculeFixedGrids(mol, grid="coarse").build(with_non0tab=True)
    return mol, grid, np.asarray(dft.RKS(mol).get_init_guess(key="minao"))


@pytest.mark.parametrize("max_memory", [1000, 1, 0], ids=["kept", "partly kept", "not kept"])
def test_same_numbers_as_pyscf(molecule, max_memory):
    mol, grid, density = molecule
    electrons, energy, potential = dft.numint.NumInt().nr_rks(mol, grid, FUNCTIONAL, density)
    integrator = CachedIntegrator(max_memory=max_memory)

    for _ in range(2):  # the second time from memory
        ours = integrator.nr_rks(mol, grid, FUNCTIONAL, density)

    assert ours[0] == integrator.integrated_electrons == pytest.approx(electrons, abs=1e-8)
    assert ours[1] == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(ours[2], potential, atol=1e-9)


def test_orbital_values_of_another_grid_are_not_reused(molecule):
    mol, coarse, density = molecule
    other = MoleculeFixedGrids(mol, grid="coarse")
    other.atom_grid = (20, 50)
    other.build()
    integrator = CachedIntegrator(max_memory=1000)
    integrator.nr_rks(mol, coarse, FUNCTIONAL, density)

    energy = integrator.nr_rks(mol, other, FUNCTIONAL, density)[1]

    fresh = CachedIntegrator(max_memory=1000).nr_rks(mol, other, FUNCTIONAL, density)[1]
    assert energy == fresh
