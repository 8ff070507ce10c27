"""Parts of parts: a validation part by molecule, and nested training subsets.

The published protocol validates on random rows of the training file, so that the same molecule is
on both sides and the validation error says how well conformations are interpolated, not how well
new molecules are predicted. Here whole molecules move, and so do all ids of one molecule
(InChIKey) together when they are given.

Example:
    >>> import numpy as np
    >>> from nabladft.splits import Split
    >>> ids = np.array([(molecule, k) for molecule in range(20) for k in range(3)])
    >>> split = Split(name="toy", dataset="toy", data_hash=None, parts={"train": ids})
    >>> with_validation(split, share=0.1, seed=0).counts()["validation"]
    {'molecules': 2, 'conformations': 6}
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from nabladft.errors import SplitError
from nabladft.splits.leakage import Check
from nabladft.splits.split import pack_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nabladft.splits.split import Split

    IntArray = NDArray[np.int64]


def with_validation(
    split: Split, *, share: float, seed: int = 0, inchikeys: Mapping[int, str] | None = None
) -> Split:
    """Move whole molecules from the training part to a validation part.

    The test parts stay as they are, so results remain comparable with published ones. Other
    conformations of a validation molecule may therefore be in ``test_conformations``.

    Args:
        split: Without a validation part, or with an empty one.
        share: Share of the training molecules to move, between 0 and 1.
        seed: Seed of the choice.
        inchikeys: InChIKey by molecule_id; ids with the same one stay together.

    Raises:
        SplitError: There is a validation part already, or training has too few molecules.
    """
    if len(split.parts.get("validation", ())):
        message = f"Split {split.name!r} has a validation part already."
        raise SplitError(message)
    train = split.part("train")
    groups = _groups(np.unique(train[:, 0]), inchikeys)
    n_moved = round(share * len(groups))
    if not 0 < n_moved < len(groups):
        message = (
            f"A share of {share:g} of {len(groups)} training molecules leaves {n_moved} for "
            f"validation and {len(groups) - n_moved} for training; both must be positive."
        )
        raise SplitError(message)
    order = np.random.default_rng(seed).permutation(len(groups))
    moved = np.array([m for k in order[:n_moved].tolist() for m in groups[k]], dtype=np.int64)
    is_moved = np.isin(train[:, 0], moved)
    return dataclasses.replace(
        split,
        parts={**split.parts, "train": train[~is_moved], "validation": train[is_moved]},
        recipe={**split.recipe, "validation": {"share": share, "seed": seed, "of": "molecules"}},
    )


def nested_subsets(
    split: Split,
    sizes: Sequence[int],
    *,
    seed: int = 0,
    inchikeys: Mapping[int, str] | None = None,
) -> list[Split]:
    """Cut the training part down to subsets, each inside the next, for learning curves.

    ``test_conformations`` keeps the molecules of the subset only, as in the published data; all
    other parts stay whole.

    Args:
        split: The split to cut down.
        sizes: Numbers of training molecules wanted.
        seed: Seed of the choice; a larger size with the same seed contains every smaller one.
        inchikeys: InChIKey by molecule_id; ids with the same one stay together.

    Returns:
        One split a size, by ascending size, named ``<name>-<size>``.

    Raises:
        SplitError: A size is not between 1 and the number of training molecules.
    """
    train = split.part("train")
    groups = _groups(np.unique(train[:, 0]), inchikeys)
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    found = []
    for size in sorted(set(sizes)):
        if not 1 <= size <= len(groups):
            message = (
                f"No subset of {size} molecules: the training part of split {split.name!r} has "
                f"{len(groups)}."
            )
            raise SplitError(message)
        kept = np.array([m for k in order[:size] for m in groups[k]], dtype=np.int64)
        smaller = {"train": train[np.isin(train[:, 0], kept)]}
        if "test_conformations" in split.parts:
            held_out = split.part("test_conformations")
            smaller["test_conformations"] = held_out[np.isin(held_out[:, 0], kept)]
        found.append(
            dataclasses.replace(
                split,
                name=f"{split.name}-{size}",
                parts={**split.parts, **smaller},
                recipe={**split.recipe, "subset": {"molecules": size, "seed": seed}},
            )
        )
    return found


def check_nested(splits: Sequence[Split]) -> list[Check]:
    """Check that the training ids of each split are in those of the next.

    Args:
        splits: By ascending size.
    """
    checks = []
    for smaller, larger in pairwise(splits):
        few, many = pack_keys(smaller.part("train"), larger.part("train"))
        strangers = smaller.part("train")[~np.isin(few, many)]
        checks.append(
            Check(
                f"train of {smaller.name} is inside train of {larger.name}",
                tuple(f"{m}/{c}" for m, c in strangers.tolist()),
                len(few),
            )
        )
    return checks


def _groups(molecule_ids: IntArray, inchikeys: Mapping[int, str] | None) -> list[list[int]]:
    """Group ids of the same molecule, in a sequence that does not depend on anything else."""
    if inchikeys is None:
        return [[m] for m in molecule_ids.tolist()]
    groups: dict[str, list[int]] = defaultdict(list)
    for molecule_id in molecule_ids.tolist():
        groups[inchikeys.get(molecule_id, f"id {molecule_id}")].append(molecule_id)
    return sorted(groups.values())
