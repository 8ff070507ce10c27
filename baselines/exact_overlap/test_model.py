"""The overlap of the data is reproduced, batch or not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nabladft.chemistry.overlap import overlap_matrix
from nabladft.data.blocks import dense_from_blocks
from nabladft.errors import InputError
from nabladft.models.contract import load_model_folder
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES, batch_of


def build():
    return load_model_folder(Path(__file__).parent, {})


@pytest.mark.parametrize("order", ["ascending", "psi4"])
def test_every_molecule_of_a_batch_has_the_overlap_of_its_geometry(order):
    batch = batch_with_blocks(MOLECULES, "def2-svp", order, dtype=torch.float64)

    values = build()(batch)["overlap"]

    for molecule, matrix in zip(MOLECULES, dense_from_blocks(values, batch.blocks), strict=True):
        expected = overlap_matrix(molecule.atomic_numbers, molecule.positions, orbital_order=order)
        np.testing.assert_allclose(matrix.numpy(), expected, rtol=0, atol=1e-12)


def test_orbitals_are_normalised():
    batch = batch_with_blocks(MOLECULES[:1], "def2-svp", "ascending", dtype=torch.float64)

    (matrix,) = dense_from_blocks(build()(batch)["overlap"], batch.blocks)

    np.testing.assert_allclose(np.diag(matrix.numpy()), 1.0, rtol=0, atol=1e-12)


def test_a_batch_without_blocks_is_refused():
    with pytest.raises(InputError, match="no blocks"):
        build()(batch_of(MOLECULES, dtype=torch.float64))
