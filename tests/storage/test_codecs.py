import h5py
import numpy as np
import pytest

from nabladft.errors import StoreError
from nabladft.storage.chunks import ChunkedArray
from nabladft.storage.codecs import (
    dequantise,
    diagonal_positions,
    join_diagonal,
    quantise,
    read_field,
    split_diagonal,
    step_of,
    stored_values,
    write_array,
    write_codes,
    write_field,
)
from nabladft.storage.manifest import StoredField


@pytest.mark.parametrize("bound", [1e-3, 1e-7, 3.7e-9])
def test_rounding_stays_within_its_bound_up_to_the_largest_value(rng, bound):
    largest = (2**31 - 1) * step_of(bound)
    values = np.concatenate(
        [rng.normal(size=5000), rng.uniform(-largest, largest, size=5000), [largest, -largest, 0.0]]
    )

    decoded = dequantise(quantise(values, error_bound=bound), error_bound=bound)

    assert np.abs(decoded - values).max() <= bound


def test_rounding_what_was_rounded_changes_nothing(rng):
    once = dequantise(quantise(rng.normal(size=10000), error_bound=1e-7), error_bound=1e-7)

    twice = dequantise(quantise(once, error_bound=1e-7), error_bound=1e-7)

    np.testing.assert_array_equal(once, twice)


def test_zigzag_keeps_small_numbers_of_both_signs_small():
    step = step_of(0.5)

    codes = quantise(step * np.array([0.0, -1.0, 1.0, -2.0, 2.0]), error_bound=0.5)

    assert codes.tolist() == [0, 1, 2, 3, 4]


def test_values_that_do_not_fit_into_32_bits_take_64(rng):
    values = np.array([0.1, -482.0, *rng.normal(scale=160.0, size=1000)])

    codes = quantise(values, error_bound=1e-8)

    assert codes.dtype == np.uint64
    decoded = dequantise(codes, error_bound=1e-8)
    assert np.abs(decoded - values).max() <= 1e-8 + 482 * 2**-52
    np.testing.assert_array_equal(quantise(decoded, error_bound=1e-8), codes)


@pytest.mark.parametrize("value", [1e9, np.inf, np.nan])
def test_value_that_no_integer_can_stand_for_is_refused(value):
    with pytest.raises(StoreError, match=r"A value of .* cannot be stored with an error bound of"):
        quantise(np.array([0.1, value]), error_bound=1e-8)


