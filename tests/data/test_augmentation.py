import dataclasses

import numpy as np
import pytest
import torch

from nabladft.chemistry.orbitals import ORBITAL_ORDERS
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.rotations import orbital_rotation
from nabladft.data import HamiltonianDataset
from nabladft.data.augmentation import random_rotations, rotate
from nabladft.data.blocks import dense_from_blocks, symmetrise_diagonal
from nabladft.errors import InputError
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES, Molecule

HEAVY = Molecule(np.array([35, 6, 17]), np.array([[0.0, 0.1, 0], [3.6, 0, 0], [5.2, 2.9, 0.4]]))


def labelled(molecules=(*MOLECULES, HEAVY), *, order="ascending", dtype=torch.float64):
    """Molecules with random labels of each kind."""
    torch.manual_seed(3)
    one = batch_with_blocks(molecules, "def2-svp", order, dtype=dtype)
    values = torch.randn(2, one.blocks.n_values, dtype=dtype)
    labels = {
        "hamiltonian": symmetrise_diagonal(values[0], one.blocks),
        "overlap": symmetrise_diagonal(values[1], one.blocks),
        "forces": torch.randn(one.n_atoms, 3, dtype=dtype),
        "formation_energy": torch.randn(one.n_conformations, dtype=torch.float64),
    }
    return dataclasses.replace(one, labels=labels)


def rotations_for(batch, seed=0):
    return random_rotations(batch.n_conformations, torch.Generator().manual_seed(seed))


def test_rotations_are_proper_and_have_no_preferred_direction():
    rotations = random_rotations(20_000, torch.Generator().manual_seed(1))

    product = rotations @ rotations.transpose(1, 2)
    torch.testing.assert_close(product, torch.eye(3).double().expand_as(product))
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(20_000).double())
    # Of a uniform distribution the elements have mean 0 and mean square 1/3.
    assert rotations.mean(0).abs().max() < 0.02
    assert ((rotations**2).mean(0) - 1 / 3).abs().max() < 0.02


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["rotation", "reflection"])
def test_matrices_turn_as_the_full_matrix_of_each_molecule(order, sign):
    molecules = [*MOLECULES, HEAVY]
    batch = labelled(molecules, order=order)
    rotations = sign * rotations_for(batch)

    turned = rotate(batch, rotations)

    for name in ("hamiltonian", "overlap"):
        before = dense_from_blocks(batch.labels[name], batch.blocks)
        after = dense_from_blocks(turned.labels[name], batch.blocks)
        for k, molecule in enumerate(molecules):
            D = orbital_rotation(molecule.atomic_numbers, rotations[k].numpy(), orbital_order=order)
            np.testing.assert_allclose(after[k], D @ before[k].numpy() @ D.T, atol=1e-13)


def test_the_overlap_of_turned_positions_is_the_turned_overlap():
    batch = labelled([HEAVY])
    exact = overlap_matrix(HEAVY.atomic_numbers, HEAVY.positions)
    row, column = batch.blocks.value_position
    first = torch.tensor([0, 32, 46])
    atoms = batch.blocks.pairs[:, batch.blocks.value_pair]
    values = torch.from_numpy(exact)[first[atoms[0]] + row, first[atoms[1]] + column]
    batch = dataclasses.replace(batch, labels={"overlap": values})

    turned = rotate(batch, rotations_for(batch))

    (found,) = dense_from_blocks(turned.labels["overlap"], batch.blocks)
    expected = overlap_matrix(HEAVY.atomic_numbers, turned.positions.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_vectors_turn_and_scalars_stay():
    batch = labelled()
    rotations = rotations_for(batch)

    turned = rotate(batch, rotations)

    R = rotations[batch.conformation_index].numpy()
    for before, after in (
        (batch.positions, turned.positions),
        (batch.labels["forces"], turned.labels["forces"]),
    ):
        np.testing.assert_allclose(after, np.einsum("nij,nj->ni", R, before), atol=1e-13)
    assert turned.labels["formation_energy"] is batch.labels["formation_energy"]
    assert turned.blocks is batch.blocks


def test_turning_back_gives_the_batch():
    batch = labelled()
    rotations = rotations_for(batch)

    back = rotate(rotate(batch, rotations), rotations.transpose(1, 2))

    torch.testing.assert_close(back.positions, batch.positions, atol=1e-13, rtol=0)
    for name, label in batch.labels.items():
        torch.testing.assert_close(back.labels[name], label, atol=1e-13, rtol=0)


def test_orbital_energies_of_a_real_hamiltonian_stay(labelled_source):
    data = HamiltonianDataset(labelled_source, fields=("hamiltonian", "forces"))
    batch = data.collate([data[0], data[3]])

    turned = rotate(batch, rotations_for(batch))

    for before, after in zip(
        dense_from_blocks(batch.labels["hamiltonian"], batch.blocks),
        dense_from_blocks(turned.labels["hamiltonian"], batch.blocks),
        strict=True,
    ):
        assert (before - after).abs().max() > 0.01
        torch.testing.assert_close(
            torch.linalg.eigvalsh(after), torch.linalg.eigvalsh(before), atol=2e-5, rtol=0
        )


def test_types_are_kept():
    batch = labelled(dtype=torch.float32)

    turned = rotate(batch, rotations_for(batch))

    assert turned.positions.dtype == torch.float32
    assert {n: x.dtype for n, x in turned.labels.items()} == {
        n: x.dtype for n, x in batch.labels.items()
    }


def test_a_batch_without_labels_turns():
    batch = dataclasses.replace(labelled(), labels={}, blocks=None)

    assert rotate(batch, rotations_for(batch)).labels == {}


def test_too_few_rotations_are_refused():
    with pytest.raises(InputError, match=r"\(6, 3, 3\), got \(1, 3, 3\)"):
        rotate(labelled(), random_rotations(1))


def test_what_is_no_rotation_is_refused():
    batch = labelled([HEAVY])

    with pytest.raises(InputError, match="must be orthogonal"):
        rotate(batch, 2.0 * rotations_for(batch))


def test_a_label_without_a_rule_is_refused():
    batch = labelled([HEAVY])
    dipole = dataclasses.replace(batch, labels={"dipole": torch.zeros(1, 3)})

    with pytest.raises(InputError, match="'dipole' cannot be rotated"):
        rotate(dipole, rotations_for(batch))
