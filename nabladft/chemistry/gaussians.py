"""Basis sets with their exponents and contraction coefficients, which integrals need.

def2-SVP for H to Kr comes with the package (``basis_data/def2-svp.json``, whose header says where
the numbers are from and how the file was made). Any other basis set of spherical Gaussians can be
given as :class:`GaussianBasis` and used wherever a :class:`~nabladft.chemistry.basis.BasisSet` is.

Example:
    >>> from nabladft.chemistry.basis import DEF2_SVP
    >>> oxygen = gaussian_basis(DEF2_SVP).contractions_of(8)
    >>> [shell.l for shell in oxygen], len(oxygen[0].exponents)
    ([0, 0, 0, 1, 1, 2], 5)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from math import gamma
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.basis import BasisSet
from nabladft.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

_FOLDER: Final = Path(__file__).resolve().parent / "basis_data"


@dataclass(frozen=True, eq=False)
class ContractedShell:
    """One contracted shell: 2l+1 orbitals with the same radial function.

    The radial function is Σ_k c_k r^l exp(-a_k r²), times the orthonormal harmonics of
    :mod:`nabladft.chemistry.harmonics`.

    Attributes:
        l: Angular degree.
        exponents: a_k, shape (n_primitives,), bohr^-2.
        weights: c_k, shape (n_primitives,), such that each orbital is normalised.
    """

    l: int
    exponents: FloatArray
    weights: FloatArray

    @classmethod
    def normalised(
        cls, l: int, exponents: Iterable[float], coefficients: Iterable[float]
    ) -> ContractedShell:
        """Make a shell from tabulated coefficients of normalised primitives.

        Tables are rounded, so that the sum is normalised once more, as programs do.

        Raises:
            InputError: The lengths differ, or an exponent is not positive.
        """
        a = np.array(list(exponents), dtype=np.float64)
        c = np.array(list(coefficients), dtype=np.float64)
        if a.ndim != 1 or a.shape != c.shape or a.size == 0 or not (a > 0).all():
            message = (
                f"A contracted shell needs as many coefficients as positive exponents, got "
                f"{a.tolist()} and {c.tolist()}."
            )
            raise InputError(message)
        power = l + 1.5
        # ∫ r^(2l+2) exp(-a r²) dr from 0 to infinity is Γ(l + 3/2) / (2 a^(l + 3/2)).
        c = c * np.sqrt(2 * (2 * a) ** power / gamma(power))
        norm = c @ (gamma(power) / (2 * np.add.outer(a, a) ** power)) @ c
        weights = c / np.sqrt(norm)
        for array in (a, weights):
            array.setflags(write=False)
        return cls(l, a, weights)


@dataclass(frozen=True)
class GaussianBasis(BasisSet):
    """A basis set of contracted real solid harmonic Gaussians.

    Attributes:
        contractions: The shells of each element, ascending in l, by atomic number.
    """

    contractions: Mapping[int, tuple[ContractedShell, ...]]

    @classmethod
    def from_contractions(
        cls, name: str, contractions: Mapping[int, Iterable[ContractedShell]]
    ) -> GaussianBasis:
        """Make a basis set from shells, sorted by angular degree within each element.

        Args:
            name: Name of the basis set.
            contractions: Shells by atomic number; those of one degree keep their sequence.
        """
        ordered = {
            number: tuple(sorted(shells, key=lambda shell: shell.l))
            for number, shells in contractions.items()
        }
        degrees = {number: tuple(shell.l for shell in own) for number, own in ordered.items()}
        return cls(name, degrees, ordered)

    def contractions_of(self, atomic_number: int) -> tuple[ContractedShell, ...]:
        """Return the contracted shells of one element.

        Raises:
            UnsupportedElementError: The basis set has no such element here.
        """
        self.shells_of(atomic_number)
        return self.contractions[int(atomic_number)]


def gaussian_basis(basis_set: BasisSet) -> GaussianBasis:
    """Find the exponents and coefficients of a basis set.

    Args:
        basis_set: A named basis set of this package, or a :class:`GaussianBasis`, returned as is.

    Raises:
        UnknownNameError: No data file for that name; build a :class:`GaussianBasis` instead.
    """
    if isinstance(basis_set, GaussianBasis):
        return basis_set
    return _read_basis(basis_set.name)


@lru_cache(maxsize=8)
def _read_basis(name: str) -> GaussianBasis:
    path = _FOLDER / f"{name}.json"
    if not path.is_file():
        known = sorted(file.stem for file in _FOLDER.glob("*.json"))
        raise UnknownNameError("basis set with exponents", name, known)
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return GaussianBasis.from_contractions(
        table["name"],
        {
            int(number): [
                ContractedShell.normalised(l, exponents, coefficients)
                for l, exponents, coefficients in shells
            ]
            for number, shells in table["elements"].items()
        },
    )
