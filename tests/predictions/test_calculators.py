"""Any ASE calculator predicts; an interrupted job goes on; errors name the conformation."""

import multiprocessing
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from nabladft.conformation import Conformation
from nabladft.errors import InputError, ModelError, PredictionsError
from nabladft.predictions import Predictions, PredictionsInfo
from nabladft.predictions.calculators import (
    code_version_of,
    load_calculator,
    predict_with_calculator,
)
from nabladft.predictions.journal import Journal
from tests.conftest import MemorySource
from tests.predictions import some_calculators
from tests.scoring_data import random_records

FILE = Path(some_calculators.__file__)


@pytest.fixture(scope="module")
def source():
    return MemorySource(random_records())


@pytest.fixture
def predict(tmp_path, source):
    def start(calculator, keys=None, **options):
        return predict_with_calculator(
            calculator,
            source,
            source.keys[:9] if keys is None else keys,
            tmp_path / "out.h5",
            info=PredictionsInfo(
                dataset="memory",
                data_hash=source.data_hash,
                model="m",
                details=options.pop("details", {}),
            ),
            **options,
        )

    return start


def springs_by_hand(record):
    """Energy and forces of unit springs, eV and angstrom, in atomic units."""
    positions = BOHR_IN_ANGSTROM * record.positions
    between = positions[:, None] - positions
    energy = 0.25 * (between**2).sum() / HARTREE_IN_EV
    return energy, -between.sum(axis=1) * BOHR_IN_ANGSTROM / HARTREE_IN_EV


def test_units_are_converted_at_the_edge(predict, tmp_path, source):
    keys = source.keys[::-2]

    n_predicted = predict(some_calculators.Springs(), keys)

    found = Predictions(tmp_path / "out.h5").read(keys)
    assert n_predicted == len(keys)
    expected = [springs_by_hand(record) for record in source.read(source.rows_of(keys))]
    # ASE has the constants of 2014.
    np.testing.assert_allclose(found.values["energy"], [e for e, _ in expected], rtol=2e-8)
    np.testing.assert_allclose(
        found.values["forces"], np.concatenate([f for _, f in expected]), rtol=2e-8, atol=1e-12
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_quantum_chemistry_goes_round(tmp_path):
    # A program in atomic units behind ASE's interface: nothing is lost between it and the file.
    scf = pytest.importorskip("pyscf.scf")
    gto = pytest.importorskip("pyscf.gto")
    positions = np.array([[0.0, 0.0, 0.2], [0.0, 1.4, -0.8], [0.0, -1.4, -0.9]])
    water = Conformation(
        molecule_id=1, conformation_id=0, atomic_numbers=np.array([8, 1, 1]), positions=positions
    )
    field = scf.RHF(
        gto.M(atom=list(zip("OHH", positions, strict=True)), unit="Bohr", basis="sto-3g", verbose=0)
    )
    expected = field.kernel()

    predict_with_calculator(
        some_calculators.HartreeFock(),
        MemorySource([water]),
        [(1, 0)],
        tmp_path / "out.h5",
        info=PredictionsInfo(dataset="d", data_hash="0", model="HF"),
    )

    found = Predictions(tmp_path / "out.h5").read([(1, 0)]).values
    assert found["energy"][0] == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(
        found["forces"], -field.nuc_grad_method().kernel(), atol=1e-7, rtol=0
    )


def test_formation_energies_get_their_atoms(predict, tmp_path, source):
    predict(some_calculators.Springs(), add_isolated_atoms=True)

    found = Predictions(tmp_path / "out.h5").read(source.keys[:9]).values["energy"]
    for energy, record in zip(found, source.read(range(9)), strict=True):
        expected = springs_by_hand(record)[0] + isolated_atoms_energy(record.atomic_numbers)
        assert energy == pytest.approx(expected, abs=1e-6)


def test_the_time_of_a_conformation_is_told_and_details_are_kept(predict, tmp_path):
    predict(some_calculators.Springs(), details={"options": {"strength": 1.0}})

    details = Predictions(tmp_path / "out.h5").info.details
    assert 0 < details["prediction_seconds"] < 1
    assert details["options"] == {"strength": 1.0}


def test_progress_counts_up_to_the_end(predict):
    seen = []

    predict(some_calculators.Springs(), progress=seen.append)

    assert seen == list(range(10))


@pytest.mark.parametrize("what", ["fail", "interrupt"])
def test_an_interrupted_job_goes_on_where_it_was(predict, tmp_path, source, what):
    with pytest.raises((ModelError, KeyboardInterrupt)):
        predict(some_calculators.Troubled(at=6, what=what))
    assert not (tmp_path / "out.h5").exists()

    rest = some_calculators.Troubled(at=0, what="nothing")
    predict(rest)

    assert rest.n_asked == 4
    interrupted = Predictions(tmp_path / "out.h5").read(source.keys[:9])
    (tmp_path / "out.h5").unlink()
    predict(some_calculators.Springs())
    whole = Predictions(tmp_path / "out.h5").read(source.keys[:9])
    for name, values in whole.values.items():
        np.testing.assert_array_equal(interrupted.values[name], values)


def test_a_killed_process_loses_nothing(predict, tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=predict, args=(some_calculators.Troubled(at=6, what="die"),)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    rest = some_calculators.Troubled(at=0, what="nothing")
    predict(rest)

    assert rest.n_asked == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_another_job_and_a_second_process_are_refused(predict, tmp_path, source):
    with pytest.raises(ModelError):
        predict(some_calculators.Troubled(at=3, what="fail"))

    with pytest.raises(PredictionsError, match="of another job: its quantities is 'energy, forces"):
        predict(some_calculators.Springs(), with_forces=False)
    with pytest.raises(PredictionsError, match="of another job: its details is"):
        predict(some_calculators.Springs(), details={"options": {"strength": 2.0}})
    with (
        Journal(tmp_path / "second.progress", {}),
        pytest.raises(PredictionsError, match="is being written by another process"),
    ):
        Journal(tmp_path / "second.progress", {})
    (tmp_path / "text.progress").write_text("no database, " * 100)
    with pytest.raises(PredictionsError, match="is not a progress file"):
        Journal(tmp_path / "text.progress", {})


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "fail",
            r"conformation_id 2: RuntimeError: no convergence after 100 cycles\. 2 of 9 .*kept",
        ),
        ("nan", "forces that are not finite .* for molecule_id 1, conformation_id 2"),
        ("shape", r"forces of shape \(2, 3\) for molecule_id 1, conformation_id 2, not \(3, 3\)"),
        ("energies", r"energy of shape \(3,\) for molecule_id 1, conformation_id 2"),
    ],
)
def test_what_is_wrong_names_the_conformation(predict, what, message):
    with pytest.raises(ModelError, match=message):
        predict(some_calculators.Troubled(at=3, what=what))


