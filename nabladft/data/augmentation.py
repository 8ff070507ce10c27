"""Batches seen from other directions: positions, forces and matrices turned together.

A model whose equivariance is not built in has to learn it from molecules in many orientations.
Turning a molecule costs no new label: positions and forces turn with R, and a matrix of orbitals
becomes D M Dᵀ (:mod:`nabladft.chemistry.rotations`), block by block.

Example:
    >>> generator = torch.Generator().manual_seed(0)
    >>> turned = rotate(batch, random_rotations(len(batch), generator))  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.chemistry.rotations import wigner_d_real
from nabladft.errors import InputError
from nabladft.fields import FIELDS

if TYPE_CHECKING:
    from torch import Tensor

    from nabladft.data.batch import Batch
    from nabladft.data.blocks import BlockLayout


def random_rotations(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw rotations, each orientation as likely as any other.

    Args:
        n: How many.
        generator: Of random numbers, on the CPU; None takes that of torch.

    Returns:
        Matrices R of determinant 1, shape (n, 3, 3), float64, on the CPU.
    """
    # A quaternion whose direction is uniform on the sphere in four dimensions.
    quaternions = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def rotate(batch: Batch, rotations: Tensor) -> Batch:
    """Turn each conformation about the origin, with all its labels.

    Args:
        batch: On any device. Labels that are not declared as scalars, as vectors of atoms or as
            matrices of orbitals have no rule and are refused.
        rotations: Orthogonal matrices, shape (n, 3, 3), float64; determinant 1 or -1.

    Returns:
        A batch with new positions, forces and matrices, in the types they had.

    Raises:
        InputError: There is not one rotation for each conformation, a matrix of orbitals shall
            turn with what is not orthogonal, or a label has no rule.
    """
    if rotations.shape != (batch.n_conformations, 3, 3):
        message = (
            f"rotations must have shape (n, 3, 3) = ({batch.n_conformations}, 3, 3), "
            f"got {tuple(rotations.shape)}."
        )
        raise InputError(message)
    of_atom = rotations.to(batch.positions)[batch.conformation_index]
    orbitals: Tensor | None = None
    labels = {}
    for name, label in batch.labels.items():
        field = FIELDS[name]
        if field.in_orbitals and batch.blocks is not None:
            if orbitals is None:
                orbitals = _orbital_rotations(batch, batch.blocks, rotations)
            labels[name] = _turned_blocks(label, batch.blocks, orbitals.to(label.dtype))
        elif field.shape == ("n_atoms", 3):
            labels[name] = _turned_vectors(label, of_atom.to(label.dtype))
        elif field.shape in {(), ("n_atoms",), ("n_orbitals",)}:
            labels[name] = label
        else:
            message = f"A batch with the label {name!r} cannot be rotated: no rule for its shape."
            raise InputError(message)
    reference = batch.reference_hamiltonian
    if reference is not None:
        assert batch.blocks is not None
        if orbitals is None:
            orbitals = _orbital_rotations(batch, batch.blocks, rotations)
        reference = _turned_blocks(reference, batch.blocks, orbitals.to(reference.dtype))
    positions = _turned_vectors(batch.positions, of_atom)
    return replace(batch, positions=positions, labels=labels, reference_hamiltonian=reference)


def _turned_vectors(vectors: Tensor, rotations: Tensor) -> Tensor:
    return (rotations @ vectors[:, :, None])[:, :, 0]


def _turned_blocks(values: Tensor, layout: BlockLayout, rotations: Tensor) -> Tensor:
    """Compute D_row B D_columnᵀ for all blocks at once, padded to the largest atom."""
    width = rotations.shape[-1]
    row, column = layout.value_position
    place = (layout.value_pair * width + row) * width + column
    padded = values.new_zeros(layout.n_pairs * width**2)
    padded = padded.index_copy(0, place, values).view(-1, width, width)
    left, right = rotations[layout.pairs[0]], rotations[layout.pairs[1]]
    return (left @ padded @ right.transpose(1, 2)).flatten().index_select(0, place)


def _orbital_rotations(batch: Batch, layout: BlockLayout, rotations: Tensor) -> Tensor:
    """Give D of each atom, padded with zeros, shape (n_atoms_total, width, width), float64."""
    order = orbital_order_named(layout.orbital_order)
    table, lmax = _places(layout.basis_set)
    exact = rotations.cpu().numpy()
    n = len(exact)
    values = np.concatenate(
        [np.zeros((n, 1))]
        + [wigner_d_real(l, exact, order).reshape(n, -1) for l in range(lmax + 1)],
        axis=1,
    )
    device = batch.positions.device
    counts = basis_set_named(layout.basis_set).orbitals_per_atom(np.array(layout.elements))
    width = int(counts.max())
    places = table[:, :width, :width].to(device)[batch.atomic_numbers]
    start = batch.conformation_index * values.shape[1]
    matrices = torch.from_numpy(values).flatten().to(device)
    return matrices[start[:, None, None] + places]


@lru_cache(maxsize=8)
def _places(basis_set: str) -> tuple[Tensor, int]:
    """Find each element of D of an atom in the list [0, D of l = 0, D of l = 1, ...].

    Returns:
        Shape (largest atomic number + 1, width, width), int64, and the largest degree.
    """
    shells = basis_set_named(basis_set).shells
    lmax = max(max(degrees) for degrees in shells.values())
    starts = np.cumsum([1, *((2 * l + 1) ** 2 for l in range(lmax + 1))])
    width = max(sum(2 * l + 1 for l in degrees) for degrees in shells.values())
    table = np.zeros((max(shells) + 1, width, width), dtype=np.int64)
    for number, degrees in shells.items():
        first = 0
        for l in degrees:
            size = 2 * l + 1
            block = starts[l] + np.arange(size**2).reshape(size, size)
            table[number, first : first + size, first : first + size] = block
            first += size
    return torch.from_numpy(table), lmax
