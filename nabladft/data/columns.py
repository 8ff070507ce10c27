"""Records in memory as flat tensors, out of which batches are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from nabladft.fields import FIELDS
from nabladft.storage.ragged import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    IntArray = NDArray[np.int64]

#: Each follows from the other and the atoms, so a source needs to hold only one of them.
TWIN_ENERGIES: Final = {"formation_energy": "energy", "energy": "formation_energy"}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Records as flat tensors, ready to be cut into items.

    Attributes:
        molecule_id: Shape (n,).
        conformation_id: Shape (n,).
        atom_offsets: Shape (n + 1,).
        atomic_numbers: Shape (n_atoms_total,).
        positions: Shape (n_atoms_total, 3), bohr.
        labels: As in a batch.
        value_offsets: Where the block values of each record begin, shape (n + 1,), or None.
        reference: Block values of a declared approximation, or None.
    """

    molecule_id: Tensor
    conformation_id: Tensor
    atom_offsets: Tensor
    atomic_numbers: Tensor
    positions: Tensor
    labels: dict[str, Tensor]
    value_offsets: Tensor | None
    reference: Tensor | None = None

    def __len__(self) -> int:
        """Number of records."""
        return len(self.molecule_id)

    def chosen(self, rows: IntArray) -> Columns:
        """Copy some records, in the order asked for."""
        atoms = _rows_between(self.atom_offsets, rows)
        values = None if self.value_offsets is None else _rows_between(self.value_offsets, rows)
        labels = {}
        for name, label in self.labels.items():
            if name in TWIN_ENERGIES:
                labels[name] = label[torch.from_numpy(rows)]
            else:
                where = values if values is not None and FIELDS[name].in_orbitals else atoms
                labels[name] = _taken(label, where)
        return Columns(
            molecule_id=self.molecule_id[torch.from_numpy(rows)],
            conformation_id=self.conformation_id[torch.from_numpy(rows)],
            atom_offsets=torch.from_numpy(atoms.offsets),
            atomic_numbers=_taken(self.atomic_numbers, atoms),
            positions=_taken(self.positions, atoms),
            labels=labels,
            value_offsets=None if values is None else torch.from_numpy(values.offsets),
            reference=(
                None if self.reference is None or values is None else _taken(self.reference, values)
            ),
        )


def _rows_between(offsets: Tensor, rows: IntArray) -> Rows:
    starts = offsets.numpy()[rows]
    return Rows(starts, offsets.numpy()[rows + 1] - starts)


def _taken(values: Tensor, rows: Rows) -> Tensor:
    if values.dtype == torch.bfloat16:  # which NumPy does not have
        return _taken(values.view(torch.int16), rows).view(torch.bfloat16)
    return torch.from_numpy(rows.take(values.numpy()))
