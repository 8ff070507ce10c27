"""Identity of molecular graphs: canonical SMILES, InChIKey and Bemis-Murcko scaffold.

RDKit is imported at the first call; it comes with ``pip install "nabladft[chem]"``.

Example:
    >>> scaffold_of("CC(=O)Nc1ccccc1"), scaffold_of("CCO")
    ('c1ccccc1', '')
"""

from __future__ import annotations

import importlib
from typing import Any

from nabladft.errors import InputError, missing_extra


def canonical_smiles(smiles: str) -> str:
    """Write a SMILES in RDKit's canonical form, so that equal molecules have equal strings.

    Args:
        smiles: SMILES of one molecule; stereochemistry is kept.

    Raises:
        InputError: The SMILES cannot be read.
        MissingExtraError: RDKit is not installed.
    """
    return str(_chem().MolToSmiles(_molecule(smiles)))


def inchikey_of(smiles: str) -> str:
    """Give the standard InChIKey of a molecule, 27 characters.

    Args:
        smiles: SMILES of one molecule.

    Raises:
        InputError: The SMILES cannot be read, or InChI does not cover the molecule.
        MissingExtraError: RDKit is not installed.
    """
    key = str(_chem().MolToInchiKey(_molecule(smiles)))
    if not key:
        message = f"No InChIKey can be made of the SMILES {smiles!r}."
        raise InputError(message)
    return key


def scaffold_of(smiles: str) -> str:
    """Give the Bemis-Murcko scaffold: the rings and the chains that link them.

    Atoms double-bonded to the scaffold stay, as in RDKit and in the published splits.
    Stereochemistry is dropped, so that stereoisomers never have different scaffolds.

    Args:
        smiles: SMILES of one molecule.

    Returns:
        Canonical SMILES of the scaffold; an empty string for a molecule without rings.

    Raises:
        InputError: The SMILES cannot be read.
        MissingExtraError: RDKit is not installed.

    Source:
        G. W. Bemis, M. A. Murcko, J. Med. Chem. 39, 2887 (1996), as implemented in RDKit.
    """
    molecule = _molecule(smiles)
    # RDKit's functions are untyped; _molecule has said what to do when RDKit is missing.
    murcko: Any = importlib.import_module("rdkit.Chem.Scaffolds.MurckoScaffold")
    _chem().RemoveStereochemistry(molecule)
    return str(_chem().MolToSmiles(murcko.GetScaffoldForMol(molecule)))


def _chem() -> Any:  # noqa: ANN401 - an untyped module
    try:
        return importlib.import_module("rdkit.Chem")
    except ImportError as error:
        raise missing_extra("Reading SMILES", "chem", error) from error


def _molecule(smiles: str) -> Any:  # noqa: ANN401 - an untyped module
    chem = _chem()
    with importlib.import_module("rdkit.rdBase").BlockLogs():  # our message replaces RDKit's
        molecule = chem.MolFromSmiles(smiles) if smiles else None
    if molecule is None:
        message = (
            f"{smiles!r} is not a SMILES of a molecule: it cannot be parsed, or an atom has an "
            "impossible valence."
        )
        raise InputError(message)
    return molecule
