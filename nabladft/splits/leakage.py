"""The proof that a split keeps what it promises, from the SMILES and geometries up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.elements import symbol_of
from nabladft.errors import LeakageError
from nabladft.splits.molecules import describe_molecules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from nabladft.splits.molecules import Molecule
    from nabladft.splits.split import Split
    from nabladft.storage.source import ConformationSource

#: Geometries closer than this in every sorted interatomic distance count as the same, bohr.
_SAME_GEOMETRY: Final = 1e-3


@dataclass(frozen=True)
class Check:
    """One promise of a split and whether it holds.

    Attributes:
        promise: What is promised.
        violations: The first cases that break it; empty when it holds.
        n_checked: How many things were looked at.
    """

    promise: str
    violations: tuple[str, ...]
    n_checked: int

    @property
    def holds(self) -> bool:
        """Whether nothing breaks the promise."""
        return not self.violations


def check_split(split: Split, source: ConformationSource) -> list[Check]:
    """Check every promise of a split against the data, from the SMILES and geometries up.

    Returns:
        One entry per promise, those that are broken included.

    Raises:
        SplitError: The split does not belong to the data.
    """
    split.check_belongs_to(source)
    molecules = {m.molecule_id: m for m in describe_molecules(source)}
    present = {(int(m), int(c)) for m, c in source.keys}
    ids = {part: [(int(m), int(c)) for m, c in keys] for part, keys in split.parts.items()}
    checks = [
        _check(
            "every id is in the data",
            (k for p in ids.values() for k in p if k not in present),
            len(present),
        ),
        _check("no conformation is in two parts", _in_two_parts(ids), sum(map(len, ids.values()))),
    ]
    inchikeys = {
        part: {molecules[m].inchikey for m, _ in keys if m in molecules}
        for part, keys in ids.items()
    }
    for part in ("validation", "test_structures", "test_scaffolds"):
        others = set().union(*(inchikeys[p] for p in inchikeys if p != part))
        shared = sorted(inchikeys.get(part, set()) & others)
        checks.append(
            _check(f"{part}: molecules (InChIKey) in no other part", shared, len(inchikeys[part]))
        )
    train_molecules = {m for m, _ in ids["train"]}
    strangers = sorted({m for m, _ in ids["test_conformations"]} - train_molecules)
    checks.append(
        _check(
            "test_conformations: only molecules of train", strangers, len(ids["test_conformations"])
        )
    )
    checks.append(_check_scaffolds(ids, molecules))
    checks.append(_check_elements(ids, molecules))
    checks.append(_check_geometries(split, source))
    return checks


def require_sound(split: Split, source: ConformationSource) -> None:
    """Refuse a split that breaks any of its promises.

    Raises:
        LeakageError: A promise is broken; the message names the promise and the first cases.
    """
    broken = [check for check in check_split(split, source) if not check.holds]
    if broken:
        cases = "; ".join(f"{c.promise}: broken by {', '.join(c.violations[:3])}" for c in broken)
        message = f"Split {split.name!r} leaks. {cases}."
        raise LeakageError(message)


def _check(promise: str, violations: Iterable[object], n_checked: int) -> Check:
    return Check(promise, tuple(str(violation) for violation in violations), n_checked)


def _in_two_parts(ids: Mapping[str, list[tuple[int, int]]]) -> list[str]:
    places: dict[tuple[int, int], list[str]] = defaultdict(list)
    for part, keys in ids.items():
        for key in keys:
            places[key].append(part)
    return [f"{key} in {' and '.join(parts)}" for key, parts in places.items() if len(parts) > 1]


def _check_scaffolds(
    ids: Mapping[str, list[tuple[int, int]]], molecules: Mapping[int, Molecule]
) -> Check:
    inside = {molecules[m].scaffold for m, _ in ids["test_scaffolds"] if m in molecules}
    outside = {
        molecules[m].scaffold
        for part, keys in ids.items()
        if part != "test_scaffolds"
        for m, _ in keys
        if m in molecules
    }
    broken = sorted(inside & outside) + (["an acyclic molecule"] if "" in inside else [])
    return _check("test_scaffolds: scaffolds in no other part, none acyclic", broken, len(inside))


def _check_elements(
    ids: Mapping[str, list[tuple[int, int]]], molecules: Mapping[int, Molecule]
) -> Check:
    def elements(part: str) -> set[int]:
        return {z for m, _ in ids[part] if m in molecules for z in molecules[m].elements}

    trained = elements("train")
    absent = [
        f"{symbol_of(z)} in {part}"
        for part in ids
        if part != "train"
        for z in sorted(elements(part) - trained)
    ]
    return _check("every element of every part occurs in train", absent, len(trained))


def _check_geometries(split: Split, source: ConformationSource) -> Check:
    """Compare each held-out conformation with the training ones of its molecule."""
    seen: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    train_rows = source.rows_of(split.part("train"))
    for record in source.read(train_rows, fields=()):
        seen[record.molecule_id].append(_sorted_distances(record.positions))
    same = []
    test = split.part("test_conformations")
    for record in source.read(source.rows_of(test), fields=()):
        distances = _sorted_distances(record.positions)
        for other in seen[record.molecule_id]:
            if np.abs(other - distances).max(initial=0.0) < _SAME_GEOMETRY:
                same.append(record.key)
                break
    return _check("test_conformations: no geometry of train again", same, len(test))


def _sorted_distances(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = np.triu_indices(len(positions), k=1)
    return np.sort(np.linalg.norm(positions[rows] - positions[columns], axis=1))
