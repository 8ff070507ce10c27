"""The child's work, in this process; what only a process of its own can show is in test_worker."""

import dataclasses
import shutil
import signal
import socket
import subprocess
import sys

import h5py
import numpy as np
import pytest

import nabladft
from benchmarks.leaderboard_place import PART, local_score, write_predictions
from nabladft.benchmark.evaluation import evaluate, file_sha256
from nabladft.benchmark.results import parse_results
from nabladft.chemistry.packing import pack_lower
from nabladft.leaderboard.server.public import public_score
from nabladft.leaderboard.server.refusals import FAILURES, failure_message
from nabladft.leaderboard.server.scoring import (
    BlindSource,
    Job,
    LabelsUnavailableError,
    RefusedError,
    score_job,
)
from nabladft.predictions import PredictionsInfo, PredictionsWriter


def job_of(place, *paths, seeds=(), **changes):
    (task,) = place.settings.tasks.values()
    job = Job(
        labels=task.labels,
        split=task.split,
        data_hash=task.data_hash,
        kind=task.kind,
        parts=task.parts,
        metrics=task.metrics,
        seeds=tuple(seeds),
        paths=tuple(map(str, paths)),
        sha256=tuple(file_sha256(path) for path in paths),
        memory_bytes=4_000_000_000,
        cpu_seconds=600,
    )
    return dataclasses.replace(job, **changes)


@pytest.fixture
def path(place):
    return write_predictions(place, place.folder / "p.h5")


def changed(path, change):
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def code_of(job):
    with pytest.raises(RefusedError) as caught:
        score_job(job)
    return str(caught.value)


def test_a_job_survives_its_way_to_the_child(place, path):
    job = job_of(place, path, seeds=[1, 2])

    assert Job.from_json(job.to_json()) == job


def test_scores_are_those_of_evaluate_to_the_last_digit(place, path):
    (scored,) = score_job(job_of(place, path))

    source = BlindSource(nabladft.open("nano"), data_hash=place.data_hash)
    expected = evaluate(path, source, split=place.split)
    found = parse_results(scored["results"], where="test")
    assert found.metrics == expected.metrics
    assert found.predictions_sha256 == expected.predictions_sha256
    (task,) = place.settings.tasks.values()
    assert public_score(found, task, seed=1, digits=3) == local_score(place, path)


def test_hamiltonians_are_scored_too(place):
    labels = nabladft.open("nano")
    keys = place.split.part(PART)
    info = PredictionsInfo(
        dataset=labels.info.name,
        data_hash=place.data_hash,
        model="noise",
        split=place.split.name,
        split_hash=place.split.sha256,
        part=PART,
        orbital_order=labels.info.orbital_order,
        basis_set=labels.info.basis_set,
    )
    rng = np.random.default_rng(0)
    with PredictionsWriter(place.folder / "h.h5", info) as writer:
        for record in labels.read(labels.rows_of(keys), fields=["hamiltonian"]):
            triangle = pack_lower(record.hamiltonian)
            writer.append(
                keys=[record.key],
                atomic_numbers=record.atomic_numbers,
                n_atoms=[record.n_atoms],
                n_orbitals=[len(record.hamiltonian)],
                hamiltonian=triangle + 1e-4 * rng.normal(size=len(triangle)),
            )

    job = job_of(place, place.folder / "h.h5", kind="hamiltonian", metrics=("hamiltonian_mae",))
    (scored,) = score_job(job)

    # The mean of |x| of a normal distribution is sqrt(2/pi) of its width.
    value = scored["results"]["metrics"]["hamiltonian_mae"]["value"]
    assert value == pytest.approx(1e-4 * np.sqrt(2 / np.pi), rel=0.01)
    # Nobody predicts energies with Hamiltonians.
    assert code_of(job_of(place, place.folder / "h.h5")) == "quantities"


def test_perfect_predictions_have_no_error(place):
    labels = nabladft.open("nano")
    records = labels.read(labels.rows_of(place.split.part(PART)), fields=["energy"])
    energies = np.array([record.energy for record in records])

    (scored,) = score_job(
        job_of(place, write_predictions(place, place.folder / "p.h5", energies=energies))
    )

    assert scored["results"]["metrics"]["energy_mae"]["value"] == pytest.approx(0.0, abs=1e-9)


def test_seeds_are_stated_or_the_only_one(place, path):
    other = write_predictions(place, place.folder / "q.h5", number=1, details={"seed": 5})
    stated = write_predictions(place, place.folder / "r.h5", number=2, details={"seed": 4})

    assert [one["seed"] for one in score_job(job_of(place, path))] == [None]
    assert [one["seed"] for one in score_job(job_of(place, path, seeds=[3]))] == [3]
    both = score_job(job_of(place, other, stated, seeds=[4, 5]))
    assert [one["seed"] for one in both] == [5, 4]
    assert code_of(job_of(place, path, other, seeds=[4, 5])) == "parts"
    assert code_of(job_of(place, other, seeds=[4])) == "parts"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"data_hash": "1" * 64}, "data"),
        ({"split_hash": "1" * 64}, "split"),
        ({"split_hash": None, "split": None}, "split"),
        ({"part": "train"}, "parts"),
        ({"part": None}, "parts"),
    ],
)
def test_predictions_for_something_else_are_refused(attributes, code, place):
    assert (
        code_of(job_of(place, write_predictions(place, place.folder / "p.h5", **attributes)))
        == code
    )


