"""Sources that read flat arrays: what the store and the readers of SQLite files share.

A subclass says how stored labels and words are read; order, derived labels, records and the data
hash follow from that here.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from nabladft.storage.content import MODULUS, content_sum, data_hash
from nabladft.storage.derived import derive, stored_fields_for
from nabladft.storage.flat import FlatRecords, Texts, ordered, unflatten
from nabladft.storage.recomputed import recomputable_fields, recompute
from nabladft.storage.source import ConformationSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nabladft.conformation import Conformation

    IntArray = NDArray[np.int64]

#: Records read at once where everything is read.
_STEP = 256


class FlatSource(ConformationSource):
    """A source whose records are read as flat arrays."""

    @property
    @abstractmethod
    def derived_fields(self) -> tuple[str, ...]:
        """Labels that are not in the file but follow from those that are."""

    @abstractmethod
    def read_stored(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read labels that are in the file.

        Args:
            rows: From 0 to ``len(self) - 1``, in any order, with duplicates.
            fields: Labels in the file.
        """

    @abstractmethod
    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Read SMILES and origin of the geometry, in the order asked for, duplicates included.

        Raises:
            InputError: An index is out of range or not an integer.
        """

    def read(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> list[Conformation]:
        """Read records, in the order asked for, duplicates included.

        Args:
            indices: Rows, 0 to ``len(self) - 1``; negative ones count from the end.
            fields: Labels to read; None reads every label present.

        Raises:
            InputError: An index is out of range or not an integer.
            UnknownNameError: There is no such field.
            MissingFieldError: The source does not hold a field that was asked for.
            StoreError: The file is missing or damaged.
        """
        rows = self.check_rows(indices)
        return unflatten(
            self.read_flat(rows, fields=fields),
            self.read_texts(rows),
            basis_set=self.info.basis_set,
            orbital_order=self.info.orbital_order,
        )

    def read_flat(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> FlatRecords:
        """Read records as flat arrays, in the order asked for, duplicates included.

        Args:
            indices: Rows, 0 to ``len(self) - 1``; negative ones count from the end.
            fields: Labels to read; None reads every label present.

        Raises:
            InputError: An index is out of range or not an integer.
            UnknownNameError: There is no such field.
            MissingFieldError: The source does not hold a field that was asked for.
            StoreError: The file is missing or damaged.
        """
        names = self.check_fields(fields)
        computed = [name for name in names if name in self.recomputable_fields]
        if computed:
            return self._with_recomputed(indices, names, computed)
        stored = stored_fields_for(names, self.derived_fields)
        flat = self.read_stored(self.check_rows(indices), stored)
        return flat if stored == names else flat.with_values(derive(flat, names))

    def check_fields(self, fields: Sequence[str] | None) -> tuple[str, ...]:
        """Give the labels to read, or refuse those that are unknown or cannot be had.

        Raises:
            UnknownNameError: There is no such field.
            MissingFieldError: The source does not hold it, nor can it be computed.
        """
        if fields is None:
            return self.info.fields
        super().check_fields([name for name in fields if name not in self.recomputable_fields])
        return tuple(fields)

    @cached_property
    def recomputable_fields(self) -> tuple[str, ...]:
        """Labels that the source does not list but computes when they are asked for by name."""
        info = self.info
        return recomputable_fields(info.fields, info.basis_set, info.orbital_order)

    def _with_recomputed(
        self, indices: Sequence[int] | IntArray, names: Sequence[str], computed: Sequence[str]
    ) -> FlatRecords:
        flat = self.read_flat(indices, fields=[name for name in names if name not in computed])
        # recomputable_fields are there only where both are said.
        basis_set, order = str(self.info.basis_set), str(self.info.orbital_order)
        flat = recompute(flat, computed, basis_set, order)
        return flat.with_values({name: flat.values[name] for name in names})

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) that identifies the contents, whatever their order; reads everything."""
        stored = ordered([name for name in self.info.fields if name not in self.derived_fields])
        total = 0
        for start in range(0, len(self), _STEP):
            rows = self.check_rows(range(start, min(start + _STEP, len(self))))
            total += content_sum(self.read_stored(rows, stored), self.read_texts(rows), stored)
        return data_hash(total % MODULUS, len(self))
