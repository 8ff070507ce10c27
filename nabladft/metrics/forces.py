"""Errors of forces, on flat arrays over the atoms of many conformations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.errors import InputError
from nabladft.metrics.terms import Terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

#: Reference forces shorter than this have no direction worth scoring, hartree/bohr. Atoms at rest
#: by symmetry have exactly zero; the grid noise of DFT forces is near 1e-4.
SMALLEST_FORCE: Final = 1e-6


def forces_mae(*, predicted: FloatArray, reference: FloatArray, atom_offsets: IntArray) -> Terms:
    """Mean absolute error of a force component.

    ``sum_k sum_{atoms i of k} sum_{x, y, z} |F̂_ki - F_ki|  /  sum_k 3 n_atoms_k``: over all
    components of all atoms of all conformations, so larger molecules count for more.

    Args:
        predicted: Shape (sum n_atoms, 3), hartree/bohr.
        reference: Shape (sum n_atoms, 3), hartree/bohr.
        atom_offsets: Shape (n + 1,); conformation k has the atoms ``[k]:[k + 1]``.

    Raises:
        InputError: The shapes differ.
    """
    _check(predicted, reference, atom_offsets)
    per_atom = np.abs(predicted - reference).sum(axis=1)
    return Terms(
        numerator=np.add.reduceat(per_atom, atom_offsets[:-1]),
        weight=3.0 * np.diff(atom_offsets),
    )


def forces_mae_by_element(
    *,
    predicted: FloatArray,
    reference: FloatArray,
    atomic_numbers: NDArray[Any],
    atom_offsets: IntArray,
) -> dict[int, Terms]:
    """Mean absolute error of a force component on the atoms of one element, by atomic number.

    Args:
        predicted: Shape (sum n_atoms, 3), hartree/bohr.
        reference: Shape (sum n_atoms, 3), hartree/bohr.
        atomic_numbers: Shape (sum n_atoms,).
        atom_offsets: Shape (n + 1,).

    Raises:
        InputError: The shapes differ.
    """
    _check(predicted, reference, atom_offsets)
    per_atom = np.abs(predicted - reference).sum(axis=1)
    found = {}
    for number in np.unique(atomic_numbers):
        is_element = (atomic_numbers == number).astype(float)
        found[int(number)] = Terms(
            numerator=np.add.reduceat(per_atom * is_element, atom_offsets[:-1]),
            weight=3 * np.add.reduceat(is_element, atom_offsets[:-1]),
        )
    return found


def forces_cosine(*, predicted: FloatArray, reference: FloatArray, atom_offsets: IntArray) -> Terms:
    """Mean over atoms of the cosine between predicted and reference force.

    ``1/n sum_i  F̂_i . F_i / (|F̂_i| |F_i|)`` over all atoms i of all conformations whose reference
    force is longer than :data:`SMALLEST_FORCE`. A predicted force of exactly zero points nowhere
    and counts as 0.

    Args:
        predicted: Shape (sum n_atoms, 3), any unit.
        reference: Shape (sum n_atoms, 3), hartree/bohr.
        atom_offsets: Shape (n + 1,).

    Raises:
        InputError: The shapes differ.
    """
    _check(predicted, reference, atom_offsets)
    lengths = np.linalg.norm(reference, axis=1)
    counts = lengths > SMALLEST_FORCE
    norms = lengths * np.linalg.norm(predicted, axis=1)
    cosine = np.zeros(len(reference))
    np.divide((predicted * reference).sum(axis=1), norms, out=cosine, where=counts & (norms > 0))
    return Terms(
        numerator=np.add.reduceat(cosine, atom_offsets[:-1]),
        weight=np.add.reduceat(counts.astype(float), atom_offsets[:-1]),
    )


def _check(predicted: FloatArray, reference: FloatArray, atom_offsets: IntArray) -> None:
    expected = (int(atom_offsets[-1]), 3)
    if predicted.shape != expected or reference.shape != expected:
        message = (
            f"Forces must have shape (sum n_atoms, 3) = {expected}, got {predicted.shape} "
            f"predicted and {reference.shape} reference."
        )
        raise InputError(message)
