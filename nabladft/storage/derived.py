"""Total energy from formation energy and back: one is stored, the other follows.

The two differ by the energies of the isolated atoms, which are constants of the data set at one
level of theory, so neither a store nor a published file holds both.

Example:
    >>> derivable_fields(("energy",), method="wB97X-D/def2-SVP", elements=(1, 8))
    ('formation_energy',)
    >>> derivable_fields(("energy",), method="B3LYP/def2-SVP", elements=(1, 8))
    ()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.elements import ISOLATED_ATOM_ENERGIES, isolated_atoms_energy
from nabladft.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords

#: The level of theory of :data:`nabladft.chemistry.elements.ISOLATED_ATOM_ENERGIES`.
PUBLISHED_METHOD: Final = "wB97X-D/def2-SVP"

#: Which energy follows from which, with the sign of the isolated atoms in the sum.
_SOURCE: Final = {"formation_energy": ("energy", -1.0), "energy": ("formation_energy", 1.0)}

#: Elements with an isolated-atom energy, ascending, and the position of each atomic number in it
#: (-1: not there; the ends of the table stand for all that is outside).
_ELEMENTS: Final = tuple(sorted(ISOLATED_ATOM_ENERGIES))
_COLUMN_OF: Final = np.full(max(_ELEMENTS) + 2, -1, dtype=np.int64)
_COLUMN_OF[list(_ELEMENTS)] = np.arange(len(_ELEMENTS))


def derivable_fields(
    stored: Sequence[str], *, method: str | None, elements: Iterable[int]
) -> tuple[str, ...]:
    """List the energies that are not stored but follow from a stored one.

    Args:
        stored: Labels stored.
        method: Level of theory of the labels, or None.
        elements: Atomic numbers that occur.
    """
    same_method = (method or "").lower() == PUBLISHED_METHOD.lower()
    if not same_method or any(number not in ISOLATED_ATOM_ENERGIES for number in elements):
        return ()
    return tuple(
        name for name, (source, _) in _SOURCE.items() if source in stored and name not in stored
    )


def stored_fields_for(wanted: Sequence[str], derived: Sequence[str]) -> tuple[str, ...]:
    """Replace derived labels by the stored ones that they follow from, without repetition."""
    return tuple(dict.fromkeys(_SOURCE[n][0] if n in derived else n for n in wanted))


def derive(flat: FlatRecords, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Give the labels asked for, computing those that follow from others.

    Args:
        flat: Records with the labels that :func:`stored_fields_for` lists.
        wanted: Labels asked for.

    Returns:
        Label arrays by name, in the sequence of ``wanted``.
    """
    values: dict[str, NDArray[Any]] = {}
    for name in wanted:
        if name in flat.values:
            values[name] = flat.values[name]
        else:
            source, sign = _SOURCE[name]
            atoms = isolated_atoms_energies(flat.atomic_numbers, flat.atom_offsets)
            values[name] = flat.values[source] + sign * atoms
    return values


def isolated_atoms_energies(
    atomic_numbers: NDArray[np.integer], atom_offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum the energies of the isolated atoms of many molecules at once.

    Bit for bit the same sums as :func:`nabladft.chemistry.elements.isolated_atoms_energy`, because
    the terms are added in the same sequence.

    Args:
        atomic_numbers: Shape (sum n_atoms,).
        atom_offsets: Shape (n + 1,).

    Returns:
        Shape (n,), hartree.

    Raises:
        UnsupportedElementError: An element has no published isolated-atom energy.
    """
    n, width = len(atom_offsets) - 1, len(_ELEMENTS)
    column = _COLUMN_OF.take(atomic_numbers, mode="clip")
    if len(column) and column.min() < 0:
        isolated_atoms_energy(atomic_numbers[column < 0])  # names them
    # One count for every pair of molecule and element.
    column += np.repeat(width * np.arange(n), np.diff(atom_offsets))
    counts = np.bincount(column, minlength=n * width).reshape(n, width)
    total = np.zeros(n)
    for k in np.flatnonzero(counts.any(axis=0)).tolist():
        total += ISOLATED_ATOM_ENERGIES[_ELEMENTS[k]] * counts[:, k]
    return total


def energy_kind(energies: Sequence[float], molecules: Sequence[NDArray[np.integer]]) -> str:
    """Tell total energies from formation energies, for files that do not say.

    A total energy is close to the sum of its isolated atoms, a formation energy close to zero.

    Args:
        energies: Of some molecules, hartree.
        molecules: Their atomic numbers.

    Returns:
        "energy" or "formation_energy".

    Raises:
        FormatError: Some look like the one and some like the other.
        UnsupportedElementError: An element has no isolated-atom energy, so it cannot be told.
    """
    is_total = {
        abs(energy - isolated_atoms_energy(numbers)) < abs(energy)
        for energy, numbers in zip(energies, molecules, strict=True)
    }
    if len(is_total) != 1:
        message = "Some energies look like total energies and some like formation energies."
        raise FormatError(message)
    return "energy" if is_total.pop() else "formation_energy"
