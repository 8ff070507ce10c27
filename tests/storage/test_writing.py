import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nabladft.chemistry.packing import pack_lower
from nabladft.errors import CorruptStoreError, StoreError, UnknownNameError
from nabladft.storage.store import Store
from nabladft.storage.writing import StoreWriter, append, consolidate, create_store

LEVEL = {"functional": "wB97X-D", "basis_set": "def2-SVP", "program": "PySCF"}


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def state(folder):
    store = Store(folder)
    store.verify()
    return store.data_hash, len(store)


def test_append_adds_to_what_is_there(new_store, records, assert_same):
    store = new_store(records[:2])

    added = append(store.folder, iter(records[2:]))

    assert added == 10
    store = Store(store.folder)
    store.verify()
    for got, expected in zip(store, records, strict=True):
        assert_same(got.replace(formation_energy=None), expected)


def test_same_records_make_the_same_bytes(new_store, records):
    one, other = (new_store(records, name=name, codec="compact") for name in "ab")

    assert one.manifest.shards == other.manifest.shards


def test_labels_that_the_store_does_not_hold_are_dropped(new_store, records):
    store = new_store(records, fields=["energy"])

    assert store[0].fields == ("energy", "formation_energy")


def test_large_appends_are_spread_over_shards_and_are_one_commit(new_store, records):
    store = new_store()

    with StoreWriter(store.folder, shard_bytes=60_000) as writer:
        for record in records:
            writer.add(record)
        assert len(Store(store.folder)) == 0

    after = Store(store.folder)
    after.verify()
    assert len(after) == 12
    assert len(after.manifest.shards) > 1


def test_one_writer_can_commit_many_times(new_store, records):
    store = new_store()

    with StoreWriter(store.folder) as writer:
        counts = []
        for record in records[:3]:
            writer.add(record)
            counts.append((writer.commit(), len(Store(store.folder))))

    assert counts == [(1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dipole": None}, r"3/5 has no 'dipole', which this store holds. It has: energy"),
        ({"basis_set": "def2-tzvp"}, r"3/5 has matrices in def2-tzvp, the store in def2-svp"),
        ({"orbital_order": "psi4"}, r"order 'psi4', the store 'ascending'.*reorder_orbitals"),
        ({"conformation_id": 0}, r"3/0 is in the store already"),
        ({"conformation_id": 9}, r"3/9 is in the store already"),
        ({"smiles": "[OH2]"}, r"3/5 is \[OH2\], but this molecule_id is O in the store"),
    ],
)
def test_record_that_contradicts_the_store_is_refused_and_nothing_is_written(
    new_store, record, changes, match
):
    store = new_store([record(3, 0)])
    before = (state(store.folder), files(store.folder))
    batch = [record(3, 9), record(3, 5).replace(**changes)]

    with pytest.raises(StoreError, match=match):
        append(store.folder, batch)

    assert (state(store.folder), files(store.folder)) == before


def test_labels_of_another_level_of_theory_are_refused(new_store, record):
    store = new_store()

    append(store.folder, [record(3, 0)], level_of_theory=LEVEL)

    with pytest.raises(StoreError, match=r"functional 'PBE', those in .* 'wB97X-D'"):
        append(store.folder, [record(3, 1)], level_of_theory={**LEVEL, "functional": "PBE"})
    assert len(Store(store.folder)) == 1


def test_value_too_large_for_its_codec_is_refused(new_store, record):
    store = new_store(codec="compact", fields=["energy", "forces"])
    forces = np.zeros((3, 3))
    forces[1, 1] = 5e8

    with pytest.raises(StoreError, match=r"5e\+08 cannot be stored with an error bound"):
        append(store.folder, [record(3, 0, forces=forces)])
    assert len(Store(store.folder)) == 0


def test_core_levels_of_bromine_survive_the_compact_codec(new_store, record):
    store = new_store([record(7, 0)], codec="compact")

    expected = record(7, 0).hamiltonian
    assert np.diag(expected).min() < -400
    np.testing.assert_array_equal(np.diag(store[0].hamiltonian), np.diag(expected))


