"""``nabladft label`` as a user types it."""

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import nabladft
from nabladft.cli.main import main
from nabladft.labels.backend import load_backend

LENGTH = 0.74  # angstrom


@pytest.fixture(scope="module")
def labelled_xyz(tmp_path_factory):
    """One hydrogen molecule with our own label, in the units of ASE, and one radical."""
    angstrom = 1 / ase.units.Bohr
    result = load_backend("pyscf").label(
        np.array([1, 1]), np.array([[0, 0, 0], [0, 0, LENGTH * angstrom]])
    )
    atoms = ase.Atoms("H2", [[0, 0, 0], [0, 0, LENGTH]])
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=result.energy * ase.units.Hartree,
        forces=result.forces * ase.units.Hartree / ase.units.Bohr,
    )
    path = tmp_path_factory.mktemp("input") / "labelled.xyz"
    ase.io.write(path, atoms)
    return path


def test_label_compare_and_continue(labelled_xyz, tmp_path, capsys):
    store = tmp_path / "store"
    command = ["label", str(labelled_xyz), "--out", str(store), "--compare", "--compact"]

    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 conformations: 0 done, 1 to do now."
    assert lines[1] == f"{store}: 1 conformations, 1 of them new."
    formula, n_atoms, energy, largest, rms = lines[-2].split()[2:]
    assert (formula, n_atoms) == ("H2", "2")
    assert abs(float(energy)) < 1e-8
    assert float(rms) <= float(largest) < 1e-6
    assert nabladft.open(store)[0].geometry_origin == "input"

    assert main(command) == 0
    assert "1 done, 0 to do now" in capsys.readouterr().out


def test_failures_are_listed_and_give_exit_code_1(tmp_path, capsys):
    path = tmp_path / "radical.xyz"
    ase.io.write(path, ase.Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]))

    assert main(["label", str(path), "--out", str(tmp_path / "store")]) == 1
    out = capsys.readouterr().out
    assert "1 without a label (1 LabelError)" in out
    assert "9 electrons" in out


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        ("CO methanol\nC1CC\n", [], "line 2: 'C1CC' is not a SMILES"),
        ("CI\n", [], "line 1: 'CI' has I"),
        ("CO\n", ["--conformations", "0"], "conformations must be at least 1"),
        ("CO\n", ["--workers", "0"], "--workers must be at least 1"),
        ("CO\n", ["--limit", "-1"], "--limit must not be negative"),
        ("CO\n", ["--fields", "energy,force"], "No field 'force'. Did you mean 'forces'?"),
        ("CO\n", ["--backend", "psi5"], "No label backend 'psi5'"),
        ("CO\n", ["--compare"], "--compare needs geometries with labels"),
    ],
)
def test_bad_input_gives_one_message_and_exit_code_2(content, options, reason, tmp_path, capsys):
    path = tmp_path / "list.smi"
    path.write_text(content)

    assert main(["label", str(path), "--out", str(tmp_path / "store"), *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert reason in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "store").exists()


def test_a_missing_file_is_named(tmp_path, capsys):
    for name in ("absent.smi", "absent.xyz"):
        assert main(["label", str(tmp_path / name), "--out", str(tmp_path / "store")]) == 2
        assert name in capsys.readouterr().err


def test_options_for_molecules_are_refused_with_geometries(labelled_xyz, tmp_path, capsys):
    command = ["label", str(labelled_xyz), "--out", str(tmp_path / "s"), "--temperature", "300"]

    assert main(command) == 2
    assert "--temperature: the geometries of" in capsys.readouterr().err


def test_a_folder_with_other_things_is_refused(labelled_xyz, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")

    assert main(["label", str(labelled_xyz), "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]
