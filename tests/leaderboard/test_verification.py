"""A leaderboard is computed again, and whatever was changed in it is found and named."""

import dataclasses
import json
import shutil

import pytest

from nabladft.errors import EntryError
from nabladft.leaderboard.board import board_folder, read_board, read_scored_entry
from nabladft.leaderboard.details import format_details, sha256_of
from nabladft.leaderboard.entry import format_entry
from nabladft.leaderboard.submission import write_submission
from nabladft.leaderboard.verification import verify_board
from tests.leaderboard.conftest import TEST_PARTS


@pytest.fixture
def board(submission, tmp_path):
    write_submission(submission, tmp_path / "board", keep=True)
    return tmp_path / "board"


@pytest.fixture
def verify(board, source, split, monkeypatch):
    """Verify the board, with data that are at hand by a name."""
    monkeypatch.setattr("nabladft.leaderboard.verification.open_named", lambda _: source)
    monkeypatch.setattr("nabladft.leaderboard.verification.split_named", lambda _: split)
    return lambda **options: verify_board(board, **options)


def entry_path(board):
    return board / "entries/energy/my-model.toml"


def rewrite(board, entry=None, details=None):
    """Write a changed entry with details, with the right hash between them."""
    scored = read_scored_entry(entry_path(board))
    content = format_details(details or scored.details).encode()
    entry_path(board).with_name("my-model.details.json").write_bytes(content)
    changed = dataclasses.replace(entry or scored.entry, details_sha256=sha256_of(content))
    entry_path(board).write_text(format_entry(changed))


def improved(board):
    """Halve one error in the entry and in the details, as somebody who knows the format would."""
    scored = read_scored_entry(entry_path(board))
    estimate = scored.details.results[0].metrics["energy_mae"]
    better = dataclasses.replace(estimate, value=estimate.value / 2)
    metrics = {**scored.details.results[0].metrics, "energy_mae": better}
    first = dataclasses.replace(scored.details.results[0], metrics=metrics)
    details = dataclasses.replace(scored.details, results=(first, *scored.details.results[1:]))
    score = dataclasses.replace(scored.entry.scores[0], metrics=metrics)
    entry = dataclasses.replace(scored.entry, scores=(score, *scored.entry.scores[1:]))
    rewrite(board, entry, details)


def test_an_entry_is_computed_again_to_the_last_digit(verify):
    found = verify()

    assert [row.status for row in found.rows] == ["recomputed"] * 3
    assert [row.part for row in found.rows] == list(TEST_PARTS)
    assert found.is_sound(exact=True)
    assert not found.problems


def test_predictions_are_found_by_their_hash_whatever_they_are_called(verify, board, tmp_path):
    for number, path in enumerate((board / "predictions").rglob("*.h5")):
        shutil.move(path, tmp_path / f"{number}.anything")

    assert verify().count("claimed") == 3
    assert verify(predictions=[tmp_path]).count("recomputed") == 3


def test_scores_without_predictions_are_claims(verify, board):
    shutil.rmtree(board / "predictions")

    found = verify()

    assert found.is_sound()
    assert found.count("claimed") == 3
    assert found.rows[0].text == "its predictions are not published"


def test_scores_without_data_are_claims(board):
    found = verify_board(board)

    assert found.count("claimed") == 3
    assert found.rows[0].text == "the data 'memory' are not at hand"


def test_data_can_be_given(board, source, split, monkeypatch):
    monkeypatch.setattr("nabladft.leaderboard.verification.split_named", lambda _: split)
    monkeypatch.setattr("nabladft.leaderboard.verification.nabladft.open", lambda _: source)

    assert verify_board(board).count("claimed") == 3
    assert verify_board(board, data=["here"]).count("recomputed") == 3


def test_a_better_number_is_found_and_named(verify, board):
    improved(board)

    found = verify()

    assert not found.is_sound()
    assert [row.status for row in found.rows] == ["wrong", "recomputed", "recomputed"]
    assert "results.metrics.energy_mae.value is " in found.rows[0].text


def test_a_better_number_without_predictions_remains_a_claim(verify, board):
    improved(board)
    shutil.rmtree(board / "predictions")

    assert verify().count("claimed") == 3


def test_a_number_changed_in_the_entry_alone_is_found(verify, board):
    text = entry_path(board).read_text()
    number = text.split("[scores.metrics.energy_mae]\nvalue = ")[1].split("\n")[0]
    entry_path(board).write_text(text.replace(number, f"{float(number) / 2!r}", 1))

    found = verify()

    assert "part test_conformations, seed 1: score.metrics.energy_mae.value is" in found.problems[0]
    assert not found.is_sound()


def test_details_with_another_hash_are_found(verify, board):
    path = entry_path(board).with_name("my-model.details.json")
    path.write_text(path.read_text().replace("\n", "\n ", 1))

    assert "has sha256" in verify().problems[0]


def test_prettier_molecules_are_found(verify, board):
    scored = read_scored_entry(entry_path(board))
    first, *others = scored.details.worst
    other = dataclasses.replace(first, molecule_id=others[-1].molecule_id)
    rewrite(board, details=dataclasses.replace(scored.details, worst=(other, *others)))

    found = verify()

    assert "worst[0].molecule_id is" in found.rows[0].text


