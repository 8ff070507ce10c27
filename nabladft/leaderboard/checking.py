"""Everything that can be checked of predictions before they are scored.

Only a mistake that has a name is refused: ids that are missing, a unit, gradients instead of
forces, another orbital order. A bad prediction gets a score, and what merely looks strange becomes
a warning.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.benchmark.evaluation import check_atoms, keys_to_score, orbitals_of
from nabladft.benchmark.recognition import check_hamiltonians
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.errors import NablaDFTError, PredictionsError, UnitError
from nabladft.leaderboard.orbital_checks import OrbitalChecks, atoms_of_each
from nabladft.leaderboard.recognition import (
    FEWEST_PAIRS,
    name_energy_mistake,
    name_forces_mistake,
    work_between,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from nabladft.benchmark.tasks import Task
    from nabladft.predictions import PredictedRecords, Predictions
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource, FlatRecords

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

_BATCH: Final = 256

#: Systematic mistakes of forces show in so many conformations.
_FORCES_TOLD_FROM: Final = 1024

#: Net force of a conformation, hartree/bohr, from which a warning is given: the labels of DFT have
#: up to 0.003 from the grid.
_NET_FORCE: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the checks of a predictions file say.

    Attributes:
        part: Part of the split.
        fields: Quantities that are predicted.
        n_conformations: How many, all that the part has.
        passed: What was checked and found right, for the reader.
        warnings: What looks strange, but may be what the model says.
    """

    part: str | None
    fields: tuple[str, ...]
    n_conformations: int
    passed: tuple[str, ...]
    warnings: tuple[str, ...]


