"""What pages show of predictions: some values beside the reference, and the worst conformations.

Which values is fixed by a hash of ids, so that all models are shown on the same ones. A
:class:`Sampler` observes :func:`nabladft.benchmark.evaluation.evaluate` and keeps little.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.benchmark.matrix_scores import matrix_pairs
from nabladft.benchmark.restarts import chosen_by_hash
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.units import BOHR_IN_ANGSTROM, convert
from nabladft.errors import UnsupportedElementError
from nabladft.fields import FIELDS
from nabladft.leaderboard.details import MOST_POINTS, N_WORST, ParitySample, WorstConformation
from nabladft.metrics import METRICS, block_errors, block_sizes, hamiltonian_mae, overlap_mae
from nabladft.predictions import MATRIX_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nabladft.benchmark.matrix_scores import MatrixPair, Orbitals
    from nabladft.benchmark.tasks import Task
    from nabladft.metrics import Terms
    from nabladft.predictions import PredictedRecords
    from nabladft.storage.source import ConformationSource, FlatRecords

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

#: Units of samples, by what they are samples of.
_UNITS: Final = {
    "formation_energy": "hartree",
    "forces": "hartree/angstrom",
    "hamiltonian_diagonal": "hartree",
    "hamiltonian_offdiagonal": "hartree",
    "overlap": "1",
}
#: Digits kept of values that are only drawn.
_DIGITS: Final = 8
_DECIMALS_OF_POSITIONS: Final = 4


class Sampler:
    """Collects while batches stream past.

    Args:
        task: Task of the entry; its first headline says which conformations are the worst.
        keys: All conformations that are scored, shape (n, 2).
        orbitals: How to read matrices; needed when one is predicted.
    """

    def __init__(self, task: Task, keys: IntArray, orbitals: Orbitals | None) -> None:
        """Choose the conformations to sample."""
        self._metric = task.headlines[0]
        self._orbitals = orbitals
        chosen = keys[chosen_by_hash(keys, MOST_POINTS)]
        self._chosen = {(m, c) for m, c in chosen.tolist()}
        self._each = -(-MOST_POINTS // max(1, len(chosen)))
        self._points: dict[str, list[tuple[bytes, float, float]]] = defaultdict(list)
        self._totals: dict[str, int] = defaultdict(int)
        #: The largest errors so far, smallest first, with the ids.
        self._worst: list[tuple[float, int, int]] = []

    def observe(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        """Take in one batch: the same conformations in the same order."""
        if "energy" in predicted.values:
            self._add_energies(predicted, reference)
        if "forces" in predicted.values:
            self._add_forces(predicted, reference)
        for name in MATRIX_FIELDS:
            if name in predicted.values:
                self._add_matrices(predicted, reference, name)

    def parity(self, *, part: str | None, seed: int | None) -> tuple[ParitySample, ...]:
        """Give the samples.

        Args:
            part: Part of the split that was scored.
            seed: Of the training.
        """
        samples = []
        for quantity, points in self._points.items():
            kept = sorted(points)[:MOST_POINTS]
            samples.append(
                ParitySample(
                    part=part,
                    seed=seed,
                    quantity=quantity,
                    unit=_UNITS[quantity],
                    reference=tuple(one for _, one, _ in kept),
                    predicted=tuple(one for _, _, one in kept),
                    n_total=self._totals[quantity],
                )
            )
        return tuple(samples)

    def worst(
        self, source: ConformationSource, *, part: str | None, seed: int | None
    ) -> tuple[WorstConformation, ...]:
        """Give the conformations with the largest errors, the worst first.

        Args:
            source: The data, for geometries and SMILES.
            part: Part of the split that was scored.
            seed: Of the training.
        """
        ordered = sorted(self._worst, key=lambda one: (-one[0], -one[1], -one[2]))
        if not ordered:
            return ()
        keys = np.array([(-m, -c) for _, m, c in ordered])
        rows = source.rows_of(keys)
        smiles = source.read_texts(rows).smiles
        records = source.read(rows, fields=())
        return tuple(
            WorstConformation(
                part=part,
                seed=seed,
                metric=self._metric,
                unit=METRICS[self._metric].unit,
                value=value,
                molecule_id=record.molecule_id,
                conformation_id=record.conformation_id,
                smiles=text,
                atomic_numbers=tuple(record.atomic_numbers.tolist()),
                positions_angstrom=tuple(
                    (x, y, z)
                    for x, y, z in np.round(
                        record.positions * BOHR_IN_ANGSTROM, _DECIMALS_OF_POSITIONS
                    ).tolist()
                ),
            )
            for (value, _, _), record, text in zip(ordered, records, smiles, strict=True)
        )

    def _add_energies(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        there, here = reference.values["energy"], predicted.values["energy"]
        offsets = reference.atom_offsets
        self._totals["formation_energy"] += len(there)
        for k, key in enumerate(_keys(reference)):
            self._note_error(key, float(abs(here[k] - there[k])), "energy_mae")
            if key in self._chosen:
                atoms = reference.atomic_numbers[offsets[k] : offsets[k + 1]]
                # Without published atoms there is no formation energy to show.
                with suppress(UnsupportedElementError):
                    zero = isolated_atoms_energy(atoms)
                    one = slice(k, k + 1)
                    self._add_points("formation_energy", key, there[one] - zero, here[one] - zero)

    def _add_forces(self, predicted: PredictedRecords, reference: FlatRecords) -> None:
        there, here = (
            convert(one, source=FIELDS["forces"].unit, target=_UNITS["forces"])
            for one in (reference.values["forces"], predicted.values["forces"])
        )
        offsets = reference.atom_offsets
        self._totals["forces"] += there.size
        for k, key in enumerate(_keys(reference)):
            if key in self._chosen:
                atoms = slice(offsets[k], offsets[k + 1])
                self._add_points("forces", key, there[atoms].ravel(), here[atoms].ravel())

    def _add_matrices(self, predicted: PredictedRecords, reference: FlatRecords, name: str) -> None:
        assert self._orbitals is not None
        pairs = matrix_pairs(predicted, reference, self._orbitals, name=name)
        for key, pair in zip(_keys(reference), pairs, strict=True):
            n_orbitals = len(pair.reference)
            n_pairs = n_orbitals * (n_orbitals - 1) // 2
            self._note_error(key, self._matrix_error(pair, name), f"{name}_mae")
            lower = np.tril_indices(n_orbitals, -1)
            if name == "hamiltonian":
                self._totals["hamiltonian_diagonal"] += n_orbitals
                self._totals["hamiltonian_offdiagonal"] += n_pairs
            else:
                self._totals["overlap"] += n_pairs
            if key not in self._chosen:
                continue
            if name == "hamiltonian":
                self._add_points(
                    "hamiltonian_diagonal", key, np.diag(pair.reference), np.diag(pair.predicted)
                )
            quantity = "overlap" if name == "overlap" else "hamiltonian_offdiagonal"
            self._add_points(quantity, key, pair.reference[lower], pair.predicted[lower])

    def _matrix_error(self, pair: MatrixPair, name: str) -> float:
        assert self._orbitals is not None
        per_atom = self._orbitals.basis_set.orbitals_per_atom(pair.atomic_numbers)
        errors = block_errors(
            predicted=pair.predicted, reference=pair.reference, orbitals_per_atom=per_atom
        )
        blocks = ([errors], [block_sizes(per_atom)])
        terms: Terms = (hamiltonian_mae if name == "hamiltonian" else overlap_mae)(*blocks)
        return terms.value or 0.0

    def _note_error(self, key: tuple[int, int], error: float, metric: str) -> None:
        if metric == self._metric:
            # Of equal errors the smaller ids count as worse, whatever the order of batches.
            heapq.heappush(self._worst, (error, -key[0], -key[1]))
            if len(self._worst) > N_WORST:
                heapq.heappop(self._worst)

    def _add_points(
        self, quantity: str, key: tuple[int, int], reference: FloatArray, predicted: FloatArray
    ) -> None:
        """Keep some values of a conformation, the same ones whatever the model."""
        digest = hashlib.sha256(f"{quantity}/{key[0]}/{key[1]}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        n = min(self._each, len(reference))
        for k in random.choice(len(reference), n, replace=False).tolist():
            self._points[quantity].append(
                (digest + k.to_bytes(8, "big"), _short(reference[k]), _short(predicted[k]))
            )


def _keys(reference: FlatRecords) -> Iterator[tuple[int, int]]:
    return zip(reference.molecule_id.tolist(), reference.conformation_id.tolist(), strict=True)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
