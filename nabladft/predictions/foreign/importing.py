"""Turn foreign predictions into a predictions file, compared with the data on the way."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from nabladft.chemistry.elements import isolated_atoms_energy, symbol_of
from nabladft.chemistry.units import BOHR_IN_ANGSTROM, convert
from nabladft.errors import FormatError, InputError, PredictionsError, UnitError
from nabladft.predictions.foreign.extxyz import ExtxyzPredictions
from nabladft.predictions.foreign.npz import NpzPredictions
from nabladft.predictions.foreign.records import ASE_UNITS, Expected, settle_unit
from nabladft.predictions.writer import PredictionsWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nabladft.predictions.foreign.records import ForeignBatch
    from nabladft.predictions.format import PredictionsInfo
    from nabladft.storage.source import ConformationSource, FlatRecords

    IntArray = NDArray[np.int64]

#: Positions of a file may be rounded, but two conformations never are this close.
POSITION_TOLERANCE_ANGSTROM: Final = 1e-3

_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
_XYZ_SUFFIXES: Final = {".xyz", ".extxyz"}


def import_predictions(
    path: str | Path,
    out: str | Path,
    *,
    info: PredictionsInfo,
    source: ConformationSource,
    keys: Sequence[tuple[int, int]] | IntArray,
    energy_unit: str | None = None,
    forces_unit: str | None = None,
    add_isolated_atoms: bool = False,
    progress: Callable[[int], object] | None = None,
) -> PredictionsInfo:
    """Write a predictions file from an ``.npz`` or extended xyz file.

    Args:
        path: The file. Its contents decide what it is.
        out: HDF5 file to write, in one atomic step.
        info: Root attributes; what was converted, from which units, is added to its details.
        source: The data. Atoms, and positions where the file has them, must be theirs.
        keys: The conformations to be predicted, pairs (molecule_id, conformation_id), shape (n, 2).
        energy_unit: Of the file. None takes what it declares; extended xyz is in eV otherwise, and
            an ``.npz`` file must say.
        forces_unit: Of the file, likewise; with energies in eV it is eV/angstrom otherwise.
        add_isolated_atoms: Whether the energies are formation energies.
        progress: Called with the number of conformations done.

    Returns:
        What was written as root attributes, with the units in ``details["converted_from"]``.

    Raises:
        InputError: There is no such file, or a key is not in the data.
        FormatError: It is neither ``.npz`` nor extended xyz.
        PredictionsError: It is not what a stranger may send, lacks conformations or has others,
            or has other atoms or positions than the data.
        UnitError: A unit is unknown, missing, or contradicts the one that the file declares.
    """
    path = Path(path)
    wanted = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
    rows = source.rows_of(wanted)
    n_atoms = source.n_atoms[rows]
    expected = Expected(
        n_conformations=len(wanted), n_atoms=int(n_atoms.sum()), largest=int(n_atoms.max())
    )
    reader = _open(path, expected)
    units = _units_of(reader, energy_unit, forces_unit)
    row_of = {(m, c): row for (m, c), row in zip(wanted.tolist(), rows.tolist(), strict=True)}
    converted = {
        "file": path.name,
        "sha256": _sha256(path),
        **{f"{name}_unit": unit for name, unit in units.items()},
        "isolated_atoms_added": add_isolated_atoms,
    }
    info = replace(info, details={**info.details, "converted_from": converted})
    n_done = 0
    with PredictionsWriter(out, info) as writer:
        for batch in reader.batches():
            records = source.read_flat(_rows_in_data(batch, row_of, path), fields=())
            _check_against_data(batch, records, path)
            writer.append(**_columns(batch, records, units, add_isolated_atoms, path))
            n_done += len(batch.keys)
            if progress is not None:
                progress(n_done)
        if n_done < len(wanted):
            message = (
                f"{path.name} has {n_done} of the {len(wanted)} conformations of the part. A score "
                "needs one prediction for every one."
            )
            raise PredictionsError(message)
    return info


def _open(path: Path, expected: Expected) -> NpzPredictions | ExtxyzPredictions:
    """Recognise a file by its first bytes; text by its name as well."""
    if not path.is_file():
        message = f"There is no file {path}."
        raise InputError(message)
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if start == _ZIP:
        return NpzPredictions(path, expected)
    if h5py.is_hdf5(path):
        message = f"{path.name} is HDF5 already: check it with `nabladft evaluate`."
        raise FormatError(message)
    if start.startswith(_PICKLE):
        message = (
            f"{path.name} is a pickle, which runs code when it is read, so it is not read. Save "
            "arrays with numpy.savez, or atoms with ase.io.write as .xyz."
        )
        raise FormatError(message)
    if path.suffix in _XYZ_SUFFIXES:
        return ExtxyzPredictions(path, expected)
    message = (
        f"{path.name} is neither an .npz file nor, by its name, extended xyz (.xyz, .extxyz). See "
        "docs/predictions-format.md for what can be converted."
    )
    raise FormatError(message)


def _units_of(
    reader: NpzPredictions | ExtxyzPredictions, energy_unit: str | None, forces_unit: str | None
) -> dict[str, str]:
    """Decide the units, and refuse those that measure something else."""
    is_ase = isinstance(reader, ExtxyzPredictions)
    where = reader.path.name
    energy = settle_unit(
        "energy",
        asked=energy_unit,
        declared=reader.units.get("energy"),
        default=ASE_UNITS["energy"] if is_ase else None,
        where=where,
    )
    units = {"energy": energy}
    if reader.has_forces:
        units["forces"] = settle_unit(
            "forces",
            asked=forces_unit,
            declared=reader.units.get("forces"),
            default=ASE_UNITS["forces"] if energy == ASE_UNITS["energy"] else None,
            where=where,
        )
    for name, target in (("energy", "hartree"), ("forces", "hartree/bohr")):
        if name in units:
            try:
                convert(1.0, source=units[name], target=target)
            except UnitError as error:
                error.add_note(f"(unit of the {name} of {where})")
                raise
    return units


def _rows_in_data(batch: ForeignBatch, row_of: dict[tuple[int, int], int], path: Path) -> list[int]:
    rows = []
    for molecule, conformation in batch.keys.tolist():
        row = row_of.get((molecule, conformation))
        if row is None:
            message = (
                f"{path.name} predicts molecule_id {molecule}, conformation_id {conformation}, "
                "which does not belong to this part of the data."
            )
            raise PredictionsError(message)
        rows.append(row)
    return rows


def _check_against_data(batch: ForeignBatch, records: FlatRecords, path: Path) -> None:
    """Refuse predictions of other atoms or of another geometry than the data have."""
    offsets = records.atom_offsets
    if batch.n_atoms is not None and (batch.n_atoms != np.diff(offsets)).any():
        k = int(np.flatnonzero(batch.n_atoms != np.diff(offsets))[0])
        _refuse(
            batch, k, f"has {batch.n_atoms[k]} atoms, {offsets[k + 1] - offsets[k]} in data", path
        )
    if batch.atomic_numbers is not None:
        differ = np.flatnonzero(batch.atomic_numbers != records.atomic_numbers)
        if len(differ):
            atom = int(differ[0])
            k = int(np.searchsorted(offsets, atom, side="right")) - 1
            here, there = batch.atomic_numbers[atom], records.atomic_numbers[atom]
            _refuse(
                batch,
                k,
                f"has {symbol_of(int(here))} as atom {atom - offsets[k]} (counting from 0), "
                f"{symbol_of(int(there))} in the data; keep the order of the data",
                path,
            )
    if batch.positions is not None:
        distance = np.abs(batch.positions - BOHR_IN_ANGSTROM * records.positions).max(axis=1)
        # NaN is not below anything.
        differ = np.flatnonzero(~(distance <= POSITION_TOLERANCE_ANGSTROM))
        if len(differ):
            atom = int(differ[0])
            k = int(np.searchsorted(offsets, atom, side="right")) - 1
            _refuse(
                batch,
                k,
                f"has atom {atom - offsets[k]} (counting from 0) {distance[atom]:.3g} angstrom "
                "from where it is in the data; predict the geometries as they are, neither moved "
                "nor relaxed",
                path,
            )


def _refuse(batch: ForeignBatch, k: int, difference: str, path: Path) -> None:
    molecule, conformation = batch.keys[k].tolist()
    message = f"{path.name}: molecule_id {molecule}, conformation_id {conformation} {difference}."
    raise PredictionsError(message)


def _columns(
    batch: ForeignBatch,
    records: FlatRecords,
    units: dict[str, str],
    add_isolated_atoms: bool,
    path: Path,
) -> dict[str, Any]:
    """Give a batch as :meth:`PredictionsWriter.append` takes it."""
    if batch.energy.dtype.itemsize < np.dtype(np.float64).itemsize and not add_isolated_atoms:
        message = (
            f"{path.name}: 'energy' is {batch.energy.dtype}, which rounds total energies by up to "
            "0.04 kcal/mol; save float64."
        )
        raise PredictionsError(message)
    energy = convert(batch.energy.astype(np.float64), source=units["energy"], target="hartree")
    offsets, numbers = records.atom_offsets, records.atomic_numbers
    if add_isolated_atoms:
        molecules = np.split(numbers, offsets[1:-1])
        energy = energy + np.array([isolated_atoms_energy(one) for one in molecules])
    columns: dict[str, Any] = {
        "keys": batch.keys,
        "n_atoms": np.diff(offsets),
        "atomic_numbers": numbers,
        "energy": energy,
    }
    if batch.forces is not None:
        columns["forces"] = convert(
            batch.forces.astype(np.float64), source=units["forces"], target="hartree/bohr"
        )
    return columns


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
