"""Write a predictions file batch by batch; it exists only when it is complete."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.hamiltonian_checks import diagnose_hamiltonians
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.chemistry.packing import pack_lower
from nabladft.errors import NablaDFTError, PredictionsError
from nabladft.fields import FIELDS
from nabladft.predictions.checks import read_info
from nabladft.predictions.format import (
    FORMAT,
    FORMAT_VERSION,
    MATRIX_FIELDS,
    PREDICTED_FIELDS,
    PredictionsInfo,
    refuse_unusable,
)
from nabladft.storage.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    IntArray = NDArray[np.int64]
    Keys = Sequence[tuple[int, int]] | IntArray

_CHUNK_BYTES: Final = 1 << 18


class PredictionsWriter:
    """Write a predictions file, batch by batch; it appears under its name when it is complete.

    Used as a context manager: on success the temporary file is flushed to the disk and renamed, on
    an exception it is removed and an older file of that name stays as it was.

    Args:
        path: File to write.
        info: Root attributes. ``orbital_order`` and ``basis_set`` are needed with a matrix.

    Raises:
        PredictionsError: A text of ``info`` is one that reading would refuse.
        UnknownNameError: The basis set is unknown.
    """

    def __init__(self, path: str | Path, info: PredictionsInfo) -> None:
        """Open the temporary file beside ``path``."""
        self.path = Path(path)
        self.info = info
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._file = h5py.File(self._temporary, "w")
        self._seen: set[tuple[int, int]] = set()
        self._columns: frozenset[str] | None = None
        self._totals = {"atom_offsets": 0, **{f"{name}_offsets": 0 for name in MATRIX_FIELDS}}
        # Before hours of predictions are written to a file that nobody could read.
        self._write_info()

    def append(
        self,
        *,
        keys: Keys,
        atomic_numbers: ArrayLike | None = None,
        n_atoms: ArrayLike | None = None,
        energy: ArrayLike | None = None,
        forces: ArrayLike | None = None,
        hamiltonian: ArrayLike | None = None,
        overlap: ArrayLike | None = None,
        n_orbitals: ArrayLike | None = None,
    ) -> None:
        """Add a batch. Every batch of a file has the same quantities.

        Args:
            keys: Pairs (molecule_id, conformation_id), shape (n, 2).
            atomic_numbers: Shape (sum n_atoms,); needed with forces or a matrix.
            n_atoms: Shape (n,).
            energy: Total energy, shape (n,), hartree.
            forces: Shape (sum n_atoms, 3), hartree/bohr.
            hamiltonian: Concatenated packed lower triangles, hartree, in the orbital order of
                :attr:`info`; conformation k has ``n_orbitals[k] (n_orbitals[k] + 1) / 2`` values.
            overlap: Likewise, without unit.
            n_orbitals: Shape (n,); needed with a matrix.

        Raises:
            PredictionsError: Shapes disagree, a value is not finite, a key comes twice, or a batch
                has other quantities than the first one.
        """
        pairs = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
        given: dict[str, Any] = {
            "atomic_numbers": atomic_numbers,
            "energy": energy,
            "forces": forces,
            "hamiltonian": hamiltonian,
            "overlap": overlap,
        }
        arrays = {name: np.asarray(value) for name, value in given.items() if value is not None}
        self._check_columns(frozenset(arrays))
        self._check_new(pairs)
        # A column is appended only after every column of the batch has been checked.
        columns: dict[str, NDArray[Any]] = {
            "molecule_id": pairs[:, 0],
            "conformation_id": pairs[:, 1],
        }
        counts = {"energy": np.ones(len(pairs), dtype=np.int64)}
        if "atomic_numbers" in arrays:
            counts["atomic_numbers"] = counts["forces"] = _counts("n_atoms", n_atoms, len(pairs))
            columns["atom_offsets"] = counts["forces"]
        for name in (name for name in MATRIX_FIELDS if name in arrays):
            orbitals = _counts("n_orbitals", n_orbitals, len(pairs))
            counts[name] = columns[f"{name}_offsets"] = orbitals * (orbitals + 1) // 2
        for name, array in arrays.items():
            shape = (int(counts[name].sum()), *((3,) if name == "forces" else ()))
            if array.shape != shape:
                message = f"{name} must have shape {shape}, got {array.shape}."
                raise PredictionsError(message)
            refuse_unusable(name, array, offsets_of(counts[name]), pairs, self.path)
            columns[name] = array.astype(_dtype_on_disk(name, array), copy=False)
        for name, array in columns.items():
            self._extend(name, array)
        self._seen.update((m, c) for m, c in pairs.tolist())

    def append_hamiltonians(
        self,
        *,
        keys: Keys,
        molecules: Sequence[NDArray[np.integer]],
        geometries: Sequence[ArrayLike],
        hamiltonians: Sequence[ArrayLike],
        **quantities: ArrayLike,
    ) -> None:
        """Add whole Hamiltonians, each of which is looked at first.

        What is in another unit, orbital order or basis set than :attr:`info` says, is not symmetric
        or of another size, is refused with its name
        (:mod:`nabladft.chemistry.hamiltonian_checks`).

        Args:
            keys: Pairs (molecule_id, conformation_id), shape (n, 2).
            molecules: Atomic numbers of each, shape (n_atoms,).
            geometries: Positions of each, shape (n_atoms, 3), bohr.
            hamiltonians: Each of shape (n_orbitals, n_orbitals), hartree.
            quantities: ``energy`` and ``forces``, as for :meth:`append`.

        Raises:
            PredictionsError: As for :meth:`append`, or the numbers of conformations differ.
            OrbitalCountError: A matrix has not the size of its atoms and basis set.
            HamiltonianError: A matrix is not finite or not symmetric, or looks like another basis
                set or another sequence of atoms.
            UnitError: Matrices look like another unit than hartree.
            OrbitalOrderError: They look like another orbital order than declared.
        """
        counts = {len(keys), len(molecules), len(geometries), len(hamiltonians)}
        if len(counts) != 1:
            message = (
                f"Keys, molecules, geometries and Hamiltonians must be of the same conformations, "
                f"got {len(keys)}, {len(molecules)}, {len(geometries)} and {len(hamiltonians)}."
            )
            raise PredictionsError(message)
        self._check_columns(frozenset({"hamiltonian", "atomic_numbers", *quantities}))
        matrices = [np.asarray(one, dtype=np.float64) for one in hamiltonians]
        diagnose_hamiltonians(
            matrices,
            molecules,
            geometries,
            basis_set=basis_set_named(str(self.info.basis_set)),
            orbital_order=orbital_order_named(str(self.info.orbital_order)),
            names=[f"conformation {m}/{c}" for m, c in np.asarray(keys).tolist()],
        )
        self.append(
            keys=keys,
            atomic_numbers=np.concatenate([np.asarray(one) for one in molecules]),
            n_atoms=[len(one) for one in molecules],
            n_orbitals=[len(one) for one in matrices],
            hamiltonian=np.concatenate([pack_lower(one) for one in matrices]),
            **quantities,
        )

    def close(self) -> None:
        """Write the attributes, flush to the disk, and give the file its name.

        Raises:
            PredictionsError: Nothing was appended, or a text of :attr:`info` cannot be read.
        """
        if not self._columns:
            self.discard()
            message = f"There are no predictions to write to {self.path}."
            raise PredictionsError(message)
        self._write_info()
        self._file.close()
        _sync(self._temporary)
        self._temporary.replace(self.path)
        _sync(self.path.parent)

    def discard(self) -> None:
        """Remove what has been written; an older file of that name stays."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        """Finish the file, or remove it when something went wrong."""
        if kind is None:
            self.close()
        else:
            self.discard()

    def _write_info(self) -> None:
        """Write all attributes, and read them as a reader would; discard the file if that fails."""
        root = self._file.attrs
        root["format"], root["format_version"] = FORMAT, FORMAT_VERSION
        for name in (f.name for f in fields(PredictionsInfo)):
            value = getattr(self.info, name)
            if name == "details":
                root[name] = json.dumps(dict(value), sort_keys=True)
            elif name not in {"orbital_order", "basis_set"} and value is not None:
                root[name] = value
        for name in (name for name in PREDICTED_FIELDS if name in self._file):
            self._file[name].attrs["unit"] = FIELDS[name].unit
        for name in (name for name in MATRIX_FIELDS if name in self._file):
            self._file[name].attrs["orbital_order"] = self.info.orbital_order
            self._file[name].attrs["basis_set"] = self.info.basis_set
        try:
            read_info(self._file)
            if self.info.basis_set is not None:
                basis_set_named(self.info.basis_set)
        except NablaDFTError:
            self.discard()
            raise

    def _check_columns(self, columns: frozenset[str]) -> None:
        if not columns & set(PREDICTED_FIELDS):
            message = f"A batch needs at least one of {', '.join(PREDICTED_FIELDS)}."
            raise PredictionsError(message)
        if columns & {"forces", *MATRIX_FIELDS} and "atomic_numbers" not in columns:
            message = "Forces and matrices need atomic_numbers and n_atoms with them."
            raise PredictionsError(message)
        if columns & set(MATRIX_FIELDS) and not (self.info.orbital_order and self.info.basis_set):
            message = "A matrix needs orbital_order and basis_set in PredictionsInfo."
            raise PredictionsError(message)
        if self._columns is not None and columns != self._columns:
            message = (
                f"Every batch must hold the same quantities: the first had "
                f"{sorted(self._columns)}, this one {sorted(columns)}."
            )
            raise PredictionsError(message)
        self._columns = columns

    def _check_new(self, pairs: IntArray) -> None:
        batch: set[tuple[int, int]] = set()
        for molecule, conformation in pairs.tolist():
            key = (molecule, conformation)
            if key in self._seen or key in batch:
                message = f"Conformation {molecule}/{conformation} is predicted twice."
                raise PredictionsError(message)
            batch.add(key)

    def _extend(self, name: str, array: NDArray[Any]) -> None:
        if name in self._totals:
            ends = self._totals[name] + np.cumsum(array)
            first = [] if name in self._file else [0]
            array = np.concatenate([first, ends]).astype(np.int64)
            self._totals[name] = int(array[-1]) if array.size else self._totals[name]
        if name not in self._file:
            width = array.dtype.itemsize * int(np.prod(array.shape[1:]))
            # A chunk is stored whole: compressed, what a small file leaves empty takes no room.
            # Matrices fill theirs, and deflating noise takes minutes.
            compression = {} if name in MATRIX_FIELDS else {"compression": 1, "shuffle": True}
            self._file.create_dataset(
                name,
                data=array,
                maxshape=(None, *array.shape[1:]),
                chunks=(max(1, _CHUNK_BYTES // width), *array.shape[1:]),
                **compression,
            )
            return
        dataset = self._file[name]
        start = dataset.shape[0]
        dataset.resize(start + len(array), axis=0)
        dataset[start:] = array


def _counts(name: str, value: ArrayLike | None, n: int) -> IntArray:
    if value is None:
        message = f"{name} is needed."
        raise PredictionsError(message)
    counts = np.asarray(value, dtype=np.int64)
    if counts.shape != (n,) or (counts < 1).any():
        message = f"{name} must be {n} positive integers, got {counts.tolist()}."
        raise PredictionsError(message)
    return counts


def _dtype_on_disk(name: str, array: NDArray[Any]) -> type[np.generic]:
    if name == "atomic_numbers":
        return np.int32
    # Total energies lose 0.04 kcal/mol in float32; what a float32 network says of H does not.
    keep_single = name != "energy" and array.dtype == np.float32
    return np.float32 if keep_single else np.float64


def _sync(path: Path) -> None:
    """Force a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
