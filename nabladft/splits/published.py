"""Splits of published data: the ids of each part, taken from the files themselves.

Upstream publishes no lists of ids; a split is what its files hold. Taken out once, the ids are a
few megabytes, hold for the energy files and for the Hamiltonian files alike, and can be checked.

Example:
    >>> split_of_files(
    ...     {"train": open_source("train_2k.db"), "test_structures": open_source("structures.db")},
    ...     name="published-tiny",
    ...     dataset="nabla2dft",
    ... )  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nabladft.errors import InputError, UnknownNameError
from nabladft.splits.split import PARTS, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nabladft.storage.source import ConformationSource


def split_of_files(sources: Mapping[str, ConformationSource], *, name: str, dataset: str) -> Split:
    """Make a split of whole files, one for each part.

    Args:
        sources: Data by part; "train" is needed.
        name: Name of the split.
        dataset: Name of the data set that the files belong to.

    Returns:
        A split of ids alone: its ``data_hash`` is None.

    Raises:
        UnknownNameError: There is no such part.
        InputError: There is no training part.
        SplitError: A file holds a conformation twice.
    """
    for part in sources:
        if part not in PARTS:
            raise UnknownNameError("part of a split", part, PARTS)
    if "train" not in sources:
        message = f"A split needs a part 'train', got {', '.join(sources) or 'no part'}."
        raise InputError(message)
    return Split(
        name=name,
        dataset=dataset,
        data_hash=None,
        parts={part: sources[part].keys for part in PARTS if part in sources},
        recipe={"from": {part: source.info.name for part, source in sources.items()}},
    )
