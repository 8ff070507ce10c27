"""The hash that identifies data, whatever file or order they are in.

Each record has a SHA-256 digest of its ids, geometry, stored labels and words. The digests are
added as integers modulo 2^256, so the sum does not depend on the order of the records nor on how
they are spread over shards, and a store extends it without reading what it already holds.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.storage.flat import FlatRecords, Texts

#: Content sums live modulo this.
MODULUS: Final = 1 << 256

_PREFIX: Final = b"nabladft-record-1"


def content_sum(flat: FlatRecords, texts: Texts, fields: Sequence[str]) -> int:
    """Add the digests of some records.

    The digest of a record covers, little-endian: the prefix ``nabladft-record-1``; molecule_id,
    conformation_id and n_atoms as int64; atomic_numbers as int32; positions as float64; for each of
    ``fields`` its name, a zero byte and its values as float64 (packed triangle for a matrix); for
    SMILES and geometry_origin the number of UTF-8 bytes as int64 (-1 for None) and the bytes.

    Args:
        flat: The numbers, as read back from where they are stored.
        texts: The words.
        fields: Labels that count, in the sequence of the vocabulary.

    Returns:
        Sum modulo 2^256.
    """
    atoms = flat.atom_offsets.tolist()
    labels = [
        (
            name.encode() + b"\0",
            flat.value_offsets(name).tolist(),
            np.ascontiguousarray(flat.values[name], dtype="<f8"),
        )
        for name in fields
    ]
    numbers = np.ascontiguousarray(flat.atomic_numbers, dtype="<i4")
    positions = np.ascontiguousarray(flat.positions, dtype="<f8")
    total = 0
    for k in range(len(flat)):
        start, stop = atoms[k], atoms[k + 1]
        digest = hashlib.sha256(_PREFIX)
        digest.update(
            struct.pack(
                "<qqq", int(flat.molecule_id[k]), int(flat.conformation_id[k]), stop - start
            )
        )
        digest.update(numbers[start:stop].data)
        digest.update(positions[start:stop].data)
        for name, offsets, values in labels:
            digest.update(name)
            digest.update(values[offsets[k] : offsets[k + 1]].data)
        for text in (texts.smiles[k], texts.geometry_origin[k]):
            encoded = (text or "").encode()
            digest.update(struct.pack("<q", -1 if text is None else len(encoded)) + encoded)
        total += int.from_bytes(digest.digest(), "big")
    return total % MODULUS


def data_hash(total: int, n_records: int) -> str:
    """Turn a content sum into the hash of a data set, 64 hexadecimal digits."""
    return hashlib.sha256(b"%d records " % n_records + total.to_bytes(32, "big")).hexdigest()