def test_interrupted_append_leaves_no_trace(new_store, records):
    store = new_store(records[:2])
    before = (state(store.folder), files(store.folder))

    def interrupted():
        with StoreWriter(store.folder, shard_bytes=50_000) as writer:
            for record in records[2:]:
                writer.add(record)
            assert len(files(store.folder)) > len(before[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert (state(store.folder), files(store.folder)) == before


def test_existing_store_is_not_overwritten(new_store, records, tmp_path):
    store = new_store(records)

    with pytest.raises(StoreError, match="already holds a store"):
        new_store()
    with pytest.raises(StoreError, match="another fields"):
        new_store(fields=["energy"], exist_ok=True)
    assert len(new_store(exist_ok=True)) == 12
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(StoreError, match="is not empty and not a store"):
        create_store(tmp_path / "full", name="x", level_of_theory={}, fields=["energy"])
    assert state(store.folder)[1] == 12


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"fields": ["enrgy"]}, UnknownNameError, "Did you mean 'energy'"),
        ({"fields": ["energy"], "basis_set": "6-31g"}, UnknownNameError, "No basis set '6-31g'"),
        ({"fields": ["hamiltonian"]}, StoreError, "hamiltonian needs basis_set and orbital_order"),
        ({"fields": ["energy"], "error_bounds": {"energy": 1.0}}, StoreError, "plain codec is ex"),
        ({"fields": ["energy"], "details": {"x": {1}}}, StoreError, "must be JSON"),
    ],
)
def test_store_that_makes_no_sense_is_not_created(tmp_path, options, error, match):
    with pytest.raises(error, match=match):
        create_store(tmp_path / "new", name="x", level_of_theory=LEVEL, **options)

    assert not (tmp_path / "new" / "manifest.json").exists()


def test_consolidation_changes_shards_but_not_data(new_store, records):
    store = new_store(*([record] for record in records), codec="compact")
    values = {r.key: pack_lower(r.hamiltonian) for r in store}

    consolidate(store.folder)

    after = Store(store.folder)
    after.verify()
    assert (len(store.manifest.shards), len(after.manifest.shards)) == (12, 1)
    assert after.data_hash == store.data_hash
    assert [record.key for record in after] == sorted(values)
    for record in after:
        np.testing.assert_array_equal(pack_lower(record.hamiltonian), values[record.key])
    assert sum(name.startswith("shard") for name in files(store.folder)) == 1


def test_damaged_store_is_not_consolidated(new_store, records):
    store = new_store(records[:6], records[6:])
    path = store.folder / store.manifest.shards[0].file
    content = bytearray(path.read_bytes())
    content[store._shard(0).layout("forces").offset] ^= 0xFF
    path.write_bytes(bytes(content))

    with pytest.raises(CorruptStoreError, match="its records are not those of its manifest"):
        consolidate(store.folder)

    assert Store(store.folder).manifest == store.manifest
    assert set(files(store.folder)) >= {"shard-00000.h5", "shard-00001.h5"}