def test_diagonals_are_told_from_the_rest_and_put_back(rng):
    counts = np.array([3, 0, 1, 5])
    packed = [np.arange(n * (n + 1) // 2) + 100.0 * k for k, n in enumerate(counts)]
    values = np.concatenate(packed)

    diagonal, rest = split_diagonal(values, counts)

    # Of a packed 3 x 3 triangle, elements 0, 2 and 5 are the diagonal.
    assert diagonal[:3].tolist() == [0.0, 2.0, 5.0]
    assert rest[:3].tolist() == [1.0, 3.0, 4.0]
    np.testing.assert_array_equal(join_diagonal(diagonal, rest, counts), values)


BOUNDED = StoredField("hamiltonian", codec="compact", error_bound=1e-6)
COUNTS = np.array([4, 0, 1, 200])


def triangles(rng, dtype=np.float64):
    """Packed matrices that decay away from the diagonal, as Hamiltonians do."""
    packed = []
    for n in COUNTS.tolist():
        row, column = np.tril_indices(n)
        values = rng.normal(size=len(row)) * np.exp(-0.1 * (row - column))
        values[row == column] = -88.98765432109876
        packed.append(values)
    return np.concatenate(packed).astype(dtype).astype(np.float64)


def written(values, stored=BOUNDED):
    """An HDF5 file in memory with one field."""
    file = h5py.File("field.h5", "w", driver="core", backing_store=False)
    write_field(file, stored, values, COUNTS)
    return file


def read_rows(file, rows, stored=BOUNDED):
    sizes = COUNTS * (COUNTS + 1) // 2
    before, starts = (np.cumsum(counts) - counts for counts in (COUNTS, sizes))
    arrays = {}

    def open_array(name):
        return arrays.setdefault(name, ChunkedArray(file[name]))

    return read_field(open_array, stored, starts[rows], sizes[rows], (before[rows], COUNTS[rows]))


def test_a_bounded_matrix_is_read_back_within_its_bound_and_with_its_diagonal(rng):
    values = triangles(rng)

    read = read_rows(written(values), np.arange(4))

    assert 0 < np.abs(read - values).max() <= 1e-6
    diagonal = diagonal_positions(COUNTS)
    np.testing.assert_array_equal(read[diagonal], values[diagonal])
    np.testing.assert_array_equal(read, stored_values(BOUNDED, values, COUNTS))


def test_rows_of_a_bounded_matrix_come_in_the_sequence_asked_for(rng):
    file = written(triangles(rng))
    everything = np.split(read_rows(file, np.arange(4)), np.cumsum(COUNTS * (COUNTS + 1) // 2))

    read = read_rows(file, np.array([3, 0, 1, 3, 2]))

    np.testing.assert_array_equal(read, np.concatenate([everything[k] for k in (3, 0, 1, 3, 2)]))


@pytest.mark.parametrize(("source", "held"), [(np.float32, "float32"), (np.float64, "float64")])
def test_a_diagonal_of_single_precision_takes_half_the_bytes(rng, source, held):
    values = triangles(rng, source)

    file = written(values)

    assert file["hamiltonian/diagonal"].dtype == held
    diagonal = diagonal_positions(COUNTS)
    np.testing.assert_array_equal(read_rows(file, np.arange(4))[diagonal], values[diagonal])


def test_integers_of_matrices_pass_filters_that_every_hdf5_knows(rng):
    properties = written(triangles(rng))["hamiltonian/off_diagonal"].id.get_create_plist()

    filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]

    # Byte shuffle, and zstd as registered with the HDF Group.
    assert filters == [2, 32015]


def test_heavy_atoms_are_stored_to_small_bounds(rng):
    stored = StoredField("hamiltonian", codec="compact", error_bound=1e-9)
    values = triangles(rng)
    values[1] = -159.153

    file = written(values, stored)

    assert file["hamiltonian/off_diagonal"].dtype == np.uint64
    read = read_rows(file, np.arange(4), stored)
    assert np.abs(read - values).max() <= 1e-9 + 160 * 2**-52
    np.testing.assert_array_equal(read, stored_values(stored, values, COUNTS))


def test_what_was_written_with_bits_shuffled_is_read_as_before(rng):
    values = triangles(rng)
    file = written(values)
    codes = file["hamiltonian/off_diagonal"][()]
    del file["hamiltonian/off_diagonal"]

    write_array(file["hamiltonian"], "off_diagonal", codes, "compact")

    assert file["hamiltonian/off_diagonal"].id.get_create_plist().get_filter(0)[0] == 32008
    np.testing.assert_array_equal(
        read_rows(file, np.arange(4)), stored_values(BOUNDED, values, COUNTS)
    )


@pytest.mark.parametrize(("size", "chunk"), [(10, 4096), (5000, 8192), (85000, 16384)])
def test_chunks_grow_with_the_record_up_to_a_limit(size, chunk):
    file = h5py.File("chunks.h5", "w", driver="core", backing_store=False)

    write_codes(file, "codes", np.zeros(100_000, dtype=np.uint32), np.array([size, size]))

    assert file["codes"].chunks == (chunk,)


def test_matrices_that_decay_take_fewer_bytes_than_with_bits_shuffled(rng):
    values = triangles(rng)
    file = written(values)
    write_array(file, "as_before", file["hamiltonian/off_diagonal"][()], "compact")

    bytes_now, bytes_before = (
        file[name].id.get_storage_size() for name in ("hamiltonian/off_diagonal", "as_before")
    )

    assert bytes_now < 0.97 * bytes_before
