"""Metrics as the code behind published tables computes them, to read old numbers beside ours.

They are named after the model whose rows they made. None is better than the metric of this package
that stands in its place; what is different about each is in its docstring.

Example:
    A matrix with exact zeros, wrong by 0.1 everywhere:

    >>> H = np.diag([1.0, 1.0])
    >>> pair = {"predicted": [H + 0.1], "reference": [H]}
    >>> round(hamiltonian_mae_published_qhnet(**pair).value, 12)
    0.2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.metrics.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.metrics.orbitals import OrbitalComparison

    FloatArray = NDArray[np.float64]

#: Conformations of a batch in the published evaluation of PhiSNet.
PHISNET_BATCH: Final = 2


def hamiltonian_mae_published_qhnet(
    *, predicted: Sequence[FloatArray], reference: Sequence[FloatArray]
) -> Terms:
    """The MAE of the published QHNet rows: errors of all elements over the count of nonzero ones.

    ``sum_k sum_ij |Ĥ_ij - H_ij|  /  sum_k #{ij: H_ij != 0}``. The published code takes the layout
    of blocks from the zeros of the target, so exact zeros of a real matrix (symmetry, distant
    atoms, rounding of the file) lower the count and raise the value. Without zeros it is
    ``hamiltonian_mae_over_elements``. How many zeros there are depends on how the data are stored.

    Args:
        predicted: Of each conformation, shape (n_orbitals, n_orbitals), hartree.
        reference: The same.

    Source:
        nablaDFT, ``qhnet/masked_mae.py``.
    """
    pairs = list(zip(predicted, reference, strict=True))
    return Terms(
        numerator=np.array([np.abs(p - r).sum() for p, r in pairs], dtype=np.float64),
        weight=np.array([np.count_nonzero(r) for _, r in pairs], dtype=np.float64),
    )


def hamiltonian_mae_published_phisnet(
    errors: Sequence[FloatArray], sizes: Sequence[FloatArray]
) -> Terms:
    """The MAE of the published PhiSNet rows: mean over batches of two of the mean over elements.

    With e and N the sum of errors and the number of elements of a conformation, over pairs (k, l)
    of conformations that follow each other in the part:
    ``1/n_batches sum_(k,l) (e_k + e_l) / (N_k + N_l)``; a last one without partner is a batch of
    its own. Between ``hamiltonian_mae`` and ``hamiltonian_mae_over_elements``, and not the same
    after the conformations are put into another order. Half of a batch is assigned to each of its
    conformations. The published program also skips what does not fit its limits of memory
    (1,200 orbitals or 150 atoms); nothing is skipped here.

    Args:
        errors: Of each conformation of the part in order, block errors or sums (any shape).
        sizes: The numbers of elements, likewise.

    Source:
        nablaDFT, ``phisnet/training/util.py`` and ``phisnet/test.py``, batches of 2.
    """
    sums = np.array([np.sum(one) for one in errors], dtype=np.float64)
    counts = np.array([np.sum(one) for one in sizes], dtype=np.float64)
    numerator, weight = np.empty_like(sums), np.empty_like(sums)
    for start in range(0, len(sums), PHISNET_BATCH):
        batch = slice(start, start + PHISNET_BATCH)
        members = len(sums[batch])
        numerator[batch] = sums[batch].sum() / counts[batch].sum() / members
        weight[batch] = 1 / members
    return Terms(numerator=numerator, weight=weight)


def wavefunction_similarity_published_qh9(comparisons: Sequence[OrbitalComparison]) -> Terms:
    """The ψ of QH9 tables: mean cosine of predicted and reference orbital coefficients.

    ``1/n sum_k 1/n_occ sum_i |Ĉ_i · C_i| / (|Ĉ_i| |C_i|)`` over the occupied orbitals, each with
    the one of the same number, as vectors of atomic-orbital coefficients without the overlap. In a
    degenerate or nearly degenerate level the orbitals may be mixed or swapped at will, which
    lowers the value though the density is right;
    :func:`~nabladft.metrics.orbitals.occupied_subspace_distance` does not have this fault.

    Args:
        comparisons: Of each conformation.

    Source:
        H. Yu et al., QH9, NeurIPS Datasets and Benchmarks (2023), and the code with it.
    """
    values, weights = [], []
    for one in comparisons:
        filled = one.n_occupied
        reference = one.reference_coefficients[:, :filled]
        predicted = one.reference_coefficients @ one.predicted_orbitals[:, :filled]
        norms = np.linalg.norm(predicted, axis=0) * np.linalg.norm(reference, axis=0)
        cosines = np.abs((predicted * reference).sum(axis=0)) / norms
        values.append(float(cosines.mean()) if filled else 0.0)
        weights.append(float(filled > 0))
    return Terms(numerator=np.array(values), weight=np.array(weights))
