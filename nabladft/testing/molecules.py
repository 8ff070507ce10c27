"""Five small molecules on which contracts are checked, as batches of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from nabladft.data.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Molecule:
    """Atoms in space.

    Attributes:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
    """

    atomic_numbers: NDArray[np.int64]
    positions: FloatArray

    def rotated(self, rotation: FloatArray) -> Molecule:
        """Rotate about the origin with a matrix of shape (3, 3)."""
        return Molecule(self.atomic_numbers, self.positions @ rotation.T)

    def shifted(self, vector: FloatArray) -> Molecule:
        """Translate by a vector of shape (3,), bohr."""
        return Molecule(self.atomic_numbers, self.positions + vector)

    def reordered(self, order: NDArray[np.int64]) -> Molecule:
        """List the atoms in another order."""
        return Molecule(self.atomic_numbers[order], self.positions[order])

    def beside(self, other: Molecule) -> Molecule:
        """Take two molecules as one conformation."""
        return Molecule(
            np.concatenate([self.atomic_numbers, other.atomic_numbers]),
            np.concatenate([self.positions, other.positions]),
        )


def _molecule(atoms: str) -> Molecule:
    rows = [line.split() for line in atoms.strip().splitlines()]
    numbers = np.array([int(row[0]) for row in rows])
    return Molecule(numbers, np.array([[float(x) for x in row[1:]] for row in rows]))


#: Water, hydrogen cyanide, methane (distorted), formaldehyde and formamide; bohr.
MOLECULES: Final = tuple(
    _molecule(text)
    for text in (
        """8  0.00  0.00  0.22
           1  0.00  1.45 -0.90
           1  0.10 -1.43 -0.89""",
        """1  0.00  0.00 -3.09
           6  0.02  0.00 -1.05
           7  0.00  0.05  1.13""",
        """6  0.00  0.00  0.00
           1  1.20  1.19  1.22
           1 -1.18 -1.21  1.20
           1 -1.21  1.18 -1.17
           1  1.25 -1.22 -1.15""",
        """6  0.00  0.00 -1.00
           8  0.00  0.03  1.28
           1  0.00  1.77 -2.10
           1  0.08 -1.76 -2.12""",
        """6 -0.32  0.80  0.00
           8 -2.25 -0.43  0.02
           7  2.03 -0.28  0.00
           1 -0.30  2.88 -0.03
           1  3.62  0.74  0.10
           1  2.17 -2.18 -0.08""",
    )
)

#: Without any symmetry, and with an element that has several d shells: nothing of its blocks is
#: zero. Not a molecule that exists.
CHIRAL: Final = _molecule(
    """35  0.00  0.00  0.00
        8  3.30  0.00  0.00
        1  3.60  1.60  0.80
        6 -1.20  3.00 -1.90
       16  1.20  2.50 -4.10"""
)


def batch_of(molecules: Sequence[Molecule], *, dtype: torch.dtype) -> Batch:
    """Put molecules into a batch without labels.

    Args:
        molecules: At least one.
        dtype: Of the positions.
    """
    counts = torch.tensor([len(molecule.atomic_numbers) for molecule in molecules])
    numbers = np.concatenate([molecule.atomic_numbers for molecule in molecules])
    return Batch(
        molecule_id=torch.arange(len(molecules)),
        conformation_id=torch.zeros(len(molecules), dtype=torch.int64),
        atomic_numbers=torch.tensor(numbers, dtype=torch.int64),
        positions=torch.tensor(
            np.concatenate([molecule.positions for molecule in molecules]), dtype=dtype
        ),
        conformation_index=torch.repeat_interleave(torch.arange(len(molecules)), counts),
        atom_offsets=torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0)),
        labels={},
    )