def run_killed(work, step):
    """Do some work in a child that is killed, without clean-up, at a step that changes the disk.

    Returns:
        True when the work ended before that step.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
        return status == 0
    n_calls = 0

    def killing(function):
        def wrapped(*args, **kwargs):
            nonlocal n_calls
            n_calls += 1
            if n_calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    os.fsync = killing(os.fsync)
    Path.replace = killing(Path.replace)
    Path.unlink = killing(Path.unlink)
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def test_writer_killed_at_any_step_leaves_the_old_state_or_the_new(new_store, records):
    store = new_store(records[:2], records[2:5])
    outcomes = []

    for step in range(1, 40):
        done = run_killed(lambda: append(store.folder, records[5:]), step)
        outcomes.append(state(store.folder)[1])
        if done or outcomes[-1] == 12:
            break

    # Killed at several places before the commit, and never anything in between.
    assert len(outcomes) > 4
    assert set(outcomes[:-1]) == {5}
    assert outcomes[-1] == 12
    assert_tidy_after_next_writer(store.folder)


def test_consolidation_killed_at_any_step_keeps_the_data(new_store, records):
    store = new_store(records[:2], records[2:5], records[5:])
    before = state(store.folder)

    for step in range(1, 40):
        done = run_killed(lambda: consolidate(store.folder), step)
        assert state(store.folder) == before
        if done:
            break

    assert step > 5
    assert len(Store(store.folder).manifest.shards) == 1
    assert_tidy_after_next_writer(store.folder)


def assert_tidy_after_next_writer(folder):
    with StoreWriter(folder):
        listed = {shard.file for shard in Store(folder).manifest.shards}
        assert {name for name in files(folder) if "shard" in name} == listed
        assert not [name for name in files(folder) if name.endswith(".tmp")]


def test_writer_killed_at_random_keeps_every_acknowledged_commit(new_store, records, tmp_path):
    program = (
        "import pickle, sys\n"
        "from nabladft.storage.writing import StoreWriter\n"
        "records = pickle.load(open(sys.argv[2], 'rb'))\n"
        "with StoreWriter(sys.argv[1]) as writer:\n"
        "    for k in range(10000):\n"
        "        writer.add(records[0].replace(conformation_id=k))\n"
        "        writer.commit()\n"
        "        print(k, flush=True)\n"
    )
    (tmp_path / "records.pickle").write_bytes(pickle.dumps(records))
    store = new_store()
    command = [sys.executable, "-c", program, str(store.folder), str(tmp_path / "records.pickle")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        acknowledged = int(process.stdout.readline())
        time.sleep(0.2)
        process.kill()
        acknowledged = max([acknowledged, *(int(n) for n in process.stdout.read().split())])

    n_committed = state(store.folder)[1]

    assert acknowledged + 1 <= n_committed <= acknowledged + 2
    assert append(store.folder, [records[0].replace(conformation_id=-1)]) == 1


def append_on_full_disk(folder, records, tmp_path, *, largest_file):
    """Append in a process whose files cannot grow beyond a size; gives the error's text."""
    program = (
        "import pickle, resource, signal, sys\n"
        "from nabladft.storage.writing import append\n"
        "records = pickle.load(open(sys.argv[2], 'rb'))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file}, {largest_file}))\n"
        "try:\n"
        "    append(sys.argv[1], records)\n"
        "except OSError as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error}')\n"
    )
    (tmp_path / "records.pickle").write_bytes(pickle.dumps(records))
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(tmp_path / "records.pickle")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_full_disk_gives_one_error_and_leaves_the_store(new_store, records, tmp_path):
    store = new_store(records[:2])
    before = (state(store.folder), files(store.folder))

    text = append_on_full_disk(store.folder, records[2:], tmp_path, largest_file=40_000)

    assert "File too large" in text
    assert (state(store.folder), files(store.folder)) == before


def test_disk_that_is_full_after_the_commit_costs_only_the_index(new_store, records, tmp_path):
    store = new_store([records[0].replace(conformation_id=49)], fields=["energy"])

    text = append_on_full_disk(store.folder, records, tmp_path, largest_file=24_000)

    assert "index.sqlite cannot be written" in text
    assert "full" in text
    assert "The records are safe" in text
    assert state(store.folder)[1] == 13
    append(store.folder, [records[0].replace(conformation_id=50)])
    assert state(store.folder)[1] == 14


def test_two_writers_at_once_are_refused_with_the_name_of_the_first(new_store, records):
    store = new_store(records[:2])

    with StoreWriter(store.folder) as writer:
        writer.add(records[2])
        with pytest.raises(StoreError, match=rf"is being written by process {os.getpid()} on "):
            append(store.folder, records[3:])

    assert state(store.folder)[1] == 3


def test_lock_of_a_dead_writer_does_not_stay(new_store, records):
    store = new_store(records[:2])
    (store.folder / ".lock").write_text("process 1 on elsewhere")

    append(store.folder, records[2:])

    assert state(store.folder)[1] == 12


def test_read_only_store_is_read(new_store, records):
    store = new_store(records, codec="compact")
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    store.folder.chmod(0o555)
    try:
        assert state(store.folder)[1] == 12
    finally:
        store.folder.chmod(0o755)


def test_writer_leaves_no_file_open(new_store, records):
    store = new_store(records[:1])
    before = len(list(Path("/proc/self/fd").iterdir()))

    for record in records[1:6]:
        append(store.folder, [record])

    assert len(list(Path("/proc/self/fd").iterdir())) == before
