"""The order in which programs list the orbitals of a shell, and the way from one to another.

Programs agree that atoms come in the order of the geometry, that the shells of an atom come by
angular degree, and (with the exceptions below) on the real solid harmonics themselves. They differ
in the sequence of the 2l+1 orbitals of a shell:

=========== ================================================== ======================== ==========
order       m of the orbitals of a shell                       p shell                  signs
=========== ================================================== ======================== ==========
ascending   -l, ..., 0, ..., l                                 y, z, x                  none
pyscf       as ascending, except p: +1, -1, 0                  x, y, z                  none
psi4        0, +1, -1, +2, -2, ...                             z, x, y                  none
orca        as psi4                                            z, x, y                  |m| = 3, 4
=========== ================================================== ======================== ==========

m > 0 is the orbital proportional to Re (x + iy)^m, m < 0 to Im (x + iy)^|m|, both with a positive
factor: d in ascending order is xy, yz, z², xz, x²-y². "ascending" is the order of the published
Hamiltonian files and of the stores of this package. For s, p and d, "orca" equals "psi4".

Example:
    >>> import numpy as np
    >>> water = np.array([8, 1, 1])
    >>> reorder_orbitals(np.eye(24), water, source="psi4", target="pyscf").shape
    (24, 24)
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast, get_args

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, SHELL_LETTERS, BasisSet
from nabladft.errors import OrbitalCountError, OrbitalOrderError, suggestion

if TYPE_CHECKING:
    from numpy.typing import NDArray

OrbitalOrder = Literal["ascending", "pyscf", "psi4", "orca"]

#: Every order, the one of this package first.
ORBITAL_ORDERS: Final[tuple[OrbitalOrder, ...]] = get_args(OrbitalOrder)

#: ORCA's signs are documented up to h shells; we refuse to guess beyond.
_ORCA_MAX_DEGREE: Final = 5

ScalarT = TypeVar("ScalarT", bound=np.number)


def orbital_order_named(name: str) -> OrbitalOrder:
    """Check the name of an orbital order that came from a file or a user.

    Raises:
        OrbitalOrderError: There is no such order.
    """
    if name not in ORBITAL_ORDERS:
        message = (
            f"No orbital order {name!r}.{suggestion(str(name), ORBITAL_ORDERS)} "
            f"Known: {', '.join(ORBITAL_ORDERS)}."
        )
        raise OrbitalOrderError(message)
    return name


def shell_orbitals(l: int, order: OrbitalOrder) -> tuple[tuple[int, int], ...]:
    """List the orbitals of a shell in the sequence of a program.

    Args:
        l: Angular degree, 0 for s.
        order: The program's order.

    Returns:
        For each of the 2l+1 orbitals, m and the sign relative to the harmonic described in the
        module's documentation.

    Raises:
        OrbitalOrderError: The order is unknown, or not documented for such an l.

    Example:
        >>> shell_orbitals(1, "psi4")
        ((0, 1), (1, 1), (-1, 1))

    Source:
        Psi4 manual, "Basis Sets", pure functions. PySCF user guide, "Gaussian basis set" (p is
        x, y, z; d and above by m from -l). ORCA: the conventions of its Molden and JSON output.
    """
    orbital_order_named(order)
    if order == "ascending" or (order == "pyscf" and l != 1):
        return tuple((m, 1) for m in range(-l, l + 1))
    if order == "pyscf":
        return ((1, 1), (-1, 1), (0, 1))
    if order == "orca" and l > _ORCA_MAX_DEGREE:
        message = (
            f"The signs of ORCA's {SHELL_LETTERS[l : l + 1] or f'l={l}'} shells are not known here."
        )
        raise OrbitalOrderError(message)
    sequence = [0, *(sign * m for m in range(1, l + 1) for sign in (1, -1))]
    flipped = (3, 4) if order == "orca" else ()
    return tuple((m, -1 if abs(m) in flipped else 1) for m in sequence)


def orbital_permutation(
    atomic_numbers: NDArray[np.integer],
    *,
    source: OrbitalOrder,
    target: OrbitalOrder,
    basis_set: BasisSet = DEF2_SVP,
) -> tuple[NDArray[np.intp], NDArray[np.int8]]:
    """Give the permutation and signs that turn one orbital order into another.

    Orbital i of the target is ``signs[i]`` times orbital ``permutation[i]`` of the source.

    Args:
        atomic_numbers: Shape (n_atoms,). Atoms in the sequence the orbitals follow.
        source: Order at hand.
        target: Order wanted.
        basis_set: Assigns shells to each element.

    Returns:
        The permutation and the signs (+1 or -1), each of shape (n_orbitals,).

    Raises:
        OrbitalOrderError: An order is unknown.
        UnsupportedElementError: An element has no shells in the basis set.
    """
    atoms = [basis_set.shells_of(int(number)) for number in atomic_numbers]
    moves = [_atom_permutation(shells, source, target) for shells in atoms]
    sizes = [len(permutation) for permutation, _ in moves]
    starts = np.cumsum([0, *sizes[:-1]])
    permutation = np.concatenate(
        [start + local for start, (local, _) in zip(starts, moves, strict=True)]
    )
    return permutation, np.concatenate([signs for _, signs in moves])


def reorder_orbitals(
    matrix: NDArray[ScalarT],
    atomic_numbers: NDArray[np.integer],
    *,
    source: OrbitalOrder,
    target: OrbitalOrder,
    basis_set: BasisSet = DEF2_SVP,
) -> NDArray[ScalarT]:
    """Move an operator from one atomic-orbital order to another.

    Programs agree on the orbitals of a shell but not on the sequence in which they list them, nor,
    from f shells on, on their signs. This is a simultaneous row and column permutation: the
    spectrum, the trace and symmetry are preserved, and exchanging ``source`` and ``target`` undoes
    it exactly.

    Args:
        matrix: Operator in the AO basis, shape (..., n_orbitals, n_orbitals). Any unit.
        atomic_numbers: Shape (n_atoms,). Atoms in the sequence the orbitals follow.
        source: Order ``matrix`` is in.
        target: Order wanted.
        basis_set: Assigns shells to each element; fixes n_orbitals.

    Returns:
        New array with the shape, dtype and unit of ``matrix``.

    Raises:
        OrbitalCountError: The last two axes do not have the number of orbitals that
            ``basis_set`` assigns to these atoms.
        OrbitalOrderError: An order is unknown.
        UnsupportedElementError: An element has no shells in the basis set.

    Example:
        >>> hydrogen = np.array([1])  # s, s, p
        >>> labels = np.diag([0, 0, ord("z"), ord("x"), ord("y")])
        >>> moved = reorder_orbitals(labels, hydrogen, source="psi4", target="pyscf")
        >>> "".join(map(chr, np.diag(moved)[2:]))
        'xyz'
    """
    permutation, signs = orbital_permutation(
        atomic_numbers, source=source, target=target, basis_set=basis_set
    )
    matrix = np.asarray(matrix)
    check_operator_shape(matrix, atomic_numbers, basis_set=basis_set)
    if source == target:
        return matrix.copy()
    moved = np.take(np.take(matrix, permutation, axis=-2), permutation, axis=-1)
    if (signs < 0).any():
        moved = moved * (signs[:, None] * signs).astype(matrix.dtype)
    return cast("NDArray[ScalarT]", moved)


def reorder_orbital_coefficients(
    coefficients: NDArray[ScalarT],
    atomic_numbers: NDArray[np.integer],
    *,
    source: OrbitalOrder,
    target: OrbitalOrder,
    basis_set: BasisSet = DEF2_SVP,
) -> NDArray[ScalarT]:
    """Move molecular orbitals from one atomic-orbital order to another: rows only.

    Args:
        coefficients: Shape (..., n_orbitals, n_molecular_orbitals), one molecular orbital a column.
        atomic_numbers: Shape (n_atoms,).
        source: Order the rows are in.
        target: Order wanted.
        basis_set: Assigns shells to each element.

    Returns:
        New array with the shape and dtype of ``coefficients``.

    Raises:
        OrbitalCountError: The rows are not the orbitals that ``basis_set`` assigns to these atoms.
        OrbitalOrderError: An order is unknown.
        UnsupportedElementError: An element has no shells in the basis set.
    """
    permutation, signs = orbital_permutation(
        atomic_numbers, source=source, target=target, basis_set=basis_set
    )
    coefficients = np.asarray(coefficients)
    if coefficients.ndim < 2 or coefficients.shape[-2] != len(permutation):
        _refuse_count(coefficients.shape, atomic_numbers, basis_set)
    moved = np.take(coefficients, permutation, axis=-2)
    if (signs < 0).any():
        moved = moved * signs[:, None].astype(coefficients.dtype)
    return cast("NDArray[ScalarT]", moved)


def check_operator_shape(
    matrix: NDArray[np.generic],
    atomic_numbers: NDArray[np.integer],
    *,
    basis_set: BasisSet = DEF2_SVP,
) -> None:
    """Refuse an operator whose size is not the number of orbitals of its atoms.

    Args:
        matrix: Shape (..., n_orbitals, n_orbitals).
        atomic_numbers: Shape (n_atoms,).
        basis_set: Assigns shells to each element.

    Raises:
        OrbitalCountError: The last two axes are not (n_orbitals, n_orbitals).
    """
    n_orbitals = basis_set.n_orbitals(atomic_numbers)
    if matrix.shape[-2:] != (n_orbitals, n_orbitals):
        _refuse_count(matrix.shape, atomic_numbers, basis_set)


def _refuse_count(
    shape: tuple[int, ...], atomic_numbers: NDArray[np.integer], basis_set: BasisSet
) -> None:
    message = (
        f"{basis_set.n_orbitals(atomic_numbers)} orbitals expected for atomic_numbers="
        f"{np.asarray(atomic_numbers).tolist()} in {basis_set.name}, but the array has shape "
        f"{shape}. If it was computed in another basis set, pass basis_set=..."
    )
    raise OrbitalCountError(message)


@lru_cache(maxsize=1024)
def _atom_permutation(
    shells: tuple[int, ...], source: OrbitalOrder, target: OrbitalOrder
) -> tuple[NDArray[np.intp], NDArray[np.int8]]:
    """Permutation and signs within one atom."""
    permutation: list[int] = []
    signs: list[int] = []
    for l in shells:
        here = {m: (place, sign) for place, (m, sign) in enumerate(shell_orbitals(l, source))}
        start = len(permutation)
        for m, sign in shell_orbitals(l, target):
            place, source_sign = here[m]
            permutation.append(start + place)
            signs.append(sign * source_sign)
    return np.array(permutation, dtype=np.intp), np.array(signs, dtype=np.int8)
