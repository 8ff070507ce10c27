import numpy as np
import pytest
import torch

from nabladft.chemistry.rotations import orbital_rotation
from nabladft.data.blocks import block_layout, dense_from_blocks
from nabladft.errors import InputError, UnsupportedElementError
from nabladft.models.layers.expansion import BlockExpansion

ELEMENTS = (1, 6, 8, 17, 35)


@pytest.fixture(scope="module")
def expansion():
    return BlockExpansion(ELEMENTS, "def2-svp")


def layout_of(numbers, order="ascending"):
    return block_layout(torch.tensor(numbers), torch.tensor([0, len(numbers)]), "def2-svp", order)


def test_slots_are_those_of_the_largest_element(expansion):
    assert expansion.slots == (5, 4, 3)
    assert expansion.n_slot_orbitals == 32
    # Every pair of slots once, with all its components.
    sizes = zip(expansion.irreps, expansion.widths, strict=True)
    assert sum(irrep.dim * width for irrep, width in sizes) == 32 * 32


def test_projection_undoes_expansion(expansion):
    torch.manual_seed(0)
    coefficients = [
        torch.randn(3, irrep.dim, width, dtype=torch.float64)
        for irrep, width in zip(expansion.irreps, expansion.widths, strict=True)
    ]

    back = expansion.project(expansion.expand(coefficients))

    for one, other in zip(back, coefficients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_turning_coefficients_turns_blocks(expansion, rotation, turned):
    numbers = [35, 8, 1]
    layout = layout_of(numbers)
    torch.manual_seed(0)
    coefficients = [
        torch.randn(layout.n_pairs, irrep.dim, width, dtype=torch.float64)
        for irrep, width in zip(expansion.irreps, expansion.widths, strict=True)
    ]
    turned_coefficients = [
        turned(values, (irrep,))
        for values, irrep in zip(coefficients, expansion.irreps, strict=True)
    ]

    def lower(values):
        padded = expansion.expand(values).flatten()
        place, _ = expansion.value_index(layout, expansion.element_index(torch.tensor(numbers)))
        size = expansion.n_slot_orbitals**2
        matrix = dense_from_blocks(padded[layout.value_pair * size + place], layout)[0].numpy()
        return [matrix[32:46, :32], matrix[46:, :32], matrix[46:, 32:46]]

    turn = orbital_rotation(np.array(numbers), rotation)
    parts = [slice(0, 32), slice(32, 46), slice(46, 51)]
    for (row, column), one, other in zip(
        [(1, 0), (2, 0), (2, 1)], lower(coefficients), lower(turned_coefficients), strict=True
    ):
        left, right = turn[parts[row], parts[row]], turn[parts[column], parts[column]]
        np.testing.assert_allclose(other, left @ one @ right.T, atol=1e-12)


def test_a_value_and_its_mirror_image_are_transposed(expansion):
    layout = layout_of([6, 1])
    element = expansion.element_index(torch.tensor([6, 1]))

    place, mirrored = expansion.value_index(layout, element)

    diagonal = layout.value_pair == 0
    block, transposed = place[diagonal].reshape(14, 14), mirrored[diagonal].reshape(14, 14)
    assert torch.equal(block, transposed.T)
    assert len(set(place[diagonal].tolist())) == 14 * 14


def test_unknown_element_says_what_to_do(expansion):
    with pytest.raises(
        UnsupportedElementError, match=r"has no N\. It was built for H, C, O, Cl, Br"
    ):
        expansion.element_index(torch.tensor([1, 7]))


def test_other_orders_are_refused(expansion):
    with pytest.raises(InputError, match="order 'pyscf'"):
        expansion.value_index(layout_of([1], order="pyscf"), torch.tensor([0]))
