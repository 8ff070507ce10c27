"""Which orbitals a basis set gives to each element.

Only the shells (angular degrees) are here; exponents and coefficients, needed for integrals, are in
:mod:`nabladft.chemistry.gaussians`.

Example:
    >>> import numpy as np
    >>> DEF2_SVP.n_orbitals(np.array([8, 1, 1]))
    24
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.elements import symbol_of
from nabladft.errors import UnknownNameError, UnsupportedElementError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Letter of each angular degree.
SHELL_LETTERS: Final = "spdfghi"


@dataclass(frozen=True)
class BasisSet:
    """The shells of a basis set of real solid harmonics.

    Attributes:
        name: Name as in the Basis Set Exchange, lower case.
        shells: Angular degree of each contracted shell, ascending, by atomic number.
    """

    name: str
    shells: Mapping[int, tuple[int, ...]]

    def shells_of(self, atomic_number: int) -> tuple[int, ...]:
        """Return the angular degrees of one element's shells.

        Raises:
            UnsupportedElementError: The basis set has no such element here.
        """
        try:
            return self.shells[int(atomic_number)]
        except KeyError:
            message = (
                f"{symbol_of(int(atomic_number))} has no shells in {self.name} here. Supported: "
                f"{', '.join(symbol_of(z) for z in self.shells)}."
            )
            raise UnsupportedElementError(message) from None

    def orbitals_per_atom(self, atomic_numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the number of orbitals of each atom, shape (n_atoms,)."""
        return np.array(
            [sum(2 * l + 1 for l in self.shells_of(int(z))) for z in atomic_numbers], dtype=np.int64
        )

    def first_orbitals(self, atomic_numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return where the orbitals of each atom begin, shape (n_atoms,)."""
        sizes = self.orbitals_per_atom(atomic_numbers)
        return np.cumsum(sizes) - sizes

    def degrees(self, atomic_numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the angular degree of each orbital of a molecule, shape (n_orbitals,)."""
        shells = [l for z in atomic_numbers for l in self.shells_of(int(z))]
        return np.repeat(shells, [2 * l + 1 for l in shells]).astype(np.int64)

    def n_orbitals(self, atomic_numbers: NDArray[np.integer]) -> int:
        """Return the number of orbitals of a molecule."""
        return int(self.orbitals_per_atom(atomic_numbers).sum())


def _shells(letters: str) -> tuple[int, ...]:
    return tuple(SHELL_LETTERS.index(letter) for letter in letters)


def _def2_svp_shells() -> dict[int, tuple[int, ...]]:
    by_shells = {
        "ssp": (1, 2),
        "ssspp": (3, 4),
        "sssppd": (5, 6, 7, 8, 9, 10),
        "ssssppd": (11,),
        "sssspppd": (12, 13, 14, 15, 16, 17, 18),
        "ssssspppdd": (19, 20),
        "ssssspppddf": tuple(range(21, 31)),
        "sssssppppddd": tuple(range(31, 37)),
    }
    return dict(
        sorted((number, _shells(letters)) for letters, ns in by_shells.items() for number in ns)
    )


#: Weigend and Ahlrichs, Phys. Chem. Chem. Phys. 7, 3297 (2005). Elements H to Kr.
DEF2_SVP: Final = BasisSet("def2-svp", _def2_svp_shells())

_BASIS_SETS: Final = {DEF2_SVP.name: DEF2_SVP}


def basis_set_named(name: str) -> BasisSet:
    """Look a basis set up by name.

    Raises:
        UnknownNameError: There is no such basis set here.
    """
    try:
        return _BASIS_SETS[name.lower()]
    except KeyError:
        raise UnknownNameError("basis set", name, _BASIS_SETS) from None
