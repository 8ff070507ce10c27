"""Finding rows by (molecule_id, conformation_id), in memory that grows with what is looked for.

Example:
    >>> held = np.array([[7, 0], [7, 1], [9, 0]])
    >>> rows_of_keys([held[:2], held[2:]], np.array([[9, 0], [7, 0], [8, 0]]))
    array([ 2,  0, -1])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


def rows_of_keys(blocks: Iterable[IntArray], wanted: IntArray) -> IntArray:
    """Find the rows of pairs (molecule_id, conformation_id).

    Args:
        blocks: All pairs held, in row order, a few at a time, each of shape (m, 2).
        wanted: Pairs looked for, shape (n, 2), with duplicates.

    Returns:
        Row of each pair, shape (n,); -1 where it is not held.
    """
    molecules, molecule = np.unique(wanted[:, 0], return_inverse=True)
    conformations, conformation = np.unique(wanted[:, 1], return_inverse=True)
    # A pair of ranks is one number, which sorts as the pair does.
    width = max(1, len(conformations))
    codes, back = np.unique(molecule * width + conformation, return_inverse=True)
    found = np.full(len(codes), -1, dtype=np.int64)
    first = 0
    for block in blocks:
        rank, is_known = _rank(molecules, block[:, 0])
        rows = np.flatnonzero(is_known)
        second, is_known = _rank(conformations, block[rows, 1])
        rows = rows[is_known]
        place, is_wanted = _rank(codes, rank[rows] * width + second[is_known])
        found[place[is_wanted]] = first + rows[is_wanted]
        first += len(block)
    return found[back]


def _rank(known: IntArray, values: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
    """Position of each value in a sorted array, and whether it is there."""
    if not len(known):
        return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return place, known[place] == values
