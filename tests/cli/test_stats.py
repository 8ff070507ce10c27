import csv
import json

import pytest

from nabladft.cli.main import main


def test_tables_are_shown(capsys):
    assert main(["stats", "nano", "--eigenproblems", "5"]) == 0

    text = capsys.readouterr().out
    for expected in (
        *("nano: 315 conformations", "Br 10.5 %", "force on an atom", "eV/Å", "HOMO-LUMO gap"),
        *("> 0.25 hartree/bohr", "Hamiltonians diagonalised: 5"),
    ):
        assert expected in text


def test_a_folder_gets_report_picture_and_flagged_records(published_energy_file, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "looks"

    assert main(["stats", str(published_energy_file), "--out", str(out)]) == 0

    assert sorted(path.name for path in out.iterdir()) == [
        *("distributions.png", "flagged.csv", "report.json")
    ]
    with (out / "flagged.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {(line["molecule_id"], line["check"]) for line in lines} == {
        ("1366563", "energy_z"),
        ("1366563", "force_maximum"),
    }
    assert lines[0]["threshold"] == "6.0"
    assert (out / "distributions.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "report.json").read_text())["n_conformations"] == 50
    assert "force_maximum 0.311: row 22, 1366563/1" in capsys.readouterr().out
    # What was flagged can be looked at.
    ids = str(out / "flagged.csv")
    assert main(["query", str(published_energy_file), "--ids", ids, "--count"]) == 0
    assert capsys.readouterr().out == "1\n"


def test_json_and_thresholds(capsys):
    command = ["stats", "nano", "--json", "--eigenproblems", "0"]

    assert main([*command, "--threshold", "force_maximum=0.1", "energy_z=99"]) == 0

    checks = json.loads(capsys.readouterr().out)["checks"]
    assert checks["force_maximum"]["threshold"] == 0.1
    assert checks["force_maximum"]["flagged"] > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threshold", "gp=1"), "No check 'gp'. Did you mean 'gap'?"),
        (("--threshold", "gap"), "--threshold is CHECK=VALUE"),
        (("--limit", "0"), "limit must be at least 1"),
    ],
)
def test_what_cannot_be_used_is_said(arguments, message, capsys):
    assert main(["stats", "nano", *arguments]) == 2

    assert message in capsys.readouterr().err
