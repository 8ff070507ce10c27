"""Refusals: what is asked of a label before it is computed and before it is believed.

A wrong label is worse than none: a few forces of 1e7 hartree/angstrom spoil a training set, and one
of 1e-1 spoils it unnoticed. So every label passes these checks, and those that look unusual are
compared with a finite difference of the energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import formula
from nabladft.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

#: Forces of bound molecules, even badly strained ones, stay below; hartree/bohr.
FORCE_LIMIT: Final = 5.0
#: Forces above this are unusual enough to be compared with the energy; hartree/bohr.
FORCE_SUSPICIOUS: Final = 0.4
#: The grid does not respond to moving atoms, so forces add up to its noise (1e-3), not to zero.
NET_FORCE_LIMIT: Final = 3e-2
NET_FORCE_SUSPICIOUS: Final = 6e-3
#: The density integrates to the electrons to about 1e-5 of their number on the (75, 302) grid.
ELECTRON_TOLERANCE: Final = 2e-4
#: Largest difference of H and its transpose, hartree.
SYMMETRY_TOLERANCE: Final = 1e-9
#: Slope of the energy against the forces along one direction of unit length; hartree/bohr. The
#: missing response of the grid alone makes 1e-3.
SLOPE_TOLERANCE: Final = 6e-3
#: Atoms closer than this are an error of the input, bohr (H2 is 1.4 long).
SHORTEST_DISTANCE: Final = 0.8
#: Displacement of the finite difference, bohr.
STEP: Final = 0.01


def check_input(
    atomic_numbers: NDArray[np.integer], positions: FloatArray, *, charge: int = 0
) -> None:
    """Refuse a conformation that cannot be labelled, before any computation.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        charge: Total charge in elementary charges.

    Raises:
        LabelError: Shapes, non-finite or coinciding positions, or an odd number of electrons.
        UnsupportedElementError: An element has no orbitals in the basis set.
    """
    n_atoms = len(atomic_numbers)
    if n_atoms == 0 or positions.shape != (n_atoms, 3):
        message = f"positions must have shape ({n_atoms}, 3) with atoms, got {positions.shape}."
        raise LabelError(message)
    if not np.isfinite(positions).all():
        message = f"Atom {int(np.argwhere(~np.isfinite(positions))[0, 0])} has no finite position."
        raise LabelError(message)
    DEF2_SVP.n_orbitals(atomic_numbers)

    first, second = np.triu_indices(n_atoms, k=1)
    distance = np.linalg.norm(positions[first] - positions[second], axis=1)
    if n_atoms > 1 and distance.min() < SHORTEST_DISTANCE:
        pair = int(distance.argmin())
        message = (
            f"Atoms {first[pair]} and {second[pair]} are {distance[pair]:.3f} bohr apart. "
            "Are the positions in bohr?"
        )
        raise LabelError(message)

    n_electrons = int(np.sum(atomic_numbers)) - charge
    if n_electrons <= 0 or n_electrons % 2:
        message = (
            f"{formula(atomic_numbers)} with charge {charge:+d} has {n_electrons} electrons. The "
            "labels are closed-shell: an even number is needed. Is an atom or the charge missing?"
        )
        raise LabelError(message)


def check_hamiltonian(hamiltonian: FloatArray, *, n_orbitals: int) -> None:
    """Refuse a Hamiltonian of the wrong size, not finite or not symmetric.

    Args:
        hamiltonian: Hartree.
        n_orbitals: Expected size.

    Raises:
        LabelError: It is one of these.
    """
    if hamiltonian.shape != (n_orbitals, n_orbitals):
        message = f"Hamiltonian of shape {hamiltonian.shape}, but there are {n_orbitals} orbitals."
        raise LabelError(message)
    asymmetry = float(np.abs(hamiltonian - hamiltonian.T).max())
    if not asymmetry <= SYMMETRY_TOLERANCE:  # also refuses NaN
        message = f"Hamiltonian differs from its transpose by {asymmetry:.1e} hartree."
        raise LabelError(message)


def check_electron_count(integrated: float, *, expected: int) -> None:
    """Refuse a density that does not integrate to the electrons.

    Args:
        integrated: Integral of the density over the grid.
        expected: Number of electrons.

    Raises:
        LabelError: The grid misses part of the density.
    """
    if not abs(integrated - expected) <= ELECTRON_TOLERANCE * expected:
        message = f"The density integrates to {integrated:.5f} electrons instead of {expected}."
        raise LabelError(message)


def check_forces(forces: FloatArray) -> bool:
    """Refuse impossible forces, and tell whether possible ones are unusual.

    Args:
        forces: Shape (n_atoms, 3), hartree/bohr.

    Returns:
        Whether they should be compared with the energy (:func:`check_slope`).

    Raises:
        LabelError: They are not finite, beyond any bond, or do not nearly add up to zero.
    """
    largest = float(np.linalg.norm(forces, axis=1).max())
    net = float(np.linalg.norm(forces.sum(axis=0)))
    if not largest <= FORCE_LIMIT:
        message = f"Largest force is {largest:.1e} hartree/bohr; beyond {FORCE_LIMIT} is no bond."
        raise LabelError(message)
    if not net <= NET_FORCE_LIMIT:
        message = f"Forces add up to {net:.1e} hartree/bohr; the grid explains {NET_FORCE_LIMIT}."
        raise LabelError(message)
    return largest > FORCE_SUSPICIOUS or net > NET_FORCE_SUSPICIOUS


def check_slope(
    energy: Callable[[FloatArray], float],
    positions: FloatArray,
    forces: FloatArray,
    *,
    seed: int = 0,
) -> float:
    """Compare the forces with a finite difference of the energy along one random direction.

    Args:
        energy: Returns the energy in hartree of positions (n_atoms, 3) in bohr.
        positions: Where the forces were computed, shape (n_atoms, 3), bohr.
        forces: Shape (n_atoms, 3), hartree/bohr.
        seed: Chooses the direction.

    Returns:
        Difference of the two slopes, hartree/bohr.

    Raises:
        LabelError: It is more than the grid explains.
    """
    direction = np.random.default_rng(seed).standard_normal(positions.shape)
    direction /= np.linalg.norm(direction)
    rise = energy(positions + STEP * direction) - energy(positions - STEP * direction)
    expected = -float(np.vdot(forces, direction))
    difference = rise / (2 * STEP) - expected
    if not abs(difference) <= SLOPE_TOLERANCE * max(1.0, abs(expected)):
        message = (
            f"Along a random direction the energy rises by {rise / (2 * STEP):.4f} hartree/bohr, "
            f"but the forces say {expected:.4f}. One of them is wrong."
        )
        raise LabelError(message)
    return difference