def test_prettier_points_are_found(verify, board):
    scored = read_scored_entry(entry_path(board))
    first, *others = scored.details.parity
    perfect = dataclasses.replace(first, predicted=first.reference)
    rewrite(board, details=dataclasses.replace(scored.details, parity=(perfect, *others)))

    assert "parity[0].predicted[0] is" in verify().rows[0].text


def test_a_difference_in_the_last_digit_is_round_off(verify, board):
    scored = read_scored_entry(entry_path(board))
    results = scored.details.results[0]
    estimate = results.metrics["forces_mae"]
    moved = dataclasses.replace(estimate, value=estimate.value * (1 + 3e-16))
    assert moved != estimate
    metrics = {**results.metrics, "forces_mae": moved}
    details = dataclasses.replace(
        scored.details,
        results=(dataclasses.replace(results, metrics=metrics), *scored.details.results[1:]),
    )
    score = dataclasses.replace(scored.entry.scores[0], metrics=metrics)
    rewrite(
        board, dataclasses.replace(scored.entry, scores=(score, *scored.entry.scores[1:])), details
    )

    found = verify()

    assert found.rows[0].status == "round-off"
    assert found.is_sound()
    assert not found.is_sound(exact=True)


def test_other_data_of_the_same_name_are_found(verify, board, source, monkeypatch):
    from tests.conftest import MemorySource

    fewer = MemorySource(list(source)[1:])
    monkeypatch.setattr("nabladft.leaderboard.verification.open_named", lambda _: fewer)

    found = verify()

    assert "it was scored on data 'memory' with hash" in found.rows[0].text
    assert not found.is_sound()


def test_another_split_of_the_same_name_is_found(verify, split, monkeypatch):
    parts = {"test_structures": split.part("test_structures")}
    other = dataclasses.replace(split, parts=parts)
    monkeypatch.setattr("nabladft.leaderboard.verification.split_named", lambda _: other)

    assert "it was scored on split 'memory' with hash" in verify().rows[0].text


def test_scores_of_older_metrics_are_found(verify, board):
    scored = read_scored_entry(entry_path(board))
    old = tuple(
        dataclasses.replace(one, scorer_version="nabladft 0.0.1, metrics 1")
        for one in scored.details.results
    )
    scorer = dataclasses.replace(scored.entry.scorer, version="nabladft 0.0.1, metrics 1")
    rewrite(
        board,
        dataclasses.replace(scored.entry, scorer=scorer),
        dataclasses.replace(scored.details, results=old),
    )

    found = verify()

    assert "'nabladft 0.0.1, metrics 1', but the metrics here are of version" in found.rows[0].text


def test_an_entry_under_another_name_or_task_is_found(verify, board):
    folder = entry_path(board).parent
    for name in ("my-model.toml", "my-model.details.json"):
        (folder / name).rename(folder / name.replace("my-model", "other"))

    assert "it belongs in energy/my-model.toml" in verify().problems[0]

    folder.rename(folder.with_name("hamiltonian"))
    assert "it belongs in energy/my-model.toml" in verify().problems[0]


def test_files_that_belong_to_no_entry_are_found(verify, board):
    (entry_path(board).parent / "notes.txt").write_text("x")
    (entry_path(board).parent / "gone.details.json").write_text("{}")

    assert [one.split(" belongs")[0] for one in verify().problems] == [
        "entries/energy/gone.details.json",
        "entries/energy/notes.txt",
    ]


def test_an_entry_that_is_not_scored_is_found(verify, board):
    text = entry_path(board).read_text()
    entry_path(board).write_text(text.split("[data]")[0])

    assert "is not scored. `nabladft submit` scores it." in verify().problems[0]


def test_predictions_that_are_no_file_of_ours_are_wrong_and_not_a_crash(verify, board):
    scored = read_scored_entry(entry_path(board))
    path = next((board / "predictions").rglob("test_conformations*.h5"))
    path.write_bytes(b"x" * path.stat().st_size)
    sha256 = sha256_of(path.read_bytes())
    results = dataclasses.replace(scored.details.results[0], predictions_sha256=sha256)
    file = dataclasses.replace(scored.entry.scores[0].predictions, sha256=sha256)
    score = dataclasses.replace(scored.entry.scores[0], predictions=file)
    rewrite(
        board,
        dataclasses.replace(scored.entry, scores=(score, *scored.entry.scores[1:])),
        dataclasses.replace(scored.details, results=(results, *scored.details.results[1:])),
    )

    found = verify()

    assert found.rows[0].status == "wrong"
    assert "the predictions are refused" in found.rows[0].text


def test_a_board_with_a_broken_entry_cannot_be_read(board):
    path = entry_path(board).with_name("my-model.details.json")
    document = json.loads(path.read_text())
    document["name"] = "other"
    path.write_text(json.dumps(document))

    with pytest.raises(EntryError, match="has sha256"):
        read_board(board)


def test_the_rows_of_this_repository_are_what_is_computed_from_their_predictions():
    found = verify_board(board_folder())

    assert [row.text for row in found.rows if row.status == "wrong"] == []
    assert found.problems == ()
    assert found.count("recomputed") + found.count("round-off") >= 6
