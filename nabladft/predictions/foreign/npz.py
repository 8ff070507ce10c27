"""Predictions in an ``.npz`` file of NumPy, as the OMol25 leaderboard takes them.

Entries, for n conformations in any order:

- ``ids``, shape (n,), texts ``"molecule_id/conformation_id"``; or two arrays of integers
  ``molecule_id`` and ``conformation_id``.
- ``energy``, shape (n,), float64: total energy.
- ``forces``, shape (sum natoms, 3), with ``natoms``, shape (n,); both may be absent.
- ``atomic_numbers``, shape (sum natoms,), compared with the data if present.
- ``energy_unit`` and ``forces_unit``, texts, if they are not said when the file is converted.

An ``.npz`` is a zip archive of arrays, and comes from a stranger. Before anything is read:

- **The directory** at the end of the archive is looked at by hand: a comment after it, Zip64 (from
  4 GiB on), more than :data:`MOST_ENTRIES` entries or :data:`MOST_DIRECTORY_BYTES` are refused, so
  that a million entries are not even listed. Larger predictions fit the HDF5 format.
- **Names** are those above, each once, so no path leads anywhere. Nothing is ever extracted.
- **Sizes** of entries are at most what the part needs. The size that is declared is also where
  inflating stops, so the ratio of compression does not matter and is not limited: forces of zero
  compress a thousand times.
- **Compression** is none or deflate, and nothing is encrypted.
- **Array headers** have at most :data:`MOST_HEADER_BYTES` and are literals that are not executed.
  Arrays of objects, which are pickles, and structured arrays are refused.

Then arrays pass by in pieces: no more than ids, numbers of atoms and a few hundred conformations
are in memory.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from nabladft.errors import NablaDFTError, PredictionsError, suggestion
from nabladft.predictions.foreign.records import BATCH, ForeignBatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.predictions.foreign.records import Expected

MOST_ENTRIES: Final = 16
MOST_DIRECTORY_BYTES: Final = 1 << 14
MOST_HEADER_BYTES: Final = 4096

#: Two integers of 64 bits and a stroke.
_ID_CHARACTERS: Final = 41
_UNIT_CHARACTERS: Final = 64
_ID: Final = re.compile(r"(\d{1,18})/(\d{1,18})", re.ASCII)

#: The end of a zip archive without comment: signature, disks, entries, directory size and place.
_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_ZIP64_LOCATOR: Final = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES: Final = 20

_ENCRYPTED: Final = 0x1

#: Entries by name: kinds of NumPy types, and bytes that one value may have.
_KINDS: Final = {
    "ids": ("US", 4 * _ID_CHARACTERS),
    "molecule_id": ("iu", 8),
    "conformation_id": ("iu", 8),
    "energy": ("f", 8),
    "forces": ("f", 8),
    "natoms": ("iu", 8),
    "atomic_numbers": ("iu", 8),
    "energy_unit": ("US", 4 * _UNIT_CHARACTERS),
    "forces_unit": ("US", 4 * _UNIT_CHARACTERS),
}


class NpzPredictions:
    """An ``.npz`` file with predictions, looked at when it is opened and read in pieces.

    Args:
        path: The file.
        expected: What the part needs.

    Raises:
        PredictionsError: The archive or an array in it is not what is accepted, an entry is
            missing, or lengths are not those of the part.
    """

    def __init__(self, path: Path, expected: Expected) -> None:
        """Look at the archive and at the headers of its arrays."""
        self.path = path
        self._largest = expected.largest
        of_conformations = ("ids", "molecule_id", "conformation_id", "energy", "natoms")
        self._shapes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(of_conformations, (expected.n_conformations,)),
            "forces": (expected.n_atoms, 3),
            "atomic_numbers": (expected.n_atoms,),
            "energy_unit": (),
            "forces_unit": (),
        }
        self._check_end()
        with self._archive() as archive:
            self._check_directory(archive)
            self.names = frozenset(name.removesuffix(".npy") for name in archive.namelist())
            self._check_names()
            self.units = {
                name: self._read_unit(archive, f"{name}_unit")
                for name in ("energy", "forces")
                if f"{name}_unit" in self.names
            }

    @property
    def has_forces(self) -> bool:
        """Whether forces are predicted."""
        return "forces" in self.names

    def batches(self) -> Iterator[ForeignBatch]:
        """Give the predictions in the order of the file.

        Raises:
            PredictionsError: An array is damaged, has another type or shape than expected, or an id
                is none.
        """
        flat = [name for name in ("forces", "atomic_numbers") if name in self.names]
        with self._archive() as archive:
            columns = {name: _Array(self, archive, name) for name in sorted(self.names)}
            n_conformations = self._shapes["energy"][0]
            for start in range(0, n_conformations, BATCH):
                n = min(BATCH, n_conformations - start)
                n_atoms = columns["natoms"].take(n) if "natoms" in columns else None
                if n_atoms is not None and not self._fits(n_atoms):
                    self.refuse(
                        f"'natoms' has a number below 1 or above {self._largest}, the atoms of the "
                        "largest molecule of this part"
                    )
                total = 0 if n_atoms is None else sum(map(int, n_atoms))
                atoms = {name: columns[name].take(total) for name in flat}
                numbers = atoms.get("atomic_numbers")
                yield ForeignBatch(
                    keys=self._keys(columns, n, start),
                    n_atoms=None if n_atoms is None else n_atoms.astype(np.int64),
                    energy=columns["energy"].take(n),
                    forces=atoms.get("forces"),
                    atomic_numbers=None if numbers is None else numbers.astype(np.int64),
                )
            for name in ("energy", *flat):
                columns[name].check_end()

    def refuse(self, reason: str) -> NoReturn:
        """Raise the error that names the file.

        Raises:
            PredictionsError: Always.
        """
        message = f"{self.path.name}: {reason}."
        raise PredictionsError(message)

    def check_size(self, name: str, n_bytes: int) -> None:
        """Refuse an entry that is larger than what the part needs.

        Raises:
            PredictionsError: It is.
        """
        most = math.prod(self._shapes[name]) * _KINDS[name][1] + MOST_HEADER_BYTES
        if n_bytes > most:
            self.refuse(f"{name!r} has {n_bytes} bytes; for this part at most {most} are expected")

    def check_header(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Refuse an array of another type or shape than expected.

        Raises:
            PredictionsError: It is.
        """
        kinds, width = _KINDS[name]
        if dtype.kind not in kinds or dtype.itemsize > width:
            kind = {"US": "text", "iu": "integer", "f": "floating-point"}[kinds]
            self.refuse(
                f"{name!r} has type {str(dtype)[:60]}, {kind} values of at most {width} bytes "
                "expected"
            )
        if shape != self._shapes[name]:
            self.refuse(
                f"{name!r} has shape {str(shape)[:60]}; this part needs {self._shapes[name]}"
            )

    def _fits(self, n_atoms: NDArray[np.integer]) -> bool:
        return bool(((n_atoms >= 1) & (n_atoms <= self._largest)).all())

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        """Open the archive; what the standard library raises for bad ones becomes our error."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except NablaDFTError:
            raise
        # zipfile, zlib and NumPy raise errors of many kinds for bytes that make no sense.
        except Exception as error:
            message = (
                f"{self.path.name}: it is no .npz file, or is damaged: {type(error).__name__}: "
                f"{ascii(error)[:200]}."
            )
            raise PredictionsError(message) from error

    def _check_end(self) -> None:
        """Look at the last bytes, from which the standard library takes the size of the list."""
        n_bytes = self.path.stat().st_size
        n_last = min(n_bytes, _END.size + _ZIP64_LOCATOR_BYTES)
        with self.path.open("rb") as file:
            file.seek(n_bytes - n_last)
            last = file.read(n_last)
        if len(last) < _END.size or last[-_END.size :][:4] != _END_SIGNATURE:
            self.refuse(
                "it does not end as an .npz file does (a zip archive without comment); write it "
                "with numpy.savez"
            )
        if last.startswith(_ZIP64_LOCATOR):
            self.refuse("it is a Zip64 archive; predictions from 4 GiB on have to be HDF5")
        _, _, _, _, n_entries, directory_bytes, _, _ = _END.unpack(last[-_END.size :])
        if n_entries > MOST_ENTRIES or directory_bytes > MOST_DIRECTORY_BYTES:
            self.refuse(
                f"it has {n_entries} entries listed in {directory_bytes} bytes, at most "
                f"{MOST_ENTRIES} in {MOST_DIRECTORY_BYTES} are read"
            )

    def _check_directory(self, archive: zipfile.ZipFile) -> None:
        seen = set()
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name not in _KINDS or entry.filename == name:
                self.refuse(
                    f"it holds {ascii(entry.filename)[:60]}, which is no entry of predictions."
                    f"{suggestion(name[:60], _KINDS)} Known: {', '.join(_KINDS)}"
                )
            if name in seen:
                self.refuse(f"it holds {name!r} twice")
            seen.add(name)
            if entry.flag_bits & _ENCRYPTED:
                self.refuse(f"{name!r} is encrypted")
            if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                self.refuse(
                    f"{name!r} is compressed by method {entry.compress_type}; write it with "
                    "numpy.savez or numpy.savez_compressed"
                )
            self.check_size(name, entry.file_size)

    def _check_names(self) -> None:
        pair = {"molecule_id", "conformation_id"}
        if ("ids" in self.names) == bool(pair & self.names) or len(pair & self.names) == 1:
            self.refuse(
                "it needs either 'ids' (texts molecule_id/conformation_id) or both 'molecule_id' "
                "and 'conformation_id'"
            )
        if "energy" not in self.names:
            self.refuse("the entry 'energy' is missing")
        if self.names & {"forces", "atomic_numbers"} and "natoms" not in self.names:
            self.refuse("'forces' and 'atomic_numbers' need 'natoms', the atoms of each molecule")

    def _read_unit(self, archive: zipfile.ZipFile, name: str) -> str:
        value = _Array(self, archive, name).take(None).item()
        return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)

    def _keys(self, columns: dict[str, _Array], n: int, start: int) -> NDArray[np.int64]:
        if "ids" not in columns:
            pair = [columns[name].take(n) for name in ("molecule_id", "conformation_id")]
            return np.stack(pair, axis=1).astype(np.int64)
        texts = [
            text.decode("ascii", "replace") if isinstance(text, bytes) else text
            for text in columns["ids"].take(n).tolist()
        ]
        matches = [_ID.fullmatch(text) for text in texts]
        keys = []
        for row, (text, match) in enumerate(zip(texts, matches, strict=True)):
            if match is None:
                self.refuse(
                    f"ids[{start + row}] is {text!a}; 'molecule_id/conformation_id' expected, "
                    "two integers"
                )
            keys.append((int(match[1]), int(match[2])))
        return np.array(keys, dtype=np.int64).reshape(-1, 2)


class _Array:
    """One array of the archive, read from its beginning to its end."""

    def __init__(self, owner: NpzPredictions, archive: zipfile.ZipFile, name: str) -> None:
        self._owner, self._name = owner, name
        self._stream: IO[bytes] = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(self._stream)
        if version == (1, 0):
            read = np.lib.format.read_array_header_1_0
        elif version == (2, 0):
            read = np.lib.format.read_array_header_2_0
        else:
            owner.refuse(f"{name!r} is an array file of version {version}, (1, 0) expected")
        shape, in_columns, self._dtype = read(self._stream, max_header_size=MOST_HEADER_BYTES)
        owner.check_header(name, shape, self._dtype)
        if in_columns and len(shape) > 1:
            owner.refuse(f"{name!r} is stored by columns; save numpy.ascontiguousarray of it")
        self._row_shape = shape[1:]

    def take(self, n: int | None) -> NDArray[Any]:
        """Read the next n values along the first axis; None for what has no axis."""
        shape = () if n is None else (n, *self._row_shape)
        n_bytes = math.prod(shape) * self._dtype.itemsize
        # The archive ends where the shapes that were checked end, so this is no more than they say.
        content = self._stream.read(n_bytes)
        if len(content) < n_bytes:
            self._owner.refuse(f"{self._name!r} ends before it should")
        return np.frombuffer(content, dtype=self._dtype).reshape(shape)

    def check_end(self) -> None:
        """Refuse what is left over; reading up to the end also compares the checksum."""
        if self._stream.read(1):
            self._owner.refuse(
                f"{self._name!r} has more values than 'natoms' says, or than its header says"
            )
