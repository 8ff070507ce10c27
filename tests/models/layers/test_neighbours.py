import math

import torch

from nabladft.models.layers.neighbours import all_pairs, neighbour_pairs

OFFSETS = torch.tensor([0, 3, 4, 8])


def test_all_ordered_pairs_of_each_conformation():
    first, second = all_pairs(OFFSETS)

    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    groups = [range(3), range(3, 4), range(4, 8)]
    assert pairs == {(i, j) for group in groups for i in group for j in group if i != j}
    assert len(first) == len(pairs)


def test_pairs_beyond_the_cutoff_are_left_out():
    torch.manual_seed(0)
    positions = 3.0 * torch.randn(8, 3, dtype=torch.float64)

    found = neighbour_pairs(positions, OFFSETS, 5.0)

    first, second = all_pairs(OFFSETS)
    near = {
        (i, j)
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
        if math.dist(positions[i].tolist(), positions[j].tolist()) < 5.0
    }
    assert 0 < len(near) < len(first)
    assert set(zip(found.receiver.tolist(), found.sender.tolist(), strict=True)) == near
    assert torch.equal(found.vectors, positions[found.sender] - positions[found.receiver])
    assert torch.allclose(found.distances, found.vectors.norm(dim=1))


def test_gradients_flow_into_distances():
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]], requires_grad=True)

    neighbour_pairs(positions, torch.tensor([0, 2]), math.inf).distances.sum().backward()

    assert positions.grad[:, 2].tolist() == [-2.0, 2.0]


def test_single_atoms_have_no_pairs():
    first, _ = all_pairs(torch.tensor([0, 1, 2]))

    assert len(first) == 0
