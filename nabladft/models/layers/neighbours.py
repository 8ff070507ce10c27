"""Neighbour pairs of a batch of molecules, found on the device in one batched operation.

Molecules are small, so all ordered pairs are listed and those beyond the cutoff dropped; no cell
lists, no compiled extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class NeighbourPairs:
    """Ordered pairs of different atoms of the same conformation.

    Attributes:
        receiver: Shape (n_pairs,), int64: the atom that is looked at.
        sender: Shape (n_pairs,), int64: its neighbour.
        vectors: Shape (n_pairs, 3), bohr: from the receiver to the sender.
        distances: Shape (n_pairs,), bohr.
    """

    receiver: Tensor
    sender: Tensor
    vectors: Tensor
    distances: Tensor


def all_pairs(atom_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """List all ordered pairs of different atoms of the same conformation.

    Args:
        atom_offsets: Shape (n + 1,), int64.

    Returns:
        First and second atom of each pair, each of shape (sum of k (k - 1),), int64, sorted by
        first and then by second atom.
    """
    counts = atom_offsets[1:] - atom_offsets[:-1]
    n_atoms = int(atom_offsets[-1])
    partners = torch.repeat_interleave(counts, counts, output_size=n_atoms)
    first_partner = torch.repeat_interleave(atom_offsets[:-1], counts, output_size=n_atoms)
    atoms = torch.arange(n_atoms, device=atom_offsets.device)
    first = torch.repeat_interleave(atoms, partners)
    starts = torch.cumsum(partners, 0) - partners
    second = torch.arange(len(first), device=first.device) - (starts - first_partner)[first]
    different = first != second
    return first[different], second[different]


def neighbour_pairs(positions: Tensor, atom_offsets: Tensor, cutoff: float) -> NeighbourPairs:
    """Find the ordered pairs of atoms nearer to each other than a cutoff.

    Args:
        positions: Shape (n_atoms_total, 3), bohr. Gradients flow into vectors and distances.
        atom_offsets: Shape (n + 1,), int64.
        cutoff: In bohr; ``math.inf`` keeps every pair.

    Returns:
        The pairs, sorted by receiver and then by sender.
    """
    receiver, sender = all_pairs(atom_offsets)
    vectors = positions[sender] - positions[receiver]
    near = (vectors.detach() ** 2).sum(dim=1) < cutoff**2
    receiver, sender, vectors = receiver[near], sender[near], vectors[near]
    return NeighbourPairs(
        receiver=receiver,
        sender=sender,
        vectors=vectors,
        distances=torch.linalg.vector_norm(vectors, dim=1),
    )
