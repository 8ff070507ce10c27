"""Angstrom or bohr: what the geometries themselves say.

A hydrogen atom of a molecule has its bond partner at 0.9 to 1.4 angstrom, which is 1.7 to 2.6 bohr.
The two ranges do not touch, so a few molecules settle the unit of a file, whatever it declares.

Example:
    >>> import numpy as np
    >>> length_unit([np.array([8, 1, 1])], [np.array([[0, 0, 0], [0, 0, 0.96], [0, 0.93, -0.2]])])
    'angstrom'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Distance from hydrogen to its nearest atom: shortest and longest that a molecule may have.
_RANGES: Final = {"angstrom": (0.7, 1.45), "bohr": (1.5, 2.8)}

#: Share of the hydrogen atoms that must agree.
_SHARE: Final = 0.95


def length_unit(
    molecules: Sequence[NDArray[np.integer]], geometries: Sequence[NDArray[np.float64]]
) -> str | None:
    """Tell the unit of length of some geometries by the bonds of their hydrogen atoms.

    Args:
        molecules: Atomic numbers of each molecule.
        geometries: Coordinates of each, shape (n_atoms, 3), in the unknown unit.

    Returns:
        "angstrom", "bohr", or None when there is no hydrogen or the distances are of neither.
    """
    nearest = nearest_to_hydrogen(molecules, geometries)
    for unit, (shortest, longest) in _RANGES.items():
        inside = (nearest > shortest) & (nearest < longest)
        if len(nearest) and inside.mean() >= _SHARE:
            return unit
    return None


def nearest_to_hydrogen(
    molecules: Sequence[NDArray[np.integer]], geometries: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Measure how far each hydrogen atom is from the nearest other atom, shape (n_hydrogen,)."""
    found = [np.zeros(0)]
    for numbers, positions in zip(molecules, geometries, strict=True):
        if len(numbers) < 2:
            continue
        hydrogens = positions[np.asarray(numbers) == 1]
        distances = np.linalg.norm(hydrogens[:, None] - positions, axis=-1)
        found.append(np.sort(distances, axis=1)[:, 1])
    return np.concatenate(found)
