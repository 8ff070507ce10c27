"""What energy a composition should have: a robust fit, and how far from it is far.

Example:
    >>> counts = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [4.0, 4.0]])
    >>> fit = fit_composition(counts, counts @ [-0.5, -38.0], elements=np.array([1, 6]))
    >>> fit.energies.round(6).tolist()
    [-0.5, -38.0]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

#: Rounds of reweighting; the fit has settled long before.
_ROUNDS: Final = 30
#: Residuals beyond so many robust deviations do not count (Tukey's biweight, its usual constant).
_TUKEY: Final = 4.685
#: Median absolute deviation to standard deviation, for a normal distribution.
_MAD_TO_DEVIATION: Final = 1.4826


@dataclass(frozen=True)
class CompositionFit:
    """Energy as a sum of one constant for each atom, fitted so that outliers do not matter.

    Attributes:
        elements: Atomic numbers, shape (n_elements,).
        energies: Of one atom of each element, hartree, shape (n_elements,).
        centre: Median of the residuals per atom, hartree.
        scale: Their robust standard deviation, hartree.
        n_records: How many records were fitted.
    """

    elements: IntArray
    energies: FloatArray
    centre: float
    scale: float
    n_records: int

    def residuals(self, counts: FloatArray, energy: FloatArray) -> FloatArray:
        """Energy per atom beyond the fit, hartree, shape (n,)."""
        return np.asarray((energy - counts @ self.energies) / counts.sum(axis=1))

    def z_scores(self, counts: FloatArray, energy: FloatArray) -> FloatArray:
        """Residuals per atom in robust standard deviations from their median, shape (n,)."""
        return (self.residuals(counts, energy) - self.centre) / self.scale


def fit_composition(
    counts: FloatArray, energy: FloatArray, *, elements: IntArray
) -> CompositionFit:
    """Fit energies per element by least squares, reweighted so that outliers lose their weight.

    Args:
        counts: Atoms of each element, shape (n, n_elements).
        energy: Shape (n,), hartree.
        elements: Atomic numbers of the columns.
    """
    n_atoms = counts.sum(axis=1)
    per_atom, shares = energy / n_atoms, counts / n_atoms[:, None]
    # The smallest scale that double precision can tell from zero.
    floor = 1e-12 * max(1.0, float(np.abs(per_atom).max(initial=0.0)))
    weights = np.ones(len(energy))
    energies = np.zeros(counts.shape[1])
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        energies = np.linalg.lstsq(shares * root[:, None], per_atom * root, rcond=None)[0]
        residual = per_atom - shares @ energies
        centre = float(np.median(residual))
        scale = max(_MAD_TO_DEVIATION * float(np.median(np.abs(residual - centre))), floor)
        inside = np.clip(np.abs(residual - centre) / (_TUKEY * scale), 0.0, 1.0)
        weights = (1.0 - inside**2) ** 2
    return CompositionFit(elements, energies, centre, scale, len(energy))
