import argparse
import json

import numpy as np
import pytest

from nabladft.cli import info
from nabladft.conformation import Conformation
from nabladft.errors import CorruptStoreError
from nabladft.storage.writing import append, create_store


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "demo"
    create_store(
        folder,
        name="demo",
        level_of_theory={"functional": "wB97X-D", "basis_set": "def2-SVP", "grid": "75 x 302"},
        fields=["energy", "forces"],
        codec="compact",
        licence="CC0-1.0",
        details={"recipe": {"molecules": "demo.smi"}},
    )
    rng = np.random.default_rng(0)
    append(
        folder,
        [
            Conformation(
                molecule_id=molecule_id,
                conformation_id=conformation_id,
                atomic_numbers=np.array(numbers),
                positions=rng.normal(size=(len(numbers), 3)),
                smiles=smiles,
                geometry_origin="etkdg",
                energy=-76.0,
                forces=rng.normal(size=(len(numbers), 3)),
            )
            for molecule_id, smiles, numbers in ((1, "O", [8, 1, 1]), (2, "F", [9, 1]))
            for conformation_id in range(2)
        ],
    )
    return folder


def run(*arguments):
    parser = argparse.ArgumentParser()
    info.add_parser(parser.add_subparsers())
    return info.run(parser.parse_args(["info", *map(str, arguments)]))


def test_json_says_what_the_store_holds(store, capsys):
    assert run(store, "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["n_molecules"], said["n_conformations"]) == (2, 4)
    assert said["n_atoms"] == {"smallest": 2, "median": 2.5, "largest": 3}
    assert said["n_orbitals_def2_svp"] == {"smallest": 19, "median": 21.5, "largest": 24}
    assert said["elements"] == {"H": 6, "O": 2, "F": 2}
    assert said["geometry_origins"] == {"etkdg": 4}
    assert said["method"] == "wB97X-D/def2-SVP"
    assert list(said["fields"]) == [
        *("atomic_numbers", "positions", "energy", "formation_energy", "forces")
    ]
    assert said["fields"]["forces"]["unit"] == "hartree/bohr"
    assert said["fields"]["forces"]["error_bound"] == 1e-8
    assert said["fields"]["formation_energy"]["derived"]
    assert not said["fields"]["energy"]["derived"]
    assert len(said["data_hash"]) == 64
    assert said["bytes_on_disk"] == sum(path.stat().st_size for path in store.iterdir())


def test_text_names_units_provenance_and_hash(store, capsys):
    run(store, "--json")
    data_hash = json.loads(capsys.readouterr().out)["data_hash"]

    assert run(store, "--verify") == 0

    text = capsys.readouterr().out
    for expected in ("H 6  O 2  F 2", "hartree/bohr", "(derived)", "75 x 302", "CC0-1.0"):
        assert expected in text
    assert data_hash in text
    assert "recipe.molecules" in text
    assert "Every shard and the index agree" in text


def test_hash_of_another_file_is_computed_when_asked_for(published_energy_file, capsys):
    run(published_energy_file)
    assert "not computed (--hash)" in capsys.readouterr().out

    run(published_energy_file, "--hash", "--json")

    said = json.loads(capsys.readouterr().out)
    assert len(said["data_hash"]) == 64
    assert (said["n_molecules"], said["n_conformations"]) == (50, 50)
    assert said["fields"]["energy"]["derived"]


def test_verify_finds_damage(store):
    path = store / "shard-00000.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))

    with pytest.raises(CorruptStoreError, match=r"shard-00000\.h5"):
        run(store, "--verify")
