import numpy as np
import pytest

from nabladft.conversion.converting import convert
from nabladft.conversion.rows import concatenate, find_bad, read_rows
from nabladft.errors import FormatError, StoreError, TransportError
from nabladft.storage.opening import open_source
from tests.storage.published_files import execute, write_energy_file


class Stubborn:
    """A source that refuses some rows, as readers do: the whole batch with them."""

    def __init__(self, source, bad, error=FormatError):
        self.source, self.bad, self.error = source, set(bad), error
        self.keys, self.reads = source.keys, 0

    def read_flat(self, rows, *, fields):
        self.reads += 1
        for row in np.asarray(rows).tolist():
            if row in self.bad:
                message = f"Row {row} is rotten."
                raise self.error(message)
        return self.source.read_flat(rows, fields=fields)

    def read_texts(self, rows):
        return self.source.read_texts(rows)


@pytest.fixture
def nano():
    return open_source("nano")


@pytest.mark.parametrize("bad", [[], [0], [63], [5, 6, 40], list(range(64))])
def test_bad_rows_are_found_and_the_others_read_in_order(nano, bad):
    source = Stubborn(nano, bad)
    rows = np.arange(64)

    flat, texts, found = read_rows(source, rows, ("energy", "forces"))

    good = np.setdiff1d(rows, bad)
    assert [row.row for row in found] == bad
    assert [row.reason for row in found] == [f"Row {row} is rotten." for row in bad]
    assert [(row.molecule_id, row.conformation_id) for row in found] == [
        tuple(key) for key in nano.keys[bad].tolist()
    ]
    expected = nano.read_flat(good, fields=("energy", "forces"))
    np.testing.assert_array_equal(flat.positions, expected.positions)
    np.testing.assert_array_equal(flat.atom_offsets, expected.atom_offsets)
    for name in ("energy", "forces"):
        np.testing.assert_array_equal(flat.values[name], expected.values[name])
    assert texts.smiles == nano.read_texts(good).smiles
    if len(bad) < 4:  # few reads for few bad rows
        assert source.reads <= 1 + 2 * 6 * len(bad)


@pytest.mark.parametrize("error", [StoreError, TransportError, OSError])
def test_what_is_not_about_a_row_ends_it(nano, error):
    with pytest.raises(error, match="is rotten"):
        read_rows(Stubborn(nano, [3], error), np.arange(9), ("energy",))


def test_values_that_make_no_sense_are_found(nano):
    flat = nano.read_flat(range(6), fields=("energy", "forces", "hamiltonian"))
    flat.positions.setflags(write=True)
    energies, hamiltonians = flat.values["energy"].copy(), flat.values["hamiltonian"].copy()
    energies[1] = np.inf
    hamiltonians[flat.value_offsets("hamiltonian")[4] - 1] = np.nan
    positions = flat.positions.copy()
    positions[flat.atom_offsets[5], 2] = np.nan
    numbers = flat.atomic_numbers.copy()
    numbers[flat.atom_offsets[2] + 1] = 0
    from dataclasses import replace

    values = {**flat.values, "energy": energies, "hamiltonian": hamiltonians}

    found = find_bad(replace(flat, positions=positions, atomic_numbers=numbers, values=values))

    assert found == {
        2: "It has an atom of atomic number 0.",
        5: "It has a value in positions that is not finite.",
        1: "It has a value in energy that is not finite.",
        3: "It has a value in hamiltonian that is not finite.",
    }


def test_joining_batches_is_reading_them_at_once(nano):
    fields = ("energy", "hamiltonian", "dipole")
    whole = nano.read_flat(range(9), fields=fields)
    parts = [nano.read_flat(range(a, b), fields=fields) for a, b in ((0, 4), (4, 4), (4, 9))]

    joined = concatenate(parts, fields)

    np.testing.assert_array_equal(joined.atom_offsets, whole.atom_offsets)
    np.testing.assert_array_equal(joined.orbital_counts, whole.orbital_counts)
    for name in fields:
        np.testing.assert_array_equal(joined.values[name], whole.values[name])
    assert len(concatenate([], fields)) == 0


def test_rows_without_atoms_and_of_unknown_elements_are_listed(nano_records, tmp_path):
    path = write_energy_file(tmp_path / "e.db", nano_records[:12])
    execute(path, "UPDATE systems SET numbers = zeroblob(length(numbers)) WHERE id = 10")
    execute(path, "UPDATE systems SET natoms = 0, numbers = x'', positions = x'' WHERE id = 11")
    execute(path, "DELETE FROM species WHERE id = 11")

    report = convert(path, tmp_path / "store", skip_bad=True)

    assert [row.row for row in report.bad] == [9, 10]
    assert "atomic number 0" in report.bad[0].reason
    assert report.n_conformations == 10
