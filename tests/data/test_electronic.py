"""Batched orbitals in torch against the numpy ones, and their gradients against differences."""

import numpy as np
import pytest
import torch

from nabladft.chemistry.electronic import (
    density_matrix,
    homo_lumo,
    n_electrons,
    orbital_energies_and_coefficients,
)
from nabladft.data import HamiltonianDataset
from nabladft.data.electronic import (
    electrons_of,
    molecular_orbitals,
    square_matrices,
    square_matrices_from_blocks,
)
from nabladft.errors import InputError, OrbitalCountError

#: Rows of `nano` of different molecules and sizes, two of them of the same size.
ROWS = [0, 1, 40, 90, 150]


@pytest.fixture(scope="module")
def batch():
    data = HamiltonianDataset(
        "nano", rows=ROWS, fields=("hamiltonian", "overlap"), dtype=torch.float64
    )
    return data.collate(data.__getitems__(range(len(ROWS))))


def matrices_of(batch):
    return tuple(
        square_matrices_from_blocks(batch.labels[name], batch.blocks)
        for name in ("hamiltonian", "overlap")
    )


def orbitals_of(batch):
    return molecular_orbitals(*matrices_of(batch), electrons_of(batch))


def alone(matrices, k):
    n = matrices.n_orbitals[k]
    return matrices.values[k, :n, :n]


def symmetric(rng, n):
    matrix = rng.normal(size=(n, n))
    return torch.tensor(matrix + matrix.T)


def overlap_of(rng, n):
    matrix = rng.normal(size=(n, n))
    return torch.tensor(np.eye(n) + 0.05 * matrix @ matrix.T)


def degenerate_pair(rng):
    """H and S whose spectrum is -2, -1 three times, 1 twice and 2: ethane is like this."""
    energies = torch.tensor([-2.0, -1.0, -1.0, -1.0, 1.0, 1.0, 2.0], dtype=torch.float64)
    vectors, _ = torch.linalg.qr(symmetric(rng, 7))
    root = torch.linalg.cholesky(overlap_of(rng, 7))
    H = root @ (vectors * energies) @ vectors.T @ root.T
    return H, root @ root.T


def test_real_molecules_have_the_orbitals_that_numpy_finds(batch):
    H, S = matrices_of(batch)

    orbitals = orbitals_of(batch)

    assert len(set(H.n_orbitals)) == 4
    for k, n in enumerate(H.n_orbitals):
        atoms = slice(*batch.atom_offsets[k : k + 2].tolist())
        electrons = n_electrons(batch.atomic_numbers[atoms].numpy())
        energies, C = orbital_energies_and_coefficients(alone(H, k), alone(S, k))
        np.testing.assert_allclose(orbitals.energies[k, :n], energies, rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            orbitals.density[k, :n, :n], density_matrix(C, electrons), rtol=0, atol=1e-10
        )
        found = float(orbitals.homo[k]), float(orbitals.lumo[k])
        assert found == pytest.approx(homo_lumo(energies, electrons), abs=1e-10)
        assert float(orbitals.gap[k]) == pytest.approx(found[1] - found[0], abs=1e-12)


def test_padding_is_no_orbital(batch):
    orbitals = orbitals_of(batch)

    assert orbitals.is_orbital.sum(1).tolist() == list(orbitals.hamiltonian.n_orbitals)
    assert not orbitals.energies[~orbitals.is_orbital].any()
    assert not orbitals.coefficients[~orbitals.is_orbital].any()
    assert torch.equal(2 * orbitals.is_occupied.sum(1), electrons_of(batch))


def test_a_conformation_has_the_same_orbitals_alone_and_in_a_batch(batch):
    H, S = matrices_of(batch)
    together = orbitals_of(batch)

    for k, n in enumerate(H.n_orbitals):
        pair = (square_matrices([alone(matrices, k)]) for matrices in (H, S))
        single = molecular_orbitals(*pair, electrons_of(batch)[k : k + 1])
        torch.testing.assert_close(single.energies[0], together.energies[k, :n], rtol=0, atol=1e-11)
        torch.testing.assert_close(
            single.density[0], together.density[k, :n, :n], rtol=0, atol=1e-11
        )


def test_the_order_of_the_orbitals_does_not_matter(batch, rng):
    H, S = matrices_of(batch)
    orders = [rng.permutation(n) for n in H.n_orbitals]
    moved = [
        square_matrices([alone(matrices, k)[order][:, order] for k, order in enumerate(orders)])
        for matrices in (H, S)
    ]

    there, here = molecular_orbitals(*moved, electrons_of(batch)), orbitals_of(batch)

    torch.testing.assert_close(there.energies, here.energies, rtol=0, atol=1e-11)
    for k, order in enumerate(orders):
        expected = here.density[k][order][:, order]
        n = len(order)
        torch.testing.assert_close(there.density[k, :n, :n], expected, rtol=0, atol=1e-11)


