"""Reader of the published wavefunctions: pickled dicts that Psi4 wrote, one file a conformation.

A file ``{moses_id}_{conformation_id}.npy`` is what ``Wavefunction.to_file`` of Psi4 saves: groups
of arrays and numbers. Read are, in atomic units:

===================== ======================================== ==============================
field                 where                                    checked
===================== ======================================== ==============================
positions             ``molecule``: ``geom`` in its ``units``  by overlap and nuclear repulsion
hamiltonian           ``matrix``: ``Fa`` (``Fb`` is the same)  closed shell
overlap               ``matrix``: ``S``                        recomputed
core_hamiltonian      ``matrix``: ``H``                        symmetric
orbital_energies      ``vector``: ``epsilon_a``                ascending
energies              ``float``, ``floatvar``                  they add up
dipole                ``matrixarr``: ``SCF DIPOLE``            as documented (e*bohr)
===================== ======================================== ==============================

The matrices are in Psi4's order of orbitals. They are turned to "ascending", as in all other files
here, after the recomputed overlap has confirmed that order.

Source:
    Psi4, ``psi4/driver/p4util/python_helpers.py``: what ``to_file`` writes.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.nuclei import nuclear_repulsion_energy
from nabladft.chemistry.orbital_detection import detect_orbital_order
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.conformation import Conformation
from nabladft.errors import FormatError, NablaDFTError
from nabladft.fields import LABEL_FIELDS
from nabladft.storage.content import MODULUS, content_sum, data_hash
from nabladft.storage.derived import PUBLISHED_METHOD
from nabladft.storage.flat import Texts, flatten, ordered
from nabladft.storage.formats.array_pickles import load_npy_dict
from nabladft.storage.source import ConformationSource, SourceInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

#: Names of the files.
FILE_NAME: Final = re.compile(r"(\d+)_(\d+)\.npy")

_MATRICES: Final = {"hamiltonian": "Fa", "overlap": "S", "core_hamiltonian": "H"}

#: Where each energy is, first found first taken.
_ENERGIES: Final = {
    "energy": ("SCF TOTAL ENERGY", "DFT TOTAL ENERGY", "CURRENT ENERGY"),
    "nuclear_repulsion_energy": ("NUCLEAR REPULSION ENERGY",),
    "one_electron_energy": ("ONE-ELECTRON ENERGY",),
    "two_electron_energy": ("TWO-ELECTRON ENERGY",),
    "xc_energy": ("DFT XC ENERGY",),
    "dispersion_energy": ("DISPERSION CORRECTION ENERGY",),
}

#: Largest error of a sum of energies, or of a recomputed one, hartree.
_ENERGY_TOLERANCE: Final = 1e-5

#: Records read at once: each is ten megabytes.
_STEP: Final = 8


def holds_wavefunctions(folder: Path) -> bool:
    """Tell whether a folder, or its subfolder ``npys``, has files of that name."""
    place = folder / "npys" if (folder / "npys").is_dir() else folder
    return any(FILE_NAME.fullmatch(file.name) for file in place.iterdir())


class Psi4WavefunctionSource(ConformationSource):
    """Wavefunction files of one folder, sorted by ids, or one such file.

    Attributes:
        path: The folder, or the file.
    """

    def __init__(self, path: str | Path) -> None:
        """List the files; none is read yet.

        Raises:
            FormatError: There are none.
        """
        self.path = Path(path)
        if (self.path / "npys").is_dir():
            self.path /= "npys"  # what the published archives unpack to
        files = [self.path] if self.path.is_file() else self.path.iterdir()
        named = [FILE_NAME.fullmatch(file.name) for file in files]
        found = sorted((int(name[1]), int(name[2]), name[0]) for name in named if name)
        if not found:
            message = f"{self.path} holds no files {{moses_id}}_{{conformation_id}}.npy."
            raise FormatError(message)
        self._folder = self.path.parent if self.path.is_file() else self.path
        self._names = [name for *_, name in found]
        self._keys = np.array([key for *key, _ in found], dtype=np.int64)
        same = np.flatnonzero((self._keys[1:] == self._keys[:-1]).all(axis=1))
        if len(same):
            message = (
                f"{self._folder} holds {self._names[same[0]]} and {self._names[same[0] + 1]}, "
                "which are the same conformation. Remove one of them."
            )
            raise FormatError(message)

    @cached_property
    def info(self) -> SourceInfo:
        """What the files hold, judged by the first, the middle and the last one.

        Raises:
            FormatError: One of them cannot be used.
        """
        sample = sorted({0, len(self) // 2, len(self) - 1})
        held = set.intersection(*(set(self._read_file(row, None).fields) for row in sample))
        return SourceInfo(
            name=self.path.stem,
            fields=ordered(tuple(held)),
            method=PUBLISHED_METHOD,
            basis_set=DEF2_SVP.name,
            orbital_order="ascending",
            details={
                "format": "Psi4 wavefunctions",
                "program": "Psi4 1.5",
                "orbital_order_from": "psi4 in the file, overlap recomputed; reordered",
            },
            location=self.path,
        )

    def __len__(self) -> int:
        """Number of files."""
        return len(self._names)

    @property
    def keys(self) -> IntArray:
        """Pairs (moses_id, conformation_id), from the names of the files, shape (n, 2)."""
        return self._keys

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all records, shape (n,); reads every file."""
        counts = [len(self._molecule(row, self._content(row))[0]) for row in range(len(self))]
        return np.array(counts, dtype=np.int64)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) that identifies the contents; reads every file."""
        total = 0
        for start in range(0, len(self), _STEP):
            records = self.read(range(start, min(start + _STEP, len(self))))
            texts = Texts(smiles=[None] * len(records), geometry_origin=[None] * len(records))
            total += content_sum(flatten(records, self.info.fields), texts, self.info.fields)
        return data_hash(total % MODULUS, len(self))

    def read(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> list[Conformation]:
        """Read records, in the order asked for, duplicates included.

        Args:
            indices: Rows, 0 to ``len(self) - 1``; negative ones count from the end.
            fields: Labels to read; None reads every label present.

        Raises:
            InputError: An index is out of range or not an integer.
            UnknownNameError: There is no such field.
            MissingFieldError: The source does not hold a field that was asked for.
            FormatError: A file is damaged, hostile, or contradicts itself; the message names it.
        """
        wanted = self.check_fields(fields)
        found = [self._read_file(row, wanted) for row in self.check_rows(indices).tolist()]
        for record in found:
            for name in wanted:
                if getattr(record, name) is None:
                    message = f"{self.path}, conformation {record.key}, has no {name}."
                    raise FormatError(message)
        return found

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Give no words: the files have none.

        Raises:
            InputError: An index is out of range or not an integer.
        """
        n = len(self.check_rows(indices))
        return Texts(smiles=[None] * n, geometry_origin=[None] * n)

    def __iter__(self) -> Iterator[Conformation]:
        """Read all records in order, one at a time."""
        for row in range(len(self)):
            yield from self.read([row])

    def _content(self, row: int) -> dict[Any, Any]:
        content = load_npy_dict(self._folder / self._names[row])
        for group in ("molecule", "matrix", "vector", "floatvar"):
            if not isinstance(content.get(group), dict):
                self._refuse(row, f"has no group {group!r}, which Psi4 writes")
        return content

    def _read_file(self, row: int, wanted: tuple[str, ...] | None) -> Conformation:
        content = self._content(row)
        numbers, positions = self._molecule(row, content)
        labels: dict[str, Any] = self._energies(row, content, numbers, positions)
        labels |= self._matrices(row, content, numbers, positions, wanted)
        dipole = (content.get("matrixarr") or {}).get("SCF DIPOLE")
        if isinstance(dipole, np.ndarray) and dipole.size == 3:
            labels["dipole"] = dipole.reshape(3)
        levels = content["vector"].get("epsilon_a")
        if levels is not None:
            labels["orbital_energies"] = np.sort(np.ravel(levels))
        if wanted is not None:
            labels = {name: value for name, value in labels.items() if name in wanted}
        has_matrix = any(LABEL_FIELDS[name].in_orbitals for name in labels)
        molecule_id, conformation_id = self._keys[row].tolist()
        try:
            return Conformation(
                molecule_id=molecule_id,
                conformation_id=conformation_id,
                atomic_numbers=numbers,
                positions=positions,
                basis_set=DEF2_SVP.name if has_matrix else None,
                orbital_order="ascending" if has_matrix else None,
                **labels,
            )
        except NablaDFTError as error:
            self._refuse(row, f"cannot be used: {error}".rstrip("."))

    def _molecule(
        self, row: int, content: dict[Any, Any]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        molecule = content["molecule"]
        numbers, positions = molecule.get("elez"), molecule.get("geom")
        try:
            numbers = np.asarray(numbers, dtype=np.int32).reshape(-1)
            positions = np.asarray(positions, dtype=np.float64).reshape(len(numbers), 3)
        except (TypeError, ValueError):
            self._refuse(row, "has no atomic numbers (elez) with coordinates (geom)")
        units = {"bohr": 1.0, "angstrom": 1.0 / PUBLISHED_BOHR_IN_ANGSTROM}
        unit = molecule.get("units", "Bohr")
        if str(unit).lower() not in units:
            self._refuse(row, f"has coordinates in {unit!r}; known: Bohr, Angstrom")
        return numbers, positions * units[str(unit).lower()]

    def _energies(
        self,
        row: int,
        content: dict[Any, Any],
        numbers: NDArray[np.int32],
        positions: NDArray[np.float64],
    ) -> dict[str, float]:
        """Read the energies, or refuse those that do not add up."""
        variables = {str(name).upper(): value for name, value in content["floatvar"].items()}
        found = {
            name: float(variables[key])
            for name, keys in _ENERGIES.items()
            for key in reversed(keys)
            if isinstance(variables.get(key), int | float)
        }
        total = (content.get("float") or {}).get("energy")
        if "energy" not in found and isinstance(total, float) and total != 0:
            found["energy"] = total
        if "nuclear_repulsion_energy" in found:
            expected = nuclear_repulsion_energy(numbers, positions)
            gap = abs(found["nuclear_repulsion_energy"] - expected)
            if gap > _ENERGY_TOLERANCE:
                self._refuse(
                    row,
                    f"says that the nuclei repel by {found['nuclear_repulsion_energy']:.6f} "
                    f"hartree, but its geometry gives {expected:.6f}: wrong unit, or the geometry "
                    "of another conformation",
                )
        terms = [name for name in _ENERGIES if name not in ("energy", "dispersion_energy")]
        if {"energy", *terms} <= set(found):
            gap = found["energy"] - sum(value for name, value in found.items() if name != "energy")
            if abs(gap) > _ENERGY_TOLERANCE:
                self._refuse(row, f"has energies that do not add up: {gap:.2e} hartree are missing")
        return found

    def _matrices(
        self,
        row: int,
        content: dict[Any, Any],
        numbers: NDArray[np.int32],
        positions: NDArray[np.float64],
        wanted: tuple[str, ...] | None,
    ) -> dict[str, NDArray[np.float64]]:
        """Turn the matrices to ascending order, once the overlap has confirmed Psi4's."""
        matrices = content["matrix"]
        present = {
            name: matrices[key] for name, key in _MATRICES.items() if matrices.get(key) is not None
        }
        if wanted is not None:
            present = {name: value for name, value in present.items() if name in wanted}
        if not present:
            return {}
        alpha, beta = matrices.get("Fa"), matrices.get("Fb")
        if alpha is not None and beta is not None and not np.array_equal(alpha, beta):
            self._refuse(row, "is of an open shell: Fa and Fb differ")
        if matrices.get("S") is None:
            self._refuse(row, "has no overlap matrix (S), so its order of orbitals is not known")
        try:
            order = detect_orbital_order(matrices["S"], numbers, positions)
            if order != "psi4":
                self._refuse(row, f"has its orbitals in {order!r} order, not Psi4's")
            return {
                name: reorder_orbitals(
                    np.asarray(value, dtype=np.float64), numbers, source="psi4", target="ascending"
                )
                for name, value in present.items()
            }
        except FormatError:
            raise
        except (NablaDFTError, TypeError, ValueError) as error:
            self._refuse(row, f"has matrices that cannot be used: {error}".rstrip("."))

    def _refuse(self, row: int, reason: str) -> NoReturn:
        message = f"{self._folder / self._names[row]} {reason}."
        raise FormatError(message)
