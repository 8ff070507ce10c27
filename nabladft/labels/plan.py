"""What is to be labelled, written down before it starts, so that a rerun continues the same work.

``plan.json`` in the folder of the store holds the settings and every geometry to the last bit. A
rerun takes the geometries from there, and is refused when it asks for something else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.conformation import Conformation
from nabladft.errors import InputError
from nabladft.storage.manifest import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PLAN_NAME: Final = "plan.json"
_FORMAT: Final = "nabladft-label-plan"
_FORMAT_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Geometries to label.

    Attributes:
        settings: Everything that decides what the store will hold, as plain JSON: the input, how
            geometries are made, the level of theory.
        provenance: Versions of programs and the like: told, not compared.
        geometries: Records without labels.
        skipped: Reason by molecule_id, of molecules for which no geometry could be made.
    """

    settings: Mapping[str, Any]
    geometries: tuple[Conformation, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    skipped: Mapping[int, str] = field(default_factory=dict)

    def in_rounds(self) -> list[Conformation]:
        """Order the geometries so that any beginning is representative.

        The first geometry of every molecule comes first, then the second of every molecule, ...
        """
        rounds: dict[int, int] = {}
        ranked = []
        for geometry in self.geometries:
            rank = rounds.get(geometry.molecule_id, 0)
            rounds[geometry.molecule_id] = rank + 1
            ranked.append((rank, geometry))
        return [geometry for _, geometry in sorted(ranked, key=lambda pair: pair[0])]

    def smallest_first(self) -> list[Conformation]:
        """Order the geometries so that a given time gives the most labels.

        The cost of a label grows steeply with the number of orbitals. Equally large ones come in
        rounds.
        """
        return sorted(
            self.in_rounds(), key=lambda geometry: DEF2_SVP.n_orbitals(geometry.atomic_numbers)
        )

    def write(self, folder: Path) -> None:
        """Write ``plan.json`` in one atomic step.

        Raises:
            OSError: The disk is full or not writable.
        """
        document = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "settings": dict(self.settings),
            "provenance": dict(self.provenance),
            "skipped": {str(number): reason for number, reason in self.skipped.items()},
            "unit_of_positions": "bohr",
            "geometries": [
                {
                    "molecule_id": geometry.molecule_id,
                    "conformation_id": geometry.conformation_id,
                    "smiles": geometry.smiles,
                    "geometry_origin": geometry.geometry_origin,
                    "atomic_numbers": geometry.atomic_numbers.tolist(),
                    "positions": geometry.positions.tolist(),
                }
                for geometry in self.geometries
            ],
        }
        write_atomically(folder / PLAN_NAME, json.dumps(document, ensure_ascii=False).encode())


def read_plan(folder: Path, *, settings: Mapping[str, Any]) -> Plan | None:
    """Read the plan of a store that was started before, if there is one.

    Args:
        folder: Folder of the store.
        settings: What is asked for now.

    Returns:
        The plan, or None when there is none yet.

    Raises:
        InputError: The store was started with other settings, or the file is damaged.
    """
    path = folder / PLAN_NAME
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if (document["format"], document["format_version"]) != (_FORMAT, _FORMAT_VERSION):
            message = f"{path} is of another format or version than {_FORMAT} {_FORMAT_VERSION}."
            raise InputError(message)
        plan = Plan(
            settings=document["settings"],
            provenance=document["provenance"],
            skipped={int(number): reason for number, reason in document["skipped"].items()},
            geometries=tuple(
                Conformation(
                    molecule_id=entry["molecule_id"],
                    conformation_id=entry["conformation_id"],
                    smiles=entry["smiles"],
                    geometry_origin=entry["geometry_origin"],
                    atomic_numbers=np.array(entry["atomic_numbers"], dtype=np.int32),
                    positions=np.array(entry["positions"], dtype=np.float64),
                )
                for entry in document["geometries"]
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        message = f"{path} is damaged ({type(error).__name__}: {error}). Choose another folder."
        raise InputError(message) from error
    _refuse_other_settings(path, written=plan.settings, asked=settings)
    return plan


def hash_of(values: Sequence[str]) -> str:
    """Return the SHA-256 of a sequence of strings, as hexadecimal digits."""
    return hashlib.sha256("\n".join(values).encode()).hexdigest()


def _refuse_other_settings(
    path: Path, *, written: Mapping[str, Any], asked: Mapping[str, Any]
) -> None:
    asked = json.loads(json.dumps(dict(asked)))
    differing = [
        f"{key} was {written.get(key)!r}, now {asked.get(key)!r}"
        for key in sorted(set(written) | set(asked))
        if written.get(key) != asked.get(key)
    ]
    if differing:
        message = (
            f"{path.parent} was started with other settings: {'; '.join(differing)}. Run with "
            "those settings to continue it, or choose another folder with --out."
        )
        raise InputError(message)
