import pytest
import torch

from nabladft.errors import MissingExtraError, ModelError
from nabladft.models.contract import (
    check_attributes,
    is_conservative,
    is_trainable,
    load_model_folder,
    load_model_module,
)

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
import torch

@dataclass(frozen=True)
class Config:
    width: int = 3

class Net(torch.nn.Linear):
    predicts = frozenset({"formation_energy"})

def build(config):
    return Net(config.width, 1)
"""


@pytest.fixture
def folder_with(tmp_path):
    def write(text, name="my-model"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.py").write_text(text)
        return folder

    return write


def test_a_folder_becomes_a_module(folder_with):
    model = load_model_folder(folder_with(GOOD), {"width": 5})

    assert model.in_features == 5
    assert is_trainable(model)
    assert not is_conservative(model)


def test_folders_of_the_same_name_do_not_collide(folder_with, tmp_path):
    first = folder_with(GOOD)
    (tmp_path / "elsewhere").mkdir()
    second = folder_with(GOOD.replace("width: int = 3", "width: int = 4"), "elsewhere/my-model")

    assert load_model_folder(first, {}).in_features == 3
    assert load_model_folder(second, {}).in_features == 4


def test_a_folder_is_imported_once(folder_with):
    folder = folder_with(GOOD)

    assert load_model_module(folder) is load_model_module(str(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(config): ...", "must export Config"),
        ("class Config: ...\ndef build(config): ...", "must export Config, a dataclass"),
        (GOOD.replace("def build", "def construct"), r"must export build\(config\)"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        (GOOD.replace('"formation_energy"', '"dipole"'), "frozenset out of"),
        (GOOD.replace('"formation_energy"', '"hamiltonian"'), "must state orbital_order"),
        (GOOD.replace("return Net(config.width, 1)", "return 1"), "got int"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(folder_with, text, message):
    with pytest.raises(ModelError, match=message):
        load_model_folder(folder_with(text), {})


def test_a_broken_folder_can_be_mended_in_the_same_process(folder_with):
    folder = folder_with("1 / 0")
    with pytest.raises(ModelError):
        load_model_module(folder)

    (folder / "model.py").write_text(GOOD)

    assert load_model_module(folder).Config().width == 3


def test_a_folder_without_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"has no model\.py"):
        load_model_module(tmp_path)


def test_a_missing_package_is_named(folder_with):
    with pytest.raises(MissingExtraError, match="needs a_package_nobody_has"):
        load_model_module(folder_with("import a_package_nobody_has"))


def test_attributes_of_hamiltonian_models_are_checked():
    model = torch.nn.Linear(1, 1)
    model.predicts = frozenset({"hamiltonian"})
    model.orbital_order = "ascending"

    with pytest.raises(ModelError, match="must state basis_set"):
        check_attributes(model)
