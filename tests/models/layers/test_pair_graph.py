import dataclasses

import numpy as np
import pytest
import torch

from nabladft.data.blocks import blocks_from_dense, dense_from_blocks
from nabladft.errors import ConfigError, InputError, UnsupportedElementError
from nabladft.models.layers.block_readout import BlockReadout
from nabladft.models.layers.expansion import BlockExpansion
from nabladft.models.layers.pair_graph import PairGraph
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES, Molecule

ELEMENTS = (1, 6, 7, 8, 9, 16, 17, 35)
DIRECTED = ("both", "canonical")

HEAVY = Molecule(
    np.array([35, 1, 6, 17, 1]),
    np.array([[0.0, 0, 0], [5.0, 2, 1], [3.5, 0, 0], [5, 3, -2], [4, -2, 1]]),
)
ALONE = Molecule(np.array([16]), np.zeros((1, 3)))


@pytest.fixture(scope="module")
def expansion():
    return BlockExpansion(ELEMENTS, "def2-svp")


@pytest.fixture
def batch():
    molecules = [HEAVY, MOLECULES[0], ALONE, *MOLECULES[1:]]
    return batch_with_blocks(molecules, "def2-svp", "ascending", dtype=torch.float64)


def made_up(expansion, graph):
    """Coefficients that are functions of what an atom or an ordered pair is."""
    atoms, pairs = [], []
    turns = torch.linspace(0.1, 1.7, len(graph.elements), dtype=torch.float64)
    names = turns[graph.first] + 2.0 * turns[graph.second]
    for irrep, width in zip(expansion.irreps, expansion.widths, strict=True):
        grid = torch.arange(irrep.dim * width, dtype=torch.float64).view(1, irrep.dim, width)
        atoms.append(torch.sin(grid + turns[:, None, None]))
        pairs.append(torch.cos(grid * names[:, None, None]))
    return atoms, pairs


@pytest.mark.parametrize("directed", DIRECTED)
def test_values_come_back_from_coefficients(expansion, batch, directed):
    graph = PairGraph(batch, expansion, directed=directed)
    values = graph.assemble(*made_up(expansion, graph))

    again = graph.assemble(*graph.disassemble(values))

    torch.testing.assert_close(again, values, atol=1e-13, rtol=0)


@pytest.mark.parametrize("directed", DIRECTED)
def test_matrices_are_what_a_loop_over_pairs_builds(expansion, batch, directed):
    graph = PairGraph(batch, expansion, directed=directed)
    atoms, pairs = made_up(expansion, graph)
    padded = torch.cat([expansion.expand(atoms), expansion.expand(pairs)])
    counts = {z: len(expansion.places(z, z)) for z in ELEMENTS}
    numbers = batch.atomic_numbers.tolist()
    first_orbital = np.cumsum([0, *(counts[z] for z in numbers)])
    whole = torch.zeros(int(first_orbital[-1]), int(first_orbital[-1]), dtype=torch.float64)
    times = torch.zeros_like(whole)
    ends = [(i, i) for i in range(batch.n_atoms)]
    ends += list(zip(graph.first.tolist(), graph.second.tolist(), strict=True))
    for block, (i, j) in zip(padded, ends, strict=True):
        values = block[expansion.places(numbers[i], numbers[j])]
        rows = slice(first_orbital[i], first_orbital[i + 1])
        columns = slice(first_orbital[j], first_orbital[j + 1])
        for where, part in (((rows, columns), values), ((columns, rows), values.T)):
            whole[where] += part
            times[where] += 1

    matrices = dense_from_blocks(graph.assemble(atoms, pairs), batch.blocks)

    start = 0
    for matrix in matrices:
        stop = start + len(matrix)
        expected = (whole / times)[start:stop, start:stop]
        torch.testing.assert_close(matrix, expected, atol=1e-13, rtol=0)
        start = stop


def test_dense_matrices_come_back(batch):
    values = torch.randn(batch.blocks.n_values, dtype=torch.float64)

    assert torch.equal(
        blocks_from_dense(dense_from_blocks(values, batch.blocks), batch.blocks), values
    )


def test_canonical_pairs_are_one_of_unequal_elements_and_both_of_equal_ones(expansion, batch):
    both, canonical = (PairGraph(batch, expansion, directed=directed) for directed in DIRECTED)

    listed = set(zip(canonical.first.tolist(), canonical.second.tolist(), strict=True))
    numbers = batch.atomic_numbers.tolist()
    ordered = set(zip(both.first.tolist(), both.second.tolist(), strict=True))
    assert listed == {(i, j) for i, j in ordered if numbers[i] <= numbers[j]}
    assert len(listed) == len(canonical.first) < len(both.first) == len(ordered)
    assert torch.equal(canonical.ordered.first, both.first)
    for name in ("types", "distances", "harmonics"):
        part = getattr(both, name)[: len(canonical.first)]
        assert torch.equal(getattr(canonical, name), part), name


