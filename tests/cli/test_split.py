"""The verb ``split``, from published files to a proof and a proxy."""

import pytest

from nabladft.cli.main import main
from nabladft.splits import read_split
from tests.conftest import displaced
from tests.storage.published_files import write_energy_file

TRAIN = [("CCO", 1), ("Cc1ccccc1", 2), ("c1ccoc1", 3), ("CCN", 4)]


def energy_file(path, molecules):
    records = [
        record.replace(formation_energy=-1.0 - 0.01 * k)
        for smiles, molecule_id in molecules
        for k, record in enumerate(displaced(smiles, molecule_id, 4))
    ]
    return str(write_energy_file(path, records))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {
        "train": energy_file(tmp_path / "train.db", TRAIN),
        "test_structures": energy_file(tmp_path / "structures.db", [("CCC", 5), ("CCF", 6)]),
    }


def test_from_published_files_to_a_proof_a_subset_and_a_proxy(files, tmp_path, capsys):
    parts = [f"{part}={path}" for part, path in files.items()]
    assert main(["split", "extract", *parts, "--out", "tiny.h5"]) == 0
    check = ["split", "check", "tiny.h5", "--table", "t.sqlite", "--data", *files.values()]
    assert main(check) == 0
    assert "LEAK" not in capsys.readouterr().out
    assert main(["split", "validation", "tiny.h5", "--share", "0.25", "--out", "val.json"]) == 0
    assert main(["split", "check", "val.json", "--table", "t.sqlite"]) == 0
    assert main(["split", "nested", "val.json", "--sizes", "1", "2", "--out", "sub"]) == 0
    assert main(["split", "check", "sub/val-1.json", "--inside", "sub/val-2.json"]) == 0
    data = files["test_structures"]
    proxy = ["split", "proxy", "--data", data, "--part", "test_structures", "-n", "4"]
    assert main([*proxy, "--table", "t.sqlite", "--out", "proxy.json"]) == 0
    assert "over all 8 conformations by 35.4% (one standard error)" in capsys.readouterr().out
    ids = ["split", "ids", "proxy.json", "--part", "test_structures", "--out", "proxy.csv"]
    assert main(ids) == 0

    lines = (tmp_path / "proxy.csv").read_text().splitlines()
    assert lines[0] == "molecule_id,conformation_id"
    assert len(lines) == 5
    assert read_split("val.json").counts()["validation"]["molecules"] == 1


def test_a_leak_between_files_is_reported_with_exit_code_1(files, tmp_path, capsys):
    leaky = energy_file(tmp_path / "leaky.db", [("OCC", 9)])
    main(
        ["split", "extract", f"train={files['train']}", f"test_structures={leaky}", "--out", "x.h5"]
    )
    capsys.readouterr()

    assert main(["split", "check", "x.h5", "--data", files["train"], leaky]) == 1

    out = capsys.readouterr().out
    assert "LEAK  test_structures: molecules (InChIKey) not seen in training" in out
    assert "LFQSCWFLJHTTHZ-UHFFFAOYSA-N" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "train.db", "--out", "x.h5"], "PART=DATA"),
        (["extract", "train=train.db", "train=train.db", "--out", "x.h5"], "given twice"),
        (["extract", "train=train.db", "--out", "x.txt"], "ends in .json or .h5"),
        (["extract", "trian=train.db", "--out", "x.h5"], "Did you mean 'train'"),
        (["ids", "nano", "--part", "tests", "--out", "x.csv"], "test_"),
    ],
)
@pytest.mark.usefixtures("files")
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(["split", *arguments]) == 2

    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_ids_alone_need_data_or_a_table(files, capsys):
    main(["split", "extract", f"train={files['train']}", "--out", "x.h5"])

    assert main(["split", "check", "x.h5"]) == 2

    assert "Give the data of its parts with --data" in capsys.readouterr().err
