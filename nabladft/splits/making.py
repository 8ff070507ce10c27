"""Choosing the conformations of each part."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nabladft.chemistry.elements import symbol_of
from nabladft.errors import InputError, SplitError
from nabladft.splits.molecules import describe_molecules
from nabladft.splits.split import PARTS, Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from nabladft.splits.molecules import Molecule
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SplitRecipe:
    """How a split is made. The same recipe on the same data gives the same split.

    Attributes:
        seed: Seed of every random choice.
        scaffolds: Share of the molecules in ``test_scaffolds``.
        structures: Share of the molecules in ``test_structures``.
        validation: Share of the molecules in ``validation``.
        conformations: Share of the conformations of training molecules in ``test_conformations``.
    """

    seed: int = 0
    scaffolds: float = 0.12
    structures: float = 0.12
    validation: float = 0.08
    conformations: float = 0.2

    def __post_init__(self) -> None:
        """Check the shares."""
        shares = (self.scaffolds, self.structures, self.validation, self.conformations)
        if min(shares) <= 0 or sum(shares[:3]) >= 1 or self.conformations >= 1:
            message = (
                f"Every share must be positive and scaffolds + structures + validation below 1, "
                f"got {self}."
            )
            raise InputError(message)


def make_split(source: ConformationSource, recipe: SplitRecipe, *, name: str) -> Split:
    """Split data into train, validation and the three tests.

    Elements of every part occur in training. Molecules with the same InChIKey stay together.

    Args:
        source: Data with SMILES.
        recipe: Shares and seed.
        name: Name of the split.

    Raises:
        SplitError: The data are too small or too uniform for these shares.
        MissingExtraError: RDKit is not installed.
    """
    molecules = describe_molecules(source)
    for attempt in range(200):
        rng = np.random.default_rng([recipe.seed, attempt])
        parts, flaw = _draw(molecules, recipe, rng)
        if not flaw:
            return Split(
                name=name,
                dataset=source.info.name,
                data_hash=source.data_hash,
                parts=parts,
                recipe={**vars(recipe), "attempt": attempt},
            )
    message = (
        f"No split of {source.info.name!r} with {recipe} was found in 200 attempts; in the last "
        f"one, {flaw}. Use other shares or more data."
    )
    raise SplitError(message)


def _draw(
    molecules: list[Molecule], recipe: SplitRecipe, rng: np.random.Generator
) -> tuple[dict[str, IntArray], str]:
    """Draw the parts once, and say what is wrong with them, if anything."""
    groups: dict[str, list[Molecule]] = defaultdict(list)
    for molecule in molecules:
        groups[molecule.inchikey].append(molecule)
    n_total = len(groups)
    by_scaffold: dict[str, list[str]] = defaultdict(list)
    for inchikey in sorted(groups):
        by_scaffold[groups[inchikey][0].scaffold].append(inchikey)
    scaffolds = sorted(scaffold for scaffold in by_scaffold if scaffold)

    chosen: dict[str, set[str]] = {}
    quota = max(1, round(recipe.scaffolds * n_total))
    chosen["test_scaffolds"] = _whole_groups(
        [by_scaffold[scaffolds[i]] for i in rng.permutation(len(scaffolds))], quota
    )
    rest = [key for key in sorted(groups) if key not in chosen["test_scaffolds"]]
    order = [rest[i] for i in rng.permutation(len(rest))]
    n_structures = max(1, round(recipe.structures * n_total))
    n_validation = max(1, round(recipe.validation * n_total))
    chosen["test_structures"] = set(order[:n_structures])
    chosen["validation"] = set(order[n_structures : n_structures + n_validation])
    chosen["train"] = set(order[n_structures + n_validation :])

    parts: dict[str, list[tuple[int, int]]] = {part: [] for part in PARTS}
    for part, inchikeys in chosen.items():
        for inchikey in sorted(inchikeys):
            for molecule in groups[inchikey]:
                held_out = _held_out(molecule, part, recipe, rng)
                for conformation_id in molecule.conformation_ids:
                    target = "test_conformations" if conformation_id in held_out else part
                    parts[target].append((molecule.molecule_id, conformation_id))
    elements = {
        part: frozenset().union(*(m.elements for key in keys for m in groups[key]))
        for part, keys in chosen.items()
    }
    lacking = frozenset().union(*elements.values()) - elements["train"]
    flaws = [f"{part} was empty" for part in PARTS if not parts[part]]
    flaws += [f"{symbol_of(z)} did not occur in train" for z in sorted(lacking)]
    arrays = {part: np.array(keys, dtype=np.int64) for part, keys in parts.items()}
    return arrays, " and ".join(flaws)


def _whole_groups(groups: Iterable[list[str]], quota: int) -> set[str]:
    """Take whole groups in order until the quota is filled, leaving out those that overfill it."""
    taken: set[str] = set()
    for group in groups:
        if len(taken) + len(group) <= quota:
            taken.update(group)
    return taken


def _held_out(
    molecule: Molecule, part: str, recipe: SplitRecipe, rng: np.random.Generator
) -> set[int]:
    """Choose the conformations of a training molecule that go to test_conformations."""
    n = len(molecule.conformation_ids)
    if part != "train" or n < 2:
        return set()
    n_held = min(n - 1, int(np.floor(recipe.conformations * n + rng.random())))
    return set(rng.choice(molecule.conformation_ids, size=n_held, replace=False).tolist())
