import sys

import pytest

pytest.importorskip("rdkit")

from nabladft.chemistry.scaffolds import canonical_smiles, inchikey_of, scaffold_of
from nabladft.errors import InputError, MissingExtraError

FUNCTIONS = [canonical_smiles, inchikey_of, scaffold_of]


@pytest.mark.parametrize(
    ("smiles", "scaffold"),
    [
        ("CCO", ""),
        ("BrC(Cl)=C", ""),
        ("Cc1ccccc1", "c1ccccc1"),
        ("OC(=O)c1ccccc1OC(C)=O", "c1ccccc1"),  # aspirin
        ("c1ccccc1CCN1CCOCC1", "c1ccc(CCN2CCOCC2)cc1"),  # two rings and their linker
        ("CC1CCCCC1=O", "O=C1CCCCC1"),  # the double bond of a ring carbon stays
        ("CCOC(=O)C1CN(Cc2ccccc2)C(=O)C1=O", "O=C1CCN(Cc2ccccc2)C1=O"),  # published row 1
    ],
)
def test_scaffolds_of_known_molecules(smiles, scaffold):
    assert scaffold_of(smiles) == (canonical_smiles(scaffold) if scaffold else "")


def test_stereoisomers_have_one_scaffold():
    assert scaffold_of("C[C@H]1CCCC[C@@H]1O") == scaffold_of("C[C@@H]1CCCC[C@@H]1O")
    assert scaffold_of("c1ccccc1/C=C/c1ccccc1") == scaffold_of(r"c1ccccc1/C=C\c1ccccc1")


def test_the_scaffold_of_a_scaffold_is_itself():
    scaffold = scaffold_of("CCOC(=O)C1CN(Cc2ccccc2)C(=O)C1=O")

    assert scaffold_of(scaffold) == scaffold


def test_two_spellings_are_one_molecule():
    assert canonical_smiles("OCC") == canonical_smiles("C(C)O") == "CCO"
    assert inchikey_of("OCC") == inchikey_of("CCO") == "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"


def test_inchikeys_of_known_molecules():
    assert inchikey_of("CC(=O)Oc1ccccc1C(=O)O") == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"  # aspirin
    assert inchikey_of("C[C@H](N)C(=O)O") != inchikey_of("C[C@@H](N)C(=O)O")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("smiles", ["", "C1CC", "not a molecule", "C(C)(C)(C)(C)C"])
def test_a_bad_smiles_is_refused_quietly(function, smiles, capfd):
    with pytest.raises(InputError, match="is not a SMILES of a molecule"):
        function(smiles)

    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_rdkit_the_extra_is_named(function, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)

    with pytest.raises(MissingExtraError, match=r"needs rdkit.*nabladft\[chem\]"):
        function("CCO")
