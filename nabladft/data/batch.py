"""Many conformations together: flat arrays plus offsets, on one device."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nabladft.data.blocks import BlockLayout, concatenate_layouts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Conformations as flat tensors; one conformation is a batch of one.

    Attributes:
        molecule_id: Shape (n,), int64.
        conformation_id: Shape (n,), int64.
        atomic_numbers: Shape (n_atoms_total,), int64.
        positions: Shape (n_atoms_total, 3), bohr, float32 by default.
        conformation_index: Shape (n_atoms_total,), int64: the conformation of each atom.
        atom_offsets: Shape (n + 1,), int64.
        labels: ``formation_energy`` and ``energy`` (n,) in float64 hartree, ``forces``
            (n_atoms_total, 3) in hartree/bohr, ``hamiltonian`` (n_values,) in hartree in the order
            of ``blocks``; only those that were asked for.
        blocks: The order of Hamiltonian values; None in a batch without them.
        reference_hamiltonian: An approximation for a model to correct, shape (n_values,), hartree,
            in the order of ``blocks``; None unless a dataset was asked for one.
    """

    molecule_id: Tensor
    conformation_id: Tensor
    atomic_numbers: Tensor
    positions: Tensor
    conformation_index: Tensor
    atom_offsets: Tensor
    labels: dict[str, Tensor]
    blocks: BlockLayout | None = None
    reference_hamiltonian: Tensor | None = None

    @property
    def n_conformations(self) -> int:
        """Number of conformations."""
        return int(self.molecule_id.shape[0])

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all conformations together."""
        return int(self.atomic_numbers.shape[0])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch on another device."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which copies to a GPU run in background."""
        return self._map(lambda x: x.pin_memory())

    def with_positions(self, positions: Tensor) -> Batch:
        """Return the batch with other positions, shape (n_atoms_total, 3), bohr."""
        return replace(self, positions=positions)

    def _map(self, function: Callable[[Any], Any]) -> Batch:
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                values[field.name] = {name: function(label) for name, label in value.items()}
            else:
                values[field.name] = None if value is None else function(value)
        return Batch(**values)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Join batches in order; the first decides which labels there are.

    Args:
        batches: At least one, all with the same labels, dtypes and, if any, kind of blocks and
            reference.
    """
    n_atoms = [batch.n_atoms for batch in batches]
    counts = torch.cat([batch.atom_offsets[1:] - batch.atom_offsets[:-1] for batch in batches])
    layouts = [batch.blocks for batch in batches if batch.blocks is not None]
    references = [
        batch.reference_hamiltonian for batch in batches if batch.reference_hamiltonian is not None
    ]
    return Batch(
        molecule_id=torch.cat([batch.molecule_id for batch in batches]),
        conformation_id=torch.cat([batch.conformation_id for batch in batches]),
        atomic_numbers=torch.cat([batch.atomic_numbers for batch in batches]),
        positions=torch.cat([batch.positions for batch in batches]),
        conformation_index=torch.repeat_interleave(
            torch.arange(len(counts), device=counts.device), counts
        ),
        atom_offsets=torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0)),
        labels={
            name: torch.cat([batch.labels[name] for batch in batches]) for name in batches[0].labels
        },
        blocks=concatenate_layouts(layouts, n_atoms) if layouts else None,
        reference_hamiltonian=torch.cat(references) if references else None,
    )
