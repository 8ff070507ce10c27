import mmap
import multiprocessing
import pickle

import h5py
import numpy as np
import pytest

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.packing import pack_lower
from nabladft.errors import CorruptStoreError, InputError, MissingFieldError, UnknownNameError
from nabladft.storage.manifest import write_manifest
from nabladft.storage.store import Store

BOUNDS = {"plain": {}, "compact": {"forces": 1e-8, "hamiltonian": 1e-7}}
CODECS = pytest.mark.parametrize("codec", ["plain", "compact"])


@CODECS
def test_records_come_back_in_the_order_asked_for_with_duplicates(
    new_store, records, assert_same, codec
):
    store = new_store(records[:5], records[5:6], records[6:], codec=codec)
    wanted = [11, 2, 2, 6, -1, 0, 5, 4]

    got = store.read(wanted)

    assert len(store) == 12
    for row, one in zip(wanted, got, strict=True):
        expected = records[row]
        atoms = isolated_atoms_energy(expected.atomic_numbers)
        assert one.formation_energy == one.energy - atoms
        assert (one.basis_set, one.orbital_order) == ("def2-svp", "ascending")
        blank = one.replace(formation_energy=None)
        assert_same(blank, expected, BOUNDS[codec])


@CODECS
@pytest.mark.parametrize("wanted", [[0, 1, 2], [11, 2, 2, 6], [4], []], ids=str)
def test_flat_records_equal_the_records(new_store, records, codec, wanted):
    store = new_store(records[:5], records[5:], codec=codec)

    flat = store.read_flat(wanted)

    one_by_one = store.read(wanted)
    assert flat.molecule_id.tolist() == [record.molecule_id for record in one_by_one]
    assert np.diff(flat.atom_offsets).tolist() == [record.n_atoms for record in one_by_one]
    assert set(flat.values) == set(store.info.fields)
    for name, values in flat.values.items():
        offsets = flat.value_offsets(name)
        assert offsets[-1] == len(values)
        for k, record in enumerate(one_by_one):
            expected = getattr(record, name)
            expected = pack_lower(expected) if name == "hamiltonian" else np.atleast_1d(expected)
            got = values[offsets[k] : offsets[k + 1]]
            np.testing.assert_array_equal(got.reshape(expected.shape), expected)


def test_compact_is_smaller_and_as_exact_as_it_says(new_store, records):
    plain = new_store(records, name="plain")
    compact = new_store(
        records, name="compact", codec="compact", error_bounds={"hamiltonian": 1e-4, "forces": None}
    )

    sizes = [sum(s.n_bytes for s in store.manifest.shards) for store in (plain, compact)]
    assert sizes[1] < 0.7 * sizes[0]
    one, other = (store.read_flat(range(12)) for store in (plain, compact))
    np.testing.assert_array_equal(one.values["forces"], other.values["forces"])
    error = np.abs(one.values["hamiltonian"] - other.values["hamiltonian"]).max()
    assert 1e-5 < error <= 1e-4


def test_only_the_fields_asked_for_are_read(new_store, records):
    store = new_store(records)

    record = store.read([3], fields=["formation_energy", "dipole"])[0]

    assert record.fields == ("formation_energy", "dipole")
    assert record.basis_set is None
    assert not store.read_flat([3], fields=["forces"]).orbital_counts.any()


def test_energy_follows_from_a_stored_formation_energy(new_store, record):
    water = record(3, 0, matrices=False, energy=None, formation_energy=-0.35)
    store = new_store([water], fields=["formation_energy"])

    assert store.info.fields == ("energy", "formation_energy")
    assert store[0].energy == -0.35 + isolated_atoms_energy(np.array([8, 1, 1]))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda s: s.read([12]), InputError, "Row 12 is out of range: 'demo' has 12"),
        (lambda s: s.read([0.5]), InputError, "Rows must be a list of integers"),
        (lambda s: s.read([0], fields=["forcs"]), UnknownNameError, "Did you mean 'forces'"),
        (lambda s: s.read([0], fields=["xc_energy"]), MissingFieldError, "not hold 'xc_energy'"),
        (lambda s: s.rows_of([(3, 0), (5, 5)]), InputError, "1 of 2.*molecule_id 5"),
    ],
)
def test_what_is_not_there_is_refused(new_store, records, call, error, match):
    store = new_store(records)

    with pytest.raises(error, match=match):
        call(store)


def test_empty_store_is_a_sequence_of_nothing(new_store):
    store = new_store()

    assert len(store) == 0
    assert store.read([]) == []
    assert store.keys.shape == (0, 2)
    assert store.read_flat([]).values["hamiltonian"].shape == (0,)
    assert list(store) == []
    store.verify()


