"""The integration grid of the labels: where its points are and which way its spheres are turned.

A finite grid is not round. Turned differently with respect to the molecule, it gives a slightly
different energy and, at (75, 302), Hamiltonian elements that differ by 2e-4 hartree: five times the
error of the best models. So the spheres are fixed to the molecule, by the principal axes of its
nuclear-charge tensor (P. M. W. Gill, B. G. Johnson and J. A. Pople, Chem. Phys. Lett. 209, 506
(1993)), and the Hamiltonian of a rotated molecule is then the rotated Hamiltonian to 1e-9.

Lebedev spheres have the full symmetry of the octahedron: changing the sign of an axis or exchanging
two axes moves no point. Only where axes are *degenerate* must something be chosen, see
:func:`molecular_frames`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pyscf.dft import gen_grid, radi

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    AtomGrids = dict[str, tuple[FloatArray, FloatArray]]

#: Radial shells and points per Lebedev sphere.
FINE: Final = (75, 302)
COARSE: Final = (35, 110)
#: "fine" is the grid of the labels. "pruned" has fewer points near a nucleus and far from it, which
#: moves energies by up to 1e-5 hartree and Hamiltonians by 4e-5. "coarse" is for iterations whose
#: result is only a start.
Grid = Literal["fine", "pruned", "coarse"]
_GRIDS: Final = {
    "fine": (FINE, None),
    "pruned": (FINE, gen_grid.nwchem_prune),
    "coarse": (COARSE, gen_grid.nwchem_prune),
}
#: Two principal moments closer than this, relative to the largest, are degenerate. Axes of moments
#: further apart are determined to 1e-15/1e-5 = 1e-10, far below what is visible in a Hamiltonian.
DEGENERACY: Final = 1e-5
#: Molecules whose atoms are all closer than this to one line are linear, bohr.
LINEARITY: Final = 1e-6
#: Atoms compete for a degenerate axis by charge times distance; this close to the best, they tie.
TIE: Final = 1e-3


def molecular_frames(
    atomic_numbers: NDArray[np.integer], positions: FloatArray
) -> tuple[FloatArray, ...]:
    """Find the axes along which the spheres of the grid are laid.

    The axes are built from the geometry alone and turn with it, also where the charge tensor does
    not determine them: in a symmetric top the plane's first axis points to the atom with the
    largest charge times distance from the unique axis (of tying atoms, the first in the input), in
    a spherical top two axes are made this way. Nothing in a *linear* molecule points sideways: it
    gets two frames, 45 degrees apart, for two half-weighted grids. Together they are symmetric
    under an eighth of a turn, so that matrix elements between s, p and d orbitals, which vary with
    at most four times the angle, do not depend on how the first was turned.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.

    Returns:
        One orthogonal matrix of shape (3, 3), its rows the axes; two for linear molecules.
        Signs and sequence of the rows mean nothing.
    """
    charges = np.asarray(atomic_numbers, dtype=np.float64)
    centered = positions - charges @ positions / charges.sum()
    # Eigenvectors of sum Z r r^T are those of the charge "inertia" tensor, in reverse sequence.
    moments, axes = np.linalg.eigh(np.einsum("i,ix,iy->xy", charges, centered, centered))
    axes = axes.T
    if moments[2] < LINEARITY**2:  # one atom: spherical, any frame will do
        return (np.eye(3),)

    along = axes[2]
    if np.linalg.norm(_rejection(centered, along[None]), axis=1).max() < LINEARITY:
        frame = _complete(along)
        turn = np.array([[1, 0, 0], [0, 1, 1], [0, -1, 1]]) / np.array([[1], [2**0.5], [2**0.5]])
        return frame, turn @ frame

    low, high = np.diff(moments) < DEGENERACY * moments[2]
    if low and high:
        first = _toward_atom(charges, centered, np.zeros((0, 3)))
        second = _toward_atom(charges, centered, first[None])
    elif low or high:
        first = axes[2] if low else axes[0]
        second = _toward_atom(charges, centered, first[None])
    else:
        first, second = axes[0], axes[1]
    return (np.stack([first, second, np.cross(first, second)]),)


def treutler_m4(n_points: int, atomic_number: int) -> tuple[FloatArray, FloatArray]:
    """Build the radial quadrature: Treutler-Ahlrichs map M4, scaled by the Bragg-Slater radius.

    PySCF has the map too, but scales it by the element's own factor or by none, depending on a
    module-wide switch (``pyscf.dft.radi.ATOM_SPECIFIC_TREUTLER_GRIDS``) that any other calculation
    in the process may flip. Neither is the published grid; hence this one.

    Args:
        n_points: Number of radial points.
        atomic_number: Element, for its radius.

    Returns:
        Radii and weights dr, each of shape (n_points,), bohr, ascending radii.

    Source:
        O. Treutler and R. Ahlrichs, J. Chem. Phys. 102, 346 (1995), eq. 19 with alpha = 0.6;
        Chebyshev quadrature of the second kind. Radii: J. C. Slater, J. Chem. Phys. 41, 3199
        (1964).
    """
    angle = np.arange(n_points, 0, -1) * np.pi / (n_points + 1)
    x = np.cos(angle)
    scale = radi.BRAGG_RADII[atomic_number] / np.log(2)
    power, log = (1 + x) ** 0.6, np.log((1 - x) / 2)
    radius = -scale * power * log
    slope = scale * power * (1 / (1 - x) - 0.6 * log / (1 + x))
    return radius, slope * np.sin(angle) * np.pi / (n_points + 1)


class MoleculeFixedGrids(gen_grid.Grids):  # type: ignore[misc]  # PySCF is not typed
    """PySCF grid with every setting of the level of theory fixed, turned with the molecule.

    Becke cells with Treutler's size adjustment.
    """

    def __init__(self, mol: Any, *, grid: Grid = "fine") -> None:
        """Prepare a grid; PySCF builds it when it first needs it.

        Args:
            mol: The ``pyscf.gto.Mole`` to integrate over.
            grid: "fine" for the grid of the level of theory, or a cheaper one.
        """
        super().__init__(mol)
        self.atom_grid, self.prune = _GRIDS[grid]
        # PySCF takes these from its configuration file unless they are set.
        self.radi_method = treutler_m4
        self.atomic_radii = radi.BRAGG_RADII
        self.radii_adjust = radi.treutler_atomic_radii_adjust
        self.becke_scheme = gen_grid.original_becke

    def gen_atomic_grids(
        self,
        mol: Any,
        atom_grid: tuple[int, int],
        radi_method: Callable[..., Any],
        level: int,
        prune: Callable[..., Any] | None,
        **options: Any,
    ) -> AtomGrids:
        """Turn each atom's points to the molecule; called by PySCF's ``build``.

        Returns:
            For each atom symbol, points relative to the atom (n, 3) in bohr and weights (n,).
        """
        shapes: AtomGrids = gen_grid.gen_atomic_grids(
            mol,
            atom_grid,
            lambda n_points, number, *_: radi_method(n_points, number),
            level,
            prune,
            **options,
        )
        frames = molecular_frames(mol.atom_charges(), mol.atom_coords())
        return {
            symbol: (
                np.concatenate([points @ frame for frame in frames]),
                np.concatenate([weights / len(frames)] * len(frames)),
            )
            for symbol, (points, weights) in shapes.items()
        }


def _rejection(vectors: FloatArray, axes: FloatArray) -> FloatArray:
    """Return the parts of vectors (n, 3) that are perpendicular to orthonormal axes (m, 3)."""
    return vectors - vectors @ axes.T @ axes


def _toward_atom(charges: FloatArray, centered: FloatArray, axes: FloatArray) -> FloatArray:
    """Return the unit vector to the most prominent atom, perpendicular to the given axes."""
    sideways = _rejection(centered, axes)
    prominence = charges * np.linalg.norm(sideways, axis=1)
    chosen = sideways[np.argmax(prominence > (1 - TIE) * prominence.max())]
    # Twice is enough: what the first subtraction left along the axes is of rounding size.
    chosen = _rejection(chosen[None], axes)[0]
    return np.asarray(chosen / np.linalg.norm(chosen), dtype=np.float64)


def _complete(along: FloatArray) -> FloatArray:
    """Return a right-handed frame (3, 3) whose first axis is the given unit vector."""
    sideways = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    sideways /= np.linalg.norm(sideways)
    return np.stack([along, sideways, np.cross(along, sideways)])
