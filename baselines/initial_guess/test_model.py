"""The guesses against integrals and against a converged Hamiltonian."""

from pathlib import Path

import numpy as np
import pytest
import torch

pyscf = pytest.importorskip("pyscf")

from nabladft.chemistry.orbitals import reorder_orbitals  # noqa: E402
from nabladft.data.blocks import dense_from_blocks  # noqa: E402
from nabladft.errors import ConfigError, InputError, UnknownNameError  # noqa: E402
from nabladft.models.contract import load_model_folder, load_model_module  # noqa: E402
from nabladft.testing import check_hamiltonian_model  # noqa: E402
from nabladft.testing.hamiltonian import batch_with_blocks  # noqa: E402
from nabladft.testing.molecules import MOLECULES  # noqa: E402

FOLDER = Path(__file__).parent
WATER = MOLECULES[0]


def build(**options):
    return load_model_folder(FOLDER, options)


def predicted(model, molecule):
    batch = batch_with_blocks([molecule], "def2-svp", "ascending", dtype=torch.float64)
    return dense_from_blocks(model(batch)["hamiltonian"], batch.blocks)[0].numpy()


def water_in_pyscf():
    from pyscf import gto

    atoms = list(zip(WATER.atomic_numbers.tolist(), WATER.positions, strict=True))
    return gto.M(atom=atoms, unit="Bohr", basis="def2-svp", verbose=0)


@pytest.mark.parametrize("method", ["core", "sap"])
def test_guesses_without_grid_keep_the_contract(method):
    # The integrals of a rotated molecule have the round-off of their own primitives.
    tolerances = {torch.float32: 1e-5, torch.float64: 1e-9}

    check_hamiltonian_model(build(method=method), tolerances=tolerances)


def test_core_is_kinetic_energy_plus_attraction():
    mol = water_in_pyscf()

    expected = mol.intor("int1e_kin") + mol.intor("int1e_nuc")

    expected = reorder_orbitals(expected, WATER.atomic_numbers, source="pyscf", target="ascending")
    np.testing.assert_allclose(predicted(build(method="core"), WATER), expected, atol=1e-12)


def test_minao_is_closer_to_the_converged_matrix_of_water_than_the_other_guesses():
    from pyscf import dft

    field = dft.RKS(water_in_pyscf(), xc="hyb_gga_xc_wb97x_d").density_fit()
    field.grids.level = 1
    field.kernel()
    converged = reorder_orbitals(
        field.get_fock(), WATER.atomic_numbers, source="pyscf", target="ascending"
    )

    errors = {
        method: float(np.abs(predicted(build(method=method), WATER) - converged).mean())
        for method in ("minao", "sap", "core")
    }

    assert 3e-3 < errors["minao"] < 3e-2
    assert errors["minao"] < errors["sap"] < errors["core"]


def test_blocks_follow_the_order_of_the_batch():
    model = build(method="core")
    batch = batch_with_blocks([WATER], "def2-svp", "psi4", dtype=torch.float64)

    matrix = dense_from_blocks(model(batch)["hamiltonian"], batch.blocks)[0].numpy()

    expected = reorder_orbitals(
        predicted(model, WATER), WATER.atomic_numbers, source="ascending", target="psi4"
    )
    np.testing.assert_array_equal(matrix, expected)


def test_there_is_nothing_to_train():
    assert not list(build().parameters())


def test_odd_number_of_electrons_is_refused():
    module = load_model_module(FOLDER)

    with pytest.raises(InputError, match="9 electrons cannot be paired"):
        module.guess_hamiltonian(np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, 1.8]]))


def test_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'minao'"):
        build(method="minoa")


def test_grid_level_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="0 to 9, got 12"):
        build(grid_level=12)
