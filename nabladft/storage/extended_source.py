"""Sources that give the records of another source with more labels.

A subclass says which labels there are and reads them as flat arrays; records, ids and words are
those of the source below.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from nabladft.storage.flat import FlatRecords, Texts, unflatten
from nabladft.storage.source import ConformationSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nabladft.conformation import Conformation

    IntArray = NDArray[np.int64]


class ExtendedSource(ConformationSource):
    """A source on top of another one.

    Attributes:
        base: Decides records and geometries.
    """

    base: ConformationSource

    @abstractmethod
    def read_flat(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> FlatRecords:
        """Read records as flat arrays, with the labels that are added.

        Args:
            indices: Rows of the source below.
            fields: Labels to read; None reads every label present.
        """

    def __len__(self) -> int:
        """Number of conformations of the source below."""
        return len(self.base)

    @property
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id), shape (n, 2)."""
        return self.base.keys

    @property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all records, shape (n,)."""
        return self.base.n_atoms

    def read(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> list[Conformation]:
        """Read records, in the order asked for, duplicates included.

        Args:
            indices: Rows of the source below.
            fields: Labels to read; None reads every label present.

        Raises:
            InputError: As :meth:`read_flat`.
            MissingFieldError: The source does not hold a field that was asked for.
        """
        return unflatten(
            self.read_flat(indices, fields=fields),
            self.read_texts(indices),
            basis_set=self.info.basis_set,
            orbital_order=self.info.orbital_order,
        )

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Give the words of the source below.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        return self.base.read_texts(indices)
