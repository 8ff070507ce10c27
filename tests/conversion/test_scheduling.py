import os
import subprocess
import sys
import time

import pytest

from nabladft import __version__
from nabladft.conversion import scheduling
from nabladft.conversion.converting import convert
from nabladft.conversion.scheduling import in_processes, in_this_process, on_cluster
from nabladft.conversion.settings import ConversionSettings
from nabladft.errors import ConversionError
from nabladft.storage.store import Store
from tests.conversion.conftest import shard_bytes

SMALL = ConversionSettings(shard_rows=5)


def square(number):
    return number * number


def die(number):
    os._exit(number)


def refuse(number):
    message = f"no {number}"
    raise ValueError(message)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and a worker as processes of their own, on loopback, as on a real cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    common = [sys.executable, "-m", "distributed.cli"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    options = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = "from distributed.cli.dask_{0} import main; main()"
    common = [sys.executable, "-c"]
    scheduler = subprocess.Popen(
        [*common, start.format("scheduler"), "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--scheduler-file", str(file)],
        **options,
    )  # fmt: skip
    worker = subprocess.Popen(
        [*common, start.format("worker"), "--scheduler-file", str(file), "--nworkers", "1",
         "--nthreads", "2", "--no-dashboard", "--local-directory", str(folder)],
        **options,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield file
    for process in (worker, scheduler):
        process.terminate()
        process.wait(20)


def test_here_and_in_processes_do_the_same():
    with in_this_process() as scheduler:
        here = sorted(scheduler.run(square, range(7)))
    with in_processes(2) as scheduler:
        there = sorted(scheduler.run(square, range(7)))

    assert here == there == [square(k) for k in range(7)]


def test_threads_of_libraries_are_set_for_workers_only(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with in_processes(1) as scheduler:
        assert list(scheduler.run(os.getenv, ["OMP_NUM_THREADS"])) == ["1"]
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_an_error_of_a_task_comes_through():
    with in_processes(1) as scheduler, pytest.raises(ValueError, match="no 3"):
        list(scheduler.run(refuse, [3]))


def test_a_worker_that_dies_is_reported():
    with in_processes(1) as scheduler, pytest.raises(ConversionError, match="worker process died"):
        list(scheduler.run(die, [3]))


def test_a_cluster_gives_the_same_bytes(energy_file, tmp_path, cluster):
    convert(energy_file, tmp_path / "here", SMALL)

    report = convert(energy_file, tmp_path / "there", SMALL, scheduler=str(cluster))

    assert report.n_now == report.n_conformations
    assert shard_bytes(tmp_path / "here") == shard_bytes(tmp_path / "there")
    assert Store(tmp_path / "here").manifest == Store(tmp_path / "there").manifest


def test_a_cluster_continues_what_a_process_began(
    energy_file, nano_records, tmp_path, cluster, monkeypatch
):
    from nabladft.conversion import converting
    from tests.conversion.test_converting import stop_after

    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        convert(energy_file, tmp_path / "store", SMALL)
    monkeypatch.undo()
    assert converting.convert_shard.__module__ == "nabladft.conversion.tasks"

    report = convert(energy_file, tmp_path / "store", SMALL, scheduler=str(cluster))

    assert report.n_now == len(nano_records) - 10


def test_a_worker_that_does_not_see_the_target(cluster, tmp_path):
    with (
        pytest.raises(ConversionError, match=r"does not see .*nowhere"),
        on_cluster(str(cluster), workers=1, sees=tmp_path / "nowhere"),
    ):
        pass


def test_a_worker_with_another_version(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "__version__", "0.0.1")
    with (
        pytest.raises(ConversionError, match=f"has nabladft {__version__}, this is 0.0.1"),
        on_cluster(str(cluster), workers=1, sees=tmp_path),
    ):
        pass


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "_PATIENCE", 0.3)
    with (
        pytest.raises(ConversionError, match=r"tcp://127\.0\.0\.1:9 does not answer"),
        on_cluster("tcp://127.0.0.1:9", workers=1, sees=tmp_path),
    ):
        pass


@pytest.mark.slow
def test_a_local_cluster(energy_file, tmp_path):
    convert(energy_file, tmp_path / "here", SMALL)

    convert(energy_file, tmp_path / "there", SMALL, scheduler="local", workers=2)

    assert shard_bytes(tmp_path / "here") == shard_bytes(tmp_path / "there")
