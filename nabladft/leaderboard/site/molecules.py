"""Molecules on pages: a drawing that needs no script, and the coordinates for 3-D viewers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nabladft.leaderboard.details import WorstConformation

    FloatArray = NDArray[np.float64]

#: Atoms closer than this times the sum of their covalent radii are drawn with a bond.
_BOND_REACH: Final = 1.25
#: Radius of a drawn atom, as a share of its covalent radius.
_ATOM_SHARE: Final = 0.5
_MARGIN_ANGSTROM: Final = 0.6
_PIXELS_PER_ANGSTROM: Final = 28.0
#: Farther from the first atom than this nothing is drawn: no molecule is so large.
_LARGEST_ANGSTROM: Final = 200.0
#: Elements with less luminance than this get a light letter.
_DARK: Final = 0.5
_LUMINANCE: Final = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True)
class DrawnAtom:
    """A circle of the drawing; all lengths in pixels."""

    x: float
    y: float
    radius: float
    colour: str
    symbol: str
    is_dark: bool


@dataclass(frozen=True, kw_only=True)
class DrawnBond:
    """A line of the drawing, from atom to atom."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, kw_only=True)
class DrawnMolecule:
    """What the template of a drawing shows, the farthest first.

    Attributes:
        width: In pixels.
        height: In pixels.
        items: Bonds and atoms from the back to the front.
    """

    width: float
    height: float
    items: tuple[DrawnAtom | DrawnBond, ...]


def xyz_text(worst: WorstConformation, comment: str) -> str:
    """Write the geometry as an xyz file in angstrom."""
    lines = [str(len(worst.atomic_numbers)), re.sub(r"\s+", " ", comment)]
    for number, (x, y, z) in zip(worst.atomic_numbers, worst.positions_angstrom, strict=True):
        lines.append(f"{chemical_symbols[number]:2s} {x:14.8f} {y:14.8f} {z:14.8f}")
    return "\n".join(lines) + "\n"


def draw_molecule(worst: WorstConformation) -> DrawnMolecule | None:
    """Project a molecule onto the plane of its two longest axes.

    The handedness is kept: what is to the right of the viewer is so in the molecule.

    Returns:
        The drawing, or None when the atoms are too far apart for one.
    """
    numbers = np.array(worst.atomic_numbers)
    positions = np.array(worst.positions_angstrom, dtype=np.float64).reshape(-1, 3)
    if (np.abs(positions - positions[0]) > _LARGEST_ANGSTROM).any():
        return None
    positions = _seen_flat(positions - positions[0])
    low = positions[:, :2].min(axis=0) - _MARGIN_ANGSTROM
    high = positions[:, :2].max(axis=0) + _MARGIN_ANGSTROM
    scale = _PIXELS_PER_ANGSTROM
    x, y = scale * (positions[:, 0] - low[0]), scale * (high[1] - positions[:, 1])
    items: list[tuple[float, DrawnAtom | DrawnBond]] = []
    for a, b in _bonds(numbers, positions):
        depth = min(positions[a, 2], positions[b, 2]) - 1e-3
        bond = DrawnBond(**_rounded(x1=x[a], y1=y[a], x2=x[b], y2=y[b]))
        items.append((float(depth), bond))
    for k, number in enumerate(numbers.tolist()):
        colour = jmol_colors[min(number, len(jmol_colors) - 1)]
        atom = DrawnAtom(
            colour="#" + "".join(f"{round(255 * part):02x}" for part in colour),
            symbol=chemical_symbols[number],
            is_dark=bool(_LUMINANCE @ colour < _DARK),
            **_rounded(x=x[k], y=y[k], radius=scale * _ATOM_SHARE * covalent_radii[number]),
        )
        items.append((float(positions[k, 2]), atom))
    items.sort(key=lambda item: item[0])
    width, height = scale * (high - low)
    return DrawnMolecule(
        items=tuple(item for _, item in items), **_rounded(width=width, height=height)
    )


def _seen_flat(positions: FloatArray) -> FloatArray:
    """Turn a molecule so that it is widest to the right and thinnest towards the viewer."""
    centred = positions - positions.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=True)[2]
    # The sign of a singular vector is arbitrary; the heavier end decides, so it is the same again.
    for k in range(2):
        along = centred @ axes[k]
        if along[np.argmax(np.abs(along))] < 0:
            axes[k] = -axes[k]
    axes[2] = np.cross(axes[0], axes[1])
    turned: FloatArray = centred @ axes.T
    return turned


def _bonds(numbers: NDArray[np.int64], positions: FloatArray) -> list[tuple[int, int]]:
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    reach = _BOND_REACH * (covalent_radii[numbers][:, None] + covalent_radii[numbers][None])
    first, second = np.nonzero(np.triu(distances < reach, k=1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _rounded(**lengths: float) -> dict[str, float]:
    return {name: round(float(length), 1) for name, length in lengths.items()}
