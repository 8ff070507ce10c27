"""Drug-like molecules of known size, the same on every machine with the same RDKit.

Geometries are embedded (ETKDG, seed 1) and neither relaxed nor labelled: what is timed on them does
not depend on how good they are, only on elements, numbers of atoms and distances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem

from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import Molecule

if TYPE_CHECKING:
    import torch

    from nabladft.data.batch import Batch

#: By number of atoms, hydrogens included.
SMILES: Final = {
    10: ("NCC(=O)O", "CS(C)=O", "c1cc[nH]c1", "CC(C)=O"),
    20: (
        "CC(=O)Nc1ccc(O)cc1",
        "Cc1ccc(S(N)(=O)=O)cc1F",
        "CC(N)Cc1ccc(Cl)s1",
        "Brc1ccc(CNCC)o1",
    ),
    40: (
        "CC(C)NCC(O)COc1cccc2ccccc12",
        "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
        "CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21",
        "CN1CCC23c4c5ccc(O)c4OC2C(O)C=CC3C1C5",
        "CNCCC(Oc1ccc(C(F)(F)F)cc1)c1ccccc1",
        "CCN(CC)S(=O)(=O)c1ccc(NC(=O)C2CC2)cc1",
    ),
    60: (
        "COc1cc2c(cc1OC)CC(CC1CCN(CCc3ccccc3)CC1)C2=O",
        "CC(C)C(=O)N(c1ccccc1)C1(COC)CCN(CCc2cccs2)CC1",
    ),
}
#: 16 molecules of 38 to 42 atoms, 40 on average.
SIXTEEN: Final = (
    *SMILES[40],
    "CN(C)CCC(c1ccc(Br)cc1)c1ccccn1",
    "COc1ccc(Br)cc1C(=O)NC1CCN(C)CC1",
    "Clc1ccc2c(c1)C(N1CCNCC1)=Nc1ccccc1N2",
    "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "CC(C)NCC(O)COc1ccc(CC(N)=O)cc1",
    "CCn1cc(C(=O)O)c(=O)c2cc(F)c(N3CCNCC3)cc21",
    "CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O",
    "CCOc1ccc(C(=O)NCC(=O)N2CCSCC2)cc1Cl",
    "Cc1sc2c(c1)C(N1CCN(C)CC1)=Nc1ccccc1N2",
    "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1",
)


def embedded(smiles: str) -> Molecule:
    """Embed a molecule, hydrogens added."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if AllChem.EmbedMolecule(mol, randomSeed=1) != 0:
        message = f"RDKit finds no geometry of {smiles}."
        raise RuntimeError(message)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return Molecule(numbers, mol.GetConformer().GetPositions() / BOHR_IN_ANGSTROM)


def batch_of_size(
    n_atoms: int, batch_size: int, basis_set: str = "def2-svp", *, dtype: torch.dtype
) -> Batch:
    """Put molecules of one size into a batch with blocks; they repeat where there are too few.

    Raises:
        KeyError: There are no molecules of that size in :data:`SMILES`.
    """
    known = SMILES[n_atoms]
    molecules = [embedded(known[k % len(known)]) for k in range(batch_size)]
    return batch_with_blocks(molecules, basis_set, "ascending", dtype=dtype)
