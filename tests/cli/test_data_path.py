"""The way of somebody who needs data: list, info, download, verify, open."""

import hashlib
import json

import numpy as np
import pytest

import nabladft
from nabladft.cli.main import main
from nabladft.conformation import Conformation
from nabladft.errors import NotDownloadedError
from tests.storage.published_files import write_energy_file


@pytest.fixture
def published(tmp_path, data_place, monkeypatch):
    """A file on somebody's server, and the catalogue that names it."""
    file = tmp_path / "server" / "data" / "water_v1.db"
    file.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    write_energy_file(
        file,
        [
            Conformation(
                molecule_id=1,
                conformation_id=number,
                atomic_numbers=np.array([8, 1, 1]),
                positions=rng.normal(size=(3, 3)),
                smiles="O",
                formation_energy=-0.3,
                forces=rng.normal(size=(3, 3)),
            )
            for number in range(4)
        ],
    )
    content = file.read_bytes()
    parts = [content[i : i + 4096] for i in range(0, len(content), 4096)]
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    catalogue = tmp_path / "ours.toml"
    catalogue.write_text(
        f"""
        format = 1

        [defects.ours]
        text = "Water only."

        [[product]]
        name = "ours/water"
        kind = "energy"
        version = "1"
        what = "water"
        url = "{file.as_uri()}"
        file_name = "water_v1.db"
        n_bytes = {len(content)}
        etag = "{hashlib.md5(digests).hexdigest()}-{len(parts)}"
        n_conformations = 4
        n_molecules = 1
        fields = "energy"
        method = "psi4-wb97xd"
        licence = "cc0"
        defects = ["ours"]
        """
    )
    monkeypatch.setenv("NABLADFT_CATALOG", str(catalogue))
    return file


def test_from_nothing_to_records(published, data_place, capsys):
    def ran(*arguments):
        assert main(arguments) == 0
        return capsys.readouterr().out

    with pytest.raises(NotDownloadedError, match="nabladft download ours/water"):
        nabladft.open("ours/water")
    assert "ours/water  water" in ran("list", "ours")
    assert "Water only." in ran("info", "ours/water")

    ran("download", "ours/water")

    assert str(data_place / "ours" / "water_v1.db") in ran("list", "--here")
    assert ran("verify", "ours/water").endswith("This is right.\n")
    assert json.loads(ran("info", "ours/water", "--json"))["n_conformations"] == 4
    assert len(nabladft.open("ours/water")) == 4
    assert nabladft.open("ours/water").info.location == data_place / "ours" / "water_v1.db"


def test_a_folder_of_a_colleague_serves_without_download(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NABLADFT_MIRRORS", str(tmp_path / "server" / "data"))

    assert len(nabladft.open("ours/water")) == 4
    assert main(["verify", "ours/water"]) == 0
    assert str(published) in capsys.readouterr().out
