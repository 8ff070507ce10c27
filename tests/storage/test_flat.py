import numpy as np
import pytest

from nabladft.errors import MissingFieldError
from nabladft.storage.flat import Texts, flatten, unflatten

FIELDS = ("energy", "forces", "hamiltonian", "orbital_energies", "dipole")


def test_flat_arrays_and_records_are_two_forms_of_the_same(records, assert_same):
    flat = flatten(records, FIELDS)
    texts = Texts(
        smiles=[record.smiles for record in records],
        geometry_origin=[record.geometry_origin for record in records],
    )

    back = unflatten(flat, texts, basis_set="def2-svp", orbital_order="ascending")

    assert len(flat) == 12
    assert flat.orbital_counts.tolist() == [len(record.hamiltonian) for record in records]
    assert len(flat.values["hamiltonian"]) == flat.value_offsets("hamiltonian")[-1]
    for one, other in zip(back, records, strict=True):
        assert_same(one, other)


def test_packed_values_are_the_lower_triangle_row_by_row(records):
    flat = flatten(records[:2], FIELDS)
    start = flat.value_offsets("hamiltonian")[1]

    i, j = 7, 4
    value = flat.values["hamiltonian"][start + i * (i + 1) // 2 + j]

    assert value == records[1].hamiltonian[i, j]


def test_label_that_a_record_lacks_is_refused(records):
    with pytest.raises(MissingFieldError, match="3/0 has no 'overlap'"):
        flatten(records, ["overlap"])


def test_every_source_reads_flat(memory_source, records):
    flat = memory_source(records).read_flat([5, 1, 1], fields=["energy"])

    assert flat.values["energy"].tolist() == [records[row].energy for row in (5, 1, 1)]
    assert not flat.orbital_counts.any()
    assert np.diff(flat.atom_offsets).tolist() == [records[row].n_atoms for row in (5, 1, 1)]


def test_every_source_reads_texts(memory_source, records):
    texts = memory_source(records).read_texts([5, 1])

    assert texts.smiles == [records[5].smiles, records[1].smiles]
    assert texts.geometry_origin == [records[5].geometry_origin, records[1].geometry_origin]
