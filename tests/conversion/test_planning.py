import pytest

from nabladft.conversion.planning import check_same, fields_to_store, level_of_theory, read_plan
from nabladft.errors import InputError, StoreError
from nabladft.storage.opening import open_source


def test_one_kind_of_energy_is_stored(energy_file):
    source = open_source(energy_file)

    assert fields_to_store(source, None) == ("formation_energy", "forces")
    assert fields_to_store(source, ["energy"]) == ("energy",)
    assert fields_to_store(source, ["forces", "energy", "formation_energy"]) == (
        "formation_energy",
        "forces",
    )


def test_level_of_theory():
    details = {"program": "Psi4 1.5"}
    expected = {"functional": "wB97X-D", "basis_set": "def2-SVP", "program": "Psi4 1.5"}

    assert level_of_theory("wB97X-D/def2-SVP", details) == expected
    assert level_of_theory("GFN2-xTB", {}) == {"method": "GFN2-xTB"}
    assert level_of_theory(None, details) == {}


def test_every_difference_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a was 1, is 2; b was \[3\], is None\. Repeat the first"):
        check_same({"a": 1, "b": [3], "c": 0}, {"a": 2, "c": 0}, target=tmp_path, what="settings")
    check_same({"a": [1]}, {"a": (1,)}, target=tmp_path, what="settings")


def test_a_damaged_plan_is_told(tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(StoreError, match=r"plan\.json is damaged"):
        read_plan(tmp_path)
    assert read_plan(tmp_path / "nowhere") is None
