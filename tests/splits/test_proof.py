"""The proof from a table of identities finds what leaks, and the table survives interruption."""

import apsw
import numpy as np
import pytest

import nabladft
from nabladft.errors import InputError, MissingFieldError, SplitError
from nabladft.splits import IdentityTable, check_split, identities, prove, read_split
from nabladft.splits.published import split_of_files
from tests.conftest import MemorySource, displaced


def files(**parts):
    """One source a part; a part is a list of (molecule_id, SMILES)."""
    return {
        part: MemorySource(
            [r for m, smiles in molecules for r in displaced(smiles, m, 3)], name=f"{part}.db"
        )
        for part, molecules in parts.items()
    }


def proof_of(sources, path, **options):
    split = split_of_files(sources, name="toy", dataset="toy")
    with IdentityTable(path) as table:
        for source in sources.values():
            table.add(source, **options)
        return prove(split, table)


def broken(proof):
    return {check.promise: check.violations for check in proof.checks if not check.holds}


TRAIN = [(1, "CCO"), (2, "Cc1ccccc1"), (3, "c1ccoc1")]


def test_a_sound_split_keeps_every_promise(tmp_path):
    sources = files(
        train=TRAIN, test_structures=[(4, "Fc1ccccc1"), (5, "CCN")], test_scaffolds=[(6, "C1CC1")]
    )

    proof = proof_of(sources, tmp_path / "t.sqlite")

    assert proof.holds
    assert len(proof.checks) == 6
    shared = proof.shared.set_index("parts")
    assert shared.loc["train, test_structures", "scaffolds"] == 2  # benzene, and none
    assert shared.loc["train, test_scaffolds", "scaffolds"] == 0
    assert shared.loc["train, test_structures", "molecules by id"] == 0


def test_the_same_molecule_under_another_id_and_spelling_is_found(tmp_path):
    proof = proof_of(files(train=TRAIN, test_structures=[(4, "OCC")]), tmp_path / "t.sqlite")

    assert broken(proof) == {
        "test_structures: molecules (InChIKey) not seen in training": (
            "LFQSCWFLJHTTHZ-UHFFFAOYSA-N",  # ethanol, PubChem 702
        )
    }


def test_a_shared_scaffold_and_an_acyclic_molecule_are_found(tmp_path):
    sources = files(train=TRAIN, test_scaffolds=[(4, "Clc1ccccc1"), (5, "CCF"), (6, "C1CC1")])

    proof = proof_of(sources, tmp_path / "t.sqlite")

    assert broken(proof) == {
        "test_scaffolds: scaffolds not seen in training": ("", "c1ccccc1"),
        "test_scaffolds: no molecule without a ring": ("5",),
    }


def test_an_id_that_changes_its_meaning_is_found(tmp_path):
    proof = proof_of(files(train=TRAIN, test_structures=[(3, "CCN")]), tmp_path / "t.sqlite")

    assert broken(proof)["a molecule_id means the same molecule everywhere"] == ("3",)


def test_a_stranger_in_test_conformations_is_found(tmp_path):
    sources = files(train=TRAIN, test_conformations=[(7, "CCC")])

    proof = proof_of(sources, tmp_path / "t.sqlite")

    assert broken(proof) == {"test_conformations: only molecules of train and validation": ("7",)}


def test_a_conformation_in_two_parts_is_counted(tmp_path):
    proof = proof_of(files(train=TRAIN, test_conformations=[TRAIN[0]]), tmp_path / "t.sqlite")

    assert broken(proof) == {
        "no conformation is in two parts": ("3 in train and test_conformations",)
    }


def test_both_proofs_agree_on_nano(tmp_path):
    source = nabladft.open("nano")
    split = read_split("nano")

    with IdentityTable(tmp_path / "t.sqlite") as table:
        table.add(source)
        proof = prove(split, table)

    assert proof.holds
    assert all(check.holds for check in check_split(split, source))


def test_only_twenty_cases_are_named_and_the_rest_is_counted(tmp_path):
    chains = [(k, "C" * (k // 3) + "FNO"[k % 3]) for k in range(3, 33)]
    copies = [(k + 100, smiles) for k, smiles in chains]

    proof = proof_of(files(train=chains, test_structures=copies), tmp_path / "t.sqlite")

    (cases,) = broken(proof).values()
    assert len(cases) == 21
    assert cases[-1] == "and 10 more"


def test_an_interrupted_table_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(identities, "_STEP", 4)
    sources = files(train=[(k, "C" * k) for k in range(1, 9)])
    whole = proof_of(sources, tmp_path / "whole.sqlite")
    seen = []

    def interrupt(n):
        seen.append(n)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proof_of(sources, tmp_path / "t.sqlite", progress=interrupt)
    with IdentityTable(tmp_path / "t.sqlite") as table:
        with pytest.raises(SplitError, match=r"'train.db' is not complete: 12 of 24"):
            table.require_complete()
        progress = []
        table.add(sources["train"], progress=progress.append)
        assert progress == [12, 4, 4, 4]
        table.require_complete()
        found = table.inchikeys()

    assert len(found) == 8
    assert whole.holds


def test_processes_give_the_same_as_one(tmp_path):
    sources = files(train=TRAIN)
    with IdentityTable(tmp_path / "a") as one, IdentityTable(tmp_path / "b") as two:
        one.add(sources["train"])
        two.add(sources["train"], workers=2)

        assert one.inchikeys() == two.inchikeys()
        assert len(one.scaffolds()) == 3


def test_refusals_of_the_table(tmp_path):
    sources = files(train=TRAIN)
    with IdentityTable(tmp_path / "t.sqlite") as table:
        table.add(sources["train"])
        with pytest.raises(SplitError, match=r"begun with another 'train.db': 9 rows, not 6"):
            table.add(files(train=TRAIN[:2])["train"])
        bare = MemorySource([sources["train"][0].replace(smiles=None)], name="hamiltonians.db")
        with pytest.raises(MissingFieldError, match="give the energy file"):
            table.add(bare)
        wrong = MemorySource([sources["train"][0].replace(smiles="C(")], name="odd.db")
        with pytest.raises(InputError, match=r"Molecule 1: 'C\('"):
            table.add(wrong)
    (tmp_path / "text").write_text("no table " * 1000)
    with pytest.raises(SplitError, match="cannot be used as a table of identities"):
        IdentityTable(tmp_path / "text")


def test_a_molecule_without_identity_is_refused(tmp_path):
    sources = files(train=TRAIN, test_structures=[(4, "CCN")])
    split = split_of_files(sources, name="toy", dataset="toy")
    with IdentityTable(tmp_path / "t.sqlite") as table:
        table.add(sources["train"])

        with pytest.raises(SplitError, match=r"1 molecules of split 'toy'.*molecule_id 4 of test"):
            prove(split, table)


def test_the_table_is_plain_sqlite(tmp_path):
    proof_of(files(train=TRAIN), tmp_path / "t.sqlite")

    rows = list(apsw.Connection(str(tmp_path / "t.sqlite")).execute("SELECT * FROM molecules"))

    assert [row[1] for row in rows] == [1, 2, 3]
    assert np.unique([len(row[2]) for row in rows]).tolist() == [27]
