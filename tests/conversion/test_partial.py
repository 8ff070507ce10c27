import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import nabladft
from nabladft.catalog import load_catalogue
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.cli.main import main
from nabladft.conversion.partial import Wanted, fetch_conformations
from nabladft.conversion.settings import ConversionSettings
from nabladft.errors import InputError
from nabladft.splits import Split, write_split
from tests.range_server import RangeServer
from tests.storage.conftest import make_record
from tests.storage.published_files import write_hamiltonian_file


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NABLADFT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NABLADFT_ATTEMPTS", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    records = [
        (r := make_record(m, c)).replace(
            overlap=overlap_matrix(r.atomic_numbers, r.positions), orbital_energies=None
        )
        for c in range(40)
        for m in (3, 4)
    ]
    write_hamiltonian_file(folder / "test.db", records)
    return folder


@pytest.fixture
def server(folder):
    with RangeServer(folder) as server:
        yield server


@pytest.mark.parametrize(
    "text",
    [
        "molecule_id,conformation_id\n3,7\n4,1\n",
        "smiles;conformation_id;molecule_id\nO;7;3\nF;1;4",
        '"MOSES_ID","CONFORMER_ID"\n3,7\n4,1',
        "# mine\n3 7\n\n4\t1\n",
        "3, 7,\n4, 1,\n",
    ],
)
def test_lists_of_pairs(text):
    wanted = Wanted.from_text(text, "list")

    assert wanted.pairs.tolist() == [[3, 7], [4, 1]]
    assert wanted.molecules.tolist() == []


def test_lists_of_molecules_and_both():
    assert Wanted.from_text("molecule_id\n3\n4\n", "list").molecules.tolist() == [3, 4]
    both = Wanted.from_text("molecule_id,conformation_id,smiles\n3,7,O\n4,,F\n", "list")
    assert (both.pairs.tolist(), both.molecules.tolist()) == ([[3, 7]], [4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no conformations"),
        ("molecule_id\n", "lists no conformations"),
        ("3,7\nO,C\n", "line 2: 'O,C' are no ids"),
        ("3,7.5\n", "line 1: '3,7.5' are no ids"),
    ],
)
def test_what_is_no_list_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        Wanted.from_text(text, "list")


def test_only_what_is_wanted_is_fetched(server, folder, tmp_path):
    here = nabladft.open(folder / "test.db")
    wanted = Wanted(np.array([[3, 7], [4, 39], [3, 7]]))

    report = fetch_conformations(
        server.url("test.db"), tmp_path / "some", wanted, ConversionSettings(name="some")
    )

    store = nabladft.open(tmp_path / "some")
    assert report.n_conformations == len(store) == 2
    for record in store:
        (expected,) = here.read(here.rows_of([record.key]))
        for name in ("positions", "forces", "hamiltonian", "overlap"):
            np.testing.assert_array_equal(getattr(record, name), getattr(expected, name))
    server.forget()
    again = fetch_conformations(
        server.url("test.db"), tmp_path / "some", wanted, ConversionSettings(name="some")
    )
    assert again.n_now == 0
    assert server.n_bytes < 100


def test_all_conformations_of_a_molecule_and_one_field(server, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("4\n")

    code = main(
        [
            "download",
            server.url("test.db"),
            "--ids",
            str(tmp_path / "list.txt"),
            "--fields",
            "hamiltonian",
            "--compact",
            "--to",
            str(tmp_path / "out"),
        ]
    )

    store = nabladft.open(tmp_path / "out")
    assert code == 0
    assert "40 conformations; moved" in capsys.readouterr().out
    assert store.keys.tolist() == [[4, c] for c in range(40)]
    assert store.manifest.stored_names == ("hamiltonian",)
    assert store.manifest.fields[0].codec == "compact"


def test_a_part_of_a_split(server, tmp_path, capsys):
    keys = np.array([[3, 0], [4, 1]])
    split = Split(
        name="mine", dataset="x", data_hash="0" * 64, parts={"train": keys}, recipe={"by": "hand"}
    )
    write_split(split, tmp_path / "split.json")
    options = ["--split", str(tmp_path / "split.json"), "--part", "train"]

    dry = main(["download", server.url("test.db"), *options, "--dry-run"])
    code = main(["download", server.url("test.db"), *options])

    assert (dry, code) == (0, 0)
    assert "2 conformations to fetch" in capsys.readouterr().out
    assert (
        sorted(nabladft.open(tmp_path / "data" / "partial" / "test").keys.tolist()) == keys.tolist()
    )


def test_a_product_of_the_catalogue_by_name_from_a_mirror(folder, tmp_path, capsys):
    product = load_catalogue().get("hamiltonian/test-conformations-tiny")
    (tmp_path / "mirror").mkdir()
    shutil.copy(folder / "test.db", tmp_path / "mirror" / product.file_name)
    (tmp_path / "list.txt").write_text("3 7\n")
    listed, out = str(tmp_path / "list.txt"), str(tmp_path / "out")

    with RangeServer(tmp_path / "mirror") as mirror:
        options = ["--ids", listed, "--to", out, "--mirror", mirror.url()]
        code = main(["download", product.name, *options])

    assert code == 0
    assert "1 conformations; moved" in capsys.readouterr().out
    assert nabladft.open(out).keys.tolist() == [[3, 7]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("3,7\n3,99\n5,1\n", "2 of 3 conformations are not in 'test'"),
        ("3\n77\n", "1 of 2 molecules asked for are not in 'test'"),
    ],
)
def test_ids_that_are_not_there_are_refused(server, tmp_path, capsys, lines, message):
    (tmp_path / "list.txt").write_text(lines)

    code = main(
        [
            "download",
            server.url("test.db"),
            "--ids",
            str(tmp_path / "list.txt"),
            "--to",
            str(tmp_path / "out"),
        ]
    )

    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("options", [["--split", "x"], ["--part", "x"], ["--compact"]])
def test_options_that_do_not_go_together(capsys, options):
    assert main(["download", "energy/train-tiny", *options]) == 2
    assert "--ids FILE, or --split FILE with --part NAME" in capsys.readouterr().err


def test_a_killed_fetch_goes_on(server, folder, tmp_path):
    (tmp_path / "list.txt").write_text("3\n4\n")
    script = (
        "import sys; from pathlib import Path\n"
        "from nabladft.conversion.partial import Wanted, fetch_conformations\n"
        "from nabladft.conversion.settings import ConversionSettings\n"
        "wanted = Wanted.from_file(Path(sys.argv[2]))\n"
        "fetch_conformations(sys.argv[1], Path(sys.argv[3]), wanted,"
        " ConversionSettings(name='all', shard_rows=4))\n"
    )
    target = tmp_path / "out"
    command = [sys.executable, "-c", script, server.url("test.db"), tmp_path / "list.txt", target]
    process = subprocess.Popen(command, env=os.environ)
    while process.poll() is None and len(list(target.rglob("*.h5"))) < 5:
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = len(list(target.rglob("*.h5")))
    server.forget()

    report = fetch_conformations(
        server.url("test.db"),
        target,
        Wanted(molecules=np.array([3, 4])),
        ConversionSettings(name="all", shard_rows=4),
    )

    assert before >= 5
    assert report.n_conformations == len(nabladft.open(target)) == 80
    assert report.n_now <= 80 - 4 * (before - 1)
    assert server.n_bytes < (folder / "test.db").stat().st_size
