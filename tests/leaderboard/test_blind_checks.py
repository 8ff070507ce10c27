"""What a submitter is told before anything is sent; see also server/test_commands.py."""

import dataclasses

import numpy as np
import pytest

from nabladft.errors import InputError, PredictionsError
from nabladft.leaderboard.blind_checks import check_blind, choose_task
from nabladft.leaderboard.entry import EXAMPLE, parse_entry
from tests.scoring_data import info_for, write_predictions

ENTRY = parse_entry(EXAMPLE, where="test")


@pytest.fixture
def made(source, split, tmp_path):
    """Predictions for one part of a small source."""

    def new(fields=("energy", "forces"), records=None, **changes):
        info = info_for(source, split, "test_structures")
        keys = split.part("test_structures")
        records = records or source.read(source.rows_of(keys))
        return write_predictions(
            tmp_path / "p.h5", records, dataclasses.replace(info, **changes), fields=fields
        )

    return new


@pytest.fixture
def task(source, split):
    return {
        "name": "one",
        "kind": "energy",
        "data_hash": source.data_hash,
        "split_hash": split.sha256,
        "parts": [{"name": "test_structures"}],
        "fields": ["energy", "forces"],
        "required": ["energy"],
    }


def test_the_task_of_the_same_kind_and_data_is_found(made, task):
    others = [task | {"kind": "hamiltonian"}, task | {"data_hash": "1" * 64}]

    assert choose_task([*others, task], ENTRY, [made()]) is task
    assert choose_task([*others, task], ENTRY, [made()], "one") is others[0]


def test_no_task_or_several_of_them_are_listed(made, task):
    with pytest.raises(InputError, match=r"none of the tasks .*: one \(overlap, data"):
        choose_task([task | {"kind": "overlap"}], ENTRY, [made()])
    with pytest.raises(InputError, match=r"2 of the tasks .* name the task with --task"):
        choose_task([task, task | {"name": "two"}], ENTRY, [made()])
    with pytest.raises(InputError, match=r"no task 'onw'. Did you mean 'one'"):
        choose_task([task], ENTRY, [made()], "onw")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_hash": "1" * 64}, "was made for data with hash 111111111111"),
        ({"split_hash": None, "split": None}, "was made for split with hash none"),
        ({"part": "train"}, "predicts part 'train'; the task has test_structures"),
        ({"fields": ("forces",)}, "lacks energy"),
        ({"fields": ("energy", "hamiltonian")}, "holds hamiltonian as well"),
    ],
)
def test_what_does_not_fit_is_named(changes, message, made, task):
    with pytest.raises(PredictionsError, match=message):
        check_blind([made(**changes)], task)


def test_a_good_file_passes_with_and_without_the_copy(made, task, source, split):
    path = made(details={"seed": 3})

    for options in ({}, {"source": source, "split": split}):
        (found,) = check_blind([path], task, **options)
        assert (found.part, found.seed) == ("test_structures", 3)


def test_contents_are_looked_at_with_the_copy(made, task, source, split):
    keys = split.part("test_structures")
    records = source.read(source.rows_of(keys))
    options = {"source": source, "split": split}

    with pytest.raises(PredictionsError, match=r"1 of the .* conformations .* are missing"):
        check_blind([made(records=records[1:])], task, **options)

    turned = records[0].replace(atomic_numbers=np.flip(records[0].atomic_numbers))
    with pytest.raises(PredictionsError, match="keep the order of the data"):
        check_blind([made(records=[turned, *records[1:]])], task, **options)
