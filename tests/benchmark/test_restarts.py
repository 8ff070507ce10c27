"""Fields started from predicted Hamiltonians: which conformations, and what comes out."""

import sys

import numpy as np
import pytest

import nabladft.labels
from nabladft.benchmark.evaluation import evaluate
from nabladft.benchmark.restarts import chosen_by_hash
from nabladft.errors import InputError, MissingExtraError
from nabladft.metrics import METRICS
from tests.conftest import MemorySource
from tests.scoring_data import info_for, write_predictions

NAMES = [name for name in METRICS if name.startswith(("scf_", "density_energy"))]


@pytest.fixture(scope="module")
def records():
    """The smallest molecules of nano, without what is not needed."""
    nano = nabladft.open("nano")
    rows = np.argsort(nano.n_atoms, kind="stable")[:3]
    found = nano.read(rows.tolist(), fields=["energy", "forces", "hamiltonian"])
    return [r.replace(formation_energy=None) for r in found]


@pytest.fixture
def file_of(records, tmp_path):
    source = MemorySource(records)

    def write(predicted, fields=("hamiltonian",)):
        info = info_for(source)
        return write_predictions(tmp_path / "p.h5", predicted, info, fields), source

    return write


def test_the_same_conformations_are_chosen_whatever_their_sequence(rng):
    keys = np.stack([rng.permutation(1000), rng.integers(9, size=1000)], axis=1)
    moved = keys[::-1]

    few, many = keys[chosen_by_hash(keys, 10)], keys[chosen_by_hash(keys, 30)]

    np.testing.assert_array_equal(moved[chosen_by_hash(moved, 10)], few)
    np.testing.assert_array_equal(many[:10], few)
    assert len(chosen_by_hash(keys, 5000)) == 1000


def test_converged_hamiltonians_save_cycles_and_have_the_lowest_energy(records, file_of):
    pytest.importorskip("pyscf")
    path, source = file_of(records)
    seen = []

    metrics = evaluate(path, source, scf=1, progress=seen.append).metrics

    assert [name for name in metrics if name in NAMES] == NAMES
    assert {metrics[name].n_conformations for name in NAMES} == {1}
    assert metrics["scf_cycle_ratio"].value < 0.7
    assert metrics["scf_guarded_cycle_ratio"].value == metrics["scf_cycle_ratio"].value
    assert metrics["scf_worse_rate"].value == 0
    assert metrics["density_energy_error"].value < 1e-4
    assert metrics["hamiltonian_mae"].n_conformations == 3
    assert seen == [3, 4]


@pytest.mark.slow
def test_nonsense_makes_it_worse_but_a_guarded_start_hardly(records, file_of):
    pytest.importorskip("pyscf")
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 99, 99))
    wrong = []
    for record, error in zip(records, noise, strict=True):
        n = len(record.hamiltonian)
        wrong.append(
            record.replace(hamiltonian=record.hamiltonian + 0.5 * (error + error.T)[:n, :n])
        )
    path, source = file_of(wrong)

    metrics = evaluate(path, source, scf=1).metrics

    assert metrics["density_energy_error"].value > 0.01
    assert metrics["scf_guarded_cycle_ratio"].value < 1.2
    assert metrics["scf_guarded_cycle_ratio"].value <= metrics["scf_cycle_ratio"].value


def test_without_hamiltonians_or_with_a_negative_number_it_is_refused(records, file_of):
    path, source = file_of(records, fields=("energy",))
    with pytest.raises(InputError, match=r"p\.h5 has no Hamiltonians to start a field from"):
        evaluate(path, source, scf=1)

    path, source = file_of(records)
    with pytest.raises(InputError, match="must not be negative, got -2"):
        evaluate(path, source, scf=-2)


def test_without_pyscf_the_extra_is_named(records, file_of, monkeypatch):
    path, source = file_of(records)
    for module in ("scf_runs", "kohn_sham"):
        monkeypatch.delitem(sys.modules, f"nabladft.labels.{module}", raising=False)
        monkeypatch.delattr(nabladft.labels, module, raising=False)
    monkeypatch.setitem(sys.modules, "pyscf", None)

    with pytest.raises(MissingExtraError, match=r"needs pyscf.*nabladft\[label\]"):
        evaluate(path, source, scf=1)
