"""Read a predictions file, trusting nothing in it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.packing import packed_size
from nabladft.chemistry.units import convert
from nabladft.errors import (
    FormatError,
    InputError,
    NablaDFTError,
    OrbitalCountError,
    PredictionsError,
)
from nabladft.fields import FIELDS
from nabladft.predictions.checks import check_arrays, check_format, read_info, unit_of
from nabladft.predictions.format import (
    MATRIX_FIELDS,
    PREDICTED_FIELDS,
    PredictedRecords,
    refuse_unusable,
)
from nabladft.predictions.hdf5_heaps import check_heaps
from nabladft.storage.ragged import offsets_of, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    Keys = Sequence[tuple[int, int]] | IntArray


#: What h5py raises when the bytes of a file make no sense, besides its own errors.
_DAMAGED: Final = (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError)

#: All that has been published are 16 million.
MOST_CONFORMATIONS: Final = 20_000_000

#: Of one conformation. The atoms of a few hundred are in memory before they are compared with data.
MOST_ATOMS: Final = 4096

#: The array of offsets of each matrix, and the attribute of :class:`PredictedRecords`.
_OFFSETS: Final = {name: f"{name}_offsets" for name in MATRIX_FIELDS}


class Predictions:
    """A predictions file, checked when it is opened and while it is read.

    Nothing in the file is trusted (:mod:`nabladft.predictions.hdf5_limits`), so one from a stranger
    cannot make this process read other files, run code, or fill the memory.

    Args:
        path: The file.
        most: Conformations that are accepted; their ids are kept in memory. Who knows the part that
            is predicted gives its size.

    Raises:
        InputError: There is no such file.
        FormatError: It is not HDF5, or not of this format and version.
        PredictionsError: Arrays are missing or disagree, a conformation comes twice, or the file is
            made of what is not accepted.
        UnitError: A quantity has no unit, or one that measures something else.
    """

    def __init__(self, path: str | Path, *, most: int = MOST_CONFORMATIONS) -> None:
        """Read ids, offsets and attributes; the quantities are read when asked for."""
        self.path = Path(path)
        if not self.path.is_file():
            message = f"There is no predictions file {self.path}."
            raise InputError(message)
        check_heaps(self.path)
        with self._open() as file:
            check_format(file)
            check_arrays(file)
            self.info = read_info(file)
            self.fields = tuple(name for name in PREDICTED_FIELDS if name in file)
            self._units = {name: unit_of(file, name) for name in self.fields}
            self._check_count(file, most)
            self.keys = self._read_keys(file)
            self._offsets = {
                name: self._checked_offsets(file, name)
                for name in ("atom_offsets", *_OFFSETS.values())
                if name in file
            }
            self._check_lengths(file)
        self._rows = self._unique_rows()

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.keys)

    @property
    def n_atoms(self) -> IntArray | None:
        """Number of atoms of each conformation in file order, or None when the file has none."""
        return np.diff(self._offsets["atom_offsets"]) if "atom_offsets" in self._offsets else None

    def check_keys(self, expected: Keys, *, what: str) -> None:
        """Refuse unless the file holds exactly the expected conformations, in any order.

        Args:
            expected: Pairs (molecule_id, conformation_id), shape (n, 2).
            what: What they are, for the message ("part 'test_structures' of split 'nano'").

        Raises:
            PredictionsError: Ids are missing, or there are ids that do not belong there.
        """
        wanted = dict.fromkeys((int(m), int(c)) for m, c in expected)
        missing = [key for key in wanted if key not in self._rows]
        extra = [key for key in self._rows if key not in wanted]
        for keys, text in (
            (missing, f"{len(missing)} of the {len(wanted)} conformations of {what} are missing"),
            (extra, f"{len(extra)} of {len(self)} conformations do not belong to {what}"),
        ):
            if keys:
                message = (
                    f"{self.path.name}: {text}; the first is molecule_id {keys[0][0]}, "
                    f"conformation_id {keys[0][1]}. A score needs one prediction for every "
                    "conformation of the part and no other."
                )
                raise PredictionsError(message)

    def read(self, keys: Keys, *, fields: Sequence[str] | None = None) -> PredictedRecords:
        """Read some predictions, in the order asked for, in atomic units.

        Args:
            keys: Pairs (molecule_id, conformation_id), shape (n, 2).
            fields: Quantities to read; None reads all, and none gives only the atoms.

        Raises:
            PredictionsError: A conformation or quantity is not in the file, or a value is not a
                finite number, or larger than any can be.
            OrbitalCountError: A matrix has not the orbitals of its atoms and basis set.
        """
        names = self.fields if fields is None else tuple(fields)
        for name in names:
            if name not in self.fields:
                held = ", ".join(self.fields)
                message = f"{self.path.name} holds no {name!r}. It holds: {held}."
                raise PredictionsError(message)
        pairs = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
        rows = np.array([self._row(int(m), int(c)) for m, c in pairs], dtype=np.int64)
        values: dict[str, NDArray[np.float64]] = {}
        with self._open() as file:
            structure = self._read_structure(file, pairs, rows, names)
            # Sizes are known to be right before as much is read.
            self._check_orbitals(structure, names)
            for name in names:
                key = "atom_offsets" if name == "forces" else _OFFSETS.get(name)
                array = self._gather(file[name], rows, key).astype(np.float64)
                offsets = self._offsets_of(rows, key)
                found = convert(array, source=self._units[name], target=FIELDS[name].unit)
                refuse_unusable(name, found, offsets, pairs, self.path)
                values[name] = found
        return replace(structure, values=values)

    def _read_structure(
        self, file: h5py.File, pairs: IntArray, rows: IntArray, names: Sequence[str]
    ) -> PredictedRecords:
        """Read what the values belong to."""
        atoms: IntArray | None = None
        if "atomic_numbers" in file:
            atoms = self._gather(file["atomic_numbers"], rows, "atom_offsets").astype(np.int64)
        return PredictedRecords(
            keys=pairs,
            atom_offsets=None if atoms is None else self._offsets_of(rows, "atom_offsets"),
            atomic_numbers=atoms,
            values={},
            **{
                key: self._offsets_of(rows, key) if name in names else None
                for name, key in _OFFSETS.items()
            },
        )

    def batches(
        self, keys: Keys, *, fields: Sequence[str] | None = None, size: int = 256
    ) -> Iterator[PredictedRecords]:
        """Read many predictions a few at a time, in the order asked for. See :meth:`read`."""
        for start in range(0, len(keys), size):
            yield self.read(keys[start : start + size], fields=fields)

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except NablaDFTError:
            raise
        except _DAMAGED as error:
            message = f"{self.path} is not an HDF5 file, or is damaged: {error}"
            raise FormatError(message) from error

    def _check_count(self, file: h5py.File, most: int) -> None:
        """Look at lengths before the arrays are read."""
        lengths = {name: len(file[name]) for name in ("molecule_id", "conformation_id")}
        if len(set(lengths.values())) != 1:
            self._refuse(
                f"'molecule_id' has {lengths['molecule_id']} entries, 'conformation_id' "
                f"{lengths['conformation_id']}"
            )
        n_conformations = lengths["molecule_id"]
        if not n_conformations:
            self._refuse("it holds no conformations")
        if n_conformations > most:
            self._refuse(f"it holds {n_conformations} conformations, at most {most} are expected")

    def _read_keys(self, file: h5py.File) -> IntArray:
        columns = [self._integers(file, "molecule_id"), self._integers(file, "conformation_id")]
        return np.stack(columns, axis=1)

    def _integers(self, file: h5py.File, name: str) -> IntArray:
        array: IntArray = file[name][()].astype(np.int64)
        return array

    def _checked_offsets(self, file: h5py.File, name: str) -> IntArray:
        if len(file[name]) != len(self.keys) + 1:
            self._refuse(f"{name!r} has {len(file[name])} entries, {len(self.keys) + 1} expected")
        offsets = self._integers(file, name)
        # Compared, not subtracted: the difference of two large integers can overflow.
        if offsets[0] != 0 or (offsets[1:] <= offsets[:-1]).any():
            self._refuse(f"{name!r} must start at 0 and increase")
        if name == "atom_offsets" and int(np.diff(offsets).max()) > MOST_ATOMS:
            row = int(np.diff(offsets).argmax())
            self._refuse(
                f"molecule_id {self.keys[row, 0]}, conformation_id {self.keys[row, 1]} has "
                f"{offsets[row + 1] - offsets[row]} atoms, at most {MOST_ATOMS} are read"
            )
        return offsets

    def _check_lengths(self, file: h5py.File) -> None:
        lengths = {"energy": len(self.keys)}
        if "atom_offsets" in self._offsets:
            n_atoms = int(self._offsets["atom_offsets"][-1])
            lengths |= {"atomic_numbers": n_atoms, "forces": n_atoms}
        lengths |= {
            name: int(self._offsets[key][-1])
            for name, key in _OFFSETS.items()
            if key in self._offsets
        }
        for name, length in lengths.items():
            if name in file and len(file[name]) != length:
                self._refuse(f"{name!r} has length {len(file[name])}, {length} expected")

    def _unique_rows(self) -> dict[tuple[int, int], int]:
        rows: dict[tuple[int, int], int] = {}
        for row, (molecule, conformation) in enumerate(self.keys.tolist()):
            if (molecule, conformation) in rows:
                self._refuse(
                    f"molecule_id {molecule}, conformation_id {conformation} comes twice, "
                    f"in rows {rows[molecule, conformation]} and {row}"
                )
            rows[molecule, conformation] = row
        return rows

    def _row(self, molecule: int, conformation: int) -> int:
        try:
            return self._rows[molecule, conformation]
        except KeyError:
            message = f"{self.path.name} has no prediction for {molecule}/{conformation}."
            raise PredictionsError(message) from None

    def _offsets_of(self, rows: IntArray, offsets_name: str | None) -> IntArray:
        if offsets_name is None:
            return np.arange(len(rows) + 1)
        return offsets_of(np.diff(self._offsets[offsets_name])[rows])

    def _gather(
        self, dataset: h5py.Dataset, rows: IntArray, offsets_name: str | None
    ) -> NDArray[Any]:
        """Read the ragged rows of one array, neighbouring rows in one go."""
        ends = np.arange(len(self) + 1) if offsets_name is None else self._offsets[offsets_name]
        starts, counts = runs(ends[rows], ends[rows + 1] - ends[rows])
        pieces = [
            dataset[start : start + count] for start, count in zip(starts, counts, strict=True)
        ]
        return np.concatenate(pieces) if pieces else dataset[:0]

    def _check_orbitals(self, records: PredictedRecords, names: Sequence[str]) -> None:
        matrices = [name for name in _OFFSETS if name in names]
        if not matrices:
            return
        assert records.atom_offsets is not None
        assert records.atomic_numbers is not None
        basis = basis_set_named(str(self.info.basis_set))
        per_atom = basis.orbitals_per_atom(records.atomic_numbers)
        expected = np.diff(np.concatenate([[0], np.cumsum(per_atom)])[records.atom_offsets])
        for name in matrices:
            sizes = np.diff(getattr(records, _OFFSETS[name])).tolist()
            for key, n, size in zip(records.keys, expected.tolist(), sizes, strict=True):
                if size != packed_size(n):
                    message = (
                        f"{self.path.name}: the {name} of molecule_id {key[0]}, conformation_id "
                        f"{key[1]} has {size} values, but its atoms have {n} orbitals in "
                        f"{basis.name} and its lower triangle {packed_size(n)} values."
                    )
                    raise OrbitalCountError(message)

    def _refuse(self, reason: str) -> None:
        message = f"{self.path.name}: {reason}."
        raise PredictionsError(message)
