"""Molecular orbitals of many conformations at once, with gradients: electronic structure in torch.

The twin of :mod:`nabladft.chemistry.electronic` for training: the same closed shells and the same
Loewdin orthogonalisation, for a batch and differentiable. Matrices of different sizes are padded
with zeros to the largest (:class:`SquareMatrices`), so that products are one operation for the
batch. They are diagonalised without the padding, in groups of equal size: LAPACK takes a batch one
by one, so that padding would cost time and gain none, and a shift to tell padding from orbitals
would cost digits.

Gradients are those of perturbation theory, not those of an eigensolver, whose derivatives of
eigenvectors divide by the difference of any two energies and are infinite in a molecule with a
threefold axis. The derivative of an orbital energy needs no such difference, that of the density
only those between occupied and empty orbitals. They can be taken once (no second derivatives).

Example:
    >>> H = [torch.tensor([[-1.0, -0.9], [-0.9, -1.0]], dtype=torch.float64)]
    >>> S = [torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)]
    >>> pair = square_matrices(H), square_matrices(S)
    >>> orbitals = molecular_orbitals(*pair, n_electrons=torch.tensor([2]))
    >>> [round(float(x), 4) for x in (orbitals.homo[0], orbitals.lumo[0], orbitals.gap[0])]
    [-1.1875, -0.25, 0.9375]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.autograd.function import once_differentiable

from nabladft.chemistry.electronic import SMALLEST_OVERLAP_EIGENVALUE, n_occupied
from nabladft.data.blocks import dense_from_blocks
from nabladft.errors import InputError, OrbitalCountError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from nabladft.data.batch import Batch
    from nabladft.data.blocks import BlockLayout

#: Closer than this, hartree, an occupied and an empty orbital count as this far apart in the
#: derivative of the density, which has no limit where they meet.
SMALLEST_GAP: Final = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class SquareMatrices:
    """Matrices of the orbitals of several conformations, padded with zeros to the largest.

    Attributes:
        values: Shape (n, width, width).
        n_orbitals: Number of orbitals of each; the rest of its rows and columns is zero.
    """

    values: Tensor
    n_orbitals: tuple[int, ...]

    @cached_property
    def is_orbital(self) -> Tensor:
        """Which rows are not padding, shape (n, width), bool."""
        return _first(self.n_orbitals, self.values)

    def sizes(self) -> Iterator[tuple[int, Tensor]]:
        """Give each number of orbitals with the conformations that have it, shape (n_equal,)."""
        for size in sorted(set(self.n_orbitals)):
            equal = [k for k, n in enumerate(self.n_orbitals) if n == size]
            yield size, torch.tensor(equal, device=self.values.device)


def square_matrices(matrices: Sequence[Tensor]) -> SquareMatrices:
    """Pad matrices to one size. Gradients flow through.

    Args:
        matrices: At least one, each of shape (n_orbitals, n_orbitals).

    Raises:
        OrbitalCountError: There is none, or one is not square.
    """
    shapes = [tuple(matrix.shape) for matrix in matrices]
    if not shapes or any(len(shape) != 2 or shape[0] != shape[1] for shape in shapes):
        message = f"Square matrices expected, one for each conformation, got shapes {shapes}."
        raise OrbitalCountError(message)
    n_orbitals = tuple(shape[0] for shape in shapes)
    width = max(n_orbitals)
    padded = [
        torch.nn.functional.pad(matrix, (0, width - n, 0, width - n))
        for matrix, n in zip(matrices, n_orbitals, strict=True)
    ]
    return SquareMatrices(values=torch.stack(padded), n_orbitals=n_orbitals)


def square_matrices_from_blocks(values: Tensor, layout: BlockLayout) -> SquareMatrices:
    """Build the full matrices of a batch from its blocks. Gradients flow through.

    Args:
        values: Shape (n_values,).
        layout: The layout of ``values``; the result keeps its orbital order.
    """
    return square_matrices(dense_from_blocks(values, layout))


def electrons_of(batch: Batch) -> Tensor:
    """Count the electrons of each conformation as a neutral molecule, shape (n,), int64."""
    zeros = batch.atomic_numbers.new_zeros(batch.n_conformations)
    return zeros.index_add(0, batch.conformation_index, batch.atomic_numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class MolecularOrbitals:
    """Solutions of H C = S C ε.

    Attributes:
        energies: Orbital energies ε in hartree, ascending, zero where ``is_orbital`` is false;
            shape (n, width). They have gradients.
        coefficients: Molecular orbitals as columns, CᵀSC = 1, zero in the padding; shape
            (n, width, width). They have no gradients: signs, and mixtures of orbitals of one
            energy, are arbitrary.
        is_orbital: Which orbitals are not padding, shape (n, width), bool.
        is_occupied: Which hold two electrons, shape (n, width), bool.
        hamiltonian: The matrices they are of.
        overlap: The matrices they are of; None for orthonormal atomic orbitals.
    """

    energies: Tensor
    coefficients: Tensor
    is_orbital: Tensor
    is_occupied: Tensor
    hamiltonian: SquareMatrices
    overlap: SquareMatrices | None

    @cached_property
    def homo(self) -> Tensor:
        """Energy of the highest occupied orbital, hartree, shape (n,).

        Raises:
            InputError: A conformation has no occupied orbital.
        """
        return self._picked(self.is_occupied.sum(1) - 1, "occupied")

    @cached_property
    def lumo(self) -> Tensor:
        """Energy of the lowest empty orbital, hartree, shape (n,).

        Raises:
            InputError: A conformation has no empty orbital.
        """
        return self._picked(self.is_occupied.sum(1), "empty")

    @property
    def gap(self) -> Tensor:
        """Energy between the two, hartree, shape (n,)."""
        return self.lumo - self.homo

    @cached_property
    def density(self) -> Tensor:
        """Density matrices D = 2 C_occ C_occᵀ with gradients, shape (n, width, width).

        Between orbitals closer than :data:`SMALLEST_GAP` the gradient is that of this gap: finite,
        where the density itself jumps.
        """
        result: Tensor = _Density.apply(  # type: ignore[no-untyped-call]
            self.hamiltonian.values,
            None if self.overlap is None else self.overlap.values,
            self.energies.detach(),
            self.coefficients,
            self.is_occupied,
            self.is_orbital & ~self.is_occupied,
        )
        return result

    def _picked(self, index: Tensor, kind: str) -> Tensor:
        counts = self.is_orbital.sum(1)
        lacking = ((index < 0) | (index >= counts)).nonzero()[:, 0].tolist()
        if lacking:
            message = f"Conformations {lacking} of the batch have no {kind} orbital."
            raise InputError(message)
        return self.energies.gather(1, index[:, None])[:, 0]


def molecular_orbitals(
    hamiltonian: SquareMatrices, overlap: SquareMatrices | None, n_electrons: Tensor
) -> MolecularOrbitals:
    """Solve H C = S C ε for a batch by Loewdin's symmetric orthogonalisation.

    Args:
        hamiltonian: Hartree. Only the symmetric part of each counts. Use float64 where energies
            matter: core orbitals lie at -100 hartree, where float32 steps by 8 microhartree.
        overlap: In the same orbital order; None when the orbitals are orthonormal.
        n_electrons: Of each conformation, even, shape (n,).

    Returns:
        The orbitals. Energies and density have gradients with respect to both matrices.

    Raises:
        InputError: A matrix is not finite, an overlap is singular, or a number of electrons is
            odd, negative or more than the orbitals hold.
        OrbitalCountError: The sizes differ.
    """
    _check_pair(hamiltonian, overlap, n_electrons)
    occupied = tuple(
        n_occupied(electrons, n_orbitals=n)
        for electrons, n in zip(n_electrons.tolist(), hamiltonian.n_orbitals, strict=True)
    )
    with torch.no_grad():
        energies, coefficients = _solve(hamiltonian, overlap)
    S = None if overlap is None else overlap.values
    with_gradient = _Energies.apply(hamiltonian.values, S, energies, coefficients)  # type: ignore[no-untyped-call]
    return MolecularOrbitals(
        energies=with_gradient,
        coefficients=coefficients,
        is_orbital=hamiltonian.is_orbital,
        is_occupied=_first(occupied, energies),
        hamiltonian=hamiltonian,
        overlap=overlap,
    )


def _solve(hamiltonian: SquareMatrices, overlap: SquareMatrices | None) -> tuple[Tensor, Tensor]:
    """Give energies (n, width) and coefficients (n, width, width), zero in the padding."""
    coefficients = torch.zeros_like(hamiltonian.values)
    energies = torch.zeros_like(coefficients[:, 0])
    for size, which in hamiltonian.sizes():
        H = _symmetric(hamiltonian.values[which, :size, :size])
        if overlap is None:
            values, vectors = torch.linalg.eigh(H)
        else:
            inverse_root = _inverse_root(overlap.values[which, :size, :size], which)
            values, vectors = torch.linalg.eigh(_symmetric(inverse_root @ H @ inverse_root))
            vectors = inverse_root @ vectors
        energies[which, :size] = values
        coefficients[which, :size, :size] = vectors
    return energies, coefficients


def _inverse_root(S: Tensor, which: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(_symmetric(S))
    smallest = values[:, 0]
    singular = smallest < SMALLEST_OVERLAP_EIGENVALUE
    if singular.any():
        message = (
            f"The overlap matrices of conformations {which[singular].tolist()} of the batch are "
            f"singular: their smallest eigenvalue is {float(smallest.min()):.1e}, at least "
            f"{SMALLEST_OVERLAP_EIGENVALUE:.0e} is expected. They are not the overlaps of these "
            "orbitals, or orbitals are linearly dependent."
        )
        raise InputError(message)
    root: Tensor = (vectors * values[:, None, :] ** -0.5) @ vectors.mT
    return root


class _Energies(torch.autograd.Function):
    """Energies that are known, with the gradient dε_i = c_iᵀ (dH - ε_i dS) c_i.

    Where several orbitals have one energy, the derivative of each depends on the choice of
    orbitals, that of their sum does not.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        H: Tensor,  # noqa: ARG004
        S: Tensor | None,  # noqa: ARG004
        energies: Tensor,
        C: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(energies, C)
        return energies.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        energies, C = ctx.saved_tensors
        of_H = of_S = None
        if ctx.needs_input_grad[0]:
            of_H = (C * gradient[:, None, :]) @ C.mT
        if ctx.needs_input_grad[1]:
            of_S = -(C * (gradient * energies)[:, None, :]) @ C.mT
        return of_H, of_S, None, None


