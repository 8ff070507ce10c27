"""Labels in worker processes: what is staged, what fails, and what happens when a worker dies."""

import multiprocessing
import threading
import time

import numpy as np
import pytest

from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.conformation import Conformation
from nabladft.errors import LabelError
from nabladft.labels.backend import LabelResult, load_backend
from nabladft.labels.runner import labelled_record, run_labels
from nabladft.labels.staging import Staging

FIELDS = ("energy", "forces", "hamiltonian", "dipole")


def geometry(symbols, positions, key=(1, 0), smiles=None):
    return Conformation(
        molecule_id=key[0],
        conformation_id=key[1],
        atomic_numbers=np.array(symbols),
        positions=np.array(positions, dtype=float),
        smiles=smiles,
        geometry_origin="input",
    )


def hydrogen(key=(1, 0), length=1.4):
    return geometry([1, 1], [[0, 0, 0], [0, 0, length]], key, "[H][H]")


def run(geometries, store, **options):
    arguments = {"backend": "pyscf", "fields": FIELDS, **options}
    return list(run_labels(geometries, store=store, **arguments))


def test_staged_labels_are_those_of_the_backend_in_ascending_order(tmp_path):
    fluoride = geometry([9, 1], [[0, 0, 0.2], [0.3, 1.4, -0.8]], (5, 2), "F")
    (outcome,) = run([fluoride], tmp_path)
    result = load_backend("pyscf").label(fluoride.atomic_numbers, fluoride.positions)
    staged = Staging(tmp_path).read((5, 2))

    assert outcome.failure is None
    assert staged.fields == FIELDS
    assert staged.energy == pytest.approx(result.energy, abs=1e-9)
    np.testing.assert_allclose(staged.forces, result.forces, atol=1e-7)
    back = reorder_orbitals(
        staged.hamiltonian, fluoride.atomic_numbers, source="ascending", target="pyscf"
    )
    np.testing.assert_allclose(back, result.hamiltonian, atol=1e-7)
    assert staged.orbital_order == "ascending"


def test_a_refused_label_is_a_failure_and_the_others_go_on(tmp_path):
    radical = geometry([8, 1], [[0, 0, 0], [0, 0, 1.8]], (2, 0), "[OH]")
    iodine = geometry([53, 1], [[0, 0, 0], [0, 0, 3.0]], (3, 0), "I")
    outcomes = run([radical, iodine, hydrogen()], tmp_path)
    failures = {o.geometry.key: o.failure for o in outcomes if o.failure}

    assert failures.keys() == {(2, 0), (3, 0)}
    assert "9 electrons" in failures[2, 0].reason
    assert (failures[2, 0].kind, failures[2, 0].smiles) == ("LabelError", "[OH]")
    assert failures[3, 0].kind == "UnsupportedElementError"
    assert Staging(tmp_path).keys() == {(1, 0)}


def kill_workers(times):
    """Kill the next worker that appears, several times, from a thread."""

    def work():
        seen = set()
        while len(seen) < times:
            for process in multiprocessing.active_children():
                if process.pid not in seen:
                    time.sleep(0.3)
                    seen.add(process.pid)
                    process.kill()
            time.sleep(0.02)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_work_of_a_killed_worker_is_done_by_another(tmp_path):
    killer = kill_workers(1)
    (outcome,) = run([hydrogen()], tmp_path)
    killer.join(timeout=10)

    assert outcome.failure is None
    assert Staging(tmp_path).keys() == {(1, 0)}


def test_a_conformation_that_kills_two_workers_is_a_failure_and_the_others_go_on(tmp_path):
    killer = kill_workers(2)
    first, second = run([hydrogen((1, 0)), hydrogen((2, 0))], tmp_path)
    killer.join(timeout=10)

    assert first.geometry.key == (1, 0)
    assert first.failure.kind == "WorkerDied"
    assert "died 2 times, at last killed by SIGKILL" in first.failure.reason
    assert second.failure is None
    assert Staging(tmp_path).keys() == {(2, 0)}


def test_stopping_the_iteration_stops_the_workers(tmp_path):
    outcomes = run_labels(
        [hydrogen((1, k), 1.4 + 0.1 * k) for k in range(4)],
        store=tmp_path,
        backend="pyscf",
        fields=FIELDS,
        workers=2,
    )
    done = next(outcomes)
    outcomes.close()

    assert not multiprocessing.active_children()
    assert done.geometry.key in Staging(tmp_path).keys()  # noqa: SIM118 - not a dictionary


def test_a_full_disk_stops_the_run(tmp_path):
    # A folder in the place of the file: writing fails as it does on a full or read-only disk.
    (Staging(tmp_path).folder / "1_0.npz").mkdir()

    with pytest.raises(OSError, match=r"1_0\.npz"):
        run([hydrogen()], tmp_path)


def test_a_field_that_the_backend_lacks_is_named():
    result = LabelResult(
        energy=-1.0,
        forces=np.zeros((2, 3)),
        hamiltonian=np.eye(10),
        orbital_order="pyscf",
        n_scf_cycles=1,
        seconds=0.1,
        extras={"dipole": np.zeros(3)},
    )

    with pytest.raises(LabelError, match=r"does not give overlap\. It gives energy, forces, dip"):
        labelled_record(hydrogen(), result, basis_set="def2-svp", fields=("energy", "overlap"))
