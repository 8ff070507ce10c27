"""What follows from the nuclei alone: their repulsion, and how the molecule rotates.

Both are recomputed to check files: they tell whether a number belongs to a geometry, and in which
unit it is.

Example:
    >>> import numpy as np
    >>> hydrogen = np.array([[0, 0, 0], [0, 0, 1.4]])
    >>> round(nuclear_repulsion_energy(np.array([1, 1]), hydrogen), 6)
    0.714286
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.units import DALTON_IN_ELECTRON_MASSES
from nabladft.errors import UnsupportedElementError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

#: Masses of the most abundant isotopes in dalton, by atomic number, which is what Psi4 uses.
#: Source: AME2020, as tabulated by NIST (Atomic Weights and Isotopic Compositions).
ISOTOPE_MASSES: Final[dict[int, float]] = {
    1: 1.00782503223,
    6: 12.0,
    7: 14.00307400443,
    8: 15.99491461957,
    9: 18.99840316273,
    15: 30.97376199842,
    16: 31.9720711744,
    17: 34.968852682,
    35: 78.9183376,
    53: 126.9044719,
}


def nuclear_repulsion_energy(atomic_numbers: NDArray[np.integer], positions: ArrayLike) -> float:
    """Add Z_a Z_b / R_ab over all pairs of nuclei.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.

    Returns:
        Hartree; infinite where two nuclei coincide.
    """
    charges = np.asarray(atomic_numbers, dtype=np.float64)
    positions = np.asarray(positions, dtype=np.float64)
    first, second = np.triu_indices(len(charges), k=1)
    distances = np.linalg.norm(positions[first] - positions[second], axis=-1)
    with np.errstate(divide="ignore"):
        return float((charges[first] * charges[second] / distances).sum())


def rotational_constants(atomic_numbers: NDArray[np.integer], positions: ArrayLike) -> FloatArray:
    """Compute the constants A >= B >= C of the rigid molecule, of its most abundant isotopes.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.

    Returns:
        Shape (3,), hartree: 1 / (2 I) for the three principal moments of inertia; infinite for the
        axis of a linear molecule.

    Raises:
        UnsupportedElementError: The mass of an element is not known here.
    """
    numbers = np.asarray(atomic_numbers)
    absent = [int(number) for number in np.unique(numbers) if int(number) not in ISOTOPE_MASSES]
    if absent:
        message = f"No isotope mass for {', '.join(symbol_of(number) for number in absent)} here."
        raise UnsupportedElementError(message)
    masses = np.array([ISOTOPE_MASSES[int(number)] for number in numbers])
    positions = np.asarray(positions, dtype=np.float64)
    centred = positions - masses @ positions / masses.sum()
    second_moments = np.einsum("a,ax,ay->xy", masses, centred, centred)
    inertia = np.trace(second_moments) * np.eye(3) - second_moments
    moments = np.maximum(np.linalg.eigvalsh(inertia), 0.0) * DALTON_IN_ELECTRON_MASSES
    moments[moments < 1e-9 * moments[-1]] = 0.0  # the axis of a linear molecule, but for round-off
    with np.errstate(divide="ignore"):
        constants: FloatArray = 1.0 / (2.0 * moments)
    return constants
