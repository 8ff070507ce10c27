"""``nabladft info`` of products of the catalogue."""

import argparse
import json

import numpy as np
import pytest

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.places import local_path
from nabladft.cli import info
from nabladft.conformation import Conformation
from nabladft.errors import UnknownNameError
from tests.storage.published_files import write_energy_file


@pytest.fixture
def run(capsys, data_place):
    def ran(*arguments):
        parser = argparse.ArgumentParser()
        info.add_parser(parser.add_subparsers())
        assert info.run(parser.parse_args(["info", *arguments])) == 0
        return capsys.readouterr().out

    return ran


def words(text):
    return " ".join(text.split())


def test_card_of_what_is_not_here(run):
    out = words(run("hamiltonian/train-tiny"))

    assert "conformations 12 145" in out
    assert "size ~15.1 GB" in out
    assert "R bohr positions (bohr)" in out
    assert "C hartree absent: NULL in the shipped files" in out
    assert "recomputed from the geometry when asked for. (#13)" in out
    assert "licence none stated: Upstream states no licence" in out
    assert out.endswith(
        "not on this machine Fetch it (~15.1 GB): nabladft download hamiltonian/train-tiny"
    )


def test_every_card_says_units_and_defects(run):
    for product in load_catalogue():
        if product.embedded:
            continue
        out = words(run(product.name))
        for field in product.fields:
            assert f"{field.column} {field.unit} " in out
        for defect in product.defects:
            assert words(defect.text) in out


def test_json_of_what_is_not_here(run):
    document = json.loads(run("energy/test-structures", "--json"))

    assert document["name"] == "energy/test-structures"
    assert document["catalogue"]["n_bytes"] == 5_274_320_896
    assert document["catalogue"]["here"] is None


def test_a_downloaded_product_is_described_by_file_and_catalogue(run):
    path = local_path(load_catalogue().get("energy/train-tiny"))
    path.parent.mkdir(parents=True)
    record = Conformation(
        molecule_id=1,
        conformation_id=0,
        atomic_numbers=np.array([9, 1]),
        positions=np.array([[0, 0, 0], [0, 0, 1.8]]),
        smiles="F",
        formation_energy=-0.2,
        forces=np.zeros((2, 3)),
    )
    write_energy_file(path, [record])

    out = words(run("energy/train-tiny"))
    document = json.loads(run("energy/train-tiny", "--json"))

    assert "elements H 1 F 1" in out
    assert "in the catalogue" in out
    assert "conformations 12 145" in out
    assert "not on this machine" not in out
    assert document["n_conformations"] == 1
    assert document["catalogue"]["n_conformations"] == 12_145


def test_a_downloaded_table_has_a_card_but_no_records(run):
    path = local_path(load_catalogue().get("summary/properties"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x1f\x8b packed")

    out = words(run("summary/properties"))

    assert "DFT HOMO hartree homo_energy (hartree)" in out
    assert out.endswith(f"on this machine {path}")


def test_a_wrong_name_is_refused(run):
    with pytest.raises(UnknownNameError, match="Did you mean 'energy/train-tiny'"):
        run("energy/train-tny")
