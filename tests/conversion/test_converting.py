import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest

from nabladft.conversion import converting
from nabladft.conversion.converting import convert
from nabladft.conversion.settings import ConversionSettings
from nabladft.conversion.sources import SourceReference
from nabladft.conversion.verifying import verify
from nabladft.errors import ConversionError, InputError, StoreError
from nabladft.storage.index import Index
from nabladft.storage.opening import open_source
from nabladft.storage.staging import STAGING_NAME
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store
from tests.conftest import SAMPLES
from tests.conversion.conftest import N_RECORDS, shard_bytes, spoil_energy
from tests.storage.published_files import execute, write_energy_file

SMALL = ConversionSettings(shard_rows=5)


def assert_faithful(source, report, **selection):
    result = verify(SourceReference.of(source), report, **selection)
    assert result.problems == []
    assert result.n_compared == report.n_conformations
    return result


def test_a_published_energy_file_round_trips(energy_file, tmp_path):
    report = convert(energy_file, tmp_path / "store", SMALL)

    result = assert_faithful(energy_file, report)
    store = Store(tmp_path / "store")
    assert store.data_hash == open_source(energy_file).data_hash
    assert report.n_conformations == report.n_now == len(store) == N_RECORDS
    assert len(store.manifest.shards) == 5
    assert set(result.deviations.values()) == {0.0}
    assert store.manifest.stored_names == ("formation_energy", "forces")
    assert "energy" in store.info.fields
    assert store.info.method == "wB97X-D/def2-SVP"


def test_a_published_hamiltonian_file_round_trips(hamiltonian_file, tmp_path):
    report = convert(hamiltonian_file, tmp_path / "store", SMALL)

    assert_faithful(hamiltonian_file, report)
    store = Store(tmp_path / "store")
    assert {"hamiltonian", "overlap", "forces"} <= set(store.manifest.stored_names)
    assert "core_hamiltonian" not in store.info.fields  # NULL is absent
    assert store.manifest.orbital_order == "ascending"
    assert "recomputed" in store.manifest.details["orbital_order_from"]
    row = open_source(hamiltonian_file)[7]
    np.testing.assert_array_equal(store[7].hamiltonian, row.hamiltonian)


@pytest.mark.parametrize("bound", [1e-5, 1e-6])
def test_a_compact_store_is_within_its_bound(hamiltonian_file, tmp_path, bound):
    settings = ConversionSettings(codec="compact", error_bounds={"hamiltonian": bound})

    report = convert(hamiltonian_file, tmp_path / "store", settings)

    result = assert_faithful(hamiltonian_file, report)
    assert 0.0 < result.deviations["hamiltonian"] <= bound
    assert Store(tmp_path / "store").info.details["error_bounds"]["hamiltonian"] == bound


@pytest.mark.parametrize("name", ["energy_sample.db", "optimization_sample.db"])
def test_real_published_samples_round_trip(name, tmp_path):
    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"the published sample {name} is not on this machine")

    assert_faithful(path, convert(path, tmp_path / "store", SMALL))


def test_a_store_round_trips_with_what_it_says_of_itself(tmp_path):
    report = convert("nano", tmp_path / "store", ConversionSettings(limit=20))

    assert_faithful("nano", report, limit=20)
    nano, store = open_source("nano"), Store(tmp_path / "store")
    assert store.manifest.level_of_theory == nano.manifest.level_of_theory
    assert store.manifest.licence == nano.manifest.licence


def test_extended_xyz_without_labels_round_trips(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text("3\n\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n" * 2)

    report = convert(path, tmp_path / "store")

    assert_faithful(path, report)
    assert Store(tmp_path / "store").info.fields == ()


def test_workers_give_the_same_bytes_as_one_process(energy_file, tmp_path):
    convert(energy_file, tmp_path / "one", SMALL)
    report = convert(energy_file, tmp_path / "two", SMALL, workers=2)

    assert report.n_now == N_RECORDS
    assert shard_bytes(tmp_path / "one") == shard_bytes(tmp_path / "two")
    assert Store(tmp_path / "one").manifest == Store(tmp_path / "two").manifest


def test_running_again_does_nothing(energy_file, tmp_path):
    convert(energy_file, tmp_path / "store", SMALL)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "store").iterdir()}

    report = convert(energy_file, tmp_path / "store", SMALL)

    assert (report.n_now, report.n_conformations) == (0, N_RECORDS)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "store").iterdir()} == before


def test_an_unfinished_conversion_is_no_store_and_continues(energy_file, tmp_path, monkeypatch):
    done = stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        convert(energy_file, tmp_path / "store", SMALL)
    with pytest.raises(StoreError, match="still being made"):
        open_source(tmp_path / "store")
    monkeypatch.undo()

    report = convert(energy_file, tmp_path / "store", SMALL)

    assert len(done) == 2
    assert (report.n_now, report.n_conformations) == (N_RECORDS - 10, N_RECORDS)
    assert not (tmp_path / "store" / STAGING_NAME).exists()
    assert_faithful(energy_file, report)