@pytest.mark.parametrize("directed", DIRECTED)
def test_another_order_of_the_atoms_reorders_the_matrix(expansion, directed):
    order = [3, 0, 4, 2, 1]
    other = Molecule(HEAVY.atomic_numbers[order], HEAVY.positions[order])

    def matrix(molecule):
        one = batch_with_blocks([molecule], "def2-svp", "ascending", dtype=torch.float64)
        graph = PairGraph(one, expansion, lmax=4, directed=directed)
        # Of the geometry only, so that the same pair gets the same numbers in any order.
        factor = (graph.types + 1.0) / graph.distances
        atoms, pairs = [], []
        for irrep, width in zip(expansion.irreps, expansion.widths, strict=True):
            columns = torch.arange(width, dtype=torch.float64) + 1
            part = graph.harmonics[:, irrep.l**2 : (irrep.l + 1) ** 2, None]
            pairs.append(part * factor[:, None, None] * columns)
            atoms.append(graph.elements[:, None, None] * columns.expand(1, irrep.dim, width))
        return dense_from_blocks(graph.assemble(atoms, pairs), one.blocks)[0]

    counts = [len(expansion.places(z, z)) for z in HEAVY.atomic_numbers.tolist()]
    starts = np.cumsum([0, *counts])
    index = np.concatenate([np.arange(starts[k], starts[k] + counts[k]) for k in order])
    expected = matrix(HEAVY)[index][:, index]
    torch.testing.assert_close(matrix(other), expected, atol=1e-12, rtol=0)


def test_canonical_pairs_keep_the_two_centre_reference(batch):
    torch.manual_seed(3)
    readout = BlockReadout(ELEMENTS, "def2-svp", reference="two_center").double()
    graph = readout.graph(batch)
    values = graph.assemble(*made_up(readout.expansion, graph))
    readout.prepare([dataclasses.replace(batch, labels={"hamiltonian": values})], cutoff=8.0)

    found = []
    for directed in DIRECTED:
        graph = readout.graph(batch, directed=directed)
        zero = [
            [torch.zeros(n, irrep.dim, width).double() for irrep, width in _sizes(readout)]
            for n in (batch.n_atoms, len(graph.first))
        ]
        found.append(readout(graph, *zero))

    # Two centres have one direction, so (j, i) says the same as (i, j) up to the fit of each.
    on_atoms = batch.blocks.is_diagonal[batch.blocks.value_pair]
    assert torch.equal(found[0][on_atoms], found[1][on_atoms])


def test_autocast_leaves_the_reference_in_full_precision(batch):
    batch = dataclasses.replace(batch, positions=batch.positions.float())
    readout = BlockReadout(ELEMENTS, "def2-svp", reference="mean")
    graph = readout.graph(batch)
    values = graph.assemble(*made_up(readout.expansion, graph)).float() - 90.0
    readout.prepare([dataclasses.replace(batch, labels={"hamiltonian": values})], cutoff=8.0)
    atoms, pairs = (
        [torch.randn(n, irrep.dim, width).bfloat16() for irrep, width in _sizes(readout)]
        for n in (batch.n_atoms, len(graph.first))
    )
    exact = readout(graph, [x.float() for x in atoms], [x.float() for x in pairs])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = readout(graph, atoms, pairs)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-6)


def _sizes(readout):
    return zip(readout.expansion.irreps, readout.expansion.widths, strict=True)


def test_gradients_reach_every_coefficient_that_is_read(expansion):
    one = batch_with_blocks([HEAVY], "def2-svp", "ascending", dtype=torch.float64)
    graph = PairGraph(one, expansion, directed="canonical")
    padded = torch.zeros(graph.n_padded, dtype=torch.float64, requires_grad=True)

    graph.gather(padded).sum().backward()

    counts = [len(expansion.places(z, z)) for z in HEAVY.atomic_numbers.tolist()]
    weights = padded.grad.sum(dim=1)
    expected = [counts[i] * counts[j] for i, j in zip(graph.first, graph.second, strict=True)]
    is_alike = one.atomic_numbers[graph.first] == one.atomic_numbers[graph.second]
    expected = torch.tensor(expected, dtype=torch.float64) * torch.where(is_alike, 0.5, 1.0)
    torch.testing.assert_close(weights[5:], expected)
    assert weights[:5].tolist() == [n * n for n in counts]


def test_unknown_element_is_refused(batch):
    with pytest.raises(UnsupportedElementError, match=r"has no S, Cl, Br"):
        PairGraph(batch, BlockExpansion((1, 6, 7, 8), "def2-svp"))


def test_batch_without_blocks_is_refused(expansion, batch):
    with pytest.raises(InputError, match="Use a HamiltonianDataset"):
        PairGraph(dataclasses.replace(batch, blocks=None), expansion)


def test_unknown_direction_is_refused(expansion, batch):
    with pytest.raises(ConfigError, match="both, canonical, got 'lower'"):
        PairGraph(batch, expansion, directed="lower")
