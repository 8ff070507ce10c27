"""What is in a predictions file, and the few functions that its reader and writer share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft import __version__
from nabladft.errors import PredictionsError
from nabladft.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

FORMAT: Final = "nabladft-predictions"
FORMAT_VERSION: Final = 1

#: Quantities that can be predicted and scored, by their names in :data:`nabladft.fields.FIELDS`.
PREDICTED_FIELDS: Final[tuple[str, ...]] = ("energy", "forces", "hamiltonian", "overlap")

#: Those of them that are matrices of orbitals: packed lower triangles, NAME_offsets beside them.
MATRIX_FIELDS: Final[tuple[str, ...]] = tuple(
    name for name in PREDICTED_FIELDS if FIELDS[name].in_orbitals
)

#: In atomic units. No energy, force or matrix element is so large, and squares of larger numbers
#: would make scores infinite.
LARGEST_VALUE: Final = 1e12

#: Arrays that say which conformation and atom the values belong to.
STRUCTURE: Final = (
    "molecule_id",
    "conformation_id",
    "atom_offsets",
    "atomic_numbers",
    *(f"{name}_offsets" for name in MATRIX_FIELDS),
)


@dataclass(frozen=True, kw_only=True)
class PredictionsInfo:
    """Where predictions come from: the root attributes of the file.

    Attributes:
        dataset: Name of the data set.
        data_hash: Hash of its contents (``nabladft.open(...).data_hash``).
        model: Name of the model, as it shall appear in tables.
        split: Name of the split the model was trained with; None when there was none.
        split_hash: Its hash (``read_split(...).sha256``).
        part: Which part of the split is predicted ("test_structures", ...).
        code_version: Version of the code that wrote the file.
        orbital_order: Order of the orbitals of the matrices; None without any.
        basis_set: Basis set of the matrices; None without any.
        details: Anything else worth keeping that JSON can hold (run id, seed, link to the code).
    """

    dataset: str
    data_hash: str
    model: str
    split: str | None = None
    split_hash: str | None = None
    part: str | None = None
    code_version: str = f"nabladft {__version__}"
    orbital_order: str | None = None
    basis_set: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PredictedRecords:
    """Predictions of several conformations, in the order asked for, in atomic units.

    Attributes:
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
        atom_offsets: Shape (n + 1,), or None when the file has no atoms.
        atomic_numbers: Shape (sum n_atoms,), or None when the file has no atoms.
        hamiltonian_offsets: Shape (n + 1,), or None when no Hamiltonian was read.
        overlap_offsets: Shape (n + 1,), or None when no overlap matrix was read.
        values: ``energy`` (n,), ``forces`` (sum n_atoms, 3), ``hamiltonian`` and ``overlap``
            (sum n_values,) packed lower triangles; float64.
    """

    keys: IntArray
    atom_offsets: IntArray | None
    atomic_numbers: IntArray | None
    hamiltonian_offsets: IntArray | None
    values: Mapping[str, NDArray[np.float64]]
    overlap_offsets: IntArray | None = None


def refuse_unusable(
    name: str, array: NDArray[Any], offsets: IntArray, keys: IntArray, path: Path
) -> None:
    """Refuse NaN, infinity and absurd values, naming the first conformation that has one.

    Args:
        name: Name of the quantity.
        array: Its values for several conformations, shape (sum n_values, ...), atomic units.
        offsets: Where each conformation begins in ``array``, shape (n + 1,).
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
        path: The file, for the message.

    Raises:
        PredictionsError: A value is not finite, or larger than :data:`LARGEST_VALUE`.
    """
    # NaN is not at most anything, so one comparison finds all.
    usable = np.abs(array) <= LARGEST_VALUE
    if usable.all():
        return
    of_row = usable.reshape(len(array), -1).all(axis=1)
    first = int(np.flatnonzero(~of_row)[0])
    owner = int(np.searchsorted(offsets, first, side="right")) - 1
    what = (
        f"that are larger than {LARGEST_VALUE:g} in atomic units"
        if np.isfinite(array).all()
        else "that are not finite (NaN or infinite)"
    )
    message = (
        f"{path.name}: {name} holds {int((~usable).sum())} values {what}; the first is in "
        f"molecule_id {int(keys[owner, 0])}, conformation_id {int(keys[owner, 1])}."
    )
    raise PredictionsError(message)
