"""Blocks of atom pairs into matrices and back, against Python loops over pairs in the same run.

    python benchmarks/hamiltonian_blocks.py
    python benchmarks/hamiltonian_blocks.py --device cuda --repeats 20
    python benchmarks/hamiltonian_blocks.py --json blocks.json --markdown blocks.md

The batch is 16 drug-like molecules of 38 to 42 atoms, all different (H, C, N, O, F, S, Cl, Br in
def2-SVP). Three tasks:

- *blocks to matrices*: from the flat values of the blocks of all pairs i >= j, as labels and
  predictions are, to one symmetric matrix for each molecule;
- *matrices to blocks*: the way back;
- *network to matrices*: from what a network gives for every ordered pair, padded with room for all
  shells of the heaviest element, to matrices. The orbitals that the two elements have are picked
  and (i, j) is averaged with the transpose of (j, i).

Ways to do them:

- ``loop``: one pair after the other, where each is in the list being known;
- ``loop as published``: as the published QHNet does it, which for every pair compares the whole
  list with i and j and asks the device for the number;
- ``vectorised``: ``PairGraph`` (:mod:`nabladft.models.layers.pair_graph`), ``dense_from_blocks``
  and ``blocks_from_dense`` (:mod:`nabladft.data.blocks`) with all indices at hand;
- ``vectorised, indices made anew``: the same where the batch has never been seen.

Results are compared before they are timed; a GPU is watched for waiting. Exits with 1 where
assembling is not 50 times faster than a loop (blocks) or than the published loop (network).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from drug_molecules import SIXTEEN, embedded

from nabladft.chemistry.elements import DATASET_ELEMENTS
from nabladft.data.blocks import blocks_from_dense, dense_from_blocks
from nabladft.models.layers.expansion import BlockExpansion
from nabladft.models.layers.pair_graph import PairGraph
from nabladft.testing.hamiltonian import batch_with_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from nabladft.data.blocks import BlockLayout

BASIS: Final = "def2-svp"
GOAL: Final = 50.0
LOOP, PUBLISHED, VECTORISED = "loop", "loop as published", "vectorised"
ANEW: Final = "vectorised, indices made anew"
TASKS: Final = ("blocks to matrices", "matrices to blocks", "network to matrices")
#: Over what assembling shall reach the goal.
RIVALS: Final = {TASKS[0]: LOOP, TASKS[2]: PUBLISHED}


class Work:
    """The batch, what a network would give for it, and every way to turn one into the other."""

    def __init__(self, device: torch.device) -> None:
        """Make the batch and random padded blocks on a device."""
        molecules = [embedded(smiles) for smiles in SIXTEEN]
        batch = batch_with_blocks(molecules, BASIS, "ascending", dtype=torch.float32)
        self.numbers = batch.atomic_numbers.tolist()
        self.atoms = list(pairwise(batch.atom_offsets.tolist()))
        self.offsets = batch.blocks.offsets.tolist()
        self.batch = batch.to(device)
        self.expansion = BlockExpansion(DATASET_ELEMENTS, BASIS).to(device)
        self.graph = PairGraph(self.batch, self.expansion)
        torch.manual_seed(0)
        self.padded = torch.randn(self.graph.n_padded, device=device)
        self.values = self.graph.gather(self.padded)
        self.matrices = dense_from_blocks(self.values, self.layout)
        kinds = sorted(set(self.numbers))
        self.places = {(a, b): self.expansion.places(a, b) for a in kinds for b in kinds}
        first, second = self.graph.first.tolist(), self.graph.second.tolist()
        n = len(self.numbers)
        self.block_of = {pair: n + k for k, pair in enumerate(zip(first, second, strict=True))}
        self.block_of |= {(atom, atom): atom for atom in range(n)}

    @property
    def layout(self) -> BlockLayout:
        """Layout of the batch, with what it derived so far."""
        assert self.batch.blocks is not None
        return self.batch.blocks

    def ways(self, task: str) -> dict[str, Callable[[], Any]]:
        """List the ways to do a task."""
        if task == TASKS[0]:
            return {
                LOOP: self.blocks_to_matrices_loop,
                VECTORISED: lambda: dense_from_blocks(self.values, self.layout),
                ANEW: lambda: dense_from_blocks(self.values, self._unseen().blocks),
            }
        if task == TASKS[1]:
            return {
                LOOP: self.matrices_to_blocks_loop,
                VECTORISED: lambda: blocks_from_dense(self.matrices, self.layout),
                ANEW: lambda: blocks_from_dense(self.matrices, self._unseen().blocks),
            }
        return {
            LOOP: lambda: self.network_to_matrices_loop(lambda i, j: self.block_of[i, j]),
            PUBLISHED: lambda: self.network_to_matrices_loop(self._looked_up),
            VECTORISED: lambda: dense_from_blocks(self.graph.gather(self.padded), self.layout),
            ANEW: self.network_to_matrices_anew,
        }

    def blocks_to_matrices_loop(self) -> list[Tensor]:
        """Put one block after the other into its two places."""
        matrices, pair = [], 0
        for first, last in self.atoms:
            parts, n = self._parts(first, last)
            matrix = self.values.new_empty(n, n)
            for i, rows in enumerate(parts):
                for columns in parts[: i + 1]:
                    block = self.values[self.offsets[pair] : self.offsets[pair + 1]]
                    block = block.view(rows.stop - rows.start, -1)
                    matrix[rows, columns] = block
                    matrix[columns, rows] = block.T
                    pair += 1
            matrices.append(matrix)
        return matrices

    def matrices_to_blocks_loop(self) -> Tensor:
        """Cut one block after the other out of its matrix."""
        blocks = []
        for matrix, (first, last) in zip(self.matrices, self.atoms, strict=True):
            parts, _ = self._parts(first, last)
            for i, rows in enumerate(parts):
                blocks += [matrix[rows, columns].flatten() for columns in parts[: i + 1]]
        return torch.cat(blocks)

    def network_to_matrices_loop(self, find: Callable[[int, int], int]) -> list[Tensor]:
        """Pick, average and put one pair after the other."""
        matrices = []
        for first, last in self.atoms:
            parts, n = self._parts(first, last)
            matrix = self.padded.new_empty(n, n)
            for i, rows in enumerate(parts, first):
                for j, columns in enumerate(parts[: i - first + 1], first):
                    a, b = self.numbers[i], self.numbers[j]
                    here = self.padded[find(i, j)][self.places[a, b]]
                    there = self.padded[find(j, i)][self.places[b, a]]
                    block = 0.5 * (here + there.T)
                    matrix[rows, columns] = block
                    matrix[columns, rows] = block.T
            matrices.append(matrix)
        return matrices

    def network_to_matrices_anew(self) -> list[Tensor]:
        """Find pairs and places of a batch that was never seen, and assemble."""
        batch = self._unseen()
        graph = PairGraph(batch, self.expansion)
        return dense_from_blocks(graph.gather(self.padded), batch.blocks)

    def _looked_up(self, i: int, j: int) -> int:
        if i == j:
            return i
        is_pair = (self.graph.first == i) & (self.graph.second == j)
        return len(self.numbers) + int(torch.where(is_pair)[0].item())

    def _unseen(self) -> Any:  # noqa: ANN401 - a batch with blocks
        # A copy of a layout has forgotten what it derived; its tensors are not copied.
        return self.batch.to(self.padded.device)

    def _parts(self, first: int, last: int) -> tuple[list[slice], int]:
        """Orbitals of the atoms of a molecule, and how many there are."""
        starts = [0]
        for number in self.numbers[first:last]:
            starts.append(starts[-1] + len(self.places[number, number]))
        return [slice(*ends) for ends in pairwise(starts)], starts[-1]


def measure(device: torch.device, repeats: int) -> dict[str, Any]:
    """Check that all ways agree, then time them."""
    work = Work(device)
    seconds: dict[str, dict[str, float]] = {}
    for task in TASKS:
        ways = work.ways(task)
        expected = list(_tensors(ways[LOOP]()))
        for run in ways.values():
            for one, other in zip(_tensors(run()), expected, strict=True):
                torch.testing.assert_close(one, other, atol=0, rtol=0)
        _refuse_to_wait(ways, device)
        seconds[task] = {
            name: best_time(run, repeats if name in (VECTORISED, ANEW) else 2, device)
            for name, run in ways.items()
        }
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "molecules": len(work.atoms),
        "atoms": len(work.numbers),
        "blocks": work.layout.n_pairs,
        "orbitals": list(work.layout.n_orbitals),
        "seconds": seconds,
    }


def _tensors(result: Tensor | list[Tensor]) -> Iterator[Tensor]:
    yield from result if isinstance(result, list) else [result]


def _refuse_to_wait(ways: dict[str, Callable[[], Any]], device: torch.device) -> None:
    """Fail where something vectorised waits for the GPU to say a number."""
    if device.type != "cuda":
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        ways[VECTORISED]()
        ways[ANEW]()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def best_time(run: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Give the shortest of several times, in seconds.

    One thread is measured in its own time: what other programs take from it would hit the long
    loop, and spare the best of many short runs.
    """
    is_alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if is_alone else time.perf_counter
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        start = clock()
        run()
        _wait(device)
        best = min(best, clock() - start)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(result: dict[str, Any]) -> str:
    """Make a table of the times, in Markdown."""
    title = (
        f"{result['molecules']} molecules, {result['atoms']} atoms, {result['blocks']} blocks, "
        f"{min(result['orbitals'])} to {max(result['orbitals'])} orbitals; {result['device']}, "
        f"{result['threads']} thread(s)"
    )
    lines = [
        title,
        "",
        "| task | way | milliseconds | loop / this | loop as published / this |",
        "|---|---|--:|--:|--:|",
    ]
    for task, times in result["seconds"].items():
        for name, seconds in times.items():
            ratios = [
                f"{times[rival] / seconds:.1f}" if rival in times else ""
                for rival in (LOOP, PUBLISHED)
            ]
            lines.append(f"| {task} | {name} | {1e3 * seconds:.2f} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; gives the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", nargs="+", default=default, help=f"default: {default}")
    parser.add_argument("--repeats", type=int, default=10, help="of what is fast; default: 10")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; default: 1")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    results = [measure(torch.device(name), options.repeats) for name in options.device]
    text = "\n\n".join(map(table, results)) + "\n"
    print(text)
    if options.json:
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        content = {"versions": versions, "machine": platform.machine(), "results": results}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    reached = [
        result["seconds"][task][rival] / result["seconds"][task][VECTORISED]
        for result in results
        for task, rival in RIVALS.items()
    ]
    return 0 if min(reached) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
