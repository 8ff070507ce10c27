"""The gradient of labels against PySCF's own, and against finite differences of the energy."""

import numpy as np
import pytest

pytest.importorskip("pyscf")

from pyscf.df.grad import rhf as df_rhf_grad
from pyscf.df.grad import rks as df_rks_grad

from nabladft.labels.fitting import AUXILIARY_BASIS, METRIC_CUT, SafeFitting
from nabladft.labels.gradients import FittedGradients
from nabladft.labels.kohn_sham import build_molecule, kohn_sham_field

#: Hydrogen chloride and water, skew: several elements, d functions, no symmetry.
NUMBERS = np.array([17, 1, 8, 1, 1])
POSITIONS = np.array(
    [[0.0, 0.1, 0.2], [2.2, 1.1, 0.3], [5.5, 0.4, 1.0], [6.1, 1.9, 1.9], [6.6, -1.0, 1.1]]
)


class PySCFGradients(df_rks_grad.Gradients):
    """PySCF's fitted gradient with the long-range metric that the field has."""

    def get_jk(self, mol=None, dm=None, hermi=0, with_j=True, with_k=True, omega=None):
        if not omega:
            return df_rhf_grad.get_jk(self, mol, dm, hermi, with_j, with_k)
        with self.base.with_df.range_coulomb(omega):
            return df_rhf_grad.get_jk(
                self, mol, dm, hermi, with_j, with_k, decompose_j2c="ED", lindep=METRIC_CUT
            )


def converged(numbers, positions, *, max_memory=2000):
    mol = build_molecule(numbers, positions, charge=0, max_memory=max_memory)
    fitting = SafeFitting(mol, AUXILIARY_BASIS)
    fitting.max_memory = max_memory
    field = kohn_sham_field(mol, fitting)
    field.kernel()
    assert field.converged
    return field


@pytest.fixture(scope="module")
def field():
    return converged(NUMBERS, POSITIONS)


def test_it_is_the_gradient_of_pyscf(field):
    np.testing.assert_allclose(
        FittedGradients(field).kernel(), PySCFGradients(field).kernel(), atol=2e-8
    )


def test_blocks_of_integrals_do_not_matter(field, monkeypatch):
    whole = FittedGradients(field).kernel()
    monkeypatch.setattr("nabladft.labels.gradients._BLOCK_NUMBERS", 1)

    np.testing.assert_allclose(FittedGradients(field).kernel(), whole, atol=1e-11)


def test_some_atoms_are_those_of_all(field):
    gradient = FittedGradients(field)

    np.testing.assert_array_equal(gradient.grad_elec(atmlst=[3, 0]), gradient.grad_elec()[[3, 0]])


def test_it_is_the_slope_of_the_energy():
    # On the grid that does not respond, the slope along one atom holds to the noise of the grid.
    numbers, positions = np.array([8, 1, 1]), POSITIONS[2:]
    direction = np.zeros((3, 3))
    direction[1] = [0.6, -0.48, 0.64]
    step = 1e-2
    ahead, behind = (
        converged(numbers, positions + sign * step * direction).e_tot for sign in (1, -1)
    )

    slope = np.vdot(FittedGradients(converged(numbers, positions)).kernel(), direction)

    assert slope == pytest.approx((ahead - behind) / (2 * step), abs=3e-4)


def test_the_settings_of_a_molecule_are_given_back(field):
    FittedGradients(field).kernel()

    assert field.mol.omega == 0
    assert field.with_df.auxmol.omega == 0
