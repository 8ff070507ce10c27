"""Predictions and an entry become a scored entry: complete, the same every time, or refused."""

import dataclasses
import json

import pytest

from nabladft.benchmark.evaluation import evaluate, file_sha256
from nabladft.errors import EntryError, InputError, PredictionsError
from nabladft.leaderboard.board import read_scored_entry
from nabladft.leaderboard.details import MOST_POINTS
from nabladft.leaderboard.entry import format_entry, parse_entry
from nabladft.leaderboard.gathering import gather
from nabladft.leaderboard.submission import score, submit, write_submission
from tests.leaderboard.conftest import TEST_PARTS


def with_seeds(entry, *seeds):
    return dataclasses.replace(entry, training=dataclasses.replace(entry.training, seeds=seeds))


@pytest.fixture
def data(source, split):
    return {"source": source, "split": split}


@pytest.fixture
def files(write):
    return [write(part) for part in TEST_PARTS]


def test_an_entry_has_the_numbers_of_evaluate(shared_files, submission, source, split):

    for file, score_, results in zip(
        shared_files, submission.entry.scores, submission.details.results, strict=True
    ):
        expected = evaluate(file, source, split=split)
        assert results == expected
        assert score_.metrics == expected.metrics
        assert score_.predictions.sha256 == file_sha256(file)
    assert [one.part for one in submission.entry.scores] == list(TEST_PARTS)
    assert {one.seed for one in submission.entry.scores} == {1}


def test_the_files_may_come_in_any_order(shared_files, submission, entry, data):
    assert submit(shared_files[::-1], entry, **data) == submission


def test_the_same_files_give_the_same_bytes(shared_files, submission, entry, data, tmp_path):
    write_submission(submission, tmp_path / "first")
    write_submission(submit(shared_files, entry, **data), tmp_path / "second")

    for name in ("my-model.toml", "my-model.details.json"):
        one, other = (tmp_path / folder / "entries/energy" / name for folder in ("first", "second"))
        assert one.read_bytes() == other.read_bytes()


def test_what_is_written_is_read_back(submission, tmp_path):
    path = write_submission(submission, tmp_path, keep=True)

    found = read_scored_entry(path)
    assert (found.entry, found.details) == (submission.entry, submission.details)
    kept = sorted((tmp_path / "predictions/energy/my-model").iterdir())
    assert {file_sha256(one) for one in kept} == {
        one.predictions.sha256 for one in submission.entry.scores
    }


def test_seeds_become_one_row_with_their_spread(write, entry, data, tmp_path):
    files = [write(part, seed=seed) for seed in (3, 1) for part in TEST_PARTS]

    submission = submit(files, with_seeds(entry, 1, 3), **data)

    row = read_scored_entry(write_submission(submission, tmp_path)).row()
    assert [one.seed for one in submission.entry.scores] == [1, 1, 1, 3, 3, 3]
    values = [
        one.metrics["energy_mae"].value
        for one in submission.entry.scores
        if one.part == "test_structures"
    ]
    assert row.estimate("energy_mae", "test_structures").value == pytest.approx(sum(values) / 2)
    assert row.spread("energy_mae", "test_structures") > 0


def test_samples_are_the_same_conformations_for_every_model(write, submission, entry, data):
    one = submission
    other = submit([write(part, seed=2) for part in TEST_PARTS], with_seeds(entry, 2), **data)

    for mine, theirs in zip(one.details.parity, other.details.parity, strict=True):
        assert mine.reference == theirs.reference
        assert mine.predicted != theirs.predicted
        assert len(mine.reference) <= MOST_POINTS
    assert {sample.quantity for sample in one.details.parity} == {"formation_energy", "forces"}


def test_the_worst_conformations_are_the_worst(shared_files, submission, source, split):
    worst = [one for one in submission.details.worst if one.part == "test_structures"]
    errors = [one.value for one in worst]
    mean = evaluate(shared_files[1], source, split=split).metrics["energy_mae"].value
    assert errors == sorted(errors, reverse=True)
    assert sum(errors) / len(errors) == pytest.approx(mean)
    record = source.read(source.rows_of([(worst[0].molecule_id, worst[0].conformation_id)]))[0]
    assert worst[0].atomic_numbers == tuple(record.atomic_numbers.tolist())
    assert worst[0].smiles == record.smiles


def test_hamiltonians_are_submitted_likewise(write, entry, data, tmp_path):
    files = [write(part, fields=("hamiltonian",)) for part in TEST_PARTS]

    submission = submit(files, dataclasses.replace(entry, task="hamiltonian"), **data)

    assert read_scored_entry(write_submission(submission, tmp_path)).entry.task == "hamiltonian"
    assert {sample.quantity for sample in submission.details.parity} == {
        "hamiltonian_diagonal",
        "hamiltonian_offdiagonal",
    }
    worst = next(one for one in submission.details.worst if one.part == TEST_PARTS[0])
    assert worst.metric == "hamiltonian_mae"


def test_a_folder_stands_for_its_predictions(shared_files, submission, entry, data):
    bundle = gather([shared_files[0].parent], entry, **data)

    assert bundle.files == submission.files


