import itertools
from collections import defaultdict

import numpy as np
import pytest

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.errors import OrbitalCountError
from nabladft.metrics import (
    Terms,
    block_errors,
    block_sizes,
    degree_errors,
    hamiltonian_mae,
    hamiltonian_mae_by_degrees,
    hamiltonian_mae_by_element,
    hamiltonian_mae_by_element_pair,
)

ORBITALS = [np.array([14, 5, 5]), np.array([5]), np.array([14, 18])]
NUMBERS = [np.array([8, 1, 1]), np.array([1]), np.array([6, 17])]
CASES = [
    (blocks, over_elements)
    for blocks in ("all", "diagonal", "offdiagonal")
    for over_elements in (False, True)
]


@pytest.fixture
def matrices(rng):
    found = []
    for counts in ORBITALS:
        n = counts.sum()
        pair = rng.normal(size=(2, n, n))
        found.append(pair + pair.swapaxes(1, 2))
    return found


@pytest.fixture
def errors(matrices):
    return [
        block_errors(predicted=p, reference=r, orbitals_per_atom=counts)
        for (p, r), counts in zip(matrices, ORBITALS, strict=True)
    ]


@pytest.fixture
def sizes():
    return [block_sizes(counts) for counts in ORBITALS]


def mask_of(counts, blocks):
    """Which elements of the dense matrix count, from the atom of each orbital."""
    owner = np.repeat(np.arange(len(counts)), counts)
    same = owner[:, None] == owner
    return {"all": np.ones_like(same), "diagonal": same, "offdiagonal": ~same}[blocks]


@pytest.mark.parametrize(("blocks", "over_elements"), CASES)
def test_errors_equal_masks_on_dense_matrices(matrices, errors, sizes, blocks, over_elements):
    picked = [
        np.abs(p - r)[mask_of(counts, blocks)]
        for (p, r), counts in zip(matrices, ORBITALS, strict=True)
    ]
    if over_elements:
        expected = np.concatenate(picked).mean()
    else:
        expected = np.mean([values.mean() for values in picked if values.size])

    found = hamiltonian_mae(errors, sizes, blocks=blocks, over_elements=over_elements)

    assert found.value == pytest.approx(expected, rel=1e-13)


def test_the_diagonal_and_the_rest_add_up_to_the_whole(errors, sizes):
    whole, diagonal, rest = (
        hamiltonian_mae(errors, sizes, blocks=blocks, over_elements=True)
        for blocks in ("all", "diagonal", "offdiagonal")
    )

    np.testing.assert_allclose(diagonal.numerator + rest.numerator, whole.numerator, rtol=1e-13)
    np.testing.assert_array_equal(diagonal.weight + rest.weight, whole.weight)


def test_exact_zeros_of_the_reference_count():
    # Upstream's QHNet divides by the count of nonzero references: it would give 0.4 / 5 here.
    reference, predicted = np.eye(5), np.eye(5)
    predicted[0, 1] = predicted[1, 0] = 0.2

    found = hamiltonian_mae(
        [block_errors(predicted=predicted, reference=reference, orbitals_per_atom=np.array([5]))],
        [block_sizes(np.array([5]))],
    )

    assert found.value == pytest.approx(0.4 / 25, rel=1e-15)


def test_a_single_atom_has_no_offdiagonal_blocks(errors, sizes):
    found = hamiltonian_mae(errors, sizes, blocks="offdiagonal")

    assert found.weight.tolist() == [1, 0, 1]
    assert found.numerator[1] == 0


def test_swapping_atoms_and_batches_change_nothing(matrices, errors, sizes):
    order = np.r_[19:24, 0:14, 14:19]
    swapped = block_errors(
        predicted=matrices[0][0][np.ix_(order, order)],
        reference=matrices[0][1][np.ix_(order, order)],
        orbitals_per_atom=np.array([5, 14, 5]),
    )
    for blocks, over_elements in CASES:
        options = {"blocks": blocks, "over_elements": over_elements}
        whole = hamiltonian_mae(errors, sizes, **options)
        pieces = Terms.join(
            [
                hamiltonian_mae(errors[:1], sizes[:1], **options),
                hamiltonian_mae(errors[1:], sizes[1:], **options),
            ]
        )
        moved = hamiltonian_mae([swapped], [block_sizes(np.array([5, 14, 5]))], **options)

        np.testing.assert_array_equal(pieces.numerator, whole.numerator)
        assert moved.numerator[0] == pytest.approx(whole.numerator[0], rel=1e-13)


def test_elements_are_told_apart_on_the_diagonal(matrices, errors, sizes):
    found = hamiltonian_mae_by_element(errors, sizes, NUMBERS)

    hydrogens = [
        np.abs(np.subtract(*matrices[0]))[14:19, 14:19],
        np.abs(np.subtract(*matrices[0]))[19:24, 19:24],
        np.abs(np.subtract(*matrices[1])),
    ]
    assert sorted(found) == [1, 6, 8, 17]
    assert found[1].value == pytest.approx(np.mean(hydrogens), rel=1e-13)
    assert found[17].value == pytest.approx(
        np.abs(np.subtract(*matrices[2]))[14:, 14:].mean(), rel=1e-13
    )


def test_pairs_of_elements_equal_a_loop_over_blocks(matrices, errors, sizes):
    found = hamiltonian_mae_by_element_pair(errors, sizes, NUMBERS)

    sums = defaultdict(list)
    for (p, r), counts, numbers in zip(matrices, ORBITALS, NUMBERS, strict=True):
        owner = np.repeat(np.arange(len(counts)), counts)
        for a, b in itertools.permutations(range(len(counts)), 2):
            pair = tuple(sorted((int(numbers[a]), int(numbers[b]))))
            sums[pair] += list(np.abs(p - r)[owner == a][:, owner == b].ravel())
    assert list(found) == [(1, 1), (1, 8), (6, 17)]
    for pair, values in sums.items():
        assert found[pair].value == pytest.approx(np.mean(values), rel=1e-12)
        assert found[pair].weight.sum() == len(values)


def test_pairs_of_degrees_equal_a_loop_over_elements(matrices):
    degrees = [DEF2_SVP.degrees(numbers) for numbers in NUMBERS]

    found = hamiltonian_mae_by_degrees(
        [
            degree_errors(predicted=p, reference=r, degrees=l)
            for (p, r), l in zip(matrices, degrees, strict=True)
        ]
    )

    sums = defaultdict(list)
    for (p, r), l in zip(matrices, degrees, strict=True):
        for i, j in itertools.product(range(len(l)), repeat=2):
            sums[tuple(sorted((int(l[i]), int(l[j]))))].append(abs(p[i, j] - r[i, j]))
    assert list(found) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    for pair, values in sums.items():
        assert found[pair].value == pytest.approx(np.mean(values), rel=1e-12)


def test_other_orbital_counts_are_refused():
    with pytest.raises(OrbitalCountError, match=r"atoms have 10 orbitals.*\(9, 9\).*\(10, 10\)"):
        block_errors(
            predicted=np.zeros((9, 9)),
            reference=np.zeros((10, 10)),
            orbitals_per_atom=np.array([5, 5]),
        )
