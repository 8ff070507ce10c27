"""Predict with any ASE calculator: energies and forces, resumable, with no need of torch.

A calculator is named as ``module:factory`` (or ``file.py:factory``); the factory is called with
options and returns an ``ase.calculators.calculator.Calculator``. Positions go to it in angstrom,
and energies and forces come back in eV and eV/angstrom, by ASE's own constants
(``ase.units``: CODATA 2014), because that is what a calculator that wraps another program has
multiplied with.

Example:
    >>> calculator = load_calculator("ase.calculators.lj:LennardJones", {"epsilon": 0.01})
    >>> calculator.parameters.epsilon
    0.01
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.errors import InputError, ModelError
from nabladft.predictions.journal import Journal
from nabladft.predictions.writer import PredictionsWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation
    from nabladft.predictions.format import PredictionsInfo
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

#: Conformations read and written at once.
_BATCH: Final = 256


def load_calculator(spec: str, options: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
    """Make a calculator from ``module:factory`` or ``file.py:factory``.

    Modules are looked for in the working directory (or the folder of the file) as well, which is
    added to ``sys.path``.

    Args:
        spec: Where the factory is: a class or function.
        options: Passed to it by name.

    Raises:
        InputError: The spec is none, or there is no such module, file or factory.
        ModelError: The factory fails, or what it returns is no ASE calculator.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        message = f"{spec!r} is no factory; module:factory or file.py:factory is expected."
        raise InputError(message)
    factory = getattr(_load_module(place), name, None)
    if not callable(factory):
        message = f"{place} has no function or class {name!r}."
        raise InputError(message)
    try:
        calculator = factory(**(options or {}))
    except Exception as error:
        message = f"{spec} with options {dict(options or {})} failed: {_told(error)}"
        raise ModelError(message) from error
    if not hasattr(calculator, "get_property") or not hasattr(calculator, "implemented_properties"):
        message = f"{spec} returned {type(calculator).__name__}, an ASE calculator is expected."
        raise ModelError(message)
    return calculator


def code_version_of(calculator: object) -> str:
    """Name the package that a calculator is from, with the version that it says it has."""
    package = type(calculator).__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    return "not given" if version is None else f"{package} {version}"


