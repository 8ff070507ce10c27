import pytest

from nabladft.errors import MissingExtraError, UnknownNameError
from nabladft.labels import backends
from nabladft.labels.backend import LabelBackend, LevelOfTheory, list_backends, load_backend


def test_a_backend_is_found_by_the_name_of_its_file(tmp_path, monkeypatch):
    (tmp_path / "tiny_program.py").write_text("def create_backend(**options): return options")
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])

    assert list_backends() == ["pyscf", "tiny_program"]
    assert load_backend("tiny_program", threads=1) == {"threads": 1}


def test_an_unknown_backend_names_the_closest():
    with pytest.raises(UnknownNameError, match=r"No label backend 'pyscv'. Did you mean 'pyscf'\?"):
        load_backend("pyscv")


def test_a_program_that_is_not_installed_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "absent_program.py").write_text("import a_program_nobody_has")
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])

    with pytest.raises(MissingExtraError, match=r"a_program_nobody_has.*nabladft\[label\]"):
        load_backend("absent_program")


def test_level_of_theory_becomes_plain_strings():
    pytest.importorskip("pyscf")
    backend = load_backend("pyscf")

    level = backend.level_of_theory.to_dict()

    assert isinstance(backend, LabelBackend)
    assert LevelOfTheory(**level) == backend.level_of_theory
    assert level["functional"] == "wB97X-D"
    assert "(75, 302)" in level["grid"]
