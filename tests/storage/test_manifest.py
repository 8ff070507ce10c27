import json

import pytest

from nabladft.errors import CorruptStoreError, OrbitalOrderError, StoreError, UnknownNameError
from nabladft.storage.manifest import (
    Manifest,
    ShardEntry,
    StoredField,
    read_manifest,
    write_atomically,
    write_manifest,
)

LEVEL = {"functional": "wB97X-D", "basis_set": "def2-SVP"}
SHARD = ShardEntry(
    file="shard-00000.h5", rows=3, n_bytes=100, sha256="ab", elements=(1, 8), content_sum=5
)


def manifest(**changes):
    values = {
        "name": "demo",
        "level_of_theory": LEVEL,
        "fields": (StoredField("forces", "compact", 1e-8), StoredField("energy")),
        "details": {"molecules": "list.smi", "seed": 7},
        "licence": "CC0",
    }
    return Manifest(**{**values, **changes})


def edit(folder, change):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_manifest_survives_the_disk(tmp_path):
    written = manifest(shards=(SHARD,), basis_set="def2-svp", orbital_order="ascending")

    write_manifest(tmp_path, written)

    assert read_manifest(tmp_path) == written
    assert read_manifest(tmp_path).stored_names == ("energy", "forces")


def test_manifest_on_disk_names_unit_and_bound_of_every_field(tmp_path):
    write_manifest(tmp_path, manifest())

    document = json.loads((tmp_path / "manifest.json").read_text())

    assert document["fields"]["forces"]["unit"] == "hartree/bohr"
    assert document["fields"]["forces"]["error_bound"] == 1e-8
    assert document["geometry"]["positions"]["unit"] == "bohr"


def test_formation_energy_is_derived_for_known_elements_only():
    carbon = manifest(shards=(SHARD,))
    silicon = manifest(
        shards=(SHARD, ShardEntry(**{**SHARD.__dict__, "file": "b.h5", "elements": (14,)}))
    )

    assert carbon.derived_names == ("formation_energy",)
    assert silicon.derived_names == ()


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"fields": (StoredField("energy"),) * 2}, StoreError, "different labels"),
        ({"fields": (StoredField("positions"),)}, StoreError, "different labels, got positions"),
        (
            {"fields": (StoredField("energy"), StoredField("formation_energy"))},
            StoreError,
            "each follows from the other",
        ),
        ({"fields": (StoredField("overlap"),)}, StoreError, "overlap needs basis_set and"),
        ({"orbital_order": "orcas"}, OrbitalOrderError, "Did you mean 'orca'"),
    ],
)
def test_contradictions_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        manifest(**changes)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("energi",), UnknownNameError, "Did you mean 'energy'"),
        (("energy", "zip"), UnknownNameError, "No codec 'zip'"),
        (("energy", "plain", 1e-6), StoreError, "error_bound=1e-06"),
        (("forces", "compact", -1.0), StoreError, "positive"),
        (("positions", "compact", 1e-6), StoreError, "of a label"),
    ],
)
def test_fields_that_make_no_sense_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        StoredField(*arguments)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda d: d.update(format_version=99), StoreError, "version 99.*Update nabladft"),
        (lambda d: d.update(format="zarr"), StoreError, "of format 'zarr'"),
        (lambda d: d.pop("format_version"), CorruptStoreError, "format_version"),
        (lambda d: d.pop("name"), CorruptStoreError, "damaged.*name"),
        (
            lambda d: d["fields"]["forces"].update(unit="eV/angstrom"),
            CorruptStoreError,
            "forces is in eV/angstrom, hartree/bohr expected",
        ),
        (
            lambda d: d["shards"][0].update(file="../../elsewhere.h5"),
            CorruptStoreError,
            "plain file name expected",
        ),
    ],
)
def test_manifest_that_cannot_be_trusted_is_refused(tmp_path, change, error, match):
    write_manifest(tmp_path, manifest(shards=(SHARD,)))
    edit(tmp_path, change)

    with pytest.raises(error, match=match):
        read_manifest(tmp_path)


def test_truncated_manifest_and_absent_one_are_told_apart(tmp_path):
    with pytest.raises(StoreError, match=r"is not a store: it has no manifest\.json"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, manifest())
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptStoreError, match=r"manifest\.json is damaged"):
        read_manifest(tmp_path)


def test_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"new")

    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