def test_other_formats_are_to_be_converted_first(entry, data, tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"PK")

    with pytest.raises(InputError, match=r"nabladft predict --from mine\.npz"):
        gather([path], entry, **data)


def test_missing_parts_are_named(files, entry, data):
    with pytest.raises(EntryError, match=r"missing: test_scaffolds of seed 1. A row is compared"):
        gather(files[:2], entry, **data)

    assert len(gather(files[:2], entry, **data, partial=True).files) == 2


def test_missing_seeds_are_named(files, entry, data):
    with pytest.raises(EntryError, match="missing: test_conformations of seed 2"):
        gather(files, with_seeds(entry, 1, 2), **data)
    with pytest.raises(EntryError, match=r"no predictions of seeds \[2\]"):
        gather(files, with_seeds(entry, 1, 2), **data, partial=True)


def test_a_seed_that_the_entry_does_not_list_is_refused(files, entry, data):
    with pytest.raises(EntryError, match=r"is of seed 1, but training.seeds of the entry are \[7"):
        gather(files, with_seeds(entry, 7, 8), **data)


def test_seeds_can_be_given_for_files_that_say_nothing(write, entry, data):
    silent = [
        write(part, seed=seed, name=f"{part}{seed}.h5") for seed in (1, 2) for part in TEST_PARTS
    ]

    bundle = gather(silent, with_seeds(entry, 5, 6), **data, seeds=[5, 5, 5, 6, 6, 6])

    assert [file.seed for file in bundle.files] == [5, 5, 5, 6, 6, 6]
    with pytest.raises(InputError, match="6 predictions files, but 2 seeds"):
        gather(silent, with_seeds(entry, 5, 6), **data, seeds=[5, 6])


def test_a_model_without_chance_has_no_seed(shared_files, entry, data):
    bundle = gather(shared_files, with_seeds(entry), **data)

    assert {one.seed for one in bundle.files} == {None}


def test_a_part_that_comes_twice_is_refused(files, write, entry, data):
    again = write("test_structures", name="again.h5", run="another")

    with pytest.raises(EntryError, match=r"again\.h5 are all of part 'test_structures' of seed 1"):
        gather([*files, again], entry, **data)


def test_one_file_for_two_seeds_is_refused(files, entry, data, tmp_path):
    copies = [tmp_path / f"copy-{file.name}" for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(file.read_bytes())

    with pytest.raises(EntryError, match="are one and the same file, byte by byte"):
        gather([*files, *copies], with_seeds(entry, 1, 2), **data, seeds=[1, 1, 1, 2, 2, 2])


def test_a_file_without_a_part_of_the_task_is_refused(files, write, entry, data):
    with pytest.raises(PredictionsError, match="predicts part 'train'; task 'energy' is scored on"):
        gather([*files, write("train")], entry, **data)


def test_data_that_cannot_be_found_are_asked_for(files, entry, split):
    with pytest.raises(InputError, match=r"made for data 'memory'.*Say where they are with --data"):
        gather(files, entry, split=split)


def test_a_file_that_changes_while_it_is_scored_is_refused(files, write, entry, data):
    bundle = gather(files, entry, **data)

    write("test_scaffolds", run="another")

    with pytest.raises(PredictionsError, match="changed while it was scored"):
        score(bundle)


def test_texts_that_would_break_a_page_are_refused(write, entry, data):
    import h5py

    files = [write(part) for part in TEST_PARTS]
    with h5py.File(files[0], "r+") as file:
        file.attrs["model"] = "gpj.exe\u202e"

    with pytest.raises((EntryError, PredictionsError), match="model"):
        submit(files, entry, **data)


def test_addresses_are_of_files_or_of_their_folder(files, entry, data):
    bundle = gather(files, entry, **data)

    found = score(bundle, predictions_url="https://example.org/my/")

    assert found.entry.scores[0].predictions.url == f"https://example.org/my/{files[0].name}"
    with pytest.raises(EntryError, match="address of one file, but 3 are submitted"):
        score(bundle, predictions_url="https://example.org/my.h5")
    with pytest.raises(EntryError, match=r"predictions\.url"):
        score(bundle, predictions_url="javascript:alert(1)/")


def test_an_entry_of_somebody_else_is_not_overwritten(submission, write, entry, data, tmp_path):
    write_submission(submission, tmp_path)
    other = submit([write(part, seed=2) for part in TEST_PARTS], with_seeds(entry, 2), **data)

    with pytest.raises(EntryError, match="is of Ada Lovelace, Charles Babbage"):
        write_submission(other, tmp_path)

    path = write_submission(other, tmp_path, replace=True)
    assert read_scored_entry(path).entry == other.entry


def test_scores_of_an_earlier_submission_do_not_count(shared_files, submission, data):
    entry = parse_entry(format_entry(submission.entry), where="again")

    assert submit(shared_files, entry, **data) == submission


def test_details_are_small_and_plain_json(submission, tmp_path):
    path = write_submission(submission, tmp_path)

    content = path.with_name("my-model.details.json").read_text()
    assert json.loads(content)["name"] == "my-model"
    assert len(content) < 100_000