def predict_with_calculator(
    calculator: Any,  # noqa: ANN401 - ASE is untyped
    source: ConformationSource,
    keys: Sequence[tuple[int, int]] | IntArray,
    out: str | Path,
    *,
    info: PredictionsInfo,
    with_forces: bool = True,
    add_isolated_atoms: bool = False,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Predict conformations into a predictions file; an interrupted job goes on where it was.

    What is done is kept in ``OUT.progress`` until the predictions file is complete.

    Args:
        calculator: Of ASE, in eV and eV/angstrom.
        source: The data. Only geometries are used.
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
        out: HDF5 file to write, in one atomic step.
        info: Root attributes; the wall time of one conformation is added to its details.
        with_forces: Whether to predict forces.
        add_isolated_atoms: Whether the calculator's energies are formation energies (total minus
            isolated atoms, :data:`nabladft.chemistry.elements.ISOLATED_ATOM_ENERGIES`).
        progress: Called with the number of conformations done.

    Returns:
        Number of conformations.

    Raises:
        ModelError: The calculator lacks energies or forces, fails, or gives what is no number; the
            message names the conformation.
        InputError: A key is not in the data.
        PredictionsError: ``OUT.progress`` is of another job, or another process is at it.
        UnsupportedElementError: An isolated atom is not known.
    """
    _check_properties(calculator, with_forces)
    out = Path(out)
    pairs = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
    rows = source.rows_of(pairs)
    wanted = [(int(m), int(c)) for m, c in pairs]
    job = {
        **{name: str(getattr(info, name)) for name in ("model", "data_hash", "split_hash", "part")},
        "code_version": info.code_version,
        "details": json.dumps(dict(info.details), sort_keys=True),
        "quantities": "energy, forces" if with_forces else "energy",
        "isolated atoms added": str(add_isolated_atoms),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with Journal(out.with_name(f"{out.name}.progress"), job) as journal:
        finished = journal.finished
        n_done = sum(key in finished for key in wanted)
        todo = [row for key, row in zip(wanted, rows.tolist(), strict=True) if key not in finished]
        for start in range(0, len(todo), _BATCH):
            for record in source.read(todo[start : start + _BATCH], fields=()):
                if progress is not None:
                    progress(n_done)
                began = time.perf_counter()
                energy, forces = _predict(
                    calculator, record, with_forces, f"{n_done} of {len(wanted)}", journal.path
                )
                if add_isolated_atoms:
                    energy += isolated_atoms_energy(record.atomic_numbers)
                seconds = time.perf_counter() - began
                journal.add(record.key, energy=energy, forces=forces, seconds=seconds)
                n_done += 1
        if progress is not None:
            progress(n_done)
        timed = {"prediction_seconds": journal.seconds / max(1, len(journal.finished))}
        _write(journal, source, rows, replace(info, details={**info.details, **timed}), out)
        journal.remove()
    return len(wanted)


def _load_module(place: str) -> ModuleType:
    path = Path(place)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        message = f"There is no file {path}."
        raise InputError(message)
    # As `python FILE` and `python -m MODULE` have it; a factory may import more when it is called.
    folder = str(path.resolve().parent if is_file else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return _run_file(path) if is_file else importlib.import_module(place)
    except Exception as error:
        message = f"{place} cannot be imported: {_told(error)}"
        if isinstance(error, ModuleNotFoundError):
            message += " Install it, or give a file: FILE.py:NAME."
        raise InputError(message) from error


def _run_file(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    # Dataclasses and pickles look their module up; an installed one of this name stays what it is.
    sys.modules.setdefault(path.stem, module)
    found.loader.exec_module(module)
    return module


def _check_properties(calculator: Any, with_forces: bool) -> None:  # noqa: ANN401 - ASE is untyped
    implemented = list(calculator.implemented_properties)
    missing = [name for name in ("energy", "forces") if name not in implemented]
    if not with_forces:
        missing = [name for name in missing if name != "forces"]
    if missing:
        hint = " Predict energies only with --energies-only." if missing == ["forces"] else ""
        message = (
            f"{type(calculator).__name__} gives no {' and no '.join(missing)}; it gives "
            f"{', '.join(implemented) or 'nothing'}.{hint}"
        )
        raise ModelError(message)


def _predict(
    calculator: Any,  # noqa: ANN401 - ASE is untyped
    record: Conformation,
    with_forces: bool,
    done: str,
    journal_path: Path,
) -> tuple[float, FloatArray | None]:
    """Ask the calculator for one conformation, in ASE's units, and give atomic ones."""
    import ase  # noqa: PLC0415 - slow to import
    from ase import units  # noqa: PLC0415

    molecule, conformation = record.key
    where = f"molecule_id {molecule}, conformation_id {conformation}"
    kept = (
        f" {done} conformations are kept in {journal_path.name}; run the same again to go on from "
        "here."
    )
    atoms: Any = ase.Atoms(record.atomic_numbers, positions=units.Bohr * record.positions)
    atoms.calc = calculator
    try:
        energy = np.asarray(atoms.get_potential_energy(), dtype=np.float64) / units.Hartree
        forces = (
            np.asarray(atoms.get_forces(), dtype=np.float64) * (units.Bohr / units.Hartree)
            if with_forces
            else None
        )
    except Exception as error:
        message = f"The calculator failed at {where}: {_told(error)}{kept}"
        raise ModelError(message) from error
    for name, value, shape in (
        ("energy", energy, ()),
        ("forces", forces, record.positions.shape),
    ):
        if value is None:
            continue
        if value.shape != shape:
            message = f"The calculator gave {name} of shape {value.shape} for {where}, not {shape}."
            raise ModelError(message + kept)
        if not np.isfinite(value).all():
            message = (
                f"The calculator gave {name} that are not finite (NaN or infinite) for {where}."
            )
            raise ModelError(message + kept)
    return float(energy), forces


def _write(
    journal: Journal, source: ConformationSource, rows: IntArray, info: PredictionsInfo, out: Path
) -> None:
    with PredictionsWriter(out, info) as writer:
        for start in range(0, len(rows), _BATCH):
            records = source.read_flat(rows[start : start + _BATCH], fields=())
            keys = list(
                zip(records.molecule_id.tolist(), records.conformation_id.tolist(), strict=True)
            )
            found = journal.read(keys)
            forces = [one.forces for one in found if one.forces is not None]
            writer.append(
                keys=keys,
                n_atoms=np.diff(records.atom_offsets),
                atomic_numbers=records.atomic_numbers,
                energy=[one.energy for one in found],
                forces=np.concatenate(forces) if forces else None,
            )


def _told(error: Exception) -> str:
    """Tell an error of somebody else's code in one sentence."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}."