def check_predictions(
    predictions: Predictions,
    source: ConformationSource,
    *,
    task: Task,
    split: Split | None = None,
    part: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Checked:
    """Check predictions for a task, before they are scored.

    Args:
        predictions: The file; it checked its own form when it was opened.
        source: The data, with the labels.
        task: What it is submitted for.
        split: The split, or None when the file was made without one.
        part: Part of the split; None takes the one that the file names.
        progress: Called with the number of conformations done.

    Raises:
        PredictionsError: The file does not hold exactly the conformations of the part, lacks a
            quantity of the task or has others, has other atoms than the data, values that are not
            finite or too large; or energies or forces are recognised as something else.
        UnitError: Energies, forces or Hamiltonians are in another unit than declared.
        OrbitalOrderError: Hamiltonians are in another orbital order than declared.
        HamiltonianError: Hamiltonians are recognised as something else, or their orbitals cannot
            be found.
        SplitError: The split was not made for these data.
        MissingFieldError: The data lack a label that is predicted.
    """
    _check_fields(predictions, task)
    keys, part = keys_to_score(predictions, source, split, part)
    collected = _Collected()
    orbitals = orbitals_of(predictions, source)
    hamiltonians = None
    if orbitals is not None and "hamiltonian" in predictions.fields:
        hamiltonians = OrbitalChecks(orbitals)
    for done, predicted, reference in _batches(predictions, source, keys):
        if orbitals is not None and hamiltonians is not None:
            check_hamiltonians(
                predicted,
                reference,
                orbitals,
                predictions_name=predictions.path.name,
                data_name=source.info.name,
                is_first=not collected.n_conformations,
            )
            hamiltonians.add(predicted, reference)
        collected.add(predicted, reference)
        if progress is not None:
            progress(done)
    passed = [f"all {len(keys)} conformations, each once, with the atoms of the data"]
    warnings: list[str] = []
    try:
        if "energy" in predictions.fields:
            collected.check_energies(passed, warnings)
        if "forces" in predictions.fields:
            collected.check_forces(passed, warnings)
    except NablaDFTError as error:
        error.add_note(f"({predictions.path.name})")
        raise
    if hamiltonians is not None:
        hamiltonians.report(passed, warnings)
    return Checked(
        part=part,
        fields=predictions.fields,
        n_conformations=len(keys),
        passed=tuple(passed),
        warnings=tuple(warnings),
    )


class _Collected:
    """What is kept of each conformation, and what is said of all of them together."""

    def __init__(self) -> None:
        self.n_conformations = 0
        self._energies: list[tuple[FloatArray, FloatArray]] = []
        self._isolated: list[float] = []
        self._n_atoms: list[IntArray] = []
        self._forces: list[tuple[PredictedRecords, FlatRecords]] = []
        self._net_forces: list[float] = []

    def add(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        """Take in a batch."""
        if "energy" in predicted.values:
            self._energies.append((predicted.values["energy"], reference.values["energy"]))
            self._isolated += [_isolated(numbers) for numbers in atoms_of_each(reference)]
            self._n_atoms.append(np.diff(reference.atom_offsets))
        if "forces" in predicted.values:
            forces = predicted.values["forces"]
            for start, stop in itertools.pairwise(reference.atom_offsets.tolist()):
                self._net_forces.append(float(np.abs(forces[start:stop].sum(axis=0)).max()))
            if self.n_conformations < _FORCES_TOLD_FROM:
                self._forces.append((predicted, reference))
        self.n_conformations += len(reference)

    def check_energies(self, passed: list[str], warnings: list[str]) -> None:
        """Refuse energies that are recognised as something else."""
        predicted, reference = (np.concatenate(one) for one in zip(*self._energies, strict=True))
        isolated = np.array(self._isolated)
        known = np.isfinite(isolated)
        if known.any():
            mistake = name_energy_mistake(
                predicted[known],
                reference[known],
                isolated=isolated[known],
                n_atoms=np.concatenate(self._n_atoms)[known],
            )
            _refuse_named(mistake, "energy", "total energies in hartree")
        passed.append("energies are total energies in their declared unit")
        # By chance, one number in 2^29 is one of float32.
        if len(predicted) > 1 and (predicted == predicted.astype(np.float32)).all():
            warnings.append(
                "every energy is a float32 number: somewhere they were rounded by up to 0.04 "
                "kcal/mol; compute with formation energies and add the isolated atoms in float64"
            )

    def check_forces(self, passed: list[str], warnings: list[str]) -> None:
        """Refuse forces that are recognised as something else; compare them with the energies."""
        predicted = np.concatenate([one.values["forces"] for one, _ in self._forces])
        reference = np.concatenate([one.values["forces"] for _, one in self._forces])
        counts = np.concatenate([np.diff(one.atom_offsets) for _, one in self._forces])
        offsets = np.concatenate([[0], np.cumsum(counts)])
        _refuse_named(
            name_forces_mistake(predicted, reference, offsets), "forces", "forces in hartree/bohr"
        )
        passed.append("forces are forces, in their declared unit and the orientation of the data")
        if max(self._net_forces) > _NET_FORCE:
            n_pushed = sum(net > _NET_FORCE for net in self._net_forces)
            warnings.append(
                f"the forces of {n_pushed} of {len(self._net_forces)} conformations do not add up "
                f"to zero (up to {max(self._net_forces):.2g} hartree/bohr)"
            )
        if self._energies:
            self._compare_with_energies(predicted, offsets, passed, warnings)

    def _compare_with_energies(
        self, predicted: FloatArray, offsets: IntArray, passed: list[str], warnings: list[str]
    ) -> None:
        n_kept = len(offsets) - 1
        differences, works = work_between(
            energy=np.concatenate([one for one, _ in self._energies])[:n_kept],
            forces=predicted,
            positions=np.concatenate([one.positions for _, one in self._forces]),
            atom_offsets=offsets,
            molecule_id=np.concatenate([one.molecule_id for _, one in self._forces]),
        )
        if len(differences) < FEWEST_PAIRS or not differences.any() or not works.any():
            return
        agreement = float(
            np.vdot(differences, works) / (np.linalg.norm(differences) * np.linalg.norm(works))
        )
        text = (
            f"the work of the forces between {len(differences)} pairs of neighbouring geometries "
            f"and their energy differences have the cosine {agreement:.2f}"
        )
        (passed if agreement > 0.5 else warnings).append(text)


def _check_fields(predictions: Predictions, task: Task) -> None:
    name = predictions.path.name
    missing = [one for one in task.required if one not in predictions.fields]
    stray = [one for one in predictions.fields if one not in task.fields]
    if missing:
        message = (
            f"{name} holds {', '.join(predictions.fields)}, but task {task.name!r} needs "
            f"{', '.join(missing)}."
        )
        raise PredictionsError(message)
    if stray:
        message = (
            f"{name} holds {', '.join(stray)}, which task {task.name!r} does not score. Submit a "
            f"file with only {', '.join(task.fields)}, and the rest to its own task."
        )
        raise PredictionsError(message)


def _batches(
    predictions: Predictions, source: ConformationSource, keys: IntArray
) -> Iterator[tuple[int, PredictedRecords, FlatRecords]]:
    rows = source.rows_of(keys)
    labels = [name for name in predictions.fields if name != "overlap"]
    for start in range(0, len(keys), _BATCH):
        stop = min(start + _BATCH, len(keys))
        reference = source.read_flat(rows[start:stop], fields=labels)
        # The atoms first: a file that says more of them than there are is not read any further.
        atoms = predictions.read(keys[start:stop], fields=())
        check_atoms(atoms, reference, predictions.path)
        yield stop, predictions.read(keys[start:stop]), reference


def _isolated(numbers: NDArray[np.int32]) -> float:
    """Sum the energies of the atoms; NaN where nobody published them."""
    try:
        return isolated_atoms_energy(numbers)
    except NablaDFTError:
        return float("nan")


def _refuse_named(mistake: str | None, field: str, expected: str) -> None:
    if mistake is None:
        return
    message = f"The values of {field!r} look like {mistake}; {expected} are expected."
    if "stored as" in mistake:
        raise UnitError(message)
    raise PredictionsError(message)
