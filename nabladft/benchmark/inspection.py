"""One predicted Hamiltonian, looked at closely: where its error is, and what it does.

Example:
    >>> found = inspect_hamiltonian(
    ...     "predictions.h5", nabladft.open("nano"), molecule_id=12
    ... )  # doctest: +SKIP
    >>> found.metrics["gap_mae"]  # doctest: +SKIP
    0.0013
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigvalsh

from nabladft.benchmark.evaluation import check_atoms, orbitals_of
from nabladft.benchmark.matrix_scores import HamiltonianScores, matrix_pairs
from nabladft.chemistry.electronic import n_electrons
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import InputError, PredictionsError
from nabladft.labels.restart import compare_starts
from nabladft.metrics import METRICS, block_errors, block_sizes, compare_orbitals
from nabladft.predictions import Predictions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.labels.restart import Settings, StartComparison
    from nabladft.metrics import OrbitalComparison
    from nabladft.storage.source import ConformationSource

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What can be seen of one prediction.

    Attributes:
        model: Name of the model.
        molecule_id: Of the data.
        conformation_id: Of the data.
        smiles: Of the molecule, or None where the data do not tell.
        atomic_numbers: Shape (n_atoms,).
        distances: Shape (n_atoms, n_atoms), bohr.
        orbitals_per_atom: Shape (n_atoms,).
        error: Ĥ - H, shape (n_orbitals, n_orbitals), hartree, in the orbital order of the data.
        block_mae: Mean absolute error of each block, shape (n_atoms, n_atoms), hartree.
        orbitals: Both sets of molecular orbitals.
        predicted_energies: All predicted orbital energies, shape (n_orbitals,), hartree, ascending.
        metrics: Every metric that one conformation has, by name, in atomic units.
        starts: Cycles of a field from the prediction and from a guess, if asked for.
    """

    model: str
    molecule_id: int
    conformation_id: int
    smiles: str | None
    atomic_numbers: NDArray[Any]
    distances: FloatArray
    orbitals_per_atom: NDArray[np.int64]
    error: FloatArray
    block_mae: FloatArray
    orbitals: OrbitalComparison
    predicted_energies: FloatArray
    metrics: dict[str, float]
    starts: StartComparison | None


def inspect_hamiltonian(
    predictions: Predictions | str | Path,
    source: ConformationSource,
    *,
    molecule_id: int,
    conformation_id: int | None = None,
    scf: Settings | None = None,
) -> Inspection:
    """Compare one predicted Hamiltonian with its label.

    Args:
        predictions: The file.
        source: The data, with the labels.
        molecule_id: Which molecule.
        conformation_id: Which of its conformations; None takes the first in the file.
        scf: Settings of :func:`nabladft.labels.restart.compare_starts`; None runs no field.

    Raises:
        InputError: The file has no Hamiltonians, or the molecule no even number of electrons.
        PredictionsError: The molecule or conformation is not in the file, or the file belongs to
            other data.
        MissingExtraError: A field was asked for and PySCF is not installed.
    """
    if not isinstance(predictions, Predictions):
        predictions = Predictions(predictions)
    if "hamiltonian" not in predictions.fields:
        message = (
            f"{predictions.path.name} predicts {', '.join(predictions.fields)}, no hamiltonian: "
            "there is nothing to inspect."
        )
        raise InputError(message)
    key = _key_of(predictions, molecule_id, conformation_id)
    how = orbitals_of(predictions, source)
    assert how is not None
    rows = source.rows_of([key])
    reference = source.read_flat(rows, fields=("hamiltonian",))
    predicted = predictions.read([key], fields=("hamiltonian",))
    check_atoms(predicted, reference, predictions.path)
    pair = next(matrix_pairs(predicted, reference, how, name="hamiltonian"))
    electrons = n_electrons(pair.atomic_numbers)
    if electrons % 2:
        message = f"The molecule has {electrons} electrons; only closed shells can be inspected."
        raise InputError(message)
    order, basis = how.reference_order, how.basis_set
    geometry = (pair.atomic_numbers, pair.positions)
    orbitals = compare_orbitals(
        predicted=pair.predicted,
        reference=pair.reference,
        overlap=overlap_matrix(*geometry, basis_set=basis, orbital_order=order),
        n_electrons=electrons,
    )
    scores = HamiltonianScores(how)
    scores.add(predicted, reference)
    terms = scores.terms()
    per_atom = basis.orbitals_per_atom(pair.atomic_numbers)
    matrices = {"predicted": pair.predicted, "reference": pair.reference}
    starts = None
    if scf is not None:
        starts = compare_starts(*geometry, pair.predicted, orbital_order=order, settings=scf)
    return Inspection(
        model=predictions.info.model,
        molecule_id=key[0],
        conformation_id=key[1],
        smiles=source.read_texts(rows).smiles[0],
        atomic_numbers=pair.atomic_numbers,
        distances=np.linalg.norm(pair.positions[:, None] - pair.positions, axis=2),
        orbitals_per_atom=per_atom,
        error=pair.predicted - pair.reference,
        block_mae=block_errors(**matrices, orbitals_per_atom=per_atom) / block_sizes(per_atom),
        orbitals=orbitals,
        predicted_energies=eigvalsh(np.diag(orbitals.reference_energies) + orbitals.error),
        metrics={
            name: value
            for name in METRICS
            if name in terms and (value := terms[name].value) is not None
        },
        starts=starts,
    )


def _key_of(
    predictions: Predictions, molecule_id: int, conformation_id: int | None
) -> tuple[int, int]:
    """Find the conformation in the file.

    Raises:
        PredictionsError: It is not there.
    """
    mine = predictions.keys[predictions.keys[:, 0] == molecule_id]
    if not len(mine):
        some = ", ".join(map(str, np.unique(predictions.keys[:, 0])[:8].tolist()))
        message = (
            f"{predictions.path.name} has no molecule_id {molecule_id}. Some that it has: {some}."
        )
        raise PredictionsError(message)
    if conformation_id is None:
        return int(mine[0, 0]), int(mine[0, 1])
    if conformation_id not in mine[:, 1]:
        message = (
            f"{predictions.path.name} has no conformation_id {conformation_id} of molecule_id "
            f"{molecule_id}. It has {', '.join(map(str, mine[:, 1].tolist()))}."
        )
        raise PredictionsError(message)
    return molecule_id, conformation_id
