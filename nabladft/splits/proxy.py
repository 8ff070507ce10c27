"""Proxy tests: small fixed subsets of test sets that are too large to be predicted whole.

The Hamiltonian test sets of the published data have 1.6 terabytes each. A proxy test is a
systematic sample of one: the conformations are sorted by their rarest elements, size and scaffold,
and every k-th is taken from a random start. Each conformation has the same chance to be in, so a
mean over the proxy estimates the mean over the whole without weights; and since neighbours in the
sorted list are alike, the sample is stratified by all three at once.

How far the mean absolute error (MAE) over a proxy is from the one over the whole test follows from
the errors themselves (:func:`sampling_error`); before there are any, from their spread
(:func:`expected_sampling_error`).

Source:
    W. G. Cochran, Sampling Techniques, 3rd edition, chapter 8 (systematic sampling); K. M. Wolter,
    Introduction to Variance Estimation, 2nd edition, chapter 8 (successive differences).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.scaffolds import scaffold_of
from nabladft.errors import MissingFieldError, SplitError
from nabladft.splits.split import Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Elements that decide first, rarest in drug-like molecules first.
_RARE: Final = (35, 17, 9, 16)

#: Rows read at once.
_STEP: Final = 4096


def proxy_test(
    source: ConformationSource,
    n_conformations: int,
    *,
    part: str,
    name: str,
    seed: int = 0,
    keys: IntArray | None = None,
    scaffolds: Mapping[int, int] | None = None,
) -> Split:
    """Draw a proxy test.

    Args:
        source: Data of the whole test set, with SMILES; the energy file will do for Hamiltonians.
        n_conformations: Size wanted.
        part: Part of the split to make ("test_structures", ...).
        name: Name of the split.
        seed: Seed of the start and of the order among equals.
        keys: Ids to draw from, shape (n, 2), when the source holds more than the test set.
        scaffolds: A number of the scaffold by molecule_id, when it is known already.

    Returns:
        A split of ids alone with one part; its recipe states the sampling error.

    Raises:
        SplitError: The test set is not larger than the proxy wanted.
        InputError: An id is not in the source.
        MissingFieldError: A record comes without SMILES.
        MissingExtraError: RDKit is needed for scaffolds, and is not installed.
    """
    rows = np.arange(len(source)) if keys is None else source.rows_of(keys)
    if not 1 <= n_conformations < len(rows):
        message = (
            f"A proxy of {n_conformations} conformations cannot be drawn from {len(rows)}: it must "
            "be smaller."
        )
        raise SplitError(message)
    # By id first, so that the sequence of the rows in the file does not matter.
    rows = rows[np.lexsort(source.keys[rows].T[::-1])]
    ids = source.keys[rows]
    order = _strata_order(source, rows, seed, _scaffold_numbers(source, rows, scaffolds))
    taken = order[systematic_positions(len(rows), n_conformations, seed=seed)]
    return Split(
        name=name,
        dataset=source.info.name,
        data_hash=None,
        parts={part: ids[taken]},
        recipe={
            "proxy_of": source.info.name,
            "n_of_whole": len(rows),
            "n": n_conformations,
            "seed": seed,
            "sorted_by": ["rare elements", "n_atoms", "scaffold", "molecule_id"],
            # Of a MAE, relative, if errors of conformations spread as much as their mean.
            "relative_sampling_error": round(
                expected_sampling_error(n_conformations, len(rows), spread=1.0), 4
            ),
        },
    )


def systematic_positions(n_total: int, n_sample: int, *, seed: int) -> IntArray:
    """Take every (n_total / n_sample)-th position from a random start, shape (n_sample,)."""
    step = n_total / n_sample
    start = np.random.default_rng([seed, n_total]).random() * step
    positions: NDArray[np.float64] = np.minimum(start + step * np.arange(n_sample), n_total - 1)
    return positions.astype(np.int64)


def expected_sampling_error(n_sample: int, n_total: int, *, spread: float) -> float:
    """Give the relative standard error of a MAE over a sample, before errors are known.

    That of simple random sampling, ``spread / sqrt(n) * sqrt(1 - n / N)``; stratification makes it
    smaller, by as much as size, elements and scaffold explain of the errors.

    Args:
        n_sample: Conformations in the sample, n.
        n_total: Conformations in the whole test set, N.
        spread: Standard deviation of the errors of conformations, divided by their mean.
    """
    return float(spread / np.sqrt(n_sample) * np.sqrt(1.0 - n_sample / n_total))


def sampling_error(errors: ArrayLike, n_total: int) -> float:
    """Estimate the standard error of the mean of a systematic sample, by successive differences.

    ``sqrt((1 - n / N) / n * sum_k (e_k - e_(k+1))^2 / (2 (n - 1)))``

    Args:
        errors: Error of each conformation of the sample, in the order in which the whole was
            sorted, shape (n,), any unit.
        n_total: Conformations in the whole test set, N.

    Returns:
        Same unit as ``errors``.

    Raises:
        SplitError: There are fewer than two errors.
    """
    values = np.asarray(errors, dtype=np.float64)
    n = len(values)
    if n < 2:
        message = f"The sampling error of {n} values cannot be estimated: two or more are needed."
        raise SplitError(message)
    variance = (np.diff(values) ** 2).sum() / (2.0 * (n - 1))
    return float(np.sqrt((1.0 - n / n_total) / n * variance))


def _strata_order(
    source: ConformationSource, rows: IntArray, seed: int, scaffolds: IntArray
) -> IntArray:
    """Sort conformations so that neighbours are alike; positions into ``rows``."""
    elements = _element_codes(source, rows)
    rare = np.zeros(len(rows), dtype=np.int64)
    for number in _RARE:
        rare = 2 * rare + (elements >> number & 1)
    size = source.n_atoms[rows]
    # Up and down in turns, so that the last of one class is next to the like of the next class.
    size = np.where(_rank(rare) % 2, -size, size)
    tie = np.random.default_rng([seed, 1]).random(len(rows))
    return np.lexsort((tie, source.keys[rows, 0], scaffolds, size, rare)).astype(np.int64)


def _rank(values: IntArray) -> IntArray:
    return np.unique(values, return_inverse=True)[1].ravel()


def _element_codes(source: ConformationSource, rows: IntArray) -> IntArray:
    """Set bit Z of an integer for each element Z of a conformation, shape (n,)."""
    codes = np.zeros(len(rows), dtype=np.int64)
    for start in range(0, len(rows), _STEP):
        flat = source.read_flat(rows[start : start + _STEP], fields=())
        bits = np.left_shift(np.int64(1), flat.atomic_numbers.astype(np.int64))
        codes[start : start + _STEP] = np.bitwise_or.reduceat(bits, flat.atom_offsets[:-1])
    return codes


def _scaffold_numbers(
    source: ConformationSource, rows: IntArray, known: Mapping[int, int] | None
) -> IntArray:
    """Number the scaffolds, shape (n,)."""
    molecule_ids, first, inverse = np.unique(
        source.keys[rows, 0], return_index=True, return_inverse=True
    )
    if known is not None:
        absent = [m for m in molecule_ids.tolist() if m not in known]
        if absent:
            message = (
                f"{len(absent)} molecules have no known scaffold; the first is molecule_id "
                f"{absent[0]}. Complete the table of identities first."
            )
            raise SplitError(message)
        numbers = np.array([known[m] for m in molecule_ids.tolist()], dtype=np.int64)
        return numbers[inverse.ravel()]
    scaffolds: list[str] = []
    for start in range(0, len(first), _STEP):
        texts = source.read_texts(rows[first[start : start + _STEP]]).smiles
        scaffolds += map(_scaffold, molecule_ids[start : start + _STEP].tolist(), texts)
    return _rank_texts(scaffolds)[inverse.ravel()]


def _scaffold(molecule_id: int, smiles: str | None) -> str:
    if smiles is None:
        message = (
            f"Molecule {molecule_id} has no SMILES, so no scaffold. Hamiltonian files have none: "
            "draw the proxy from the energy file of the same test set."
        )
        raise MissingFieldError(message)
    return scaffold_of(smiles)


def _rank_texts(texts: Sequence[str]) -> IntArray:
    numbers = {text: number for number, text in enumerate(sorted(set(texts)))}
    return np.array([numbers[text] for text in texts], dtype=np.int64)
