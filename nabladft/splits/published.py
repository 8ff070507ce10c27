"""Splits of published data: the ids of each part, taken from the files or from the summary.

Upstream publishes no lists of ids; a split is what its files hold, or what the column ``SPLITS`` of
the summary says. Taken out once, the ids are a few megabytes, hold for the energy files and for the
Hamiltonian files alike, and can be checked.

Example:
    >>> split_of_files(
    ...     {"train": open_source("train_2k.db"), "test_structures": open_source("structures.db")},
    ...     name="published-tiny",
    ...     dataset="nabla2dft",
    ... )  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nabladft.errors import InputError, UnknownNameError
from nabladft.splits.split import PARTS, Split
from nabladft.storage.formats.summary_table import keys_with_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    _check_parts(sources)
    return Split(
        name=name,
        dataset=dataset,
        data_hash=None,
        parts={part: sources[part].keys for part in PARTS if part in sources},
        recipe={"from": {part: source.info.name for part, source in sources.items()}},
    )


def split_of_tags(
    summary: str | Path, tags: Mapping[str, str], *, name: str, dataset: str
) -> Split:
    """Make a split from the column ``SPLITS`` of the published summary.

    The column holds several tags for the conformations of nested subsets; a conformation belongs to
    a part when it has the part's tag, whatever others it has.

    Args:
        summary: The CSV, plain or packed; it is read once for each part.
        tags: Tag by part; "train" is needed.
        name: Name of the split.
        dataset: Name of the data set that the summary belongs to.

    Returns:
        A split of ids alone: its ``data_hash`` is None.

    Raises:
        UnknownNameError: There is no such part.
        InputError: There is no training part, or no conformation has a tag.
        FormatError: The file is no summary.
        SplitError: The summary lists a conformation twice.
    """
    _check_parts(tags)
    return Split(
        name=name,
        dataset=dataset,
        data_hash=None,
        parts={part: keys_with_tag(summary, tags[part]) for part in PARTS if part in tags},
        recipe={"from": str(Path(summary).name), "tags": dict(tags)},
    )


def _check_parts(parts: Iterable[str]) -> None:
    names = list(parts)
    for part in names:
        if part not in PARTS:
            raise UnknownNameError("part of a split", part, PARTS)
    if "train" not in names:
        message = f"A split needs a part 'train', got {', '.join(names) or 'no part'}."
        raise InputError(message)
