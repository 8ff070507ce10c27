"""Recognise Hamiltonians that are not what they are said to be, and say what they look like.

A matrix in another orbital order, basis set or unit is still a symmetric matrix of plausible size,
and every number computed from it is silently wrong. What gives it away:

=================== ============================================================================
mistake             how it is seen
=================== ============================================================================
wrong size          the number of orbitals of the atoms; of which basis set it would be right
NaN, not symmetric  by looking
unit, basis set,    the diagonal, which hardly depends on the molecule
sequence of atoms   (:mod:`nabladft.chemistry.hamiltonian_levels`)
orbital order       off-diagonal elements follow the overlap
                    (:mod:`nabladft.chemistry.hamiltonian_order`)
=================== ============================================================================

Only what can be named is refused. The prediction of a bad model is none of these and passes.

Example:
    >>> H = np.diag(np.repeat([-0.35, -0.47, 1.27], [1, 1, 3]))
    >>> diagnose_hamiltonian(H, np.array([1]), np.zeros((1, 3)))
    >>> try:
    ...     diagnose_hamiltonian(27.2114 * H, np.array([1]), np.zeros((1, 3)))
    ... except UnitError as error:
    ...     print(str(error).split(":")[0])
    The Hamiltonian of H looks like eV
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, SHELL_LETTERS, BasisSet
from nabladft.chemistry.elements import formula, symbol_of
from nabladft.chemistry.hamiltonian_levels import (
    LEVEL_FACTORS,
    basis_sets_of_size,
    explain_diagonal,
)
from nabladft.chemistry.hamiltonian_order import order_agreements
from nabladft.errors import (
    HamiltonianError,
    NablaDFTError,
    OrbitalCountError,
    OrbitalOrderError,
    UnitError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from nabladft.chemistry.orbitals import OrbitalOrder

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.integer]

#: Largest asymmetry, relative to the largest element, that counts as round-off of float32.
SYMMETRY_TOLERANCE: Final = 1e-5

#: The orbital order of a file is told from so many of its matrices together.
ORDER_TOLD_FROM: Final = 8

#: Agreement with the overlap (see hamiltonian_order) of a matrix that is in another order: at least
#: so much in that order, and so much more than in the declared one.
_AGREEMENT: Final = 0.7
_MARGIN: Final = 0.2


def diagnose_hamiltonian(
    hamiltonian: ArrayLike,
    atomic_numbers: IntArray,
    positions: ArrayLike,
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> None:
    """Refuse a Hamiltonian that is recognised as something else than declared.

    Args:
        hamiltonian: Shape (n_orbitals, n_orbitals), supposed to be in hartree.
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        basis_set: Declared basis set.
        orbital_order: Declared orbital order.

    Raises:
        OrbitalCountError: Its size is not the number of orbitals; the message has the basis sets
            for which it would be.
        HamiltonianError: It is not finite or not symmetric, is in another basis set with the same
            shells, or its atoms come in another sequence.
        UnitError: It is not in hartree.
        OrbitalOrderError: It is in another orbital order.
    """
    diagnose_hamiltonians(
        [np.asarray(hamiltonian)],
        [np.asarray(atomic_numbers)],
        [positions],
        basis_set=basis_set,
        orbital_order=orbital_order,
    )


def diagnose_hamiltonians(
    hamiltonians: Sequence[NDArray[Any]],
    molecules: Sequence[IntArray],
    geometries: Sequence[ArrayLike],
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
    names: Sequence[str] | None = None,
) -> None:
    """Refuse Hamiltonians of one origin that are recognised as something else than declared.

    Each is looked at; the orbital order is told from the first :data:`ORDER_TOLD_FROM` together.

    Args:
        hamiltonians: Each of shape (n_orbitals, n_orbitals), supposed to be in hartree.
        molecules: Atomic numbers of each.
        geometries: Positions of each, shape (n_atoms, 3), bohr.
        basis_set: Declared basis set.
        orbital_order: Declared orbital order.
        names: Names of each for messages.

    Raises:
        OrbitalCountError: See :func:`diagnose_hamiltonian`, also for the others.
        HamiltonianError: See there.
        UnitError: See there.
        OrbitalOrderError: See there.
    """
    for k, (matrix, numbers) in enumerate(zip(hamiltonians, molecules, strict=True)):
        try:
            check_matrix(matrix, numbers, basis_set=basis_set)
            check_levels(np.diag(matrix), numbers, basis_set=basis_set)
        except NablaDFTError as error:
            if names is not None:
                error.add_note(f"({names[k]})")
            raise
    some = slice(0, ORDER_TOLD_FROM)
    try:
        check_order(
            hamiltonians[some],
            molecules[some],
            [np.asarray(one, dtype=np.float64) for one in geometries[some]],
            basis_set=basis_set,
            orbital_order=orbital_order,
        )
    except NablaDFTError as error:
        if names is not None:
            error.add_note(f"({', '.join(names[some])})")
        raise


def check_matrix(
    matrix: NDArray[np.generic], atomic_numbers: IntArray, *, basis_set: BasisSet = DEF2_SVP
) -> None:
    """Refuse a matrix of the wrong size, with values not finite, or that is not symmetric.

    Args:
        matrix: Shape (n_orbitals, n_orbitals).
        atomic_numbers: Shape (n_atoms,).
        basis_set: Declared basis set.

    Raises:
        OrbitalCountError: It has another size.
        HamiltonianError: It is not finite or not symmetric.
    """
    n_orbitals = basis_set.n_orbitals(atomic_numbers)
    what = f"The Hamiltonian of {formula(atomic_numbers)}"
    if matrix.shape != (n_orbitals, n_orbitals):
        message = (
            f"{what} has shape {matrix.shape}; in {basis_set.name} these atoms have {n_orbitals} "
            f"orbitals. {_reason_for_size(matrix.shape, n_orbitals, atomic_numbers)}"
        )
        raise OrbitalCountError(message)
    finite = np.isfinite(matrix.astype(np.float64))
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        message = (
            f"{what} holds {int((~finite).sum())} values that are not finite (NaN or infinite); "
            f"the first is between {_orbital(row, atomic_numbers, basis_set)} and "
            f"{_orbital(column, atomic_numbers, basis_set)}."
        )
        raise HamiltonianError(message)
    _check_symmetry(matrix.astype(np.float64), atomic_numbers, basis_set, what)


def check_levels(
    diagonal: FloatArray, atomic_numbers: IntArray, *, basis_set: BasisSet = DEF2_SVP
) -> None:
    """Refuse a Hamiltonian whose diagonal is that of another unit, basis set or row of atoms.

    Cheap: the rest of the matrix is not needed.

    Args:
        diagonal: Shape (n_orbitals,), supposed to be in hartree.
        atomic_numbers: Shape (n_atoms,).
        basis_set: Declared basis set.

    Raises:
        UnitError: It is not in hartree.
        HamiltonianError: It is in another basis set with the same shells, or its atoms come in
            another sequence.
    """
    numbers = np.asarray(atomic_numbers)
    found = explain_diagonal(np.asarray(diagonal, dtype=np.float64), numbers, basis_set=basis_set)
    if found is None:
        return
    what = f"The Hamiltonian of {formula(numbers)} looks like"
    if found.kind == "unit":
        factor = LEVEL_FACTORS[found.found]
        message = (
            f"{what} {found.found}: its levels are those of a matrix in hartree times "
            f"{factor:.6g}. Divide it by that number."
        )
        raise UnitError(message)
    if found.kind == "basis set":
        message = (
            f"{what} {found.found}, which has the same shells as {basis_set.name} but other "
            f"orbitals. Compute it in {basis_set.name}; no reordering makes up for it."
        )
        raise HamiltonianError(message)
    message = (
        f"{what} one with the atoms in another sequence ({found.found}). Rows and columns must "
        f"follow the atoms of the geometry, here {''.join(symbol_of(int(z)) for z in numbers)}."
    )
    raise HamiltonianError(message)


def check_order(
    hamiltonians: Sequence[FloatArray],
    molecules: Sequence[IntArray],
    geometries: Sequence[FloatArray],
    *,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
) -> None:
    """Refuse Hamiltonians of one file that are in another orbital order than declared.

    Args:
        hamiltonians: A few, each of shape (n_orbitals, n_orbitals), hartree.
        molecules: Atomic numbers of each.
        geometries: Positions of each, shape (n_atoms, 3), bohr.
        basis_set: Basis set of the matrices.
        orbital_order: Declared order.

    Raises:
        OrbitalOrderError: Another order agrees well with the overlap, and clearly better.
        OrbitalCountError: A matrix does not have the number of orbitals of its molecule.
    """
    if not len(hamiltonians):
        return
    given = (hamiltonians, molecules, geometries)
    declared = order_agreements(*given, basis_set=basis_set, orders=[orbital_order])
    if declared[orbital_order] > 1 - _MARGIN:
        return  # no other order can be so much better
    found = order_agreements(*given, basis_set=basis_set)
    best = max(found.values())
    if best < _AGREEMENT or best - found[orbital_order] < _MARGIN:
        return
    names = [name for name, value in found.items() if best - value < 1e-9]
    listed = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    message = (
        f"The Hamiltonians are said to be in orbital order {orbital_order!r}, but look like "
        f"{' or '.join(names)} (agreement with the overlap of {formula(molecules[0])}: {listed}). "
        f"Declare orbital_order={names[0]!r}, or convert them with "
        f"nabladft.chemistry.orbitals.reorder_orbitals(..., source={names[0]!r}, "
        f"target={orbital_order!r})."
    )
    raise OrbitalOrderError(message)


def _reason_for_size(shape: tuple[int, ...], expected: int, atomic_numbers: IntArray) -> str:
    if len(shape) != 2 or shape[0] != shape[1]:
        return (
            "A square matrix is needed; nabladft.chemistry.packing.unpack_lower makes one of a "
            "packed lower triangle."
        )
    if shape[0] == 2 * expected:
        return "It is twice that: a matrix of spin orbitals; give the one of one spin."
    fitting = basis_sets_of_size(shape[0], atomic_numbers)
    if fitting:
        return f"{shape[0]} is the size for {' or '.join(fitting)}: compute it in the right basis."
    heavy_core = int(sum((z > 2) + 4 * (z > 10) + 9 * (z > 18) for z in atomic_numbers.tolist()))
    if shape[0] == expected - heavy_core:
        return "The core orbitals seem to be missing; the whole matrix is needed."
    return (
        "It belongs to another basis set or other atoms, or is padded: only the orbitals of the "
        "atoms of this conformation may be in it."
    )


def _check_symmetry(
    matrix: FloatArray, atomic_numbers: IntArray, basis_set: BasisSet, what: str
) -> None:
    gap = np.abs(matrix - matrix.T)
    largest = float(np.abs(matrix).max())
    if gap.max() <= SYMMETRY_TOLERANCE * max(1.0, largest):
        return
    row, column = np.unravel_index(int(gap.argmax()), gap.shape)
    if not np.triu(matrix, 1).any() or not np.tril(matrix, -1).any():
        filled = "lower" if np.tril(matrix, -1).any() else "upper"
        reason = f"Only its {filled} triangle is filled; fill the other with the transpose."
    else:
        reason = (
            "If it is the output of a model, write 0.5 * (H + H.T); if it is from a program, it is "
            "not a Fock matrix of a closed shell, or its rows and columns are in different orders."
        )
    message = (
        f"{what} is not symmetric: H and its transpose differ by up to {gap.max():.1e} hartree, "
        f"between {_orbital(int(row), atomic_numbers, basis_set)} and "
        f"{_orbital(int(column), atomic_numbers, basis_set)}. {reason}"
    )
    raise HamiltonianError(message)


def _orbital(index: int, atomic_numbers: IntArray, basis_set: BasisSet) -> str:
    """Name an orbital for people: "orbital 3 (s of C, atom 0)"."""
    ends = np.cumsum(basis_set.orbitals_per_atom(atomic_numbers))
    atom = int(np.searchsorted(ends, index, side="right"))
    letter = SHELL_LETTERS[basis_set.degrees(atomic_numbers)[index]]
    return f"orbital {index} ({letter} of {symbol_of(int(atomic_numbers[atom]))}, atom {atom})"
