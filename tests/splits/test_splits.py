"""Splits keep their promises, and the check notices when one does not."""

import dataclasses
import json

import numpy as np
import pytest

from nabladft.errors import InputError, LeakageError, SplitError, UnknownNameError
from nabladft.splits import (
    PARTS,
    Split,
    SplitRecipe,
    check_split,
    make_split,
    read_split,
    require_sound,
    write_split,
)
from tests.conftest import MemorySource, displaced

SMILES = [
    *("CCO", "CCN", "CCCl", "CC(=O)N", "CC(=O)O", "CCF", "CC=O", "CSC", "CCBr", "CC#N", "NCCO"),
    *("c1ccccc1", "Cc1ccccc1", "Fc1ccccc1", "c1ccoc1", "Cc1ccoc1", "c1ccsc1", "c1cc[nH]c1"),
    *("C1CC1", "CC1CC1", "C1CCOC1", "c1ccncc1", "Clc1ccncc1", "c1cnoc1", "C1COC1", "FC1CC1"),
    *("CCS", "CSCC", "FCC(F)F", "ClCCCl", "BrCCBr", "CS(C)(=O)=O"),
]


@pytest.fixture(scope="module")
def source():
    return MemorySource(
        [record for k, smiles in enumerate(SMILES) for record in displaced(smiles, k + 1, 5)]
    )


@pytest.fixture(scope="module")
def split(source):
    return make_split(source, SplitRecipe(seed=3), name="toy")


def moved(split, *, from_part, to_part, keys, copy=False):
    """The same split with some ids in another part (or in both)."""
    keys = {tuple(key) for key in keys}
    parts = {part: [tuple(key) for key in ids.tolist()] for part, ids in split.parts.items()}
    if not copy:
        parts[from_part] = [key for key in parts[from_part] if key not in keys]
    parts[to_part] = [*parts[to_part], *keys]
    return dataclasses.replace(split, parts={part: np.array(ids) for part, ids in parts.items()})


def broken_promises(split, source):
    return [check.promise for check in check_split(split, source) if not check.holds]


def test_parts_hold_every_conformation_exactly_once(source, split):
    together = np.concatenate([split.parts[part] for part in PARTS])

    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, source.keys.tolist()))


def test_a_made_split_keeps_every_promise(source, split):
    assert broken_promises(split, source) == []
    require_sound(split, source)


@pytest.mark.parametrize("seed", range(5))
def test_promises_hold_for_any_seed(source, seed):
    assert broken_promises(make_split(source, SplitRecipe(seed=seed), name="s"), source) == []


def test_the_same_seed_gives_the_same_split_and_another_seed_another(source, split):
    again = make_split(source, SplitRecipe(seed=3), name="again")
    other = make_split(source, SplitRecipe(seed=4), name="other")

    assert again.sha256 == split.sha256
    assert other.sha256 != split.sha256


def test_the_order_of_the_records_does_not_matter(source, split):
    shuffled = MemorySource(
        [source[int(i)] for i in np.random.default_rng(1).permutation(len(source))]
    )

    again = make_split(shuffled, SplitRecipe(seed=3), name="again")

    assert again.sha256 == split.sha256


def test_file_round_trip(split, tmp_path):
    write_split(split, tmp_path / "toy.json")

    again = read_split(tmp_path / "toy.json")

    assert again.sha256 == split.sha256
    assert again.counts() == split.counts()
    assert list(tmp_path.iterdir()) == [tmp_path / "toy.json"]


def test_a_molecule_in_train_and_structures_is_noticed(source, split):
    leaky = moved(
        split, from_part="test_structures", to_part="train", keys=split.part("test_structures")[:1]
    )

    assert "test_structures: molecules (InChIKey) in no other part" in broken_promises(
        leaky, source
    )
    with pytest.raises(LeakageError, match=r"test_structures.*InChIKey"):
        require_sound(leaky, source)


