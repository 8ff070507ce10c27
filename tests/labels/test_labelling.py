"""The whole way from an input file to a store, and what a second run does."""

from contextlib import contextmanager

import ase
import ase.io
import numpy as np
import pytest

import nabladft
from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.errors import InputError, MissingExtraError, UnknownNameError
from nabladft.labels.conformers import GeometrySettings
from nabladft.labels.labelling import LabelSettings, label
from nabladft.labels.staging import FAILURES_NAME, Staging
from nabladft.storage.store import Store

QUICK = LabelSettings(fields=("energy", "forces", "hamiltonian"), name="quick")


class Watcher:
    """Remembers what it was told; can interrupt after some labels."""

    def __init__(self, interrupt_after=None):
        self.interrupt_after = interrupt_after
        self.outcomes = []
        self.n_geometries = 0

    @contextmanager
    def making_geometries(self, n_molecules):
        self.n_molecules = n_molecules
        yield self.Counter(self)

    class Counter:
        def __init__(self, watcher):
            self.watcher = watcher

        def update(self):
            self.watcher.n_geometries += 1

    @contextmanager
    def labelling(self, progress):
        self.progress = progress
        yield self

    def update(self, outcome):
        self.outcomes.append(outcome)
        if len(self.outcomes) == self.interrupt_after:
            raise KeyboardInterrupt


@pytest.fixture
def hydrogens(tmp_path):
    """Three stretched hydrogen molecules, as extended xyz."""
    path = tmp_path / "hydrogens.xyz"
    ase.io.write(path, [ase.Atoms("H2", [[0, 0, 0], [0, 0, d]]) for d in (0.7, 0.75, 0.8)])
    return path


def test_geometries_are_taken_as_they_are(hydrogens, tmp_path):
    watcher = Watcher()
    report = label(hydrogens, tmp_path / "store", QUICK, watcher=watcher)
    store = nabladft.open(tmp_path / "store")

    assert (report.n_stored, report.n_new, report.n_left, report.failures) == (3, 3, 0, ())
    assert [o.failure for o in watcher.outcomes] == [None] * 3
    lengths = [np.linalg.norm(r.positions[1] - r.positions[0]) * BOHR_IN_ANGSTROM for r in store]
    np.testing.assert_allclose(lengths, [0.7, 0.75, 0.8], atol=1e-6)
    assert {r.geometry_origin for r in store} == {"input"}
    assert store.info.method.lower() == "wb97x-d/def2-svp"
    assert store.info.orbital_order == "ascending"
    # Bound by about 4.7 eV, 0.174 hartree.
    assert all(-0.18 < r.formation_energy < -0.16 for r in store)
    store.verify()


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(hydrogens, tmp_path):
    folder = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        label(hydrogens, folder, QUICK, watcher=Watcher(interrupt_after=1))
    before = Store(folder)[0]

    assert len(Store(folder)) >= 1
    assert not Staging(folder).keys()

    watcher = Watcher()
    report = label(hydrogens, folder, QUICK, watcher=watcher)

    assert watcher.progress.n_done >= 1
    assert watcher.progress.n_now == len(watcher.outcomes) == 3 - watcher.progress.n_done
    assert report.n_stored == 3
    assert Store(folder)[0].energy == before.energy


def test_a_finished_store_is_left_alone(hydrogens, tmp_path):
    folder = tmp_path / "store"
    label(hydrogens, folder, QUICK, watcher=Watcher(), limit=2)
    first = Store(folder).data_hash
    files = {p.name: p.stat().st_mtime_ns for p in folder.glob("shard*")}
    watcher = Watcher()
    report = label(hydrogens, folder, QUICK, watcher=watcher, limit=0)

    assert (report.n_stored, report.n_new, report.n_left) == (2, 0, 1)
    assert watcher.outcomes == []
    assert Store(folder).data_hash == first
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("shard*")} == files


