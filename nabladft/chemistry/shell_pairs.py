"""Integrals between shells of Gaussians on two atoms, as functions of the vector between them.

A solid harmonic Gaussian is a harmonic of the derivative with respect to its centre applied to an
s Gaussian (Hobson's theorem), and the product of two harmonics is a sum of harmonics. So an
integral between two shells is a short sum, over the degree L of that product, of a radial number
per pair of shells times harmonics of the vector R between the two atoms:

    S = Σ_L radial_L(|R|²) Σ_M G(la ma, lb mb, L M) Y_LM(R)

The radial numbers are sums over pairs of primitives, radial_L(R²) = Σ_j R^2j Σ_q C_qj exp(-μ_q R²),
in which C and μ depend on the two elements only.

Example:
    >>> import numpy as np
    >>> from nabladft.chemistry.gaussians import ContractedShell
    >>> (s,) = degree_shells([ContractedShell.normalised(0, [1.0], [1.0])])
    >>> constant = np.full((1, 1), 0.5 / np.pi**0.5)  # the harmonic of degree 0
    >>> overlap = ShellPairs(s, s).integrals(np.array([1.4**2]), [constant])
    >>> overlap.shape, bool(np.isclose(overlap[0, 0, 0], np.exp(-0.5 * 1.4**2)))
    ((1, 1, 1), True)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, pi
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import binom

from nabladft.chemistry.harmonics import gaunt_coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.chemistry.gaussians import ContractedShell

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class DegreeShells:
    """All shells of one angular degree of an element, flattened to their primitives.

    Attributes:
        l: Angular degree.
        exponents: Shape (n_primitives,).
        weights: Coefficient of each primitive in each shell, shape (n_primitives, n_shells).
        orbitals: Where their orbitals are among those of the atom, in ascending order.
    """

    l: int
    exponents: FloatArray
    weights: FloatArray
    orbitals: slice


def degree_shells(contractions: Sequence[ContractedShell]) -> list[DegreeShells]:
    """Sort the shells of an element, ascending in l, by angular degree."""
    found, start = [], 0
    for l in sorted({shell.l for shell in contractions}):
        own = [shell for shell in contractions if shell.l == l]
        shell_of = np.repeat(np.arange(len(own)), [len(shell.exponents) for shell in own])
        weights = np.concatenate([shell.weights for shell in own])
        stop = start + len(own) * (2 * l + 1)
        found.append(
            DegreeShells(
                l=l,
                exponents=np.concatenate([shell.exponents for shell in own]),
                weights=weights[:, None] * (shell_of[:, None] == np.arange(len(own))),
                orbitals=slice(start, stop),
            )
        )
        start = stop
    return found


class ShellPairs:
    """The integrals between all shells of one degree of an element and of one of another."""

    def __init__(
        self, a: DegreeShells, b: DegreeShells, *, laplacians: int = 0, prefactor: float = 1.0
    ) -> None:
        """Prepare the integrals <a| prefactor ∇^(2 laplacians) |b>.

        Args:
            a: Shells of the one atom.
            b: Shells of the other.
            laplacians: How often the Laplacian is applied.
            prefactor: By which the integrals are multiplied.
        """
        self.rows, self.columns = a.orbitals, b.orbitals
        self.highest = a.l + b.l
        self._shape = (a.weights.shape[1], 2 * a.l + 1, b.weights.shape[1], 2 * b.l + 1)
        sums = np.add.outer(a.exponents, b.exponents)
        reduced = np.multiply.outer(a.exponents, b.exponents) / sums
        # S of two s Gaussians, with the factors that turn derivatives into harmonics.
        base = prefactor * (pi / sums) ** 1.5
        base /= np.multiply.outer((2 * a.exponents) ** a.l, (-2 * b.exponents) ** b.l)
        self._reduced = reduced.ravel()
        self._terms: list[tuple[int, int, FloatArray]] = []  # L, its powers of R², Gaunt
        matrices = []
        for L in range(abs(a.l - b.l), a.l + b.l + 1, 2):
            k = (a.l + b.l - L) // 2 + laplacians
            # ∇^2k Y_L(∇) exp(-μ r²) = (-2μ)^L (-4μ)^k k! L_k^(L+1/2)(μ r²) Y_L(r) exp(-μ r²)
            common = base * (-2 * reduced) ** L * (-4 * reduced) ** k * factorial(k)
            for j in range(k + 1):
                laguerre = (-1) ** j * binom(k + L + 0.5, k - j) / factorial(j)
                by_primitive = common * laguerre * reduced**j
                by_shell = np.einsum("pq,ps,qt->pqst", by_primitive, a.weights, b.weights)
                matrices.append(by_shell.reshape(reduced.size, -1))
            gaunt = gaunt_coefficients(a.l, b.l, L).reshape(-1, 2 * L + 1)
            self._terms.append((L, k + 1, gaunt.T.copy()))
        self._matrix = np.concatenate(matrices, axis=1)

    def integrals(self, squared: FloatArray, harmonics: Sequence[FloatArray]) -> FloatArray:
        """Give the integrals, shape (n, rows, columns), at these squared distances."""
        gaussians = np.multiply.outer(squared, -self._reduced)
        np.exp(gaussians, out=gaussians)
        radial = gaussians @ self._matrix
        n_a, m_a, n_b, m_b = self._shape
        n_shells, place = n_a * n_b, 0
        values = np.zeros((len(squared), *self._shape))
        for L, n_powers, gaunt in self._terms:
            coefficients = [
                radial[:, (place + j) * n_shells : (place + j + 1) * n_shells]
                for j in range(n_powers)
            ]
            place += n_powers
            total = coefficients[-1]
            for lower in coefficients[-2::-1]:
                total = total * squared[:, None] + lower
            angular = harmonics[L] @ gaunt
            values += total.reshape(-1, n_a, 1, n_b, 1) * angular.reshape(-1, 1, m_a, 1, m_b)
        return values.reshape(-1, n_a * m_a, n_b * m_b)
