"""Recognise energies and forces that are not what they are said to be, and say what they look like.

An energy in eV that is said to be in hartree gets a score like any other. What gives it away is
that another reading of the same numbers is right, or nearly, while the declared one is far off. A
bad prediction is wrong whichever way it is read, and passes.

Example:
    >>> reference = np.array([-76.4, -115.7])
    >>> atoms = np.array([-76.0, -115.0])
    >>> name_energy_mistake(27.2114 * reference, reference, isolated=atoms)
    'energies in eV, stored as hartree'
    >>> name_energy_mistake(reference + 0.3, reference, isolated=atoms) is None
    True
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.units import convert

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

#: Another reading of energies has to be right within this share of the mean formation energy, or
#: of the mean total energy (people round units), and so much better than the declared one.
_RIGHT: Final = 0.05
_RIGHT_OF_TOTAL: Final = 0.002
_BETTER: Final = 20.0

#: Forces that point the right way, or exactly the wrong one: least cosine of the angle between all
#: predicted and all reference forces. Forces of a fair model have it within some epochs.
_ALIGNED: Final = 0.95
#: How far the ratio of lengths may be from the factor of a unit.
_FACTOR: Final = 0.08
#: Forces in another frame look like no forces at all until each conformation is turned.
_TURNED: Final = 0.98
_NOT_TURNED: Final = 0.7
#: Fewer atoms can be turned onto each other by chance.
_FEWEST_ATOMS: Final = 6

#: Geometries of one molecule so near to each other (root mean square, bohr) that energies between
#: them follow from the forces at both ends.
NEAR: Final = 0.5
#: Fewer pairs say nothing.
FEWEST_PAIRS: Final = 5

_ENERGY_UNITS: Final = ("millihartree", "eV", "meV", "kcal/mol", "kJ/mol")
_FORCE_UNITS: Final = {
    "hartree/angstrom": convert(1.0, source="hartree/bohr", target="hartree/angstrom"),
    "eV/angstrom": convert(1.0, source="hartree/bohr", target="eV/angstrom"),
    "eV/bohr": convert(1.0, source="hartree", target="eV"),
    "kcal/mol/angstrom": convert(1.0, source="hartree/bohr", target="kcal/mol/angstrom"),
    "kcal/mol/bohr": convert(1.0, source="hartree", target="kcal/mol"),
    "kJ/mol/angstrom": convert(1.0, source="hartree", target="kJ/mol")
    * convert(1.0, source="hartree/bohr", target="hartree/angstrom"),
    "millihartree/bohr": 1e3,
    "meV/angstrom": 1e3 * convert(1.0, source="hartree/bohr", target="eV/angstrom"),
}


def name_energy_mistake(
    predicted: FloatArray,
    reference: FloatArray,
    *,
    isolated: FloatArray,
    n_atoms: IntArray | None = None,
) -> str | None:
    """Name the mistake that explains energies, if one does.

    Args:
        predicted: Supposed to be total energies in hartree, shape (n,).
        reference: Total energies, hartree, shape (n,).
        isolated: Energies of the isolated atoms, hartree, shape (n,).
        n_atoms: Atoms of each, shape (n,); with them an energy per atom is recognised.

    Returns:
        What the energies look like, or None.
    """
    of_formation = _RIGHT * float(np.mean(np.abs(reference - isolated)))
    of_total = max(of_formation, _RIGHT_OF_TOTAL * float(np.mean(np.abs(reference))))
    declared = float(np.mean(np.abs(predicted - reference)))
    found = [
        (error, name)
        for name, reading in _readings_of_energies(predicted, isolated, n_atoms)
        if (error := float(np.mean(np.abs(reading - reference))))
        < (of_formation if "formation" in name else of_total)
        and _BETTER * error < declared
    ]
    return min(found)[1] if found else None


def name_forces_mistake(
    predicted: FloatArray, reference: FloatArray, atom_offsets: IntArray
) -> str | None:
    """Name the mistake that explains forces, if one does.

    Args:
        predicted: Supposed to be forces in hartree/bohr, shape (sum n_atoms, 3).
        reference: Forces, hartree/bohr, shape (sum n_atoms, 3).
        atom_offsets: Shape (n + 1,).

    Returns:
        What the forces look like, or None.
    """
    lengths = float(np.linalg.norm(predicted)), float(np.linalg.norm(reference))
    if min(lengths) == 0:
        return None
    cosine = float(np.vdot(predicted, reference)) / (lengths[0] * lengths[1])
    ratio = lengths[0] / lengths[1]
    if abs(cosine) > _ALIGNED:
        sign = "" if cosine > 0 else "gradients (minus the forces)"
        factor = _factor_named(ratio)
        if factor:
            return f"{sign or 'forces'} {factor}"
        return sign or None
    turned = _turned_cosine(predicted, reference, atom_offsets)
    if abs(cosine) < _NOT_TURNED and turned is not None and turned > _TURNED:
        return (
            "forces of molecules that were turned: every conformation is in another orientation "
            "than that of the data"
        )
    return None


def work_between(
    *,
    energy: FloatArray,
    forces: FloatArray,
    positions: FloatArray,
    atom_offsets: IntArray,
    molecule_id: IntArray,
) -> tuple[FloatArray, FloatArray]:
    """Compare energy differences of neighbouring geometries with the work of the forces.

    Between two geometries of a molecule that differ little, superimposed, the energy changes by
    minus the mean of the forces at both ends times the displacement, up to third order.

    Args:
        energy: Shape (n,), hartree.
        forces: Shape (sum n_atoms, 3), hartree/bohr.
        positions: Shape (sum n_atoms, 3), bohr.
        atom_offsets: Shape (n + 1,).
        molecule_id: Shape (n,). Conformations of a molecule have the same sequence of atoms.

    Returns:
        Energy differences and what the forces say of them, hartree, shape (n_pairs,) each, for all
        pairs nearer to each other than :data:`NEAR`.
    """
    differences, works = [], []
    for first, second in _pairs(molecule_id):
        atoms = [slice(*atom_offsets[[k, k + 1]].tolist()) for k in (first, second)]
        rotation, displacement = _superimposed(*(positions[one] for one in atoms))
        if np.sqrt(np.mean(np.sum(displacement**2, axis=1))) < NEAR:
            mean_force = 0.5 * (forces[atoms[0]] @ rotation + forces[atoms[1]])
            differences.append(float(energy[second] - energy[first]))
            works.append(-float(np.vdot(mean_force, displacement)))
    return np.array(differences), np.array(works)


def _readings_of_energies(
    predicted: FloatArray, isolated: FloatArray, n_atoms: IntArray | None
) -> Iterator[tuple[str, FloatArray]]:
    """Read the numbers in every other way, as total energies in hartree."""
    factors: list[tuple[str, float | FloatArray]] = [("", 1.0)]
    for unit in _ENERGY_UNITS:
        per_hartree = convert(1.0, source="hartree", target=unit)
        factors.append((f" in {unit}, stored as hartree", per_hartree))
        factors.append((f" in hartree, stored as {unit}", 1 / per_hartree))
    if n_atoms is not None:
        factors.append((" divided by the number of atoms", 1.0 / n_atoms))
    for (suffix, factor), (name, sign) in itertools.product(
        factors, (("", 1.0), ("minus the ", -1.0))
    ):
        reading = sign * predicted / factor
        if suffix or sign < 0:
            yield f"{name}energies{suffix}", reading
        yield (
            f"{name}formation energies{suffix}, where total energies are expected",
            (reading + isolated),
        )


def _factor_named(ratio: float) -> str | None:
    for unit, factor in _FORCE_UNITS.items():
        if abs(ratio / factor - 1) < _FACTOR:
            return f"in {unit}, stored as hartree/bohr"
        if abs(ratio * factor - 1) < _FACTOR:
            return f"in hartree/bohr, stored as {unit}"
    return None


def _turned_cosine(
    predicted: FloatArray, reference: FloatArray, atom_offsets: IntArray
) -> float | None:
    """Give the cosine after turning the forces of each conformation onto the reference."""
    overlap, squares = 0.0, np.zeros(2)
    for start, stop in itertools.pairwise(atom_offsets.tolist()):
        if stop - start >= _FEWEST_ATOMS:
            mine, other = predicted[start:stop], reference[start:stop]
            overlap += float(np.vdot(mine @ _rotation_onto(mine, other), other))
            squares += [float(np.vdot(mine, mine)), float(np.vdot(other, other))]
    return overlap / float(np.sqrt(squares.prod())) if squares.all() else None


def _pairs(molecule_id: IntArray) -> Iterator[tuple[int, int]]:
    order = np.argsort(molecule_id, kind="stable")
    starts = np.flatnonzero(np.diff(molecule_id[order], prepend=molecule_id[order][0] - 1))
    for group in np.split(order, starts[1:]):
        yield from itertools.combinations(group.tolist(), 2)


def _superimposed(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Turn the first geometry onto the second; give the rotation and what remains to go."""
    mine, other = first - first.mean(axis=0), second - second.mean(axis=0)
    rotation = _rotation_onto(mine, other)
    return rotation, other - mine @ rotation


def _rotation_onto(mine: FloatArray, other: FloatArray) -> FloatArray:
    """Find the rotation R with ``mine @ R`` nearest to ``other`` (Kabsch)."""
    left, _, right = np.linalg.svd(mine.T @ other)
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    rotation: FloatArray = left @ right
    return rotation
