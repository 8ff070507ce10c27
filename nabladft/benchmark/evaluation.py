"""Score a predictions file against the data. No model is run, and no torch is needed.

Records and predictions stream past in batches, and only a few numbers of each conformation are
kept, so the size of the file does not matter.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft import __version__
from nabladft.benchmark.matrix_scores import Orbitals
from nabladft.benchmark.recognition import check_hamiltonians
from nabladft.benchmark.results import SCORER_VERSION, Results, SizeBin
from nabladft.benchmark.scores import Scores
from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.errors import InputError, OrbitalOrderError, PredictionsError
from nabladft.metrics import Terms, estimate
from nabladft.metrics.terms import CONFIDENCE, N_RESAMPLES
from nabladft.predictions import MATRIX_FIELDS, Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from nabladft.predictions import PredictedRecords
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource, FlatRecords

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

_BATCH: Final = 256
_N_SIZE_BINS: Final = 6


def evaluate(
    predictions: Predictions | str | Path,
    source: ConformationSource,
    *,
    split: Split | None = None,
    part: str | None = None,
    seed: int = 0,
    scf: int = 0,
    observe: Callable[[PredictedRecords, FlatRecords], object] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Results:
    """Score predictions.

    Args:
        predictions: The file. It must hold every conformation of the part and no other.
        source: The data, with the labels.
        split: The split; None when the file says that it was made without one, and then all of
            ``source`` is scored.
        part: Part of the split; None takes the one that the file names.
        seed: Seed of the bootstrap.
        scf: Start a self-consistent field from so many of the predicted Hamiltonians (a DFT
            calculation each, with PySCF) and from the standard guess. Which ones is fixed by a
            hash of their ids, so that all models are compared on the same.
        observe: Called with each batch of predictions and labels, which have the same atoms.
        progress: Called with the number of conformations done; the fields come after them and
            count on.

    Raises:
        PredictionsError: The file belongs to other data, another split or another part, lacks
            conformations or has others, has other atoms than the data, or NaN.
        SplitError: The split was not made for these data.
        MissingFieldError: The data lack a label that is predicted.
        InputError: The split of the file was not given, or no part was named; or ``scf`` was asked
            for without predicted Hamiltonians.
        UnitError: Hamiltonians look like another unit than declared.
        OrbitalOrderError: Hamiltonians look like another orbital order than declared.
        HamiltonianError: Hamiltonians look like another basis set or sequence of atoms.
        MissingExtraError: ``scf`` was asked for and PySCF is not installed.
    """
    if not isinstance(predictions, Predictions):
        predictions = Predictions(predictions, most=len(source))
    keys, part = keys_to_score(predictions, source, split, part)
    rows = source.rows_of(keys)
    orbitals = orbitals_of(predictions, source)
    scores = Scores(predictions.fields, orbitals=orbitals)
    # Overlaps are computed from the geometry, whether the data hold them or not.
    labels = [name for name in predictions.fields if name != "overlap"]
    for start in range(0, len(keys), _BATCH):
        reference = source.read_flat(rows[start : start + _BATCH], fields=labels)
        # The atoms first: a file that says more of them than there are is not read any further.
        atoms = predictions.read(keys[start : start + _BATCH], fields=())
        check_atoms(atoms, reference, predictions.path)
        predicted = predictions.read(keys[start : start + _BATCH])
        if orbitals is not None and "hamiltonian" in predictions.fields:
            check_hamiltonians(
                predicted,
                reference,
                orbitals,
                predictions_name=predictions.path.name,
                data_name=source.info.name,
                is_first=start == 0,
            )
        scores.add(predicted, reference)
        if observe is not None:
            observe(predicted, reference)
        if progress is not None:
            progress(min(start + _BATCH, len(keys)))
    terms = scores.terms(molecule_id=keys[:, 0])
    if scf:
        # Only who asks for it needs what runs DFT.
        from nabladft.benchmark.restarts import restart_terms  # noqa: PLC0415

        terms |= restart_terms(
            predictions,
            source,
            keys,
            orbitals,
            limit=scf,
            progress=progress and (lambda done: progress(len(keys) + done)),
        )
    sizes = scores.sizes()
    return Results(
        model=predictions.info.model,
        dataset=source.info.name,
        data_hash=source.data_hash,
        split=split.name if split else None,
        split_hash=split.sha256 if split else None,
        part=part,
        n_conformations=len(keys),
        n_molecules=len(np.unique(keys[:, 0])),
        metrics=estimate(terms, molecule_id=keys[:, 0], seed=seed),
        by_size=_by_size(terms, sizes, keys[:, 0], seed),
        by_element=scores.by_element(),
        by_element_pair=scores.by_element_pair(),
        by_degrees=scores.by_degrees(),
        predictions_sha256=file_sha256(predictions.path),
        code_version=predictions.info.code_version,
        prediction_seconds=_stated_seconds(predictions),
        scorer_version=f"nabladft {__version__}, metrics {SCORER_VERSION}",
        bootstrap={"seed": seed, "n_resamples": N_RESAMPLES, "confidence": CONFIDENCE},
    )


def _stated_seconds(predictions: Predictions) -> float | None:
    """Read how long a prediction took, if the file says so in a way that can be understood."""
    stated = predictions.info.details.get("prediction_seconds")
    if not isinstance(stated, float) or not 0 <= stated < math.inf:
        return None
    return stated


def file_sha256(path: str | Path) -> str:
    """Hash a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keys_to_score(
    predictions: Predictions, source: ConformationSource, split: Split | None, part: str | None
) -> tuple[IntArray, str | None]:
    """Find the conformations to score, and refuse a file that belongs elsewhere.

    Args:
        predictions: The file.
        source: The data.
        split: The split, or None; see :func:`evaluate`.
        part: Part of the split; None takes the one that the file names.

    Returns:
        Pairs (molecule_id, conformation_id), shape (n, 2), and the part.

    Raises:
        PredictionsError: The file belongs to other data, another split or another part, lacks
            conformations or has others.
        SplitError: The split was not made for these data.
        InputError: The split of the file was not given, or no part was named.
    """
    info, name = predictions.info, predictions.path.name
    if info.data_hash != source.data_hash:
        message = (
            f"{name} was made for data {info.dataset!r} with hash {info.data_hash[:12]}, but "
            f"{source.info.name!r} has hash {source.data_hash[:12]}. Score it with --data on the "
            "data it was made for."
        )
        raise PredictionsError(message)
    if split is None:
        if info.split is not None:
            message = f"{name} was made with split {info.split!r}; give that split to score it."
            raise InputError(message)
        if part is not None:
            message = f"Part {part!r} of which split? {name} names none; give one with --split."
            raise InputError(message)
        predictions.check_keys(source.keys, what=f"{source.info.name!r}")
        return source.keys, None
    split.check_belongs_to(source)
    if info.split_hash is not None and info.split_hash != split.sha256:
        message = (
            f"{name} was made with split {info.split!r} with hash {info.split_hash[:12]}, but "
            f"split {split.name!r} has hash {split.sha256[:12]}: the model may have seen these "
            "conformations in training."
        )
        raise PredictionsError(message)
    if part is None:
        part = info.part
    if part is None:
        message = f"{name} does not say which part it predicts. Name one: {', '.join(split.parts)}."
        raise InputError(message)
    if info.part is not None and info.part != part:
        message = f"{name} predicts part {info.part!r}, not {part!r}."
        raise PredictionsError(message)
    keys = split.parts[part] if part in split.parts else split.part(part)
    predictions.check_keys(keys, what=f"part {part!r} of split {split.name!r}")
    return keys, part


