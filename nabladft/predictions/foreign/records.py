"""What readers of foreign predictions give, and what they are told of the part to expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nabladft.errors import UnitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Conformations handled at once.
BATCH: Final = 256

#: Units of ASE, in which most of these files are.
ASE_UNITS: Final = {"energy": "eV", "forces": "eV/angstrom"}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a part needs; nothing larger is read.

    Attributes:
        n_conformations: Conformations of the part.
        n_atoms: Atoms of all of them.
        largest: Atoms of the largest.
    """

    n_conformations: int
    n_atoms: int
    largest: int


@dataclass(frozen=True, kw_only=True)
class ForeignBatch:
    """Some predictions as a file has them, in its order and its units.

    Attributes:
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
        n_atoms: Shape (n,), or None when the file does not say.
        energy: Shape (n,).
        forces: Shape (sum n_atoms, 3), or None.
        atomic_numbers: Shape (sum n_atoms,), or None when the file does not say.
        positions: Shape (sum n_atoms, 3), angstrom, or None.
    """

    keys: IntArray
    n_atoms: IntArray | None
    energy: NDArray[np.floating]
    forces: NDArray[np.floating] | None = None
    atomic_numbers: IntArray | None = None
    positions: NDArray[np.float64] | None = None


def settle_unit(
    quantity: str, *, asked: str | None, declared: str | None, default: str | None, where: str
) -> str:
    """Decide the unit of a quantity.

    Args:
        quantity: "energy" or "forces".
        asked: What the user says.
        declared: What the file says.
        default: What holds when nobody says anything; None if there is no such thing.
        where: Name of the file, for messages.

    Raises:
        UnitError: User and file say different units, or there is none.
    """
    if asked is not None and declared is not None and asked != declared:
        message = f"{where} declares its {quantity} in {declared}, not in {asked}."
        raise UnitError(message)
    unit = asked or declared or default
    if unit is None:
        option = "--unit" if quantity == "energy" else "--forces-unit"
        message = (
            f"{where} does not say the unit of its {quantity}. Say it with {option}, for example "
            f"{option} {ASE_UNITS[quantity]}, or store it as {quantity}_unit."
        )
        raise UnitError(message)
    return unit
