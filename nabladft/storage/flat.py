"""Conformations as flat arrays plus offsets, and back.

The flat form is what shards hold and what batches are made of; :class:`nabladft.Conformation` is
what people hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.chemistry.packing import pack_lower, unpack_lower
from nabladft.conformation import Conformation
from nabladft.fields import FIELDS, LABEL_FIELDS
from nabladft.storage.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FlatRecords:
    """Several conformations as flat arrays plus offsets, in the order asked for.

    Attributes:
        molecule_id: Shape (n,).
        conformation_id: Shape (n,).
        atom_offsets: Shape (n + 1,); atoms of record k are ``[atom_offsets[k]:atom_offsets[k+1]]``.
        atomic_numbers: Shape (sum n_atoms,), int32.
        positions: Shape (sum n_atoms, 3), bohr.
        orbital_counts: Shape (n,), number of orbitals; zeros when no field with orbitals was read.
        values: Label arrays by field name. Per-conformation fields have shape (n, ...), fields per
            atom (sum n_atoms, ...), fields per orbital (sum n_orbitals,), symmetric matrices are
            concatenated packed lower triangles (row by row: element (i, j), i >= j, of one matrix
            is at ``i (i + 1) / 2 + j``).
    """

    molecule_id: IntArray
    conformation_id: IntArray
    atom_offsets: IntArray
    atomic_numbers: NDArray[np.int32]
    positions: NDArray[np.float64]
    orbital_counts: IntArray
    values: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.molecule_id)

    def with_values(self, values: Mapping[str, NDArray[Any]]) -> FlatRecords:
        """Give the same records with other labels."""
        return replace(self, values=values)

    def value_offsets(self, name: str) -> IntArray:
        """Where the values of each record begin in ``values[name]``, shape (n + 1,)."""
        return offsets_of(
            values_per_record(
                name, n_atoms=np.diff(self.atom_offsets), n_orbitals=self.orbital_counts
            )
        )


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What is known of records in words.

    Attributes:
        smiles: SMILES of each record, or None.
        geometry_origin: How each geometry was made, or None.
    """

    smiles: Sequence[str | None]
    geometry_origin: Sequence[str | None]


def values_per_record(name: str, *, n_atoms: IntArray, n_orbitals: IntArray) -> IntArray:
    """Count how far each record goes along the first axis of a field's flat array.

    Args:
        name: A field.
        n_atoms: Shape (n,).
        n_orbitals: Shape (n,).

    Returns:
        Shape (n,): 1 for a field of the conformation, n_atoms or n_orbitals for one of its atoms or
        orbitals, the size of the packed triangle for a symmetric matrix.
    """
    field = FIELDS[name]
    if field.symmetric:
        return n_orbitals * (n_orbitals + 1) // 2
    if field.shape[:1] == ("n_atoms",):
        return n_atoms
    if field.shape[:1] == ("n_orbitals",):
        return n_orbitals
    return np.ones(len(n_atoms), dtype=np.int64)


def fields_with_orbitals(fields: Sequence[str]) -> list[str]:
    """List those fields whose shape depends on the number of orbitals."""
    return [name for name in fields if "n_orbitals" in FIELDS[name].shape]


def flatten(records: Sequence[Conformation], fields: Sequence[str]) -> FlatRecords:
    """Join records into flat arrays.

    Args:
        records: All of which have all ``fields``.
        fields: Labels to take.

    Raises:
        MissingFieldError: A record lacks a field.
    """
    n_atoms = np.array([record.n_atoms for record in records], dtype=np.int64)
    sized = fields_with_orbitals(fields)
    orbitals = [len(record.require(sized[0])) if sized else 0 for record in records]
    return FlatRecords(
        molecule_id=np.array([record.molecule_id for record in records], dtype=np.int64),
        conformation_id=np.array([record.conformation_id for record in records], dtype=np.int64),
        atom_offsets=offsets_of(n_atoms),
        atomic_numbers=_join([record.atomic_numbers for record in records], "atomic_numbers"),
        positions=_join([record.positions for record in records], "positions"),
        orbital_counts=np.array(orbitals, dtype=np.int64),
        values={name: _join([r.require(name) for r in records], name) for name in fields},
    )


def unflatten(
    flat: FlatRecords, texts: Texts, *, basis_set: str | None, orbital_order: str | None
) -> list[Conformation]:
    """Split flat arrays into records, the inverse of :func:`flatten`.

    Args:
        flat: The numbers.
        texts: The words.
        basis_set: Basis set of the matrices.
        orbital_order: Order of the orbitals of the matrices.
    """
    offsets = {name: flat.value_offsets(name).tolist() for name in flat.values}
    atoms = flat.atom_offsets.tolist()
    has_matrix = any(FIELDS[name].in_orbitals for name in flat.values)
    ids = zip(flat.molecule_id.tolist(), flat.conformation_id.tolist(), strict=True)
    return [
        Conformation(
            molecule_id=molecule_id,
            conformation_id=conformation_id,
            atomic_numbers=flat.atomic_numbers[atoms[k] : atoms[k + 1]],
            positions=flat.positions[atoms[k] : atoms[k + 1]],
            smiles=texts.smiles[k],
            geometry_origin=texts.geometry_origin[k],
            orbital_order=orbital_order if has_matrix else None,
            basis_set=basis_set if has_matrix else None,
            **{
                name: _one(name, values[offsets[name][k] : offsets[name][k + 1]])
                for name, values in flat.values.items()
            },
        )
        for k, (molecule_id, conformation_id) in enumerate(ids)
    ]


def ordered(fields: Sequence[str]) -> tuple[str, ...]:
    """Put label names into the sequence of the vocabulary."""
    return tuple(name for name in LABEL_FIELDS if name in fields)


def _join(values: list[Any], name: str) -> NDArray[Any]:
    field = FIELDS[name]
    tail = tuple(axis for axis in field.shape if isinstance(axis, int))
    if not values:
        return np.zeros((0, *tail), dtype=field.dtype)
    if field.symmetric:
        return np.concatenate([pack_lower(value) for value in values])
    if field.shape[:1] in {("n_atoms",), ("n_orbitals",)}:
        return np.concatenate(values).astype(field.dtype, copy=False)
    return np.array(values, dtype=field.dtype)


def _one(name: str, values: NDArray[Any]) -> Any:  # noqa: ANN401 - a float or an array, as FIELDS says
    field = FIELDS[name]
    if field.symmetric:
        return unpack_lower(values)
    if field.shape[:1] in {("n_atoms",), ("n_orbitals",)}:
        return values
    return values[0]
