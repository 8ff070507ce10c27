"""``nabladft leaderboard verify`` and ``table``."""

import shutil

import pytest

from nabladft.cli.main import main
from nabladft.leaderboard.board import board_folder


@pytest.fixture
def board(tmp_path):
    """A copy of the leaderboard, one entry of it."""
    folder = tmp_path / "leaderboard"
    for kind in ("entries", "predictions"):
        shutil.copytree(board_folder() / kind / "energy", folder / kind / "energy")
    for path in [
        *(folder / "entries/energy").iterdir(),
        *(folder / "predictions/energy").iterdir(),
    ]:
        if not path.name.startswith("linear-nano"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def test_verify_says_what_was_recomputed(board, capsys):
    assert main(["leaderboard", "verify", str(board)]) == 0

    out = capsys.readouterr().out
    assert "energy/linear-nano, test_structures: recomputed, equal" in out
    assert "3 of 3 scores recomputed" in out
    assert "Nothing is wrong." in out


def test_verify_says_what_is_only_consistent(board, capsys):
    shutil.rmtree(board / "predictions")

    assert main(["leaderboard", "verify", str(board)]) == 0

    out = capsys.readouterr().out
    assert out.count("consistent, not recomputed: its predictions are not published") == 3
    assert "0 of 3 scores recomputed" in out


def test_verify_finds_what_is_wrong(board, capsys):
    path = board / "entries/energy/linear-nano.toml"
    path.write_text(path.read_text().replace("n_conformations = 38", "n_conformations = 39", 1))

    assert main(["leaderboard", "verify", str(board)]) == 1

    out = capsys.readouterr().out
    assert "WRONG linear-nano.toml: part test_structures: score" in out
    assert "Something is wrong" in out


def test_tables_are_printed_and_written_and_compared(board, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- leaderboard: begin -->\n<!-- leaderboard: end -->\n")

    assert main(["leaderboard", "table", str(board), "--check", str(page)]) == 1
    assert "Run: nabladft leaderboard table --write" in capsys.readouterr().out
    assert main(["leaderboard", "table", str(board), "--write", str(page)]) == 0
    assert "tables written" in capsys.readouterr().out
    assert main(["leaderboard", "table", str(board), "--check", str(page)]) == 0

    assert "| linear | **19.6 [15.5, 23.8]** |" in page.read_text()


def test_tables_of_any_metric_in_any_form(board, capsys):
    assert main(["leaderboard", "table", str(board), "--metric", "relative_energy_mae"]) == 0
    assert "Relative energy MAE" in capsys.readouterr().out
    assert main(["leaderboard", "table", str(board), "--csv"]) == 0
    assert capsys.readouterr().out.startswith("task,data,name,title,")
    assert main(["leaderboard", "table", str(board), "--metric", "energy_mea"]) == 2
    assert "Did you mean 'energy_mae'" in capsys.readouterr().err


def test_an_empty_board_says_how_to_begin(tmp_path, capsys):
    assert main(["leaderboard", "table", str(tmp_path)]) == 0

    assert "no entries yet" in capsys.readouterr().out