def stop_after(monkeypatch, n):
    """Interrupt the conversion after ``n`` shards."""
    done = []
    original = converting.convert_shard

    def convert_shard(task):
        if len(done) == n:
            raise KeyboardInterrupt
        done.append(task.position)
        return original(task)

    monkeypatch.setattr(converting, "convert_shard", convert_shard)
    return done


def run_in_process(source, target, workers, ready):
    os.setsid()  # so that the workers of this process can be seen by its group
    ready.set()
    convert(source, target, ConversionSettings(shard_rows=2), workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_and_run_again_gives_the_same_store(energy_file, tmp_path, workers):
    kills_and_same_store(energy_file, tmp_path, workers=workers, kills=6 if workers == 1 else 2)


@pytest.mark.slow
def test_killed_a_hundred_times(energy_file, tmp_path):
    for round_ in range(10):
        kills_and_same_store(energy_file, tmp_path / str(round_), workers=1, kills=10, seed=round_)


def kills_and_same_store(source, folder, *, workers, kills, seed=0):
    whole, target = folder / "whole", folder / "store"
    started = time.perf_counter()
    convert(source, whole, ConversionSettings(shard_rows=2))
    # Workers that are processes need a second to begin.
    span = time.perf_counter() - started if workers == 1 else 2.0
    rng = random.Random(seed)
    context = multiprocessing.get_context("fork")
    for _ in range(kills):
        ready = context.Event()
        process = context.Process(target=run_in_process, args=(source, target, workers, ready))
        process.start()
        ready.wait()
        time.sleep(rng.uniform(0.0, span))
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    convert(source, target, ConversionSettings(shard_rows=2), workers=workers)

    assert shard_bytes(target) == shard_bytes(whole)
    assert Store(target).manifest == Store(whole).manifest
    assert Index(target).keys() == Index(whole).keys()
    assert not (target / STAGING_NAME).exists()


def test_a_death_between_manifest_and_cleaning_up_is_mended(energy_file, tmp_path):
    store = tmp_path / "store"
    convert(energy_file, store, SMALL)
    (store / STAGING_NAME).mkdir()
    (store / "index.sqlite").unlink()

    report = convert(energy_file, store, SMALL)

    assert report.n_now == 0
    assert not (store / STAGING_NAME).exists()
    assert len(Index(store).keys()) == N_RECORDS


def test_a_damaged_staged_shard_is_made_again(energy_file, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        convert(energy_file, tmp_path / "store", SMALL)
    monkeypatch.undo()
    shard = tmp_path / "store" / STAGING_NAME / "shard-00001.h5"
    shard.write_bytes(shard.read_bytes()[:-100])

    report = convert(energy_file, tmp_path / "store", SMALL)

    assert report.n_now == N_RECORDS - 10
    assert_faithful(energy_file, report)


def test_other_settings_are_refused_with_the_difference(energy_file, tmp_path, monkeypatch):
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        convert(energy_file, tmp_path / "store", SMALL)
    monkeypatch.undo()

    with pytest.raises(InputError, match=r"other settings: shard_rows was 5, is 7\."):
        convert(energy_file, tmp_path / "store", ConversionSettings(shard_rows=7))
    convert(energy_file, tmp_path / "store", SMALL)
    with pytest.raises(InputError, match="fields was"):
        convert(energy_file, tmp_path / "store", ConversionSettings(fields=("forces",)))


def test_a_source_that_changed_is_refused(nano_records, tmp_path, monkeypatch):
    source = write_energy_file(tmp_path / "source.db", nano_records)
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "store", SMALL)
    monkeypatch.undo()
    execute(source, "UPDATE systems SET ctime = ctime + 1 WHERE id = 3")

    with pytest.raises(InputError, match=r"is of another source: .*modified was"):
        convert(source, tmp_path / "store", SMALL)


def test_two_processes_on_one_target(energy_file, tmp_path, monkeypatch):
    def second(task):
        with pytest.raises(StoreError, match="is being written by process"):
            convert(energy_file, tmp_path / "store", SMALL)
        return original(task)

    original = converting.convert_shard
    monkeypatch.setattr(converting, "convert_shard", second)

    convert(energy_file, tmp_path / "store", SMALL)


def test_a_folder_with_something_else_is_refused(energy_file, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").write_text("")

    with pytest.raises(StoreError, match=r"not empty and not a store: it holds .thesis\.tex"):
        convert(energy_file, folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="is a file"):
        convert(energy_file, folder / "thesis.tex")


def test_a_store_of_somebody_else_is_refused(energy_file, nano_records, tmp_path):
    folder = tmp_path / "mine"
    create_store(folder, name="mine", level_of_theory={}, fields=["energy"])
    append(folder, nano_records[:1])

    with pytest.raises(InputError, match="was not made by this conversion"):
        convert(energy_file, folder)
    assert len(Store(folder)) == 1


def test_bad_rows_are_refused_with_row_and_reason(broken_energy_file, tmp_path):
    with pytest.raises(InputError, match=r"row 12 \(\d+/\d+\): An earlier row has these ids"):
        convert(broken_energy_file, tmp_path / "store")
    assert not (tmp_path / "store").exists()

    execute(broken_energy_file, "DELETE FROM systems WHERE id = 13")
    with pytest.raises(InputError, match=r"row 5 \(\d+/\d+\): .*forces that is not finite"):
        convert(broken_energy_file, tmp_path / "store", SMALL)


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_rows_can_be_left_out_and_are_listed(broken_energy_file, tmp_path, workers):
    report = convert(broken_energy_file, tmp_path / "store", SMALL, skip_bad=True, workers=workers)

    assert [row.row for row in report.bad] == [5, 12]
    assert report.n_conformations == 11
    assert_faithful(broken_energy_file, report)
    again = convert(broken_energy_file, tmp_path / "store", SMALL, skip_bad=True)
    assert again.bad == report.bad


def test_a_source_of_bad_rows_only_is_refused(nano_records, tmp_path):
    source = write_energy_file(tmp_path / "source.db", nano_records[:1])
    spoil_energy(source, number=1)

    with pytest.raises(InputError, match="No row of 'source' can be converted"):
        convert(source, tmp_path / "store", skip_bad=True)
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_a_selection_is_taken_in_the_order_of_the_source(energy_file, tmp_path):
    keys = open_source(energy_file).keys[[7, 2, 11]]

    report = convert(energy_file, tmp_path / "store", SMALL, keys=keys)

    np.testing.assert_array_equal(
        Store(tmp_path / "store").keys, open_source(energy_file).keys[[2, 7, 11]]
    )
    assert_faithful(energy_file, report, keys=keys)
    with pytest.raises(InputError, match=r"1 of 4 .* not in 'energies'; the first is .* 999"):
        convert(energy_file, tmp_path / "other", keys=np.append(keys, [[999, 0]], axis=0))
    with pytest.raises(InputError, match="selection was"):
        convert(energy_file, tmp_path / "store", SMALL, keys=keys[:2])


def test_total_energies_are_stored_when_asked_for(energy_file, tmp_path):
    report = convert(energy_file, tmp_path / "store", ConversionSettings(fields=("energy",)))

    assert_faithful(energy_file, report)
    assert Store(tmp_path / "store").manifest.stored_names == ("energy",)


def test_a_disk_that_is_too_small_is_refused_first(energy_file, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(ConversionError, match=r"needs about .* GB, and its disk has 0\.00 GB"):
        convert(energy_file, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_disk_that_fills_up_loses_nothing(energy_file, tmp_path, monkeypatch):
    from nabladft.storage import staging

    writes = []
    original = staging.write_atomically

    def write(path, content):
        if len(writes) == 5:
            raise OSError(28, "No space left on device", str(path))
        writes.append(path)
        original(path, content)

    monkeypatch.setattr(staging, "write_atomically", write)
    with pytest.raises(OSError, match="No space left"):
        convert(energy_file, tmp_path / "store", SMALL)
    monkeypatch.undo()

    report = convert(energy_file, tmp_path / "store", SMALL)

    assert report.n_now == N_RECORDS - 10
    assert_faithful(energy_file, report)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(energy_file, tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            convert(energy_file, tmp_path / "store")
    finally:
        tmp_path.chmod(0o755)


def test_the_store_says_where_it_comes_from(hamiltonian_file, tmp_path):
    convert(hamiltonian_file, tmp_path / "store", SMALL)

    text = (tmp_path / "store" / "manifest.json").read_text()
    made = json.loads(text)["details"]["conversion"]
    assert made["source"]["file"] == hamiltonian_file.name
    assert made["source"]["n_bytes"] == hamiltonian_file.stat().st_size
    assert len(made["source"]["sha256"]) == 64
    assert made["settings"]["shard_rows"] == 5
    assert str(hamiltonian_file.parent) not in text


def test_verification_finds_a_change(energy_file, tmp_path):
    report = convert(energy_file, tmp_path / "store", SMALL)
    changed = tmp_path / "changed.db"
    shutil.copy(energy_file, changed)
    execute(
        changed,
        "UPDATE systems SET positions = zeroblob(length(positions)) WHERE id = 4",
    )

    result = verify(SourceReference.of(changed), report)

    assert not result.holds
    key = "/".join(map(str, open_source(energy_file).keys[3]))
    assert any(p.startswith(key) and "positions" in p for p in result.problems)


def test_verification_counts(energy_file, tmp_path):
    report = convert(energy_file, tmp_path / "store", ConversionSettings(limit=4))

    result = verify(SourceReference.of(energy_file), report)

    assert result.problems == [f"4 conformations are in the target, {N_RECORDS} expected."]