def set_nan(file):
    file["energy"][3] = np.nan


def swap_atoms(file):
    numbers = file["atomic_numbers"][()]
    k = int(np.flatnonzero(np.diff(numbers[: int(file["atom_offsets"][1])]))[0])
    numbers[[k, k + 1]] = numbers[[k + 1, k]]
    file["atomic_numbers"][...] = numbers


def remove_energy(file):
    del file["energy"]


def add_overlap(file):
    n = len(file["molecule_id"])
    file["overlap"] = np.ones(n)
    file["overlap"].attrs.update(unit="1", orbital_order="ascending", basis_set="def2-svp")
    file["overlap_offsets"] = np.arange(n + 1)


def rename_conformation(file):
    file["conformation_id"][0] = 10**6


def link_elsewhere(file):
    del file["energy"]
    file["energy"] = h5py.ExternalLink("/etc/passwd", "/energy")


def set_unit(file):
    file["energy"].attrs["unit"] = "metre"


def remove_unit(file):
    del file["energy"].attrs["unit"]


def overflow(file):
    file["energy"][...] = 1.7e308


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (set_nan, {"values"}),
        (swap_atoms, {"atoms", "values"}),
        (remove_energy, {"quantities"}),
        (add_overlap, {"quantities"}),
        (rename_conformation, {"conformations"}),
        (link_elsewhere, {"not_predictions"}),
        (set_unit, {"unit"}),
        (remove_unit, {"unit"}),
        (overflow, {"values"}),
    ],
)
def test_what_is_wrong_with_a_file_becomes_a_code_of_the_reviewed_list(change, codes, place, path):
    assert code_of(job_of(place, changed(path, change))) in codes


def test_a_file_that_is_not_hdf5_is_refused(place):
    path = place.folder / "p.h5"
    path.write_bytes(b"PK\x03\x04" + bytes(100))

    assert code_of(job_of(place, path)) == "not_hdf5"


def test_labels_that_cannot_be_read_are_not_the_submissions_fault(place, path, tmp_path):
    labels = tmp_path / "labels"
    shutil.copytree(nabladft.open("nano").info.location, labels)
    assert score_job(job_of(place, path, labels=str(labels)))

    for damage in (
        lambda: next(labels.glob("shard-*")).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000)),
        lambda: (labels / "manifest.json").write_text("{"),
        lambda: shutil.rmtree(labels),
    ):
        damage()
        with pytest.raises(LabelsUnavailableError):
            score_job(job_of(place, path, labels=str(labels)))


def test_a_split_that_is_away_or_of_other_data_is_not_the_submissions_fault(place, path):
    with pytest.raises(LabelsUnavailableError):
        score_job(job_of(place, path, split="nowhere.json"))
    with pytest.raises(LabelsUnavailableError):
        score_job(job_of(place, path, labels=str(place.public.info.location)))


def test_a_file_that_was_exchanged_on_the_disk_is_noticed(place, path):
    with pytest.raises(LabelsUnavailableError, match="not the file that was uploaded"):
        score_job(job_of(place, path, sha256=("0" * 64,)))


def test_every_failure_has_a_message_without_placeholders():
    for code, text in FAILURES.items():
        assert "{" not in text
        assert text in failure_message(code)


@pytest.mark.parametrize(
    ("limits", "code", "expected"),
    [
        ("memory_bytes=10**9, cpu_seconds=60", "bytearray(2 * 10**9)", b"MemoryError"),
        ("memory_bytes=10**9, cpu_seconds=1", "while True: pass", -signal.SIGXCPU),
        (
            "memory_bytes=10**9, cpu_seconds=60",
            "import os; os.write(os.open('f', os.O_CREAT | os.O_WRONLY), b'x')",
            b"too large",
        ),
    ],
)
def test_the_system_enforces_the_limits(limits, code, expected, tmp_path):
    program = (
        "from nabladft.leaderboard.server.scoring import limit_process\n"
        f"limit_process({limits})\n{code}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=tmp_path, check=False
    )

    assert done.returncode == expected if isinstance(expected, int) else expected in done.stderr


def start_child():
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "nabladft.leaderboard.server.scoring"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_child_ends_when_its_worker_is_gone(place, path):
    # Labels at a server that never answers: the child hangs in the middle of its work.
    with socket.create_server(("127.0.0.1", 0)) as silent, start_child() as child:
        labels = f"http://127.0.0.1:{silent.getsockname()[1]}/store"
        child.stdin.write(f"{job_of(place, path, labels=labels).to_json()}\n".encode())
        child.stdin.flush()
        silent.settimeout(60)
        silent.accept()
        assert child.poll() is None

        child.stdin.close()

        assert child.wait(60) != 0
