import hashlib
import struct

import numpy as np
import pytest

from nabladft.chemistry.packing import pack_lower
from nabladft.storage.content import content_sum, data_hash
from nabladft.storage.flat import Texts, flatten

FIELDS = ("energy", "forces", "hamiltonian")


def hash_of(records):
    texts = Texts(
        smiles=[record.smiles for record in records],
        geometry_origin=[record.geometry_origin for record in records],
    )
    return data_hash(content_sum(flatten(records, FIELDS), texts, FIELDS), len(records))


def digest_by_the_letter(record):
    """The digest as docs/store-format.md describes it, without the code under test."""
    parts = [
        b"nabladft-record-1",
        struct.pack("<qqq", record.molecule_id, record.conformation_id, record.n_atoms),
        record.atomic_numbers.astype("<i4").tobytes(),
        record.positions.astype("<f8").tobytes(),
        b"energy\0" + struct.pack("<d", record.energy),
        b"forces\0" + record.forces.astype("<f8").tobytes(),
        b"hamiltonian\0" + pack_lower(record.hamiltonian).astype("<f8").tobytes(),
    ]
    for text in (record.smiles, record.geometry_origin):
        if text is None:
            parts.append(struct.pack("<q", -1))
        else:
            parts.append(struct.pack("<q", len(text.encode())) + text.encode())
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest(), "big")


def test_hash_is_what_the_format_page_says(records):
    total = sum(digest_by_the_letter(record) for record in records) % 2**256
    expected = hashlib.sha256(b"12 records " + total.to_bytes(32, "big")).hexdigest()

    assert hash_of(records) == expected


def test_hash_does_not_depend_on_the_order(records):
    assert hash_of(records[::-1]) == hash_of(records)


@pytest.mark.parametrize(
    "change",
    [
        {"molecule_id": 99},
        {"conformation_id": 99},
        {"energy": -1.0},
        {"smiles": None},
        {"smiles": ""},
        {"geometry_origin": "input"},
        {"atomic_numbers": np.array([8, 1, 2])},
    ],
    ids=str,
)
def test_hash_sees_every_part_of_a_record(record, change):
    water = record(3, 0)

    assert hash_of([water.replace(**change)]) != hash_of([water])


@pytest.mark.parametrize("name", ["positions", "forces", "hamiltonian"])
def test_hash_sees_the_last_bit_of_an_array(record, name):
    water = record(3, 0)
    array = getattr(water, name).copy()
    array[0, 0] = np.nextafter(array[0, 0], np.inf)

    assert hash_of([water.replace(**{name: array})]) != hash_of([water])
