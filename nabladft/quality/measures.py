"""Numbers of each conformation that tell whether it makes sense, for many at once.

Example:
    >>> from nabladft.storage.opening import open_source
    >>> flat = open_source("nano").read_flat([0, 1], fields=["forces"])
    >>> net_force(flat).round(4).tolist()
    [0.0001, 0.0004]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.electronic import (
    homo_lumo_gap,
    n_electrons,
    orbital_energies_and_coefficients,
)
from nabladft.chemistry.hamiltonian_checks import diagnose_hamiltonian
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation
    from nabladft.storage.flat import FlatRecords

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

#: B. Cordero et al., Dalton Trans. 2008, 2832, as ASE tabulates them; in bohr.
_RADII: FloatArray = np.asarray(covalent_radii, dtype=np.float64) / BOHR_IN_ANGSTROM


def net_force(flat: FlatRecords) -> FloatArray:
    """Length of the sum of the forces on all atoms, hartree/bohr, shape (n,)."""
    sums = np.add.reduceat(flat.values["forces"], flat.atom_offsets[:-1], axis=0)
    return np.asarray(np.linalg.norm(sums, axis=1))


def force_norms(flat: FlatRecords) -> FloatArray:
    """Length of the force on each atom, hartree/bohr, shape (sum n_atoms,)."""
    return np.asarray(np.linalg.norm(flat.values["forces"], axis=1))


def force_maximum(flat: FlatRecords) -> FloatArray:
    """Largest force on an atom, hartree/bohr, shape (n,)."""
    return np.asarray(np.maximum.reduceat(force_norms(flat), flat.atom_offsets[:-1]))


def element_counts(flat: FlatRecords, elements: IntArray) -> FloatArray:
    """Count atoms of each of some elements, shape (n, n_elements)."""
    record = np.repeat(np.arange(len(flat)), np.diff(flat.atom_offsets))
    counts = np.zeros((len(flat), len(elements)))
    for column, number in enumerate(elements.tolist()):
        counts[:, column] = np.bincount(record[flat.atomic_numbers == number], minlength=len(flat))
    return counts


def contacts_and_repulsions(flat: FlatRecords) -> tuple[FloatArray, FloatArray]:
    """Look at all interatomic distances.

    Returns:
        Of each conformation the smallest distance of two atoms as a share of the sum of their
        covalent radii (a bond is about 1; infinity for single atoms), and the repulsion of the
        nuclei in hartree (two different geometries hardly ever share it), shapes (n,).
    """
    closest = np.full(len(flat), np.inf)
    repulsion = np.zeros(len(flat))
    for rows, numbers, distances in _distances(flat):
        pairs = np.triu_indices(numbers.shape[1], 1)
        if not len(pairs[0]):
            continue
        apart = np.maximum(distances[:, *pairs], 1e-12)
        radii = _RADII[numbers[:, pairs[0]]] + _RADII[numbers[:, pairs[1]]]
        closest[rows] = (apart / radii).min(axis=1)
        charges = numbers[:, pairs[0]].astype(np.float64) * numbers[:, pairs[1]]
        repulsion[rows] = (charges / apart).sum(axis=1)
    return closest, repulsion


def distance_difference(one: Conformation, other: Conformation) -> float:
    """Compare two geometries by their distances, sorted within each pair of elements.

    Rotated, translated, mirrored and renumbered geometries are the same.

    Returns:
        Largest difference, bohr; infinity for different compositions.
    """
    first, second = (_sorted_distances(record) for record in (one, other))
    if first.keys() != second.keys() or any(len(first[k]) != len(second[k]) for k in first):
        return float("inf")
    gaps = (np.abs(first[kind] - second[kind]).max(initial=0.0) for kind in first)
    return float(max(gaps, default=0.0))


def check_stated_hamiltonian(record: Conformation) -> None:
    """Refuse a Hamiltonian that looks like another unit, orbital order or basis set than stated.

    Raises:
        UnitError: See :func:`nabladft.chemistry.hamiltonian_checks.diagnose_hamiltonian`.
        OrbitalOrderError: See there.
        HamiltonianError: See there.
        OrbitalCountError: See there.
    """
    diagnose_hamiltonian(
        record.require("hamiltonian"),
        record.atomic_numbers,
        record.positions,
        basis_set=basis_set_named(str(record.basis_set)),
        orbital_order=orbital_order_named(str(record.orbital_order)),
    )


def gap_of(record: Conformation) -> float:
    """Solve H C = S C ε with an overlap recomputed from the geometry.

    Returns:
        Gap between the highest occupied and the lowest empty orbital, hartree.

    Raises:
        InputError: It cannot be solved, or the molecule is no closed shell.
    """
    assert record.basis_set is not None
    assert record.orbital_order is not None
    overlap = overlap_matrix(
        record.atomic_numbers,
        record.positions,
        basis_set=basis_set_named(record.basis_set),
        orbital_order=orbital_order_named(record.orbital_order),
    )
    energies, _ = orbital_energies_and_coefficients(record.require("hamiltonian"), overlap)
    if not np.isfinite(energies).all():
        message = "orbital energies are not finite"
        raise InputError(message)
    return homo_lumo_gap(energies, n_electrons(record.atomic_numbers))


def _distances(flat: FlatRecords) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Give the distances of all atoms of conformations of the same size, together.

    Yields:
        Rows (g,), atomic numbers (g, n_atoms), distances (g, n_atoms, n_atoms) in bohr.
    """
    sizes = np.diff(flat.atom_offsets)
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        atoms = flat.atom_offsets[rows][:, None] + np.arange(size)
        places = flat.positions[atoms]
        vectors = places[:, :, None, :] - places[:, None, :, :]
        yield rows, flat.atomic_numbers[atoms].astype(np.int64), np.linalg.norm(vectors, axis=-1)


def _sorted_distances(record: Conformation) -> dict[tuple[int, int], FloatArray]:
    numbers, positions = record.atomic_numbers, record.positions
    above, below = np.triu_indices(len(numbers), 1)
    apart = np.linalg.norm(positions[above] - positions[below], axis=1)
    low, high = (
        np.minimum(numbers[above], numbers[below]),
        np.maximum(numbers[above], numbers[below]),
    )
    found = {(int(z), 0): np.full((numbers == z).sum(), 0.0) for z in np.unique(numbers)}
    for pair in np.unique(np.stack([low, high], axis=1), axis=0).tolist():
        chosen = (low == pair[0]) & (high == pair[1])
        found[pair[0], pair[1]] = np.sort(apart[chosen])
    return found