def test_staged_labels_of_a_run_that_was_killed_are_committed(hydrogens, tmp_path):
    folder = tmp_path / "store"
    label(hydrogens, folder, QUICK, watcher=Watcher(), limit=1)
    record = Store(folder)[0]
    # As SIGKILL leaves it: one more staged, not yet in the store.
    key = tuple(nabladft.open(hydrogens).keys[1].tolist())
    Staging(folder).write(record.replace(molecule_id=key[0], conformation_id=key[1]))
    report = label(hydrogens, folder, QUICK, watcher=Watcher(), limit=0)

    assert report.n_stored == 2
    assert not Staging(folder).keys()


def test_what_fails_is_listed_and_not_stored_and_tried_again_only_when_asked(tmp_path):
    path = tmp_path / "two.xyz"
    good, radical = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]), ase.Atoms("H", [[0, 0, 0]])
    ase.io.write(path, [good, radical], format="extxyz")
    folder = tmp_path / "store"
    report = label(path, folder, QUICK, watcher=Watcher())

    assert (report.n_stored, report.n_left, len(report.failures)) == (1, 0, 1)
    assert "1 electrons" in report.failures[0].reason
    assert "1 electrons" in (folder / FAILURES_NAME).read_text()

    again = label(path, folder, QUICK, watcher=(watcher := Watcher()))
    assert watcher.outcomes == []
    assert again.failures == report.failures

    retried = label(path, folder, QUICK, watcher=(watcher := Watcher()), retry=True)
    assert len(watcher.outcomes) == 1
    assert retried.failures == report.failures


def test_molecules_become_geometries_once(tmp_path):
    path = tmp_path / "list.smi"
    path.write_text("[H][H] hydrogen\n")
    settings = LabelSettings(
        fields=("energy",), geometries=GeometrySettings(conformations=2, seed=1)
    )
    first = Watcher()
    label(path, tmp_path / "store", settings, watcher=first, limit=1)
    second = Watcher()
    label(path, tmp_path / "store", settings, watcher=second)
    store = Store(tmp_path / "store")

    assert (first.n_geometries, second.n_geometries) == (1, 0)
    assert [r.geometry_origin for r in store] == ["etkdg", "thermal 300 K (UFF)"]
    assert set(store.smiles().values()) == {"[H][H]"}
    assert store.info.basis_set is None  # no matrices were asked for


def test_other_settings_for_the_same_store_are_refused(hydrogens, tmp_path):
    label(hydrogens, tmp_path / "store", QUICK, watcher=Watcher(), limit=0)

    with pytest.raises(InputError, match=r"fields was .* another folder"):
        label(hydrogens, tmp_path / "store", LabelSettings(fields=("energy",)), watcher=Watcher())


def test_a_store_of_other_origin_is_not_written_to(hydrogens, tmp_path):
    folder = tmp_path / "store"
    label(hydrogens, folder, QUICK, watcher=Watcher(), limit=1)
    (folder / "plan.json").unlink()

    with pytest.raises(InputError, match="did not make"):
        label(hydrogens, folder, QUICK, watcher=Watcher())


def test_a_list_of_impossible_molecules_is_refused(tmp_path):
    path = tmp_path / "list.smi"
    # No force field knows helium, so it cannot be displaced.
    path.write_text("[He]\n[Ne]\n[H][H]\n")
    settings = LabelSettings(geometries=GeometrySettings(conformations=2))

    with pytest.raises(InputError, match=r"For 2 of 3 molecules .* line 1: Neither MMFF94 nor UFF"):
        label(path, tmp_path / "store", settings, watcher=Watcher())


def test_unknown_names_are_refused_before_any_work(hydrogens, tmp_path):
    with pytest.raises(UnknownNameError, match=r"energi.*energy"):
        label(hydrogens, tmp_path / "s", LabelSettings(fields=("energi",)), watcher=Watcher())
    with pytest.raises(UnknownNameError, match=r"pyscff.*pyscf"):
        label(hydrogens, tmp_path / "s", LabelSettings(backend="pyscff"), watcher=Watcher())
    assert not (tmp_path / "s").exists()


def test_a_program_that_is_not_installed_is_named(hydrogens, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyscf", None)
    for name in [n for n in sys.modules if n.startswith("nabladft.labels.backends.")]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(MissingExtraError, match=r"pip install .nabladft\[label"):
        label(hydrogens, tmp_path / "s", QUICK, watcher=Watcher())
