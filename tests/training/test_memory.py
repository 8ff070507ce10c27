"""The peak is of the time since measuring began."""

import sys

import pytest
import torch

from nabladft.training.memory import peak_memory, start_measuring

CPU = torch.device("cpu")
SIZE = 300_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak memory")
def test_a_large_array_raises_the_peak_until_measuring_begins_anew():
    start_measuring(CPU)
    before = peak_memory(CPU)
    torch.ones(SIZE, dtype=torch.uint8)
    with_array = peak_memory(CPU)
    start_measuring(CPU)

    assert with_array - before > 0.8 * SIZE
    assert with_array - peak_memory(CPU) > 0.5 * SIZE