def test_the_density_holds_the_electrons_and_is_idempotent(batch):
    orbitals = orbitals_of(batch)
    D, S = orbitals.density, orbitals.overlap.values

    electrons = (D * S).sum((1, 2))

    torch.testing.assert_close(electrons, electrons_of(batch).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(D @ S @ D, 2 * D, rtol=0, atol=1e-9)


def test_gradients_are_those_of_finite_differences(rng):
    sizes, electrons = (4, 6, 4), torch.tensor([4, 6, 2])
    H = [symmetric(rng, n).requires_grad_() for n in sizes]
    S = [overlap_of(rng, n).requires_grad_() for n in sizes]
    weights = torch.tensor(rng.normal(size=(3, 6)))

    def outputs(*matrices):
        pair = square_matrices(matrices[:3]), square_matrices(matrices[3:])
        orbitals = molecular_orbitals(*pair, electrons)
        return (orbitals.energies * weights).sum(1), orbitals.gap, orbitals.density

    assert torch.autograd.gradcheck(outputs, (*H, *S))


def test_gradients_of_a_degenerate_molecule_are_right_and_finite(rng):
    # The sum over the occupied orbitals and the density do not depend on how orbitals of one energy
    # are mixed, so they have derivatives where eigenvectors have none.
    H, S = (matrix.requires_grad_() for matrix in degenerate_pair(rng))

    def outputs(H, S):
        pair = square_matrices([H]), square_matrices([S])
        orbitals = molecular_orbitals(*pair, torch.tensor([8]))
        return (orbitals.energies * orbitals.is_occupied).sum(), orbitals.density

    assert torch.autograd.gradcheck(outputs, (H, S))


def test_a_closed_gap_leaves_the_gradient_of_the_density_finite(rng):
    H, S = degenerate_pair(rng)
    H.requires_grad_()

    # Two of three orbitals of one energy are occupied.
    orbitals = molecular_orbitals(square_matrices([H]), square_matrices([S]), torch.tensor([6]))
    orbitals.density.square().sum().backward()

    assert torch.isfinite(H.grad).all()


def test_gradients_of_blocks_are_those_of_full_matrices(batch):
    # One more unit on the value of an off-diagonal block is one more on two elements of H.
    values = batch.labels["hamiltonian"].clone().requires_grad_()
    H = square_matrices_from_blocks(values, batch.blocks)
    orbitals = molecular_orbitals(H, matrices_of(batch)[1], electrons_of(batch))

    orbitals.gap.sum().backward()

    step = 1e-7 * torch.linspace(-1, 1, len(values), dtype=torch.float64)
    ends = []
    for sign in (1, -1):
        moved = square_matrices_from_blocks(values.detach() + sign * step, batch.blocks)
        ends.append(molecular_orbitals(moved, orbitals.overlap, electrons_of(batch)).gap.sum())
    expected = float(ends[0] - ends[1]) / 2
    assert float(values.grad @ step) == pytest.approx(expected, rel=1e-5)


def test_orthonormal_orbitals_need_no_overlap(rng):
    H, identity = symmetric(rng, 5), torch.eye(5, dtype=torch.float64)
    electrons = torch.tensor([4])

    without = molecular_orbitals(square_matrices([H]), None, electrons)
    with_it = molecular_orbitals(square_matrices([H]), square_matrices([identity]), electrons)

    torch.testing.assert_close(without.energies, with_it.energies, rtol=0, atol=1e-12)
    torch.testing.assert_close(without.density, with_it.density, rtol=0, atol=1e-12)


def changed(matrices, k, value):
    values = matrices.values.clone()
    values[k] = value
    return type(matrices)(values=values, n_orbitals=matrices.n_orbitals)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda H, S, n: (changed(H, 2, torch.nan), S, n), InputError, r"Hamiltonians.*\[2\]"),
        (lambda H, S, n: (H, changed(S, 1, torch.inf), n), InputError, r"overlap.*\[1\]"),
        (lambda H, S, n: (H, changed(S, 3, 0.0), n), InputError, r"\[3\].*singular"),
        (lambda H, S, n: (H, S, n + 1), InputError, "even number of electrons"),
        (lambda H, S, n: (H, S, n[:2]), InputError, "each of 5 conformations"),
        (lambda H, S, n: (H, square_matrices(list(S.values)), n), OrbitalCountError, "orbitals"),
    ],
    ids=["nan", "infinite", "singular", "odd", "electrons of others", "sizes of others"],
)
def test_bad_matrices_are_refused_by_their_place_in_the_batch(batch, change, error, message):
    with pytest.raises(error, match=message):
        molecular_orbitals(*change(*matrices_of(batch), electrons_of(batch)))


def test_matrices_that_are_not_square_are_refused():
    with pytest.raises(OrbitalCountError, match=r"\(2, 3\)"):
        square_matrices([torch.zeros(2, 3)])


def test_full_orbitals_have_no_lumo(rng):
    orbitals = molecular_orbitals(square_matrices([symmetric(rng, 3)]), None, torch.tensor([6]))

    with pytest.raises(InputError, match=r"\[0\] of the batch have no empty orbital"):
        _ = orbitals.gap