def orbitals_of(predictions: Predictions, source: ConformationSource) -> Orbitals | None:
    """Give what is needed to compare the matrices, or refuse another basis set."""
    if not set(predictions.fields) & set(MATRIX_FIELDS):
        return None
    basis, order = source.info.basis_set, source.info.orbital_order
    if basis is None or order is None:
        message = (
            f"{source.info.name!r} does not declare the basis set and orbital order of its "
            "matrices, so they cannot be compared."
        )
        raise OrbitalOrderError(message)
    found = str(predictions.info.basis_set)
    if found.lower() != basis.lower():
        message = (
            f"{predictions.path.name} has matrices in {found}, {source.info.name!r} in {basis}."
        )
        raise PredictionsError(message)
    return Orbitals(
        basis_set=basis_set_named(basis),
        predicted_order=orbital_order_named(str(predictions.info.orbital_order)),
        reference_order=orbital_order_named(order),
    )


def check_atoms(predicted: PredictedRecords, reference: FlatRecords, path: Path) -> None:
    """Refuse predictions for other atoms, or for atoms in another order."""
    if predicted.atom_offsets is None or predicted.atomic_numbers is None:
        return
    for k, (molecule, conformation) in enumerate(predicted.keys.tolist()):
        here = predicted.atomic_numbers[predicted.atom_offsets[k] : predicted.atom_offsets[k + 1]]
        there = reference.atomic_numbers[reference.atom_offsets[k] : reference.atom_offsets[k + 1]]
        if len(here) != len(there):
            difference = f"has {len(here)} atoms in the file and {len(there)} in the data"
        elif (here != there).any():
            difference = (
                f"has atoms {[symbol_of(z) for z in here.tolist()]} in the file and "
                f"{[symbol_of(z) for z in there.tolist()]} in the data; keep the order of the data"
            )
        else:
            continue
        message = (
            f"{path.name}: molecule_id {molecule}, conformation_id {conformation} {difference}."
        )
        raise PredictionsError(message)


def _by_size(
    terms: Mapping[str, Terms], sizes: IntArray, molecule_id: IntArray, seed: int
) -> tuple[SizeBin, ...]:
    """Score conformations of similar numbers of atoms, in at most six bins of equal width."""
    smallest, largest = int(sizes.min()), int(sizes.max())
    width = -(-(largest - smallest + 1) // _N_SIZE_BINS)
    bins = []
    for low in range(smallest, largest + 1, width):
        inside = (sizes >= low) & (sizes < low + width)
        if inside.any():
            chosen = {name: term.take(inside) for name, term in terms.items()}
            bins.append(
                SizeBin(
                    smallest=low,
                    largest=min(low + width - 1, largest),
                    metrics=estimate(chosen, molecule_id=molecule_id[inside], seed=seed),
                )
            )
    return tuple(bins)
