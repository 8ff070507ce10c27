"""Tables: only what can be compared, in order, and the README shows the entries as they are."""

import csv
import dataclasses
import io
from pathlib import Path

import pytest

from nabladft.errors import EntryError
from nabladft.leaderboard.board import Board, ScoredEntry, board_folder, read_board
from nabladft.leaderboard.published import PublishedRow
from nabladft.leaderboard.tables import (
    BEGIN,
    END,
    board_csv,
    board_tables,
    group_with,
    groups_of,
    ranking_table,
    readme_block,
    with_readme_block,
    write_readme_block,
)

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def scored(submission):
    return ScoredEntry(entry=submission.entry, details=submission.details, path=Path("x.toml"))


def variant(scored, name, factor, *, title=None, learned=True, data_hash=None):
    """The same entry with all errors times a factor."""

    def times(metrics):
        return {
            key: dataclasses.replace(one, value=one.value * factor, ci_low=None, ci_high=None)
            for key, one in metrics.items()
            if one.value is not None
        }

    results = tuple(
        dataclasses.replace(one, metrics=times(one.metrics)) for one in scored.details.results
    )
    scores = tuple(
        dataclasses.replace(one, metrics=times(one.metrics)) for one in scored.entry.scores
    )
    data = dataclasses.replace(
        scored.entry.data, data_hash=data_hash or scored.entry.data.data_hash
    )
    training = dataclasses.replace(scored.entry.training, data=("memory",) if learned else ())
    entry = dataclasses.replace(
        scored.entry, name=name, title=title or name, scores=scores, data=data, training=training
    )
    return ScoredEntry(
        entry=entry,
        details=dataclasses.replace(scored.details, name=name, results=results),
        path=Path(f"{name}.toml"),
    )


@pytest.fixture
def board(scored):
    return Board(
        entries=(
            variant(scored, "worse", 3.0),
            variant(scored, "isolated_atoms-memory", 10.0, learned=False),
            variant(scored, "best", 1.0),
        )
    )


def test_rows_are_ordered_by_their_error_and_told_over_the_dummy(board):
    (group,) = groups_of(board)

    table = ranking_table(group, "energy_mae")

    assert [row[0] for row in table.rows] == [
        "best",
        "worse",
        "isolated_atoms-memory (no learning)",
    ]
    column = table.header.index("over no learning")
    assert [row[column] for row in table.rows] == ["0.1", "0.3", "1"]
    assert table.best[0][1:4] == (True, True, True)


def test_over_the_dummy_is_the_ratio_of_the_means(board):
    (group,) = groups_of(board)
    best = group.ranked("energy_mae")[0]

    assert group.over_dummy(best, "energy_mae", "test_structures") == pytest.approx(0.1)
    assert group.score(best, "energy_mae") == pytest.approx(0.1)
    assert group.over_dummy(best, "forces_cosine", "test_structures") is None


def test_without_a_dummy_there_is_no_ratio_but_an_order(board):
    others = [one for one in board.entries if one.entry.training.data]

    (group,) = groups_of(Board(entries=tuple(others)))

    assert group.score(others[0], "energy_mae") is None
    assert [one.entry.name for one in group.ranked("energy_mae")] == ["best", "worse"]


def test_a_larger_cosine_is_better(board):
    (group,) = groups_of(board)

    assert group.ranked("forces_cosine")[0].entry.name == "isolated_atoms-memory"


def test_a_row_without_a_part_comes_last(board, scored):
    partial = variant(scored, "partial", 0.001)
    entry = dataclasses.replace(partial.entry, scores=partial.entry.scores[:2])
    details = dataclasses.replace(partial.details, results=partial.details.results[:2])
    cut = dataclasses.replace(partial, entry=entry, details=details)

    (group,) = groups_of(Board(entries=(cut, *board.entries)))

    assert group.ranked("energy_mae")[-1].entry.name == "partial"
    assert ranking_table(group, "energy_mae").rows[-1][3] == "-"


def test_rows_of_other_data_are_in_another_table(board, scored):
    other = variant(scored, "other", 1.0, data_hash="f" * 64)

    groups = groups_of(Board(entries=(*board.entries, other)))

    assert sorted(len(group.entries) for group in groups) == [1, 3]


def test_published_rows_are_in_no_table(board):
    row = PublishedRow(
        task="energy",
        metric="energy_mae",
        unit="hartree",
        model="claimed",
        train_subset="tiny",
        test_part="test_structures",
        value=1e-9,
        flag="",
        source="x",
        note="",
    )

    with_claim = dataclasses.replace(board, published=(row,))

    assert board_tables(with_claim) == board_tables(board)
    assert readme_block(with_claim) == readme_block(board)


def test_a_new_entry_takes_the_place_of_the_old_one_of_its_name(board, scored):
    new = variant(scored, "worse", 0.5)

    group = group_with(new, board.entries)

    assert [one.entry.name for one in group.ranked("energy_mae")] == [
        "worse",
        "best",
        "isolated_atoms-memory",
    ]


def test_seeds_are_counted_and_spread(scored):
    other = variant(scored, "x", 2.0)
    scores = tuple(dataclasses.replace(one, seed=2) for one in other.entry.scores)
    both = dataclasses.replace(
        scored,
        entry=dataclasses.replace(scored.entry, scores=(*scored.entry.scores, *scores)),
        details=dataclasses.replace(
            scored.details, results=(*scored.details.results, *other.details.results)
        ),
    )

    (group,) = groups_of(Board(entries=(both,)))
    row = ranking_table(group, "energy_mae").rows[0]

    assert "±" in row[1]
    assert row[ranking_table(group, "energy_mae").header.index("seeds")] == "2"


def test_the_csv_has_every_number_unrounded(board):
    rows = list(csv.DictReader(io.StringIO(board_csv(board))))

    mine = [row for row in rows if row["name"] == "best" and row["metric"] == "energy_mae"]
    best = board.entries[2].row()
    assert len(mine) == 3
    for row in mine:
        expected = best.estimate("energy_mae", row["part"]).value
        assert float(row["value"]) == pytest.approx(1e3 * expected, rel=1e-7)
        assert float(row["over_no_learning"]) == pytest.approx(0.1)


def test_a_hostile_title_is_text_in_markdown_and_in_spreadsheets(scored):
    title = "=HYPERLINK(1)|<script>alert(1)</script>[x](http://y)"
    board = Board(entries=(variant(scored, "x", 1.0, title=title),))

    block = readme_block(board)
    row = next(csv.DictReader(io.StringIO(board_csv(board))))

    assert "<script" not in block
    assert all(line.replace("\\|", "").count("|") in (0, 10) for line in block.splitlines())
    assert row["title"] == f"'{title}"


def test_a_page_keeps_what_is_around_the_tables(board, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"# A\n\n{BEGIN}\nstale\n{END}\n\nafter\n")

    assert write_readme_block(page, board)
    text = page.read_text()

    assert text.startswith(f"# A\n\n{BEGIN}\n### Energy MAE")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "stale" not in text
    assert not write_readme_block(page, board)
    with pytest.raises(EntryError, match=r"x\.md has no lines"):
        with_readme_block("nothing", board, where="x.md")


def test_the_readme_shows_the_entries_as_they_are():
    if not README.is_file():
        pytest.skip("there is no README beside an installed package")
    text = README.read_text(encoding="utf-8")

    # Otherwise: nabladft leaderboard table --write README.md
    assert with_readme_block(text, read_board(board_folder()), where="README.md") == text
