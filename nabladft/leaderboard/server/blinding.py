"""The public copy of data whose labels stay private: the same ids and geometries, no labels.

Models predict for the copy, so predictions files carry its hash; the server is told that hash in
its configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.errors import InputError
from nabladft.fields import LABEL_FIELDS
from nabladft.splits import TEST_PARTS, write_split
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

_BATCH: Final = 1024


@dataclass(frozen=True, kw_only=True)
class PublicCopy:
    """What was written.

    Attributes:
        store: The store without labels.
        split: The split file, without the hash of the private data: it holds for the copy and for
            the training data alike.
        data_hash: Of the store; for the configuration of the server.
        n_conformations: In the store.
    """

    store: Path
    split: Path
    data_hash: str
    n_conformations: int


def write_public_copy(
    labels: ConformationSource,
    split: Split,
    folder: str | Path,
    *,
    parts: Sequence[str] = TEST_PARTS,
) -> PublicCopy:
    """Write ids and geometries of the parts that are scored, and the split, into a new folder.

    The order of the records is that of their ids, so that it tells nothing of the private store.

    Args:
        labels: The private data.
        split: How they are split.
        folder: New folder; gets ``data`` (a store) and ``split.json``.
        parts: Parts whose conformations are copied.

    Raises:
        InputError: The folder is there already.
        SplitError: The split was not made for these data.
        UnknownNameError: The split has no such part.
    """
    folder = Path(folder)
    if folder.exists():
        message = f"{folder} is there already. Choose a new folder."
        raise InputError(message)
    split.check_belongs_to(labels)
    keys = np.unique(np.concatenate([split.part(part) for part in parts]), axis=0)
    info = labels.info
    store = create_store(
        folder / "data",
        name=info.name,
        level_of_theory={"labels": f"private: {info.method}" if info.method else "private"},
        fields=(),
        basis_set=info.basis_set,
        orbital_order=info.orbital_order,
    )
    append(store, _without_labels(labels, keys))
    write_split(replace(split, data_hash=None), folder / "split.json")
    return PublicCopy(
        store=store,
        split=folder / "split.json",
        data_hash=Store(store).data_hash,
        n_conformations=len(keys),
    )


def _without_labels(labels: ConformationSource, keys: NDArray[np.int64]) -> Iterator[Conformation]:
    rows = labels.rows_of(keys)
    nothing = dict.fromkeys(LABEL_FIELDS)
    for start in range(0, len(rows), _BATCH):
        for record in labels.read(rows[start : start + _BATCH], fields=()):
            yield record.replace(**nothing, basis_set=None, orbital_order=None)
