import numpy as np
import pytest

from nabladft.chemistry.packing import (
    orbitals_of_packed_size,
    pack_lower,
    packed_size,
    unpack_lower,
)
from nabladft.errors import OrbitalCountError


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (24, 24), (3, 7, 7)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_unpacking_undoes_packing_exactly(rng, shape, dtype):
    matrix = (rng.normal(size=shape) * 100).astype(dtype)
    matrix = matrix + np.swapaxes(matrix, -1, -2)

    values = pack_lower(matrix)

    assert values.shape == (*shape[:-2], packed_size(shape[-1]))
    assert values.dtype == dtype
    np.testing.assert_array_equal(unpack_lower(values), matrix)


def test_element_i_j_is_where_the_documentation_says():
    matrix = np.array([[0, 1, 3], [1, 2, 4], [3, 4, 5]])

    assert pack_lower(matrix).tolist() == [0, 1, 2, 3, 4, 5]


def test_values_come_in_the_order_of_pyscf(rng):
    lib = pytest.importorskip("pyscf.lib")
    matrix = rng.normal(size=(9, 9))
    matrix = matrix + matrix.T

    np.testing.assert_array_equal(pack_lower(matrix), lib.pack_tril(matrix))


def test_size_of_a_triangle_gives_the_number_of_orbitals():
    for n_orbitals in range(200):
        assert orbitals_of_packed_size(packed_size(n_orbitals)) == n_orbitals


def test_packed_values_do_not_share_memory_with_the_matrix():
    matrix = np.eye(3)

    pack_lower(matrix)[:] = 7

    np.testing.assert_array_equal(matrix, np.eye(3))


def test_a_length_that_is_no_triangle_is_refused_with_the_nearest_ones():
    with pytest.raises(OrbitalCountError, match=r"7 values .* 6 and 10 \(3 and 4 orbitals\)"):
        unpack_lower(np.zeros(7))


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_a_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(OrbitalCountError, match="n_orbitals, n_orbitals"):
        pack_lower(np.zeros(shape))
