"""Density fitting whose range-separated exchange can be trusted, in PySCF.

Coulomb, exchange and long-range exchange are fitted in one auxiliary basis. For the long-range
operator erf(0.2 r)/r the metric (P|Q) of that basis is singular to machine precision: sharp
functions look alike from afar. PySCF factorises it by Cholesky, which often *succeeds* on such a
matrix, and then returns energies off by micro- to millihartrees and forces off by up to 1e7
hartree/angstrom without a warning. Here it is decomposed by eigenvalues, in the self-consistent
field and in the gradient (:mod:`nabladft.labels.gradients`), and what lies below :data:`METRIC_CUT`
is dropped.
"""

from __future__ import annotations

from typing import Final

from pyscf import df, lib
from pyscf.df import addons, incore, outcore

AUXILIARY_BASIS: Final = "def2-universal-jkfit"
#: Eigenvalues of the long-range metric below this are dropped; 1e-9 gives the same to 1e-6 hartree.
METRIC_CUT: Final = 1e-7


class SafeFitting(df.DF):  # type: ignore[misc]  # PySCF is not typed
    """PySCF's fitting object, with the long-range metric decomposed by eigenvalues."""

    def build(self) -> SafeFitting:
        """Compute the fitted three-centre integrals, in memory or, if too many, on disk."""
        mol = self.mol
        self.auxmol = addons.make_auxmol(mol, self.auxbasis)
        # The Coulomb metric (omega = 0) is well-conditioned: Cholesky is exact there, and faster.
        singular = mol.omega != 0
        n_pairs = mol.nao * (mol.nao + 1) // 2
        available = self.max_memory - lib.current_memory()[0]
        options = {
            "int3c": mol._add_suffix("int3c2e"),  # noqa: SLF001  # as PySCF's own build does
            "int2c": mol._add_suffix("int2c2e"),  # noqa: SLF001
            "auxmol": self.auxmol,
            "lindep": METRIC_CUT,
            "verbose": self.verbose,
        }
        if n_pairs * self.auxmol.nao * 8e-6 < 0.9 * available:
            self._cderi = incore.cholesky_eri(
                mol, max_memory=available, decompose_j2c="eig" if singular else "cd", **options
            )
        else:
            self._cderi_to_save = lib.NamedTemporaryFile(dir=lib.param.TMPDIR)
            outcore.cholesky_eri_b(
                mol,
                self._cderi_to_save.name,
                dataname=self._dataname,
                max_memory=max(available, 500),
                decompose_j2c="ED" if singular else "CD",
                **options,
            )
            self._cderi = self._cderi_to_save
        return self