def test_overview_of_all_shards(new_store, records):
    store = new_store(records[:4], records[4:])

    assert store.keys.tolist() == [list(record.key) for record in records]
    assert store.n_atoms.tolist() == [record.n_atoms for record in records]
    assert store.n_orbitals.tolist() == [len(record.hamiltonian) for record in records]
    assert store.smiles() == {3: "O", 11: "C", 4: "F", 7: "CBr"}
    assert store.rows_of([(7, 2), (3, 0)]).tolist() == [11, 0]
    assert store[2:4][1].key == records[3].key


def test_missing_smiles_are_not_made_up(new_store, record):
    store = new_store([record(3, 0), record(4, 0, smiles=None)])

    assert store[1].smiles is None
    with pytest.raises(MissingFieldError, match="Conformation 4/0 has no SMILES"):
        store.smiles()


def test_plain_fields_are_views_of_the_file(new_store, records):
    shard = new_store(records)._shard(0)

    view = shard.view("hamiltonian")

    assert isinstance(view.base, mmap.mmap)
    assert view.flags.aligned
    assert not view.flags.writeable


def _sum_in_child(store, queue):
    queue.put(float(store.read_flat(range(12)).values["hamiltonian"].sum()))


@CODECS
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_open_store_can_be_used_in_another_process(new_store, records, codec, method):
    store = new_store(records[:7], records[7:], codec=codec)
    expected = float(store.read_flat(range(12)).values["hamiltonian"].sum())
    context = multiprocessing.get_context(method)
    queue = context.Queue()

    child = context.Process(target=_sum_in_child, args=(store, queue))
    child.start()

    assert queue.get(timeout=60) == expected
    child.join()
    assert child.exitcode == 0


def test_forked_process_opens_its_own_files(new_store, records, monkeypatch):
    store = new_store(records)
    mine = store._shard(0)

    monkeypatch.setattr("os.getpid", lambda: -1)

    assert store._shard(0) is not mine


def test_pickled_store_is_small_and_reads_the_same(new_store, records):
    store = new_store(records)
    store.read(range(12))

    content = pickle.dumps(store)

    assert len(content) < 10_000
    assert pickle.loads(content)[5].energy == records[5].energy


def test_reader_sees_the_state_it_opened(new_store, records):
    before = new_store(records[:3])

    after = new_store(records[3:], exist_ok=True)

    assert (len(before), len(after)) == (3, 12)
    assert before[2].energy == records[2].energy


def test_repacked_shard_is_read_without_a_memory_map(new_store, records, assert_same):
    store = new_store(records)
    path = store.folder / store.manifest.shards[0].file
    with h5py.File(path, "r+") as file:
        values = file["hamiltonian"][()]
        del file["hamiltonian"]
        file.create_dataset("hamiltonian", data=values, chunks=(1000,), compression="gzip")
    entry = type(store.manifest.shards[0])(
        **{**store.manifest.shards[0].__dict__, "n_bytes": path.stat().st_size}
    )
    manifest = type(store.manifest)(**{**store.manifest.__dict__, "shards": (entry,)})
    write_manifest(store.folder, manifest)

    repacked = Store(store.folder)

    assert_same(repacked[7].replace(formation_energy=None), records[7])


def damage(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(bytes(content))


@CODECS
def test_verify_passes_a_whole_store_and_finds_one_changed_byte(new_store, records, codec):
    store = new_store(records[:6], records[6:], codec=codec)
    store.verify()
    path = store.folder / "shard-00001.h5"

    damage(path, path.stat().st_size // 2)

    with pytest.raises(CorruptStoreError, match=r"shard-00001\.h5"):
        Store(store.folder).verify()


@pytest.mark.parametrize(
    ("harm", "match"),
    [
        (lambda path: path.unlink(), "is missing"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1000]),
            "the manifest says.*download it again",
        ),
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), "is not an HDF5 file"),
    ],
    ids=["missing", "truncated", "garbage"],
)
def test_damaged_shard_is_named_and_does_not_end_the_process(new_store, records, harm, match):
    store = new_store(records)
    harm(store.folder / "shard-00000.h5")

    with pytest.raises(CorruptStoreError, match=rf"shard-00000\.h5.*{match}"):
        store.read([0])


def test_compact_data_that_cannot_be_unpacked_are_refused(new_store, records):
    store = new_store(records, codec="compact")
    path = store.folder / "shard-00000.h5"
    with h5py.File(path) as file:
        chunk = file["hamiltonian/off_diagonal"].id.get_chunk_info(0)
    for position in range(chunk.byte_offset, chunk.byte_offset + 64):
        damage(path, position)

    with pytest.raises(
        CorruptStoreError, match=r"hamiltonian/off_diagonal in .*00000\.h5 cannot be"
    ):
        store.read([0])


def test_shard_can_be_open_elsewhere_in_the_process(new_store, records):
    store = new_store(records)
    path = store.folder / "shard-00000.h5"

    with h5py.File(path):
        energy = store[0].energy
    with h5py.File(path) as file:
        assert file["energy"][0] == energy
