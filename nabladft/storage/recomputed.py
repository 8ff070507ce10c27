"""Matrices that need not be stored, because they follow from geometry and basis set.

The overlap and the core Hamiltonian are computed when they are asked for by name, of any source
that says in which basis set and orbital order its matrices are. They are not among the labels that
a source lists and gives by itself, because the core Hamiltonian takes tenths of a second.

Example:
    >>> recomputable_fields(("energy", "hamiltonian"), "def2-svp", "ascending")
    ('overlap', 'core_hamiltonian')
    >>> recomputable_fields(("energy", "forces"), None, None)
    ()
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.gaussians import gaussian_basis
from nabladft.chemistry.orbitals import ORBITAL_ORDERS
from nabladft.chemistry.packing import pack_lower
from nabladft.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.chemistry.basis import BasisSet
    from nabladft.chemistry.orbitals import OrbitalOrder
    from nabladft.storage.flat import FlatRecords

    FloatArray = NDArray[np.float64]

#: Labels that follow from geometry and basis set.
RECOMPUTED: Final = ("overlap", "core_hamiltonian")


def recomputable_fields(
    held: Sequence[str], basis_set: str | None, orbital_order: str | None
) -> tuple[str, ...]:
    """List the labels that a source does not hold but that can be computed for its records.

    Args:
        held: Labels of the source.
        basis_set: Of its matrices, or None.
        orbital_order: Of its matrices, or None.
    """
    if basis_set is None or orbital_order not in ORBITAL_ORDERS:
        return ()
    try:
        gaussian_basis(basis_set_named(basis_set))
    except UnknownNameError:
        return ()
    return tuple(name for name in RECOMPUTED if name not in held)


def recompute(
    flat: FlatRecords, names: Sequence[str], basis_set: str, orbital_order: str
) -> FlatRecords:
    """Add labels that follow from geometry and basis set.

    Args:
        flat: Records.
        names: Some of :data:`RECOMPUTED`.
        basis_set: Of the matrices.
        orbital_order: Of the matrices.

    Returns:
        The same records with these labels as well.

    Raises:
        UnsupportedElementError: An element is not in the basis set.
    """
    # Integrals bring SciPy, which takes longer to load than a store to open.
    from nabladft.chemistry.two_centre import two_centre_triangles  # noqa: PLC0415

    basis, order = basis_set_named(basis_set), cast("OrbitalOrder", orbital_order)
    orbitals = np.concatenate([[0], np.cumsum(basis.orbitals_per_atom(flat.atomic_numbers))])
    values = dict(flat.values)
    if "overlap" in names:
        values["overlap"] = two_centre_triangles(
            flat.atomic_numbers,
            flat.positions,
            flat.atom_offsets,
            basis_set=basis,
            orbital_order=order,
        )
    if "core_hamiltonian" in names:
        values["core_hamiltonian"] = _core_hamiltonians(flat, basis, order)
    counts = np.diff(orbitals[flat.atom_offsets]).astype(np.int64)
    return replace(flat, values=values, orbital_counts=counts)


def _core_hamiltonians(flat: FlatRecords, basis: BasisSet, order: OrbitalOrder) -> FloatArray:
    from nabladft.chemistry.attraction import attraction_matrix  # noqa: PLC0415 - see recompute
    from nabladft.chemistry.two_centre import two_centre_triangles  # noqa: PLC0415

    kinetic = two_centre_triangles(
        flat.atomic_numbers,
        flat.positions,
        flat.atom_offsets,
        operator="kinetic",
        basis_set=basis,
        orbital_order=order,
    )
    attraction = [
        pack_lower(
            attraction_matrix(
                flat.atomic_numbers[start:stop],
                flat.positions[start:stop],
                basis_set=basis,
                orbital_order=order,
            )
        )
        for start, stop in zip(flat.atom_offsets[:-1], flat.atom_offsets[1:], strict=True)
    ]
    kinetic += np.concatenate([np.zeros(0), *attraction])
    return kinetic