class _Density(torch.autograd.Function):
    """The density of orbitals that are known, with the gradient of first-order perturbation theory.

    An occupied orbital o changes by Σ_v c_v U_vo over the empty ones,
    U_vo = c_vᵀ (dH - ε_o dS) c_o / (ε_o - ε_v), and, to stay normalised, by
    -½ Σ_p c_p c_pᵀ dS c_o over the occupied ones. Mixing of occupied orbitals leaves D as it is.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        H: Tensor,  # noqa: ARG004
        S: Tensor | None,  # noqa: ARG004
        energies: Tensor,
        C: Tensor,
        is_occupied: Tensor,
        is_empty: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(energies, C, is_occupied, is_empty)
        occupied = C * is_occupied[:, None, :]
        return 2.0 * occupied @ occupied.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        energies, C, is_occupied, is_empty = ctx.saved_tensors
        T = C.mT @ _symmetric(gradient) @ C
        differences = (energies[:, None, :] - energies[:, :, None]).clamp(max=-SMALLEST_GAP)
        mixes = is_empty[:, :, None] & is_occupied[:, None, :]
        M = torch.where(mixes, 4.0 * T / differences, 0.0)
        of_H = of_S = None
        if ctx.needs_input_grad[0]:
            of_H = _symmetric(C @ M @ C.mT)
        if ctx.needs_input_grad[1]:
            norms = torch.where(is_occupied[:, :, None] & is_occupied[:, None, :], 2.0 * T, 0.0)
            of_S = -_symmetric(C @ (M * energies[:, None, :] + norms) @ C.mT)
        return of_H, of_S, None, None, None, None


def _symmetric(matrices: Tensor) -> Tensor:
    return 0.5 * (matrices + matrices.mT)


def _first(counts: Sequence[int], like: Tensor) -> Tensor:
    """Mark the first so many of each row, shape (n, width)."""
    index = torch.arange(like.shape[1], device=like.device)
    return index < torch.tensor(counts, device=like.device)[:, None]


def _check_pair(
    hamiltonian: SquareMatrices, overlap: SquareMatrices | None, n_electrons: Tensor
) -> None:
    if overlap is not None and hamiltonian.n_orbitals != overlap.n_orbitals:
        message = (
            "Hamiltonians and overlap matrices of the same orbitals expected, got "
            f"{list(hamiltonian.n_orbitals)} and {list(overlap.n_orbitals)} orbitals."
        )
        raise OrbitalCountError(message)
    if tuple(n_electrons.shape) != (len(hamiltonian.n_orbitals),):
        message = (
            f"A number of electrons for each of {len(hamiltonian.n_orbitals)} conformations "
            f"expected, got shape {tuple(n_electrons.shape)}."
        )
        raise InputError(message)
    for name, matrices in (("Hamiltonians", hamiltonian), ("overlap matrices", overlap)):
        if matrices is None:
            continue
        is_finite = matrices.values.isfinite().flatten(1).all(1)
        if not is_finite.all():
            bad = (~is_finite).nonzero()[:, 0].tolist()
            message = f"The {name} of conformations {bad} of the batch hold values not finite."
            raise InputError(message)
