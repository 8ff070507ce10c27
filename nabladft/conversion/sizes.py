"""How large rows are, in memory and in a store: where shards are cut, whether the disk will do.

Example:
    >>> boundaries_of(np.array([4.0, 4.0, 9.0, 1.0]), shard_bytes=8, shard_rows=None).tolist()
    [0, 2, 3, 4]
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.conversion.rows import read_rows
from nabladft.errors import FormatError, NablaDFTError
from nabladft.fields import FIELDS
from nabladft.storage.flat import fields_with_orbitals, values_per_record
from nabladft.storage.remote import address_of
from nabladft.storage.shards import build_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.storage.manifest import Manifest
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Rows looked at to estimate sizes.
_SAMPLE: Final = 8

#: Atoms assumed of every row where they cannot be counted: more than almost any published one has.
_LARGE_MOLECULE: Final = 60

#: Rows whose atoms are counted together, at a server.
_COUNTED: Final = 1024


def bytes_per_row(
    source: ConformationSource, rows: IntArray, fields: Sequence[str]
) -> tuple[NDArray[np.float64], list[int]]:
    """Estimate the size of rows in memory from their numbers of atoms.

    Orbitals per atom are taken from a few rows, the most of them, because only atoms are counted
    without reading the labels.

    Returns:
        Bytes of each of ``rows``, shape (n,), and the rows that were looked at.
    """
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64))]
    try:
        n_atoms = _atoms_of_rows(source, rows)
    except FormatError:
        # Some row has no atoms. Which one is found, and told, when its turn comes.
        n_atoms = np.full(len(rows), _LARGE_MOLECULE, dtype=np.int64)
    per_atom = 0.0
    sized = fields_with_orbitals(fields)
    if sized:
        for row in sample.tolist():
            try:
                flat = source.read_flat([row], fields=sized[:1])
            except NablaDFTError:
                continue  # as above
            if flat.atom_offsets[-1]:
                per_atom = max(per_atom, float(flat.orbital_counts[0] / flat.atom_offsets[-1]))
    n_orbitals = np.ceil(per_atom * n_atoms).astype(np.int64)
    n_values = 4 * n_atoms + 8
    for name in fields:
        width = int(np.prod([axis for axis in FIELDS[name].shape if isinstance(axis, int)]))
        n_values += width * values_per_record(name, n_atoms=n_atoms, n_orbitals=n_orbitals)
    return 8.0 * n_values.astype(np.float64), sample.tolist()


def _atoms_of_rows(source: ConformationSource, rows: IntArray) -> IntArray:
    """Count the atoms of rows, shape (n,)."""
    if address_of(source) is None:
        return np.asarray(source.n_atoms)[rows].astype(np.int64)
    # At a server, counting the atoms of all rows would fetch something of every row.
    pieces = [
        np.diff(source.read_flat(rows[start : start + _COUNTED], fields=()).atom_offsets)
        for start in range(0, len(rows), _COUNTED)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *pieces])


def boundaries_of(
    sizes: NDArray[np.float64], *, shard_bytes: int, shard_rows: int | None
) -> IntArray:
    """Cut rows into shards.

    Args:
        sizes: Bytes of each row, shape (n,).
        shard_bytes: A shard holds at most so many, but at least one row.
        shard_rows: Rows of a shard instead, when given.

    Returns:
        Shape (n_shards + 1,).
    """
    n = len(sizes)
    if shard_rows is not None:
        return np.append(np.arange(0, n, shard_rows, dtype=np.int64), n)
    ends = np.cumsum(sizes)
    cuts = [0]
    while cuts[-1] < n:
        before = ends[cuts[-1] - 1] if cuts[-1] else 0.0
        cut = int(np.searchsorted(ends, before + shard_bytes, side="right"))
        cuts.append(max(cut, cuts[-1] + 1))
    return np.array(cuts, dtype=np.int64)


def estimated_bytes(
    source: ConformationSource, sample: Sequence[int], manifest: Manifest, total: float
) -> int:
    """Estimate the size of the store from a shard of a few rows, made in memory.

    Args:
        source: Where the rows are.
        sample: The few rows.
        manifest: Of the store.
        total: Size of all rows in memory.
    """
    flat, texts, _ = read_rows(source, np.array(sample), manifest.stored_names)
    if len(flat) == 0:
        return int(total)
    empty = replace(manifest, shards=())
    content, _ = build_shard("sample.h5", flat, texts, empty)
    in_memory = 32.0 * len(flat.atomic_numbers) + 64.0 * len(flat)
    in_memory += sum(8.0 * values.size for values in flat.values.values())
    # A file has a fixed part (about ten kilobytes), which does not grow with the rows.
    fixed = min(len(content) - 1, 10_000)
    return int(total * (len(content) - fixed) / in_memory) + fixed
