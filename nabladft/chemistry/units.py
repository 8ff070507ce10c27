"""Atomic units inside, conversion at the edges: this module is the edge.

Constants are CODATA 2022 through SciPy, so that nobody types them twice. The readers of published
files use the value that their authors used (:data:`PUBLISHED_BOHR_IN_ANGSTROM`).

Example:
    >>> round(convert(1.0, source="hartree", target="kcal/mol"), 3)
    627.509
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, overload

from scipy import constants

from nabladft.errors import UnitError, suggestion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

BOHR_IN_ANGSTROM: Final = float(constants.value("Bohr radius") * 1e10)
HARTREE_IN_EV: Final = float(constants.value("Hartree energy in eV"))
HARTREE_IN_JOULE: Final = float(constants.value("Hartree energy"))
HARTREE_IN_KCAL_PER_MOL: Final = float(HARTREE_IN_JOULE * constants.N_A / constants.calorie / 1e3)
HARTREE_IN_INVERSE_CM: Final = float(constants.value("hartree-inverse meter relationship") / 1e2)
HARTREE_IN_MHZ: Final = float(constants.value("hartree-hertz relationship") / 1e6)
HARTREE_IN_KJ_PER_MOL: Final = float(HARTREE_IN_JOULE * constants.N_A / 1e3)
DEBYE_IN_ATOMIC_UNITS: Final = float(
    1e-21 / constants.c / (constants.value("atomic unit of electric dipole mom."))
)
BOLTZMANN_IN_HARTREE_PER_KELVIN: Final = float(constants.value("kelvin-hartree relationship"))
DALTON_IN_ELECTRON_MASSES: Final = float(constants.value("atomic mass constant") / constants.m_e)

#: CODATA 2014, the value in Psi4 1.5 that made the published labels.
PUBLISHED_BOHR_IN_ANGSTROM: Final = 0.52917721067

#: Factor from each unit to atomic units, with the dimension it measures.
_UNITS: Final[dict[str, tuple[str, float]]] = {
    "bohr": ("length", 1.0),
    "angstrom": ("length", 1.0 / BOHR_IN_ANGSTROM),
    "hartree": ("energy", 1.0),
    "millihartree": ("energy", 1e-3),
    "microhartree": ("energy", 1e-6),
    "eV": ("energy", 1.0 / HARTREE_IN_EV),
    "meV": ("energy", 1e-3 / HARTREE_IN_EV),
    "kcal/mol": ("energy", 1.0 / HARTREE_IN_KCAL_PER_MOL),
    "kJ/mol": ("energy", 1.0 / HARTREE_IN_KJ_PER_MOL),
    "cm^-1": ("energy", 1.0 / HARTREE_IN_INVERSE_CM),  # rotational constants, as hc/λ and hν
    "MHz": ("energy", 1.0 / HARTREE_IN_MHZ),
    "GHz": ("energy", 1e3 / HARTREE_IN_MHZ),
    "hartree/bohr": ("force", 1.0),
    "millihartree/bohr": ("force", 1e-3),
    "hartree/angstrom": ("force", BOHR_IN_ANGSTROM),
    "millihartree/angstrom": ("force", 1e-3 * BOHR_IN_ANGSTROM),
    "eV/angstrom": ("force", BOHR_IN_ANGSTROM / HARTREE_IN_EV),
    "kcal/mol/angstrom": ("force", BOHR_IN_ANGSTROM / HARTREE_IN_KCAL_PER_MOL),
    "e*bohr": ("dipole", 1.0),
    "e*angstrom": ("dipole", 1.0 / BOHR_IN_ANGSTROM),
    "debye": ("dipole", DEBYE_IN_ATOMIC_UNITS),
    "e": ("charge", 1.0),
    "1": ("number", 1.0),
}

T = TypeVar("T", float, "FloatArray")


def known_units() -> list[str]:
    """List every unit name that :func:`convert` understands."""
    return list(_UNITS)


@overload
def convert(value: float, *, source: str, target: str) -> float: ...
@overload
def convert(value: FloatArray, *, source: str, target: str) -> FloatArray: ...
def convert(value: float | FloatArray, *, source: str, target: str) -> float | FloatArray:
    """Express a quantity in another unit of the same dimension.

    Args:
        value: Number or array of any shape, in ``source``.
        source: Unit of ``value``, one of :func:`known_units`.
        target: Unit wanted.

    Returns:
        The same quantity in ``target``.

    Raises:
        UnitError: A unit is unknown, or the two measure different dimensions.

    Source:
        CODATA 2022 recommended values, through ``scipy.constants``.
    """
    (dimension, factor), (other, divisor) = _unit(source), _unit(target)
    if dimension != other:
        message = f"{source} is a unit of {dimension} and {target} one of {other}: no conversion."
        raise UnitError(message)
    return value * (factor / divisor)


def _unit(name: str) -> tuple[str, float]:
    try:
        return _UNITS[name]
    except KeyError:
        message = f"Unknown unit {name!r}.{suggestion(name, _UNITS)} Known: {', '.join(_UNITS)}."
        raise UnitError(message) from None
