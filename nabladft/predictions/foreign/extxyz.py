"""Predictions in extended xyz, as ASE writes them: ``ase.io.write("p.xyz", frames)``.

Each frame is one conformation with ``molecule_id`` and ``conformation_id`` in ``atoms.info``, and
energy (and forces) in its calculator or its line of text. Units are ASE's, unless the frame
declares others (``units="energy:hartree forces:hartree/bohr"``, as our own exports do) or the user
does.

ASE's parser executes nothing: values are numbers, words, or JSON. But it reads as much as a file
says, so each frame is cut out and looked at before ASE gets it:

- **The number of atoms** is at most that of the largest molecule of the part.
- **Lines** have at most :data:`MOST_LINE_BYTES`, the line of text :data:`MOST_COMMENT_BYTES`. That
  bounds JSON in it as well, and whoever nests it too deep gets an error.
- **Columns** (``Properties``): at most :data:`MOST_COLUMNS`; ASE would make a list of as many as
  the file says.
- **Frames** are at most as many as the part has conformations, and one is in memory at a time.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn

import numpy as np

from nabladft.errors import NablaDFTError, PredictionsError
from nabladft.predictions.foreign.records import ASE_UNITS, BATCH, ForeignBatch
from nabladft.storage.formats.ase_formats import declared_units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.predictions.foreign.records import Expected

MOST_LINE_BYTES: Final = 1 << 12
MOST_COMMENT_BYTES: Final = 1 << 16
MOST_COLUMNS: Final = 64

_COUNT: Final = re.compile(rb"\s*(\d{1,9})\s*", re.ASCII)
_SHORT_LINE: Final = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """One frame as it was read, in the units of the file."""

    key: tuple[int, int]
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    energy: NDArray[np.float64]
    forces: NDArray[np.float64] | None
    units: Mapping[str, str]


class ExtxyzPredictions:
    """An extended xyz file with predictions, read frame by frame.

    Args:
        path: The file.
        expected: What the part needs.

    Raises:
        PredictionsError: The first frame cannot be read or has no energy.
    """

    def __init__(self, path: Path, expected: Expected) -> None:
        """Read the first frame, for the units and what is predicted."""
        self.path = path
        self._expected = expected
        first = next(self._frames(), None)
        if first is None:
            message = f"{path.name} holds no frames."
            raise PredictionsError(message)
        self.has_forces = first.forces is not None
        self.units: Mapping[str, str] = first.units

    def batches(self) -> Iterator[ForeignBatch]:
        """Give the predictions in the order of the file; what is wrong with a frame names it.

        Raises:
            PredictionsError: A frame cannot be read, is larger than the part needs, has no ids or
                no energy, or has forces or units unlike the first one.
        """
        frames: list[_Frame] = []
        for row, frame in enumerate(self._frames()):
            if (frame.forces is not None) != self.has_forces:
                self._refuse(row, "has forces, or has none, unlike the first frame")
            if frame.units != self.units:
                self._refuse(row, f"declares units {frame.units}, the first frame {self.units}")
            frames.append(frame)
            if len(frames) == BATCH:
                yield _joined(frames)
                frames = []
        if frames:
            yield _joined(frames)

    def _frames(self) -> Iterator[_Frame]:
        row = 0
        with self.path.open("rb") as file:
            while (text := self._cut(file, row)) is not None:
                try:
                    yield self._frame(row, text)
                except NablaDFTError:
                    raise
                # ASE's errors are of any kind.
                except Exception as error:
                    reason = f"{type(error).__name__}: {ascii(error)[:200]}"
                    message = f"{self.path.name}, frame {row} (counting from 0), {reason}."
                    raise PredictionsError(message) from error
                row += 1

    def _cut(self, file: BinaryIO, row: int) -> str | None:
        """Cut out the next frame: number of atoms, line of text, a line for each atom."""
        first = b"\n"
        while first and not first.strip():
            first = file.readline(_SHORT_LINE)
        if not first:
            return None
        if row >= self._expected.n_conformations:
            message = (
                f"{self.path.name} has more frames than the {self._expected.n_conformations} "
                "conformations of the part."
            )
            raise PredictionsError(message)
        match = _COUNT.fullmatch(first)
        if match is None:
            self._refuse(row, f"begins with {first!a}, a number of atoms is expected")
        n_atoms = int(match[1])
        if not 1 <= n_atoms <= self._expected.largest:
            self._refuse(
                row,
                f"has {n_atoms} atoms; the molecules of this part have 1 to "
                f"{self._expected.largest}",
            )
        lines = [first]
        for k in range(n_atoms + 1):
            most = MOST_LINE_BYTES if k else MOST_COMMENT_BYTES
            line = file.readline(most + 1)
            if len(line) > most:
                self._refuse(row, f"has a line of more than {most} bytes")
            if k and not line.strip():
                self._refuse(row, f"ends after {k - 1} of {n_atoms} atoms")
            lines.append(line)
        try:
            return b"".join(lines).decode("utf-8")
        except UnicodeDecodeError:
            self._refuse(row, "is not text in UTF-8")

    def _frame(self, row: int, text: str) -> _Frame:
        import ase.io  # noqa: PLC0415 - slow to import
        from ase.io import extxyz  # noqa: PLC0415

        parse: Any = extxyz.key_val_str_to_dict  # untyped
        said = parse(text.split("\n", 2)[1])
        columns = [int(n) for n in str(said.get("Properties", "")).split(":")[2::3]]
        if sum(map(abs, columns)) > MOST_COLUMNS:
            self._refuse(row, f"declares more than {MOST_COLUMNS} columns")
        atoms: Any = ase.io.read(io.StringIO(text), format="extxyz")
        results = {} if atoms.calc is None else atoms.calc.results
        known = atoms.info | {
            name: results[name] for name in ("energy", "forces") if name in results
        }
        if "energy" not in known:
            self._refuse(
                row,
                "has no energy; give the atoms a calculator with results, or energy=... in info",
            )
        if atoms.pbc.any():
            self._refuse(row, "is periodic; the data are molecules")
        forces = known.get("forces")
        units = declared_units(known)
        if units.get("positions", "angstrom") != "angstrom":
            self._refuse(row, f"has positions in {units['positions']}, angstrom expected")
        return _Frame(
            key=(self._id(row, known, "molecule_id"), self._id(row, known, "conformation_id")),
            numbers=np.asarray(atoms.numbers, dtype=np.int64),
            positions=np.asarray(atoms.positions, dtype=np.float64),
            energy=self._numbers(row, "energy", known["energy"], ()),
            forces=None
            if forces is None
            else self._numbers(row, "forces", forces, (len(atoms), 3)),
            units={name: unit for name, unit in units.items() if name in ASE_UNITS},
        )

    def _id(self, row: int, known: Mapping[str, Any], name: str) -> int:
        value = known.get(name)
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            found = "is missing" if value is None else f"is {ascii(value)[:60]}"
            self._refuse(row, f"{name} {found}; an integer in atoms.info is expected")
        return int(value)

    def _numbers(
        self,
        row: int,
        name: str,
        value: Any,  # noqa: ANN401 - as the file has it
        shape: tuple[int, ...],
    ) -> NDArray[np.float64]:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or array.shape != shape:
            self._refuse(
                row, f"has {name} of type {array.dtype} and shape {array.shape}, {shape} expected"
            )
        return array.astype(np.float64)

    def _refuse(self, row: int, reason: str) -> NoReturn:
        message = f"{self.path.name}, frame {row} (counting from 0), {reason}."
        raise PredictionsError(message)


def _joined(frames: list[_Frame]) -> ForeignBatch:
    forces = [frame.forces for frame in frames if frame.forces is not None]
    return ForeignBatch(
        keys=np.array([frame.key for frame in frames], dtype=np.int64),
        n_atoms=np.array([len(frame.numbers) for frame in frames], dtype=np.int64),
        energy=np.array([frame.energy for frame in frames], dtype=np.float64),
        forces=np.concatenate(forces) if forces else None,
        atomic_numbers=np.concatenate([frame.numbers for frame in frames]),
        positions=np.concatenate([frame.positions for frame in frames]),
    )
