"""Validation by molecule, nested subsets, and the ids of published files."""

import numpy as np
import pytest

from nabladft.errors import InputError, SplitError, UnknownNameError
from nabladft.splits import (
    Split,
    check_nested,
    nested_subsets,
    split_of_files,
    split_of_tags,
    with_validation,
)
from tests.conftest import MemorySource, displaced


@pytest.fixture
def split(rng):
    keys = np.array([(m, c) for m in range(40) for c in range(int(rng.integers(2, 6)))])
    held_out = np.zeros(len(keys), dtype=bool)
    held_out[rng.choice(len(keys), size=20, replace=False)] = True
    held_out[np.unique(keys[:, 0], return_index=True)[1]] = False
    return Split(
        name="toy",
        dataset="toy",
        data_hash=None,
        parts={"train": keys[~held_out], "test_conformations": keys[held_out]},
    )


def molecules(split, part):
    return set(split.part(part)[:, 0].tolist())


@pytest.mark.parametrize("seed", range(3))
def test_validation_takes_whole_molecules_and_nothing_is_lost(split, seed):
    cut = with_validation(split, share=0.1, seed=seed)

    assert len(molecules(cut, "validation")) == 4
    assert not molecules(cut, "validation") & molecules(cut, "train")
    together = np.concatenate([cut.part("train"), cut.part("validation")])
    assert sorted(together.tolist()) == split.part("train").tolist()
    np.testing.assert_array_equal(cut.part("test_conformations"), split.part("test_conformations"))


def test_ids_of_one_molecule_stay_together(split):
    twins = {m: f"KEY{m // 2}" for m in range(40)}

    cut = with_validation(split, share=0.2, seed=1, inchikeys=twins)

    moved = molecules(cut, "validation")
    assert len(moved) == 8
    assert {m ^ 1 for m in moved} == moved


def test_a_second_validation_part_is_refused(split):
    cut = with_validation(split, share=0.1)

    with pytest.raises(SplitError, match="has a validation part already"):
        with_validation(cut, share=0.1)


@pytest.mark.parametrize("share", [0.0, 0.001, 1.0])
def test_a_share_that_leaves_nothing_is_refused(split, share):
    with pytest.raises(SplitError, match="both must be positive"):
        with_validation(split, share=share)


def test_subsets_are_nested_and_have_the_size_asked_for(split):
    subsets = nested_subsets(split, [20, 5, 10], seed=3)

    assert [subset.name for subset in subsets] == ["toy-5", "toy-10", "toy-20"]
    assert [len(molecules(subset, "train")) for subset in subsets] == [5, 10, 20]
    assert all(check.holds for check in check_nested([*subsets, split]))
    for subset in subsets:
        assert molecules(subset, "test_conformations") <= molecules(subset, "train")


def test_the_whole_size_gives_the_same_ids(split):
    (whole,) = nested_subsets(split, [40])

    assert whole.sha256 == split.sha256


def test_other_seeds_are_not_nested_and_the_check_says_so(split):
    small = nested_subsets(split, [5], seed=1)[0]
    large = nested_subsets(split, [10], seed=2)[0]

    (check,) = check_nested([small, large])

    assert not check.holds
    assert check.promise == "train of toy-5 is inside train of toy-10"


@pytest.mark.parametrize("size", [0, 41])
def test_a_size_that_does_not_fit_is_refused(split, size):
    with pytest.raises(SplitError, match=rf"No subset of {size} molecules.*has 40"):
        nested_subsets(split, [size])


def test_the_ids_of_files_become_parts():
    train = MemorySource([*displaced("CCO", 1, 3), *displaced("CC", 2, 2)], name="train_2k")
    tests = MemorySource(displaced("C1CC1", 3, 4), name="structures")

    split = split_of_files({"test_structures": tests, "train": train}, name="tiny", dataset="nabla")

    assert split.data_hash is None
    assert split.counts()["train"] == {"molecules": 2, "conformations": 5}
    assert split.part("test_structures").tolist() == [[3, 0], [3, 1], [3, 2], [3, 3]]
    assert split.recipe["from"]["train"] == "train_2k"


def test_unknown_parts_and_a_missing_train_are_refused():
    source = MemorySource(displaced("CCO", 1, 3))

    with pytest.raises(UnknownNameError, match="test_structures"):
        split_of_files({"train": source, "test_structure": source}, name="x", dataset="y")
    with pytest.raises(InputError, match="needs a part 'train'"):
        split_of_files({"validation": source}, name="x", dataset="y")


def test_a_file_with_an_id_twice_is_refused():
    record = displaced("CCO", 1, 1)

    with pytest.raises(SplitError, match="lists 1 ids of train twice"):
        split_of_files({"train": MemorySource([*record, *record])}, name="x", dataset="y")


SUMMARY = """,MOSES id,CONFORMER id,SPLITS
0,1,0,"['train_full', 'train_100k']"
1,1,1,['train_full']
2,2,0,['test_structures']
3,3,0,['train_full']
"""


def test_a_conformation_with_several_tags_belongs_to_each(tmp_path):
    (tmp_path / "summary.csv").write_text(SUMMARY)

    split = split_of_tags(
        tmp_path / "summary.csv",
        {"test_structures": "test_structures", "train": "train_full"},
        name="full",
        dataset="nabla",
    )
    large = split_of_tags(
        tmp_path / "summary.csv", {"train": "train_100k"}, name="large", dataset="nabla"
    )

    assert split.part("train").tolist() == [[1, 0], [1, 1], [3, 0]]
    assert split.part("test_structures").tolist() == [[2, 0]]
    assert all(check.holds for check in check_nested([large, split]))


def test_an_unknown_tag_names_those_there_are(tmp_path):
    (tmp_path / "summary.csv").write_text(SUMMARY)

    with pytest.raises(InputError, match=r"train_2k.*train_100k \(1\), train_full \(3\)"):
        split_of_tags(tmp_path / "summary.csv", {"train": "train_2k"}, name="x", dataset="y")
