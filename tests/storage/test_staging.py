import pytest

from nabladft.errors import StoreError
from nabladft.storage import staging as module
from nabladft.storage.flat import Texts, flatten
from nabladft.storage.index import Index
from nabladft.storage.staging import STAGING_NAME, ShardStaging, is_unfinished
from nabladft.storage.store import Store
from nabladft.storage.writing import append, create_store, describe_store

FIELDS = ("energy", "forces")
LEVEL = {"functional": "wB97X-D", "basis_set": "def2-SVP"}


@pytest.fixture
def manifest():
    return describe_store(name="demo", level_of_theory=LEVEL, fields=FIELDS)


@pytest.fixture
def stage(manifest):
    """Stages records as one shard: stage(staging, position, records)."""

    def write(staging, position, records, **options):
        texts = Texts(
            smiles=[record.smiles for record in records],
            geometry_origin=[record.geometry_origin for record in records],
        )
        return staging.write(position, flatten(records, FIELDS), texts, manifest, **options)

    return write


def test_staged_in_any_order_it_is_the_store_that_one_writer_makes(
    tmp_path, records, manifest, stage
):
    staging = ShardStaging(tmp_path / "staged")
    for position in (2, 0, 1):
        stage(staging, position, records[4 * position : 4 * position + 4])
    with staging.locked():
        staging.assemble(manifest)
    create_store(tmp_path / "written", name="demo", level_of_theory=LEVEL, fields=FIELDS)
    for start in (0, 4, 8):
        append(tmp_path / "written", records[start : start + 4])

    staged, written = Store(tmp_path / "staged"), Store(tmp_path / "written")
    assert staged.manifest == written.manifest
    assert [record.key for record in staged] == [record.key for record in records]
    for shard in staged.manifest.shards:
        files = [store.folder / shard.file for store in (staged, written)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert Index(staged.folder).keys() == [record.key for record in records]
    assert not staging.area.exists()
    staged.verify()


def test_nothing_is_in_the_store_before(tmp_path, records, stage):
    staging = ShardStaging(tmp_path / "store")
    stage(staging, 0, records[:4])

    assert is_unfinished(tmp_path / "store")
    with pytest.raises(StoreError, match="not a store"):
        Store(tmp_path / "store")


def test_parts_without_records_and_notes(tmp_path, records, manifest, stage):
    staging = ShardStaging(tmp_path / "store")
    stage(staging, 0, records[:4], notes={"seen": 4})
    stage(staging, 1, [], notes={"seen": 3})

    found = ShardStaging(tmp_path / "store").finished()

    assert [found[k].notes for k in (0, 1)] == [{"seen": 4}, {"seen": 3}]
    assert found[1].entry is None
    assert len(staging.assemble(manifest).shards) == 1


def test_what_is_not_whole_is_not_finished(tmp_path, records, stage):
    staging = ShardStaging(tmp_path / "store")
    for position in range(3):
        stage(staging, position, records[:4])
    (staging.area / "shard-00000.h5").unlink()
    shard = staging.area / "shard-00001.h5"
    shard.write_bytes(shard.read_bytes()[:-1])

    assert list(staging.finished()) == [2]
    staging.discard(2)
    assert staging.finished() == {}


def test_a_death_while_shards_are_moved_is_mended(tmp_path, records, manifest, stage, monkeypatch):
    staging = ShardStaging(tmp_path / "store")
    for position in range(3):
        stage(staging, position, records[4 * position : 4 * position + 4])

    def die(folder, manifest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            staging.assemble(manifest)
    assert is_unfinished(tmp_path / "store")
    assert list(staging.finished()) == [0, 1, 2]

    staging.assemble(manifest)

    assert len(Store(tmp_path / "store")) == len(records)
    Store(tmp_path / "store").verify()


def test_a_damaged_note_is_told(tmp_path, records, stage):
    staging = ShardStaging(tmp_path / "store")
    stage(staging, 0, records[:4])
    (staging.area / "shard-00000.json").write_text("{")

    with pytest.raises(StoreError, match=r"shard-00000\.json is damaged"):
        staging.finished()


def test_one_process_assembles(tmp_path):
    staging = ShardStaging(tmp_path / "store")
    with (
        staging.locked(),
        pytest.raises(StoreError, match="is being written by process"),
        staging.locked(),
    ):
        pass
    assert staging.area.name == STAGING_NAME
