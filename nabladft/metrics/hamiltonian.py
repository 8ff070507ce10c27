"""Errors of Hamiltonians, by blocks of atom pairs.

A matrix is read as blocks H_ab of the orbitals of atom a (rows) and b (columns). All metrics are
sums of |Ĥ - H| over some blocks divided by the number of elements of these blocks, both triangles
of the matrix included. *Diagonal* means the blocks a = b, whole, not only the diagonal elements.

Each metric has two means. The plain one takes the mean of each matrix first and then the mean over
conformations, so each conformation counts once. ``..._over_elements`` is the mean over all elements
of all matrices, so larger molecules count for more.

Example:
    Two hydrogen atoms have five orbitals each; an error of 0.1 in the block between them only:

    >>> H, numbers = np.zeros((10, 10)), np.array([1, 1])
    >>> wrong = H.copy()
    >>> wrong[:5, 5:] = wrong[5:, :5] = 0.1
    >>> errors = block_errors(predicted=wrong, reference=H, orbitals_per_atom=np.array([5, 5]))
    >>> round(float(errors.sum()), 12), round(float(np.trace(errors)), 12)
    (5.0, 0.0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nabladft.errors import OrbitalCountError
from nabladft.metrics.terms import Terms
from nabladft.storage.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

Blocks = Literal["all", "diagonal", "offdiagonal"]


def block_errors(
    *, predicted: FloatArray, reference: FloatArray, orbitals_per_atom: NDArray[Any]
) -> FloatArray:
    """Sum |Ĥ - H| over each block of atom pairs of one conformation.

    Args:
        predicted: Shape (n_orbitals, n_orbitals), hartree, in the orbital order of ``reference``.
        reference: Shape (n_orbitals, n_orbitals), hartree.
        orbitals_per_atom: Shape (n_atoms,).

    Returns:
        Shape (n_atoms, n_atoms), hartree; symmetric.

    Raises:
        OrbitalCountError: The matrices have not the orbitals of the atoms.
    """
    offsets = offsets_of(orbitals_per_atom)
    n = int(offsets[-1])
    if predicted.shape != (n, n) or reference.shape != (n, n):
        message = (
            f"The atoms have {n} orbitals, but the predicted matrix has shape {predicted.shape} "
            f"and the reference {reference.shape}."
        )
        raise OrbitalCountError(message)
    error = np.abs(predicted - reference)
    rows = np.add.reduceat(error, offsets[:-1], axis=0)
    blocks: FloatArray = np.add.reduceat(rows, offsets[:-1], axis=1)
    return blocks


def block_sizes(orbitals_per_atom: NDArray[Any]) -> FloatArray:
    """Count the elements of each block of atom pairs, shape (n_atoms, n_atoms)."""
    counts = np.asarray(orbitals_per_atom, dtype=np.float64)
    return counts[:, None] * counts


def hamiltonian_mae(
    errors: Sequence[FloatArray],
    sizes: Sequence[FloatArray],
    *,
    blocks: Blocks = "all",
    over_elements: bool = False,
) -> Terms:
    """Mean absolute error of an element of the Hamiltonian.

    With e_k the sum of |Ĥ - H| over the chosen blocks of conformation k and n_k their number of
    elements: ``1/n sum_k e_k / n_k``, or, with ``over_elements``, ``sum_k e_k / sum_k n_k``. For
    all blocks n_k is n_orbitals squared and the first is equation 4 of the nabla2DFT paper.

    Args:
        errors: :func:`block_errors` of each conformation.
        sizes: :func:`block_sizes` of each conformation.
        blocks: "diagonal" for those of one atom, "offdiagonal" for those of two different atoms.
        over_elements: Mean over all elements of all matrices instead of over conformations. A
            single atom has no off-diagonal blocks and does not count there.
    """
    sums = np.array([_chosen(error, blocks) for error in errors], dtype=np.float64)
    counts = np.array([_chosen(size, blocks) for size in sizes], dtype=np.float64)
    if over_elements:
        return Terms(numerator=sums, weight=counts)
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return Terms(numerator=means, weight=(counts > 0).astype(float))


def hamiltonian_mae_by_element(
    errors: Sequence[FloatArray],
    sizes: Sequence[FloatArray],
    atomic_numbers: Sequence[NDArray[Any]],
) -> dict[int, Terms]:
    """Mean absolute error of the diagonal blocks of one element, over elements of the matrix.

    Args:
        errors: :func:`block_errors` of each conformation.
        sizes: :func:`block_sizes` of each conformation.
        atomic_numbers: Of each conformation, shape (n_atoms,).

    Returns:
        By atomic number: the sums of |Ĥ - H| and the counts over the diagonal blocks of its atoms.
    """
    found = {}
    for number in np.unique(np.concatenate(list(atomic_numbers))):
        where = [numbers == number for numbers in atomic_numbers]
        found[int(number)] = Terms(
            numerator=np.array([np.diag(e)[w].sum() for e, w in zip(errors, where, strict=True)]),
            weight=np.array([np.diag(s)[w].sum() for s, w in zip(sizes, where, strict=True)]),
        )
    return found


def hamiltonian_mae_by_element_pair(
    errors: Sequence[FloatArray],
    sizes: Sequence[FloatArray],
    atomic_numbers: Sequence[NDArray[Any]],
) -> dict[tuple[int, int], Terms]:
    """Mean absolute error of the blocks between atoms of two elements, over elements of the matrix.

    Blocks of two different atoms only, so that C-C is the error between two carbon atoms; those of
    one atom are in :func:`hamiltonian_mae_by_element`.

    Args:
        errors: :func:`block_errors` of each conformation.
        sizes: :func:`block_sizes` of each conformation.
        atomic_numbers: Of each conformation, shape (n_atoms,).

    Returns:
        By the two atomic numbers, the lighter first: the sums of |Ĥ - H| and the counts over both
        triangles.
    """
    elements = np.unique(np.concatenate(list(atomic_numbers)))
    members = [(numbers[:, None] == elements).astype(float) for numbers in atomic_numbers]
    sums, counts = (
        np.array(
            [
                of_element.T @ (blocks - np.diag(np.diag(blocks))) @ of_element
                for blocks, of_element in zip(values, members, strict=True)
            ]
        )
        for values in (errors, sizes)
    )
    return _by_pairs(sums, counts, elements.tolist())


def degree_errors(
    *, predicted: FloatArray, reference: FloatArray, degrees: NDArray[Any]
) -> tuple[FloatArray, FloatArray]:
    """Sum |Ĥ - H| over the elements between orbitals of two angular degrees of one conformation.

    Args:
        predicted: Shape (n_orbitals, n_orbitals), hartree, in the orbital order of ``reference``.
        reference: Shape (n_orbitals, n_orbitals), hartree.
        degrees: Angular degree l of each orbital, shape (n_orbitals,).

    Returns:
        The sums in hartree and the numbers of elements, each of shape (l_max + 1, l_max + 1).
    """
    of_degree = (np.asarray(degrees)[:, None] == np.arange(np.max(degrees) + 1)).astype(float)
    sums: FloatArray = of_degree.T @ np.abs(predicted - reference) @ of_degree
    counts = of_degree.sum(axis=0)
    return sums, counts[:, None] * counts


def hamiltonian_mae_by_degrees(
    errors: Sequence[tuple[FloatArray, FloatArray]],
) -> dict[tuple[int, int], Terms]:
    """Mean absolute error between orbitals of two angular degrees, over elements of the matrix.

    Args:
        errors: :func:`degree_errors` of each conformation.

    Returns:
        By the two degrees, the smaller first: sums of |Ĥ - H| and counts over both triangles, of
        one and of two atoms.
    """
    n_degrees = max(len(sums) for sums, _ in errors)
    whole = np.zeros((2, len(errors), n_degrees, n_degrees))
    for k, pair in enumerate(errors):
        for kind, values in enumerate(pair):
            whole[kind, k, : len(values), : len(values)] = values
    return _by_pairs(whole[0], whole[1], list(range(n_degrees)))


def overlap_mae(
    errors: Sequence[FloatArray], sizes: Sequence[FloatArray], *, over_elements: bool = False
) -> Terms:
    """Mean absolute error of an element of the overlap matrix: the formula of the Hamiltonian's.

    ``1/n sum_k e_k / n_k`` or, with ``over_elements``, ``sum_k e_k / sum_k n_k``. The overlap is
    known from the geometry without any error, so this is the price of not computing it.

    Args:
        errors: :func:`block_errors` of the overlap matrices of each conformation.
        sizes: :func:`block_sizes` of each conformation.
        over_elements: Mean over all elements of all matrices instead of over conformations.
    """
    return hamiltonian_mae(errors, sizes, over_elements=over_elements)


def _by_pairs(
    sums: FloatArray, counts: FloatArray, labels: Sequence[int]
) -> dict[tuple[int, int], Terms]:
    """Put both triangles of (n, n_labels, n_labels) together, without pairs that do not occur."""
    found = {}
    for a, first in enumerate(labels):
        for b, second in enumerate(labels[a:], start=a):
            numerator, weight = sums[:, a, b], counts[:, a, b]
            if a != b:
                numerator, weight = numerator + sums[:, b, a], weight + counts[:, b, a]
            if np.any(weight > 0):
                found[first, second] = Terms(numerator=numerator, weight=weight)
    return found


def _chosen(per_block: FloatArray, blocks: Blocks) -> float:
    diagonal = float(np.trace(per_block))
    if blocks == "diagonal":
        return diagonal
    total = float(per_block.sum())
    # A single atom has no other blocks; the difference would be round-off instead of zero.
    return (0.0 if len(per_block) == 1 else total - diagonal) if blocks == "offdiagonal" else total