def test_a_calculator_without_forces_or_energies_is_refused_before_it_runs(predict, tmp_path):
    with pytest.raises(ModelError, match=r"EnergyOnly gives no forces.*--energies-only"):
        predict(some_calculators.EnergyOnly())
    with pytest.raises(ModelError, match="NoEnergy gives no energy and no forces; it gives dipole"):
        predict(some_calculators.NoEnergy())

    predict(some_calculators.EnergyOnly(), with_forces=False)

    assert Predictions(tmp_path / "out.h5").fields == ("energy",)


def test_factories_are_found_in_modules_and_files():
    assert load_calculator("ase.calculators.lj:LennardJones", {"epsilon": 2.0}).parameters == {
        **load_calculator("ase.calculators.lj:LennardJones").parameters,
        "epsilon": 2.0,
    }
    assert load_calculator(f"{FILE}:Springs", {"strength": 2.0}).strength == 2.0


def test_modules_are_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "module_of_mine.py").write_text(
        "from ase.calculators.lj import LennardJones as make\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert type(load_calculator("module_of_mine:make")).__name__ == "LennardJones"


@pytest.mark.parametrize(
    ("spec", "options", "error", "message"),
    [
        ("LennardJones", {}, InputError, "is no factory; module:factory"),
        ("ase.calculators.lj:", {}, InputError, "is no factory"),
        ("no_such_module:x", {}, InputError, "cannot be imported: ModuleNotFoundError.*Install it"),
        ("nothing.py:x", {}, InputError, r"There is no file nothing\.py"),
        ("ase.calculators.lj:Morse", {}, InputError, "has no function or class 'Morse'"),
        (f"{FILE}:broken", {"size": 3}, ModelError, "{'size': 3} failed: OSError: weights not fo"),
        (f"{FILE}:number", {}, ModelError, "returned int, an ASE calculator is expected"),
    ],
)
def test_what_is_no_factory_is_refused(spec, options, error, message):
    with pytest.raises(error, match=message):
        load_calculator(spec, options)


def test_the_version_of_a_package_is_known():
    import ase

    calculator = load_calculator("ase.calculators.lj:LennardJones")

    assert code_version_of(calculator) == f"ase {ase.__version__}"
    assert code_version_of(some_calculators.Springs()) == "not given"
