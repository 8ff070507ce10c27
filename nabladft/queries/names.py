"""What a query can ask about: every name with its kind and its meaning.

Example:
    >>> NAMES["n_atoms"].kind, element_of("n_Br")
    ('integer', 35)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nabladft.chemistry.elements import SYMBOLS

Kind = Literal["integer", "energy", "text", "set"]


@dataclass(frozen=True)
class Name:
    """One thing to ask about.

    Attributes:
        kind: "integer"; "energy" (a number with a unit of energy); "text"; "set" (only =, !=, in).
        meaning: In a few words.
    """

    kind: Kind
    meaning: str


#: Everything that can be compared.
NAMES: Final[dict[str, Name]] = {
    "molecule_id": Name("integer", "identifier of the molecule"),
    "conformation_id": Name("integer", "identifier of the geometry within its molecule"),
    "row": Name("integer", "position in the data"),
    "n_atoms": Name("integer", "number of atoms"),
    "n_heavy_atoms": Name("integer", "number of atoms but hydrogen"),
    "n_orbitals": Name("integer", "number of orbitals in the basis set of the data, else def2-SVP"),
    "n_conformations": Name("integer", "number of conformations of the molecule"),
    "energy": Name("energy", "total energy"),
    "formation_energy": Name("energy", "total energy minus isolated atoms"),
    "relative_energy": Name("energy", "energy above the molecule's lowest conformation"),
    "formula": Name("text", "formula; any order of the elements"),
    "scaffold": Name("text", "Bemis-Murcko scaffold as SMILES; '' for molecules without rings"),
    "smiles": Name("text", "SMILES; = and != compare molecules (InChIKeys), like compares texts"),
    "inchikey": Name("text", "InChIKey; like 'XLYOFNOQVPJJNP%' finds a connectivity"),
    "geometry_origin": Name("text", "how the geometry was made"),
    "split": Name("set", "part of a split file, or tag"),
    "tag": Name("set", "tag in the index"),
}

#: Conditions that are no comparisons.
PHRASES: Final = ("elements contain", "elements only", "smarts", "substructure")

_NUMBER_OF: Final = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def element_of(name: str) -> int | None:
    """Give the atomic number in a name as ``n_Br``; None for any other name."""
    return _NUMBER_OF.get(name.removeprefix("n_")) if name.startswith("n_") else None


def known_names() -> list[str]:
    """List what can be written at the start of a condition."""
    return [*NAMES, "elements", "smarts", "substructure", "n_C", "n_Br"]
