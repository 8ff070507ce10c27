"""What a split needs to know of each molecule."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nabladft.chemistry.scaffolds import inchikey_of, scaffold_of

if TYPE_CHECKING:
    from nabladft.storage.source import ConformationSource


@dataclass(frozen=True)
class Molecule:
    """One molecule of a source.

    Attributes:
        molecule_id: Its id in the source.
        inchikey: What decides whether two molecules are the same.
        scaffold: Bemis-Murcko scaffold; empty for acyclic molecules.
        elements: Atomic numbers that occur in it.
        conformation_ids: Ids of its conformations, ascending.
    """

    molecule_id: int
    inchikey: str
    scaffold: str
    elements: frozenset[int]
    conformation_ids: tuple[int, ...]


def describe_molecules(source: ConformationSource) -> list[Molecule]:
    """Describe every molecule of a source, by ascending molecule_id.

    Raises:
        MissingFieldError: A molecule comes without SMILES.
        MissingExtraError: RDKit is not installed.
    """
    smiles = source.smiles()
    first_row: dict[int, int] = {}
    conformations: dict[int, list[int]] = defaultdict(list)
    for row, (molecule_id, conformation_id) in enumerate(source.keys.tolist()):
        first_row.setdefault(molecule_id, row)
        conformations[molecule_id].append(conformation_id)
    records = source.read(list(first_row.values()), fields=())
    return [
        Molecule(
            molecule_id=record.molecule_id,
            inchikey=inchikey_of(smiles[record.molecule_id]),
            scaffold=scaffold_of(smiles[record.molecule_id]),
            elements=frozenset(record.atomic_numbers.tolist()),
            conformation_ids=tuple(sorted(conformations[record.molecule_id])),
        )
        for record in sorted(records, key=lambda record: record.molecule_id)
    ]
