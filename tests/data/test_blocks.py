import numpy as np
import pytest
import torch

from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.packing import pack_lower
from nabladft.data.blocks import (
    block_layout,
    blocks_from_dense,
    blocks_from_packed,
    concatenate_layouts,
    dense_from_blocks,
    diagonal_mask,
    packed_from_blocks,
    symmetrise_diagonal,
    value_conformation,
    value_weights,
)
from nabladft.errors import OrbitalCountError, OrbitalOrderError, UnsupportedElementError

COMPOSITIONS = [(8, 1, 1), (1,), (35, 6, 17), (16, 9)]


def layout_of(*compositions, order="ascending"):
    numbers = torch.tensor([z for one in compositions for z in one])
    offsets = torch.tensor([0, *np.cumsum([len(one) for one in compositions])])
    return block_layout(numbers, offsets, "def2-svp", order)


def symmetric(rng, composition):
    size = {1: 5, 6: 14, 8: 14, 9: 14, 16: 18, 17: 18, 35: 32}
    n = sum(size[z] for z in composition)
    matrix = rng.normal(size=(n, n))
    return matrix + matrix.T


def blocks_of(matrix, composition, **orders):
    packed = torch.from_numpy(pack_lower(matrix))
    orders = {"source": "ascending", "target": "ascending"} | orders
    return blocks_from_packed(packed, composition, "def2-svp", **orders)


def test_layout_of_water_lists_the_lower_triangle_of_atom_pairs():
    layout = layout_of((8, 1, 1))

    assert layout.pairs.tolist() == [[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]]
    assert layout.shapes.tolist() == [[14, 14], [5, 14], [5, 5], [5, 14], [5, 5], [5, 5]]
    assert layout.offsets.tolist() == [0, 196, 266, 291, 361, 386, 411]


def test_blocks_are_the_submatrices_of_the_full_matrix(rng):
    matrix = symmetric(rng, (8, 1, 1))

    values = blocks_of(matrix, (8, 1, 1))

    layout, starts = layout_of((8, 1, 1)), [0, 14, 19]
    for pair in range(layout.n_pairs):
        row, column = layout.pairs[:, pair].tolist()
        height, width = layout.shapes[pair].tolist()
        block = values[layout.offsets[pair] : layout.offsets[pair + 1]].reshape(height, width)
        expected = matrix[
            starts[row] : starts[row] + height, starts[column] : starts[column] + width
        ]
        np.testing.assert_array_equal(block, expected)


def test_packed_and_dense_come_back_exactly(rng):
    matrices = [symmetric(rng, one) for one in COMPOSITIONS]
    values = torch.cat([blocks_of(m, one) for m, one in zip(matrices, COMPOSITIONS, strict=True)])
    layout = layout_of(*COMPOSITIONS)

    packed, offsets = packed_from_blocks(values, layout)
    dense = dense_from_blocks(values, layout)

    for k, matrix in enumerate(matrices):
        np.testing.assert_array_equal(packed[offsets[k] : offsets[k + 1]], pack_lower(matrix))
        np.testing.assert_array_equal(dense[k], matrix)


@pytest.mark.parametrize("source", ["psi4", "pyscf", "orca"])
def test_another_orbital_order_is_the_reordered_matrix(rng, source):
    composition = (35, 8, 1)
    matrix = symmetric(rng, composition)
    foreign = reorder_orbitals(matrix, np.array(composition), source="ascending", target=source)

    values = blocks_of(foreign, composition, source=source)

    np.testing.assert_array_equal(values, blocks_of(matrix, composition))


def test_concatenating_layouts_is_the_layout_of_the_whole():
    whole = layout_of(*COMPOSITIONS)

    joined = concatenate_layouts(
        [layout_of(one) for one in COMPOSITIONS], [len(one) for one in COMPOSITIONS]
    )

    for name in ("pairs", "shapes", "offsets", "pair_conformation", "off_diagonal"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    for name in ("n_alike", "n_values", "n_atoms", "n_orbitals", "elements"):
        assert getattr(joined, name) == getattr(whole, name), name


def test_pairs_of_one_element_come_first_among_the_off_diagonal_blocks():
    layout = layout_of((8, 1, 1), (1, 1))

    rows, columns = layout.pairs[:, layout.off_diagonal]
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (2, 1),
        (4, 3),
        (1, 0),
        (2, 0),
    ]
    assert layout.n_alike == 2


def test_weighted_mean_over_values_is_the_mean_over_matrix_elements(rng):
    matrices = [symmetric(rng, one) for one in COMPOSITIONS]
    values = torch.cat([blocks_of(m, one) for m, one in zip(matrices, COMPOSITIONS, strict=True)])
    layout = layout_of(*COMPOSITIONS)

    weights = value_weights(layout).double()
    index = value_conformation(layout)
    sums = torch.zeros(len(matrices), dtype=torch.float64).index_add(0, index, weights * values)
    counts = torch.zeros(len(matrices), dtype=torch.float64).index_add(0, index, weights)

    assert counts.tolist() == [matrix.size for matrix in matrices]
    np.testing.assert_allclose(sums / counts, [matrix.mean() for matrix in matrices], atol=1e-13)


def test_symmetrising_touches_diagonal_blocks_only():
    layout = layout_of((8, 1), (6,))
    values = torch.arange(layout.n_values, dtype=torch.float64)

    symmetric_values = symmetrise_diagonal(values, layout)

    diagonal = diagonal_mask(layout)
    assert torch.equal(symmetric_values[~diagonal], values[~diagonal])
    first = symmetric_values[:196].reshape(14, 14)
    assert torch.equal(first, first.T)
    assert first[0, 1] == 0.5 * (1 + 14)


def test_gradients_flow_through_the_dense_matrix():
    layout = layout_of((1, 1))
    values = torch.zeros(layout.n_values, dtype=torch.float64, requires_grad=True)

    dense_from_blocks(values, layout)[0].sum().backward()

    # Each off-diagonal value occurs twice; diagonal blocks are written over by their transposes.
    assert values.grad[~diagonal_mask(layout)].eq(2).all()


def test_dense_matrices_of_another_size_are_refused():
    layout = layout_of((1, 1), (8,))

    with pytest.raises(OrbitalCountError, match=r"of \[10, 14\] orbitals, got .*\(14, 14\)"):
        blocks_from_dense([torch.zeros(14, 14), torch.zeros(10, 10)], layout)


def test_wrong_size_names_both_counts():
    with pytest.raises(OrbitalCountError, match=r"300 packed values expected for 24 .* got 276"):
        blocks_of(np.zeros((23, 23)), (8, 1, 1))


def test_unknown_order_is_refused():
    with pytest.raises(OrbitalOrderError, match="Did you mean 'pyscf'"):
        layout_of((1,), order="pyscff")


def test_element_outside_the_basis_is_refused():
    with pytest.raises(UnsupportedElementError, match="Xe has no shells"):
        layout_of((54,))


def test_layouts_of_different_orders_are_not_joined():
    with pytest.raises(OrbitalCountError, match="cannot be joined"):
        concatenate_layouts([layout_of((1,)), layout_of((1,), order="psi4")], [1, 1])
