"""The -D dispersion correction of wB97X-D: a sum over atom pairs, added to energy and forces.

Chai and Head-Gordon damp Grimme's 2006 pair energies differently from Grimme himself::

    E = - sum_{i<j} C6_ij / R_ij^6 / (1 + damping_ij),   damping_ij = a (R0_ij / R_ij)^12,  a = 6

It depends on positions only, so it moves energies (millihartrees) and forces (some 1e-4
hartree/angstrom) but never the Hamiltonian.

Source:
    J.-D. Chai and M. Head-Gordon, Phys. Chem. Chem. Phys. 10, 6615 (2008), eqs. 2-3;
    parameters: S. Grimme, J. Comput. Chem. 27, 1787 (2006), table 1.

Example:
    >>> energy, gradient = dispersion(np.array([10, 10]), np.zeros((2, 3)))
    Traceback (most recent call last):
    nabladft.errors.UnsupportedElementError: Ne has no dispersion parameters. Supported: \
H, B, C, N, O, F, Si, P, S, Cl, Br.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.elements import symbol_of
from nabladft.errors import UnsupportedElementError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: C6 in J nm^6/mol and van der Waals radius in angstrom (the published factor 1.1 is inside).
#: Grimme 2006, table 1.
PARAMETERS: Final[dict[int, tuple[float, float]]] = {
    1: (0.14, 1.001),
    5: (3.13, 1.485),
    6: (1.75, 1.452),
    7: (1.23, 1.397),
    8: (0.70, 1.342),
    9: (0.75, 1.287),
    14: (9.23, 1.716),
    15: (7.84, 1.705),
    16: (5.57, 1.683),
    17: (5.07, 1.639),
    35: (12.47, 1.749),
}
#: Strength of the damping, a in eq. 3 of Chai and Head-Gordon.
DAMPING: Final = 6.0
#: 1 J nm^6/mol in hartree bohr^6, and the bohr of CODATA 2006 for the radii: the two constants of
#: the program that made the published labels. They are part of the level of theory, so they stay
#: as they are when the package's own units move to newer constants.
C6_UNIT: Final = 17.34525495
RADIUS_BOHR: Final = 0.52917720859


def dispersion(
    atomic_numbers: NDArray[np.integer], positions: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Compute the pairwise dispersion energy and its gradient.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr. Atoms must not coincide.

    Returns:
        Energy in hartree, and its gradient (minus the force), shape (n_atoms, 3), hartree/bohr.

    Raises:
        UnsupportedElementError: An element has no parameters here.
    """
    c6, radius = _parameters(atomic_numbers)
    first, second = np.triu_indices(len(c6), k=1)
    difference = positions[first] - positions[second]
    distance = np.linalg.norm(difference, axis=1)

    pair_c6 = np.sqrt(c6[first] * c6[second])
    damping = DAMPING * ((radius[first] + radius[second]) / distance) ** 12
    pair_energy = -pair_c6 / distance**6 / (1 + damping)

    # d ln E / dR = -6/R + 12/R * damping/(1 + damping)
    slope = pair_energy / distance * (12 * damping / (1 + damping) - 6)
    pair_gradient = difference * (slope / distance)[:, None]
    gradient = np.zeros(positions.shape)
    np.add.at(gradient, first, pair_gradient)
    np.subtract.at(gradient, second, pair_gradient)
    return float(pair_energy.sum()), gradient


def _parameters(
    atomic_numbers: NDArray[np.integer],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return C6 in hartree bohr^6 and radii in bohr, each of shape (n_atoms,)."""
    try:
        table = np.array([PARAMETERS[int(number)] for number in atomic_numbers]).reshape(-1, 2)
    except KeyError as error:
        message = (
            f"{symbol_of(error.args[0])} has no dispersion parameters. "
            f"Supported: {', '.join(symbol_of(number) for number in PARAMETERS)}."
        )
        raise UnsupportedElementError(message) from None
    return table[:, 0] * C6_UNIT, table[:, 1] / RADIUS_BOHR
