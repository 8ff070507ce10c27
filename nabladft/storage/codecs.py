"""The two ways to store an array: ``plain`` and ``compact``.

``plain`` is a contiguous HDF5 dataset, read through a memory map of the file.

``compact`` is a chunked dataset with bitshuffle and zstd, lossless, or with a declared error bound:
then values become integers, multiples of a step, in zigzag form (0, -1, 1, -2, ... as 0, 1, 2, 3,
...), whose high bits are zero and cost nothing. The diagonal of a symmetric matrix stays exact: it
is small, and core levels of heavy atoms (hundreds of hartree) would not fit. The rest of a matrix
spans many magnitudes, a third of it being almost zero in a molecule of 40 atoms; then bytes are
shuffled instead of bits, because zstd codes the upper bytes by their frequency.

Example:
    >>> import numpy as np
    >>> values = np.array([0.1, -0.25, 3e-9])
    >>> decoded = dequantise(quantise(values, error_bound=1e-6), error_bound=1e-6)
    >>> bool(np.abs(decoded - values).max() <= 1e-6)
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.errors import StoreError
from nabladft.fields import FIELDS
from nabladft.storage.ragged import offsets_of, ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py
    from numpy.typing import NDArray

    from nabladft.storage.chunks import ChunkedArray
    from nabladft.storage.manifest import Codec, StoredField

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]
    Codes = NDArray[np.uint32] | NDArray[np.uint64]

#: Error bounds of the compact codec where the user gives none, in the unit of the field. Rounding a
#: Hamiltonian at 1e-7 hartree moves its density by 1e-4 and its gap by 2e-7 hartree; forces carry
#: 1e-3 of grid noise. Fields that are not here are lossless.
DEFAULT_ERROR_BOUNDS: Final = {
    "forces": 1e-8,
    "hamiltonian": 1e-7,
    "overlap": 1e-8,
    "core_hamiltonian": 1e-7,
}

#: Values of one chunk. Small chunks cost bytes, large ones cost time for one record.
_CHUNK_VALUES: Final = 4096

#: The same for matrices, where a record may be larger than that: four times the values are 3 %
#: fewer bytes, sixteen times another 1 %, but then a record is only a part of what is unpacked.
_MATRIX_CHUNK_VALUES: Final = 16384

#: Values rounded at once.
_BLOCK: Final = 1 << 14

#: Integers beyond the first are stored in 64 bits; beyond the second, multiples of a step are not
#: told apart by float64.
_LARGEST: Final = 2**31 - 1
_LARGEST_OF_ALL: Final = 2**50


def step_of(error_bound: float) -> float:
    """Give the step of the integers of a bounded field.

    A little less than twice the bound: the product integer times step is itself rounded, by at most
    2^31 steps times 2^-53, and that must fit into the bound as well.
    """
    return 2.0 * error_bound * (1.0 - 2.0**-20)


def quantise(values: FloatArray, *, error_bound: float) -> Codes:
    """Round values to multiples of a step and write them in zigzag form.

    Args:
        values: Any shape.
        error_bound: Largest error wanted, same unit.

    Returns:
        Same shape; uint32, or uint64 where a value is more than 2^31 - 1 steps (core orbitals of
        heavy atoms at small bounds; then float64's own rounding, 2^-52 of the value, comes on top
        of the bound). Quantising what :func:`dequantise` gives back changes nothing.

    Raises:
        StoreError: A value is not finite, or too large to be told from its neighbours.
    """
    given = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    step = step_of(error_bound)
    largest = float(max(given.max(initial=0.0), -given.min(initial=0.0))) / step  # or NaN
    if not largest <= _LARGEST_OF_ALL:
        message = (
            f"A value of {largest * step:.6g} cannot be stored with an error bound of "
            f"{error_bound:g} (largest: {_LARGEST_OF_ALL * step:.6g}). Use a larger bound, or "
            "store this field without loss."
        )
        raise StoreError(message)
    signed = np.dtype(np.int32 if np.rint(largest) <= _LARGEST else np.int64)
    codes = np.empty(len(given), dtype=signed)
    for start in range(0, len(given), _BLOCK):  # a block stays in the caches
        steps = given[start : start + _BLOCK] / step
        integers = np.rint(steps, out=steps).astype(signed)
        signs = integers >> (8 * signed.itemsize - 1)
        integers <<= 1
        np.bitwise_xor(integers, signs, out=codes[start : start + _BLOCK])
    return codes.view(f"u{signed.itemsize}").reshape(values.shape)


def dequantise(codes: Codes, *, error_bound: float) -> FloatArray:
    """Undo :func:`quantise` up to its error bound."""
    values: FloatArray = np.multiply(_integers(codes), step_of(error_bound), dtype=np.float64)
    return values


def _integers(codes: Codes) -> NDArray[np.signedinteger]:
    """Undo the zigzag form."""
    one = codes.dtype.type(1)
    signs = codes & one
    np.negative(signs, out=signs)  # no bit set, or all
    signs ^= codes >> one
    return signs.view(np.int32 if codes.itemsize == 4 else np.int64)


def diagonal_positions(orbital_counts: IntArray) -> IntArray:
    """Find the diagonal elements in concatenated packed triangles, shape (sum n_orbitals,)."""
    starts = offsets_of(orbital_counts * (orbital_counts + 1) // 2)[:-1]
    row = ranges(np.zeros(len(orbital_counts), dtype=np.int64), orbital_counts)
    return np.repeat(starts, orbital_counts) + row * (row + 3) // 2


def split_diagonal(values: FloatArray, orbital_counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Separate concatenated packed triangles into diagonals and the rest, both in order."""
    diagonal = diagonal_positions(orbital_counts)
    is_off = np.ones(len(values), dtype=bool)
    is_off[diagonal] = False
    return values[diagonal], values[is_off]


