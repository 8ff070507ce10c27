import numpy as np

from nabladft.conversion import tasks
from nabladft.conversion.planning import describe_target
from nabladft.conversion.settings import ConversionSettings
from nabladft.conversion.sources import SourceReference
from nabladft.conversion.tasks import ShardTask, convert_shard, result_of
from nabladft.storage.opening import open_source
from nabladft.storage.staging import ShardStaging


def task_for(source, target, **changes):
    settings = ConversionSettings(fields=("energy", "forces"))
    values = {
        "position": 3,
        "rows": np.arange(10, 21),
        "read_rows": 4,
        "source": SourceReference.of(source),
        "content": "first",
        "target": str(target),
        "manifest": describe_target(open_source(source), ("energy", "forces"), settings),
        "skip_bad": False,
    }
    return ShardTask(**values | changes)


def test_a_task_stages_its_rows_whatever_is_read_at_once(tmp_path):
    for step, folder in ((4, tmp_path / "a"), (100, tmp_path / "b")):
        result = convert_shard(task_for("nano", folder, read_rows=step))
        assert (result.position, result.n_rows, result.is_staged) == (3, 11, True)
        staged = ShardStaging(folder).finished()
        assert list(staged) == [3]
        assert staged[3].entry.rows == 11
        assert result_of(staged[3]) == result

    (one, other) = (next((tmp_path / name).rglob("*.h5")).read_bytes() for name in "ab")
    assert one == other


def test_a_source_is_opened_once_and_anew_when_it_changed(tmp_path, monkeypatch):
    opened = []
    original = SourceReference.open
    monkeypatch.setattr(SourceReference, "open", lambda self: opened.append(self) or original(self))
    tasks.forget_source()

    for content in ("first", "first", "second"):
        convert_shard(task_for("nano", tmp_path, content=content))

    assert len(opened) == 2
    tasks.forget_source()


def test_a_task_with_bad_rows_writes_nothing_unless_they_may_be_left_out(
    broken_energy_file, tmp_path
):
    rows = np.arange(3, 9)
    changes = {"rows": rows, "manifest": task_for("nano", tmp_path).manifest}

    refused = convert_shard(task_for(broken_energy_file, tmp_path / "a", **changes))
    skipped = convert_shard(task_for(broken_energy_file, tmp_path / "b", skip_bad=True, **changes))

    assert [row.row for row in refused.bad] == [row.row for row in skipped.bad] == [5]
    assert not refused.is_staged
    assert not (tmp_path / "a").exists()
    assert ShardStaging(tmp_path / "b").finished()[3].entry.rows == 5
    tasks.forget_source()