def test_the_same_molecule_under_another_id_is_noticed():
    records = [*displaced("OCC", 1, 3), *displaced("CCO", 2, 3, seed=5), *displaced("C1CC1", 3, 3)]
    source = MemorySource([*records, *displaced("CCC", 4, 2), *displaced("CCCC", 5, 2)])
    keys = {m: source.keys[source.keys[:, 0] == m] for m in range(1, 6)}
    split = Split(
        name="twins",
        dataset="memory",
        data_hash=source.data_hash,
        parts={
            "train": np.concatenate([keys[1][:2], keys[5]]),
            "validation": keys[4],
            "test_conformations": keys[1][2:],
            "test_structures": keys[2],
            "test_scaffolds": keys[3],
        },
    )

    assert "test_structures: molecules (InChIKey) in no other part" in broken_promises(
        split, source
    )


def test_a_shared_scaffold_is_noticed(source, split):
    toluene = [key for key in source.keys.tolist() if SMILES[key[0] - 1] == "Cc1ccccc1"]
    benzene = [key for key in source.keys.tolist() if SMILES[key[0] - 1] == "c1ccccc1"]
    parts = {
        part: [key for key in ids.tolist() if key not in toluene + benzene]
        for part, ids in split.parts.items()
    }
    parts["train"] += toluene
    parts["test_scaffolds"] += benzene
    leaky = dataclasses.replace(split, parts={p: np.array(ids) for p, ids in parts.items()})

    assert any(
        "scaffolds in no other part" in promise for promise in broken_promises(leaky, source)
    )


def test_a_conformation_in_two_parts_is_noticed(source, split):
    leaky = moved(
        split, from_part="train", to_part="validation", keys=split.part("train")[:1], copy=True
    )

    assert "no conformation is in two parts" in broken_promises(leaky, source)


def test_a_geometry_twice_under_two_ids_is_noticed(source):
    split = make_split(source, SplitRecipe(seed=3), name="toy")
    target = tuple(split.part("test_conformations")[0].tolist())
    twin = next(key for key in split.part("train").tolist() if key[0] == target[0])
    positions = source.read(source.rows_of([twin]))[0].positions
    records = [
        record.replace(positions=positions[::1] + 1.0) if record.key == target else record
        for record in source
    ]
    changed = MemorySource(records)
    leaky = dataclasses.replace(split, data_hash=changed.data_hash)

    assert "test_conformations: no geometry of train again" in broken_promises(leaky, changed)


def test_other_data_are_refused(split):
    other = MemorySource(displaced("CCO", 1, 5, seed=9))

    with pytest.raises(SplitError, match=r"was made for data 'memory' with hash"):
        check_split(split, other)


def test_an_edited_file_is_refused(split, tmp_path):
    path = tmp_path / "toy.json"
    write_split(split, path)
    content = json.loads(path.read_text())
    first = next(iter(content["parts"]["train"]))
    content["parts"]["validation"][first] = content["parts"]["train"].pop(first)
    path.write_text(json.dumps(content))

    with pytest.raises(SplitError, match="It was edited"):
        read_split(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "nabladft-split"}', "not json"])
def test_a_file_of_another_kind_is_refused(text, tmp_path):
    (tmp_path / "x.json").write_text(text)

    with pytest.raises(SplitError, match="is not a split file"):
        read_split(tmp_path / "x.json")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="No split file or split 'nanoo'"):
        read_split("nanoo")


def test_an_unknown_part_is_answered_with_the_closest(split):
    with pytest.raises(UnknownNameError, match="Did you mean 'test_scaffolds'"):
        split.part("test_scafolds")


def test_shares_that_leave_no_training_data_are_refused():
    with pytest.raises(InputError, match="below 1"):
        SplitRecipe(scaffolds=0.5, structures=0.5)


def test_too_few_molecules_are_refused():
    source = MemorySource([*displaced("CCO", 1, 3), *displaced("CCC", 2, 3)])

    with pytest.raises(SplitError, match=r"train was empty|test_scaffolds was empty"):
        make_split(source, SplitRecipe(), name="tiny")


def test_an_element_that_only_a_test_could_have_is_refused():
    acyclic = [r for k in range(12) for r in displaced("C" * (k + 2), k + 1, 3)]
    source = MemorySource([*acyclic, *displaced("BrC1CC1", 20, 3)])

    with pytest.raises(SplitError, match="Br did not occur in train"):
        make_split(source, SplitRecipe(), name="bromine")