def join_diagonal(
    diagonal: NDArray[np.floating], off_diagonal: NDArray[Any], orbital_counts: IntArray
) -> FloatArray:
    """Undo :func:`split_diagonal`."""
    return _join_scaled(diagonal, off_diagonal, orbital_counts, step=1.0)


def _join_scaled(
    diagonal: NDArray[np.floating],
    off_diagonal: NDArray[Any],
    orbital_counts: IntArray,
    *,
    step: float,
) -> FloatArray:
    """Put diagonals between off-diagonal elements, which are multiplied with ``step``."""
    values = np.empty(len(diagonal) + len(off_diagonal))
    positions = diagonal_positions(orbital_counts)
    is_off = np.ones(len(values), dtype=bool)
    is_off[positions] = False
    values[is_off] = off_diagonal
    if step != 1.0:
        values[positions] = 0.0  # not what happened to be in memory
        values *= step
    values[positions] = diagonal
    return values


def stored_values(
    stored: StoredField, values: NDArray[Any], orbital_counts: IntArray
) -> NDArray[Any]:
    """Give values as they will be read back: rounded where the field has an error bound.

    Args:
        stored: How the field is stored.
        values: Flat array of the field.
        orbital_counts: Shape (n,).

    Raises:
        StoreError: A value does not fit.
    """
    if stored.error_bound is None:
        return values
    bound = stored.error_bound
    if not FIELDS[stored.name].symmetric:
        return dequantise(quantise(values, error_bound=bound), error_bound=bound)
    diagonal, rest = split_diagonal(values, orbital_counts)
    rounded = dequantise(quantise(rest, error_bound=bound), error_bound=bound)
    return join_diagonal(diagonal, rounded, orbital_counts)


