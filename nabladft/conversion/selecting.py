"""Which rows of a source are converted: by id, the first ones, none twice.

Ids are compared as single numbers, so that millions are found in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nabladft.conversion.rows import BadRow
from nabladft.errors import InputError
from nabladft.storage.remote import address_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]


def select_rows(
    source: ConformationSource, keys: IntArray | None, limit: int | None
) -> tuple[IntArray, tuple[BadRow, ...]]:
    """Choose the rows to convert, in the order of the source.

    Args:
        source: Where they are.
        keys: Pairs (molecule_id, conformation_id) wanted; None for all.
        limit: Take at most so many.

    Returns:
        Rows, and those rows whose ids another row had before.

    Raises:
        InputError: A pair is not in the source, or nothing is left.
    """
    if keys is not None and address_of(source) is not None:
        # At a server the ids of all rows may be more bytes than the rows wanted.
        return np.unique(source.rows_of(keys))[:limit], ()
    all_keys = np.asarray(source.keys)
    wanted = all_keys[:0] if keys is None else np.asarray(keys, dtype=np.int64).reshape(-1, 2)
    codes, wanted_codes = key_codes(all_keys, wanted)
    order = np.argsort(codes, kind="stable")  # of equal ones the first is first
    is_second = np.zeros(len(codes), dtype=bool)
    is_second[order[1:]] = codes[order[1:]] == codes[order[:-1]]
    chosen = np.arange(len(codes), dtype=np.int64)
    if keys is not None:
        _check_all_there(wanted[~np.isin(wanted_codes, codes)], len(wanted), source.info.name)
        chosen = np.flatnonzero(np.isin(codes, wanted_codes))
    chosen = chosen[:limit]
    bad = tuple(
        BadRow(row, int(all_keys[row, 0]), int(all_keys[row, 1]), "An earlier row has these ids.")
        for row in chosen[is_second[chosen]].tolist()
    )
    rows = chosen[~is_second[chosen]]
    if len(rows) == 0:
        message = f"There is nothing to convert in {source.info.name!r}."
        raise InputError(message)
    return rows, bad


def key_codes(keys: IntArray, wanted: IntArray) -> tuple[IntArray, IntArray]:
    """Give each pair one number, equal for equal pairs: sorting numbers is fast."""
    both = np.concatenate([keys, wanted])
    if len(both) == 0:
        return keys[:, 0], wanted[:, 0]
    low, high = both.min(axis=0), both.max(axis=0)
    spans = [int(top) - int(bottom) + 1 for bottom, top in zip(low, high, strict=True)]
    if spans[0] * spans[1] < 2**63:
        codes = (both[:, 0] - low[0]) * spans[1] + (both[:, 1] - low[1])
    else:
        codes = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return codes[: len(keys)], codes[len(keys) :]


def _check_all_there(absent: IntArray, n_wanted: int, name: str) -> None:
    if len(absent):
        message = (
            f"{len(absent)} of {n_wanted} conformations asked for are not in {name!r}; the first "
            f"is molecule_id {absent[0, 0]}, conformation_id {absent[0, 1]}."
        )
        raise InputError(message)
