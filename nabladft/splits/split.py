"""A split: ids by part, how they were chosen, and their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.errors import SplitError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

TEST_PARTS: Final = ("test_conformations", "test_structures", "test_scaffolds")
PARTS: Final = ("train", "validation", *TEST_PARTS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Conformations by part.

    Attributes:
        name: Name of the split; the file's stem.
        dataset: Name of the data set it belongs to.
        data_hash: ``data_hash`` of the data it was made for; None for ids alone, which hold for
            every file with these conformations (energies, Hamiltonians, stores made from either).
        parts: Pairs (molecule_id, conformation_id) of each part, shape (n, 2), sorted.
        recipe: How it was made, for the reader.
        sha256: Hash of the ids of all parts; two splits with the same hash are the same split.
    """

    name: str
    dataset: str
    data_hash: str | None
    parts: Mapping[str, IntArray]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort the ids of each part and refuse duplicates."""
        ordered = {}
        for part, keys in self.parts.items():
            pairs = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
            pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
            n_twice = int((np.diff(pairs, axis=0) == 0).all(axis=1).sum())
            if n_twice:
                message = f"Split {self.name!r} lists {n_twice} ids of {part} twice."
                raise SplitError(message)
            pairs.setflags(write=False)
            ordered[part] = pairs
        object.__setattr__(self, "parts", ordered)

    @property
    def sha256(self) -> str:
        """Hash of the ids of all parts, hex."""
        digest = hashlib.sha256()
        for part in sorted(self.parts):
            digest.update(f"{part}\n".encode())
            digest.update(np.ascontiguousarray(self.parts[part], dtype="<i8").tobytes())
        return digest.hexdigest()

    def part(self, name: str) -> IntArray:
        """Give the (molecule_id, conformation_id) pairs of a part, shape (n, 2).

        Raises:
            UnknownNameError: The split has no such part.
        """
        if name not in self.parts:
            raise UnknownNameError("part of the split", name, self.parts)
        return self.parts[name]

    def counts(self) -> dict[str, dict[str, int]]:
        """Count molecules and conformations of each part."""
        return {
            part: {"molecules": len(np.unique(keys[:, 0])), "conformations": len(keys)}
            for part, keys in self.parts.items()
        }

    def check_belongs_to(self, source: ConformationSource) -> None:
        """Refuse data that the split was not made for.

        Raises:
            SplitError: The contents of the data changed, or ids of the split are not in it.
        """
        if self.data_hash is None:
            self._check_ids(source)
            return
        if source.data_hash != self.data_hash:
            message = (
                f"Split {self.name!r} was made for data {self.dataset!r} with hash "
                f"{self.data_hash[:12]}, but {source.info.name!r} has hash "
                f"{source.data_hash[:12]}. Use the data it was made for, or make a split of this "
                "data with `nabladft split make`."
            )
            raise SplitError(message)

    def _check_ids(self, source: ConformationSource) -> None:
        """Refuse data that hold no part whole: a published file holds one part, a store several."""
        present, *parts = pack_keys(source.keys, *self.parts.values())
        shares = {
            part: float(np.isin(keys, present).mean()) if len(keys) else 0.0
            for part, keys in zip(self.parts, parts, strict=True)
        }
        if 1.0 not in shares.values():
            held = ", ".join(f"{part} {share:.1%}" for part, share in shares.items())
            message = (
                f"{source.info.name!r} holds no part of split {self.name!r} whole ({held}). Use "
                f"data of {self.dataset!r}, or make a split of this data."
            )
            raise SplitError(message)


def pack_keys(*tables: IntArray) -> list[IntArray]:
    """Turn (molecule_id, conformation_id) pairs into one integer each.

    Equal pairs have equal integers, in all tables given, and integers sort as pairs do; they mean
    nothing beyond one call.

    Args:
        tables: Each of shape (n, 2).

    Returns:
        For each table an array of shape (n,).
    """
    pairs = [np.asarray(table, dtype=np.int64).reshape(-1, 2) for table in tables]
    filled = [table for table in pairs if len(table)]
    if not filled:
        return [table[:, 0] for table in pairs]
    low = np.min([table.min(axis=0) for table in filled], axis=0)
    high = np.max([table.max(axis=0) for table in filled], axis=0)
    molecules, conformations = (
        int(top) - int(bottom) + 1 for bottom, top in zip(low, high, strict=True)
    )
    if molecules * conformations < 2**63:
        return [(table[:, 0] - low[0]) * conformations + (table[:, 1] - low[1]) for table in pairs]
    # Ids of any size: number the distinct pairs instead.
    _, numbers = np.unique(np.concatenate(pairs), axis=0, return_inverse=True)
    ends = np.cumsum([len(table) for table in pairs])[:-1]
    return [part.astype(np.int64) for part in np.split(numbers.ravel(), ends)]