def write_field(
    file: h5py.Group, stored: StoredField, values: NDArray[Any], orbital_counts: IntArray
) -> None:
    """Write the flat array of a field.

    Args:
        file: Where the dataset (or, for a bounded symmetric matrix, the group) is created.
        stored: How.
        values: Flat array of the field.
        orbital_counts: Shape (n,).

    Raises:
        StoreError: A value does not fit.
    """
    if stored.error_bound is None:
        write_array(file, stored.name, values, stored.codec)
    elif FIELDS[stored.name].symmetric:
        diagonal, rest = split_diagonal(values, orbital_counts)
        group = file.create_group(stored.name)
        # What comes from single precision fits into it, and no value may change.
        single = diagonal.astype(np.float32)
        write_array(
            group, "diagonal", single if np.array_equal(single, diagonal) else diagonal, "compact"
        )
        codes = quantise(rest, error_bound=stored.error_bound)
        write_codes(group, "off_diagonal", codes, orbital_counts * (orbital_counts - 1) // 2)
        _describe_step(group["off_diagonal"], stored.error_bound)
    else:
        codes = quantise(values, error_bound=stored.error_bound)
        write_array(file, stored.name, codes, "compact")
        _describe_step(file[stored.name], stored.error_bound)


def _describe_step(dataset: h5py.Dataset, error_bound: float) -> None:
    dataset.attrs["error_bound"] = error_bound
    dataset.attrs["step"] = step_of(error_bound)


def write_codes(group: h5py.Group, name: str, codes: Codes, record_sizes: IntArray) -> None:
    """Write the integers of matrices, byte-shuffled, in chunks that suit the size of a record.

    Args:
        group: Where the dataset is created.
        name: Its name.
        codes: Of all records.
        record_sizes: Number of codes of each record, shape (n,).
    """
    if codes.size == 0:
        group.create_dataset(name, data=codes)
        return
    import hdf5plugin  # noqa: PLC0415 - registers filters with HDF5 when imported

    fitting = 1 << int(np.mean(record_sizes)).bit_length()
    chunk = min(max(fitting, _CHUNK_VALUES), _MATRIX_CHUNK_VALUES, len(codes))
    group.create_dataset(
        name, data=codes, chunks=(chunk,), shuffle=True, **hdf5plugin.Zstd(clevel=9)
    )


def write_array(group: h5py.Group, name: str, values: NDArray[Any], codec: Codec) -> None:
    """Write an array without loss."""
    if codec == "plain" or values.size == 0:
        group.create_dataset(name, data=values)
        return
    import hdf5plugin  # noqa: PLC0415 - registers filters with HDF5 when imported

    width = values[0].size
    rows = max(1, min(len(values), _CHUNK_VALUES // width))
    group.create_dataset(
        name,
        data=values,
        chunks=(rows, *values.shape[1:]),
        **hdf5plugin.Bitshuffle(cname="zstd", clevel=9),
    )


def read_field(
    open_array: Callable[[str], ChunkedArray],
    stored: StoredField,
    starts: IntArray,
    counts: IntArray,
    orbital: tuple[IntArray, IntArray],
) -> NDArray[Any]:
    """Read rows of a field, in the sequence asked for.

    Args:
        open_array: Opens a dataset of the file by its path.
        stored: How the field was written.
        starts: First value of each row in the field's flat array, shape (n,).
        counts: Number of values of each row, shape (n,).
        orbital: For each row the number of orbitals before it in the file, and its own.

    Returns:
        Shape (sum counts, ...).

    Raises:
        CorruptStoreError: The data cannot be unpacked.
    """
    name, bound = stored.name, stored.error_bound
    if bound is None:
        return open_array(name).read(starts, counts)
    if not FIELDS[name].symmetric:
        return dequantise(open_array(name).read(starts, counts), error_bound=bound)
    before, n_orbitals = orbital
    diagonal = open_array(f"{name}/diagonal").read(before, n_orbitals)
    codes = open_array(f"{name}/off_diagonal").read(starts - before, counts - n_orbitals)
    return _join_scaled(diagonal, _integers(codes), n_orbitals, step=step_of(bound))
