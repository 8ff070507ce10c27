"""Chemical elements: symbols, numbers, and the isolated atoms of the published data set.

Example:
    >>> atomic_number("Br"), SYMBOLS[35]
    (35, 'Br')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.errors import UnsupportedElementError, suggestion

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Chemical symbol by atomic number; index 0 is a placeholder.
SYMBOLS: Final[tuple[str, ...]] = tuple(
    """X
    H He
    Li Be B C N O F Ne
    Na Mg Al Si P S Cl Ar
    K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe
    Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
    """.split()
)

#: The elements of the published data set: H C N O F S Cl Br.
DATASET_ELEMENTS: Final[tuple[int, ...]] = (1, 6, 7, 8, 9, 16, 17, 35)

#: Energies of isolated atoms in hartree, by atomic number, at wB97X-D/def2-SVP. The published
#: formation energies are total energies minus these. They are constants of the data set, not a fit,
#: and recomputed ones differ (H by 6e-4), so always use these.
#: Source: nablaDFT/data/atomization_energies.npy of the published code. I has an effective core.
ISOLATED_ATOM_ENERGIES: Final[dict[int, float]] = {
    1: -0.5024932583661139,
    6: -37.79809934247253,
    7: -54.522414832380626,
    8: -74.97667809850873,
    9: -99.61446950401614,
    15: -341.13941895023964,
    16: -397.9719278356063,
    17: -459.98864965660516,
    35: -2573.8571719614743,
    53: -297.7564286148722,
}

_NUMBERS: Final = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def atomic_number(symbol: str) -> int:
    """Return the atomic number of a chemical symbol.

    Raises:
        UnsupportedElementError: There is no such symbol.
    """
    try:
        return _NUMBERS[symbol]
    except KeyError:
        message = f"No element {symbol!r}.{suggestion(symbol, _NUMBERS)}"
        raise UnsupportedElementError(message) from None


def isolated_atoms_energy(atomic_numbers: NDArray[np.integer]) -> float:
    """Sum the energies of the isolated atoms of a molecule.

    Args:
        atomic_numbers: Shape (n_atoms,).

    Returns:
        Energy in hartree; ``energy - isolated_atoms_energy`` is the published formation energy.

    Raises:
        UnsupportedElementError: An element has no published isolated-atom energy.
    """
    numbers, counts = np.unique(np.asarray(atomic_numbers), return_counts=True)
    absent = [int(number) for number in numbers if int(number) not in ISOLATED_ATOM_ENERGIES]
    if absent:
        message = (
            f"No published isolated-atom energy for {', '.join(symbol_of(n) for n in absent)}. "
            f"Available: {', '.join(SYMBOLS[n] for n in ISOLATED_ATOM_ENERGIES)}."
        )
        raise UnsupportedElementError(message)
    return float(
        sum(
            ISOLATED_ATOM_ENERGIES[int(n)] * int(count)
            for n, count in zip(numbers, counts, strict=True)
        )
    )


def symbol_of(number: int) -> str:
    """Name an element for a message, also when the number is out of range."""
    return SYMBOLS[number] if 0 < number < len(SYMBOLS) else f"Z={number}"


def formula(atomic_numbers: NDArray[np.integer]) -> str:
    """Write the molecular formula in Hill order.

    Example:
        >>> formula(np.array([8, 1, 6, 1, 1, 1]))
        'CH4O'
    """
    numbers, counts = np.unique(np.asarray(atomic_numbers), return_counts=True)
    by_symbol = {symbol_of(int(n)): int(c) for n, c in zip(numbers, counts, strict=True)}
    first = [symbol for symbol in ("C", "H") if symbol in by_symbol] if "C" in by_symbol else []
    rest = sorted(set(by_symbol) - set(first))
    return "".join(
        symbol + (str(by_symbol[symbol]) if by_symbol[symbol] > 1 else "")
        for symbol in [*first, *rest]
    )
