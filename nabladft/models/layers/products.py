"""The ways in which representations couple, shared by all tensor products."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.models.layers.spherical import Irrep

#: A path: positions of the two factors and of the result among their representations.
Path = tuple[int, int, int]


def product_paths(
    left: Sequence[Irrep], right: Sequence[Irrep], out: Sequence[Irrep]
) -> tuple[Path, ...]:
    """List the ways in which two representations couple to one that is wanted, by result."""
    found = [
        (i, j, out.index(irrep))
        for i, first in enumerate(left)
        for j, second in enumerate(right)
        for irrep in first.times(second)
        if irrep in out
    ]
    return tuple(sorted(found, key=lambda path: path[2]))
