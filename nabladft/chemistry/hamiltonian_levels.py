"""What the diagonal and the size of a Hamiltonian say about its unit, basis set and atoms.

The diagonal elements of a Fock matrix hardly depend on the molecule: within 0.3 hartree those of
carbon's first s orbital are -10.3 in def2-SVP, those of its second -1.9. So they tell the unit, and
one basis set from another of the same shells. The numbers are in ``hamiltonian_levels.toml``.

Example:
    >>> diagonal = 27.2114 * np.repeat([-0.35, -0.47, 1.27], [1, 1, 3])
    >>> explain_diagonal(np.tile(diagonal, 2), np.array([1, 1]))
    Explanation(kind='unit', found='eV')
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.units import HARTREE_IN_EV, convert

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

_FILE: Final = Path(__file__).with_name("hamiltonian_levels.toml")

#: How far a level may be from its mean, hartree: molecules differ by 0.3 at most, initial guesses
#: and fair models are off by 0.2, and core levels of Br by 1.
_SPREAD: Final = 0.1
_RELATIVE_SPREAD: Final = 0.02
#: Deviations in units of the spread count as at most this, so that one wild element proves nothing.
_FARTHEST: Final = 3.0
#: Mean square deviation below which levels fit. The embedded data have at most 0.7, the initial
#: guess "minao" 1.1, the right matrices of another basis set with the same shells 2.8 and more.
_FITS: Final = 1.8
#: A mistake is named when it fits that much better than no mistake.
_CLEARLY: Final = 0.6

#: Factors from hartree to what may be in a matrix by mistake.
LEVEL_FACTORS: Final = {
    **{
        unit: convert(1.0, source="hartree", target=unit)
        for unit in ("eV", "kcal/mol", "kJ/mol", "millihartree", "meV", "microhartree")
    },
    "rydberg": 2.0,
    "hartree divided by 27.2114": 1 / HARTREE_IN_EV,
    "minus hartree": -1.0,
}


@dataclass(frozen=True)
class Explanation:
    """What a matrix looks like instead of what it is said to be.

    Attributes:
        kind: "unit", "basis set", or "atoms" when the atoms come in another sequence.
        found: Name of what it looks like.
    """

    kind: Literal["unit", "basis set", "atoms"]
    found: str


def explain_diagonal(
    diagonal: FloatArray,
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> Explanation | None:
    """Say which mistake explains the diagonal of a Hamiltonian, if one does.

    The levels of each shell are averaged over m, so the orbital order does not matter.

    Args:
        diagonal: Shape (n_orbitals,), supposed to be in hartree.
        atomic_numbers: Shape (n_atoms,).
        basis_set: What the matrix is supposed to be in.

    Returns:
        None when the levels are plausible, when nothing is known about the basis set or no element
        of it, or when no mistake known here explains them: a bad prediction is no mistake.
    """
    numbers = np.asarray(atomic_numbers)
    tables: dict[str, dict[str, list[float]]] = _content()["levels"]
    if basis_set.name not in tables:
        return None
    found = _levels(diagonal, numbers, basis_set)
    expected = _expected(numbers, basis_set, tables[basis_set.name])
    if not np.isfinite(expected).any():
        return None
    as_it_is = _misfit(found, expected)
    if as_it_is <= _FITS:
        return None
    misfits = {
        Explanation("unit", unit): _misfit(found / factor, expected)
        for unit, factor in LEVEL_FACTORS.items()
    }
    for name, table in tables.items():
        if name != basis_set.name:
            other = _expected(numbers, basis_set, table)
            # Elements that the other table lacks prove nothing for it.
            if (np.isfinite(other) == np.isfinite(expected)).all():
                misfits[Explanation("basis set", name)] = _misfit(found, other)
    for name, order in _atom_orders(numbers).items():
        moved = numbers[order]
        misfits[Explanation("atoms", name)] = _misfit(
            _levels(diagonal, moved, basis_set),
            _expected(moved, basis_set, tables[basis_set.name]),
        )
    best = min(misfits, key=lambda explanation: misfits[explanation])
    return best if misfits[best] < min(_FITS, _CLEARLY * as_it_is) else None


def basis_sets_of_size(n_orbitals: int, atomic_numbers: NDArray[np.integer]) -> list[str]:
    """List known basis sets in which a molecule has so many orbitals.

    Args:
        n_orbitals: Rows of the matrix.
        atomic_numbers: Shape (n_atoms,).

    Returns:
        Names, with "Cartesian" where the d and f shells are; empty when no known one fits.
    """
    content = _content()["orbitals"]
    symbols = [symbol_of(int(number)) for number in atomic_numbers]
    fitting = []
    for kind, prefix in (("spherical", ""), ("cartesian", "Cartesian ")):
        for name, counts in content[kind].items():
            orbitals = dict(zip(content["elements"], counts, strict=True))
            if sum(orbitals.get(symbol, np.inf) for symbol in symbols) == n_orbitals:
                fitting.append(prefix + name)
    return fitting


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def _levels(
    diagonal: FloatArray, atomic_numbers: NDArray[np.integer], basis_set: BasisSet
) -> FloatArray:
    """Average the diagonal over the orbitals of each shell, shape (n_shells,)."""
    shells = [l for number in atomic_numbers for l in basis_set.shells_of(int(number))]
    sizes = 2 * np.array(shells) + 1
    levels: FloatArray = np.add.reduceat(diagonal, np.cumsum(sizes) - sizes) / sizes
    return levels


def _expected(
    atomic_numbers: NDArray[np.integer], basis_set: BasisSet, table: dict[str, list[float]]
) -> FloatArray:
    """Give the level of each shell, NaN for elements that the table lacks, shape (n_shells,)."""
    pieces: list[list[float]] = []
    for number in atomic_numbers.tolist():
        n_shells = len(basis_set.shells_of(number))
        levels = table.get(symbol_of(number), [])
        pieces.append(levels if len(levels) == n_shells else [np.nan] * n_shells)
    return np.concatenate(pieces)


def _misfit(found: FloatArray, expected: FloatArray) -> float:
    known = np.isfinite(expected)
    spread = _SPREAD + _RELATIVE_SPREAD * np.abs(expected[known])
    deviation = np.abs(found[known] - expected[known]) / spread
    return float((np.minimum(deviation, _FARTHEST) ** 2).mean())


def _atom_orders(atomic_numbers: NDArray[np.integer]) -> dict[str, NDArray[np.intp]]:
    """Sequences of atoms that programs use instead of the one of the geometry."""
    is_hydrogen = atomic_numbers == 1
    return {
        "hydrogens last": np.argsort(is_hydrogen, kind="stable"),
        "hydrogens first": np.argsort(~is_hydrogen, kind="stable"),
        "light elements first": np.argsort(atomic_numbers, kind="stable"),
        "heavy elements first": np.argsort(-atomic_numbers, kind="stable"),
        "backwards": np.arange(len(atomic_numbers))[::-1],
    }
