"""Lists of molecules: SMILES, one per line, checked before anything expensive starts.

Example:
    >>> parse_smiles(["# a comment", "CO methanol", "", "OC=O"])[1]
    InputMolecule(molecule_id=2, smiles='O=CO', name='', place='line 4')
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import SYMBOLS
from nabladft.errors import InputError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Iterable

#: File name endings that mean a list of SMILES.
SMILES_SUFFIXES = (".smi", ".smiles", ".txt", ".csv")

#: Bad lines shown in one message; the rest is counted.
_SHOWN = 5


@dataclass(frozen=True)
class InputMolecule:
    """A molecule to label.

    Attributes:
        molecule_id: Position in the list, from 1; comments and empty lines do not count.
        smiles: Canonical SMILES.
        name: What the list calls it; may be empty.
        place: Where it stands ("line 12"), for messages.
    """

    molecule_id: int
    smiles: str
    name: str
    place: str


def read_smiles(path: Path | str) -> list[InputMolecule]:
    """Read a list of molecules.

    A ``.csv`` file has a header with a column ``smiles`` and, if wanted, ``name``. Any other file
    has one SMILES per line, followed by blank space and a name, if wanted; ``#`` starts a comment
    at the beginning of a line.

    Raises:
        InputError: The list is empty, or lines of it are not closed-shell molecules of supported
            elements, or a molecule is there twice; the message names the lines.
        MissingExtraError: RDKit is not installed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        message = f"{path} is not a text file, so not a list of SMILES."
        raise InputError(message) from None
    try:
        return parse_smiles(_csv_lines(text) if path.suffix == ".csv" else text.splitlines())
    except InputError as error:
        error.add_note(f"(in {path})")
        raise


def parse_smiles(lines: Iterable[str]) -> list[InputMolecule]:
    """Parse lines of SMILES and names; see :func:`read_smiles`.

    Raises:
        InputError: As :func:`read_smiles`.
        MissingExtraError: RDKit is not installed.
    """
    molecules: list[InputMolecule] = []
    seen: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        text, _, name = line.strip().partition(" ") if "\t" not in line else _by_tab(line)
        place = f"line {number}"
        try:
            smiles = canonical_smiles(text)
        except InputError as error:
            problems.append(f"{place}: {error}")
            continue
        if smiles in seen:
            problems.append(f"{place}: {text!r} is the molecule of {seen[smiles]} again.")
            continue
        seen[smiles] = place
        molecules.append(InputMolecule(len(molecules) + 1, smiles, name.strip(), place))
    if problems:
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        message = f"{len(problems)} lines cannot be used. {' '.join(problems[:_SHOWN])}{more}"
        raise InputError(message)
    if not molecules:
        message = "The list holds no molecule."
        raise InputError(message)
    return molecules


def canonical_smiles(smiles: str) -> str:
    """Return the canonical form of a molecule that can be labelled.

    Raises:
        InputError: It is no SMILES, has several fragments, a charge, unpaired electrons or an
            element without orbitals.
        MissingExtraError: RDKit is not installed.
    """
    chem = load_rdkit()
    mol = chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        message = f"{smiles!r} is not a SMILES that RDKit understands."
        raise InputError(message)
    if "." in smiles:
        message = f"{smiles!r} has several fragments; label one molecule at a time."
        raise InputError(message)
    with_hydrogens = chem.AddHs(mol)
    numbers = {atom.GetAtomicNum() for atom in with_hydrogens.GetAtoms()}
    unsupported = sorted(numbers - set(DEF2_SVP.shells))
    if unsupported:
        names = ", ".join(SYMBOLS[number] for number in unsupported)
        message = f"{smiles!r} has {names}, which the level of theory does not cover."
        raise InputError(message)
    charge = chem.GetFormalCharge(mol)
    if charge:
        message = f"{smiles!r} has charge {charge:+d}; labels are of neutral molecules."
        raise InputError(message)
    radicals = sum(atom.GetNumRadicalElectrons() for atom in with_hydrogens.GetAtoms())
    n_electrons = sum(atom.GetAtomicNum() for atom in with_hydrogens.GetAtoms())
    if radicals or n_electrons % 2:
        message = (
            f"{smiles!r} has unpaired electrons ({n_electrons} electrons); labels are closed-shell."
        )
        raise InputError(message)
    return str(chem.MolToSmiles(mol))


def load_rdkit() -> Any:
    """Import ``rdkit.Chem`` with its messages silenced, or say how to install it.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    try:
        from rdkit import Chem, RDLogger  # noqa: PLC0415 - optional dependency
    except ImportError as error:
        raise missing_extra("Reading SMILES", "label", error) from error
    logger: Any = RDLogger
    logger.DisableLog("rdApp.*")  # what it would say is in our own messages
    return Chem


def _by_tab(line: str) -> tuple[str, str, str]:
    return line.strip().partition("\t")


def _csv_lines(text: str) -> list[str]:
    rows = csv.DictReader(text.splitlines())
    columns = {(column or "").strip().lower(): column for column in rows.fieldnames or ()}
    if "smiles" not in columns:
        message = (
            f"No column 'smiles' in the header: {', '.join(rows.fieldnames or ()) or 'empty'}."
        )
        raise InputError(message)
    names = columns.get("name")
    # The header keeps its place, as a comment, so that line numbers stay those of the file.
    return ["#"] + [
        f"{row[columns['smiles']] or ''} {(row[names] or '') if names else ''}" for row in rows
    ]
