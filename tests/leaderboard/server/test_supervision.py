import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nabladft.leaderboard.server.supervision import Supervisor, worker_command
from nabladft.leaderboard.server.worker import run_worker

#: Says that it runs, then does what a worker does at the end of its standard input.
STAND_IN = "import os, sys; open(f'{sys.argv[1]}/{os.getpid()}', 'w'); sys.stdin.read()"


def command(folder):
    return (sys.executable, "-S", "-c", STAND_IN, str(folder))


def pids(folder, n):
    """Wait until n processes have said that they run."""
    for _ in range(2400):
        found = [int(path.name) for path in folder.iterdir()]
        if len(found) >= n:
            return found
        time.sleep(0.05)
    return pytest.fail(f"{len(found)} of {n} processes run")


def ends(pid):
    for _ in range(2400):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "pids"
    made.mkdir()
    return made


def test_workers_are_started_again_and_end_with_the_server(folder, monkeypatch):
    monkeypatch.setattr("nabladft.leaderboard.server.supervision._PAUSE_SECONDS", 0.0)
    with Supervisor(command(folder), 2):
        first = pids(folder, 2)
        os.kill(first[0], signal.SIGKILL)
        found = pids(folder, 3)
        assert not {first[0]} & (set(found) - set(first))
        running = [pid for pid in found if pid != first[0]]

    assert all(ends(pid) for pid in running)


def test_a_worker_ends_when_its_server_is_killed(folder):
    program = (
        "import sys, time\n"
        "from nabladft.leaderboard.server.supervision import Supervisor\n"
        f"with Supervisor({command(folder)!r}, 1):\n"
        "    time.sleep(600)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", program])
    (worker,) = pids(folder, 1)

    server.kill()
    server.wait()

    assert ends(worker)


def test_a_worker_without_a_parent_stops(new_board):
    board = new_board()
    board.queue(1)
    gone = threading.Event()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    timer = threading.Timer(0.5, gone.set)
    timer.start()
    try:
        run_worker(board.place.settings, board.database, lifeline=gone.wait)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    assert gone.is_set()


def test_the_command_of_a_worker_is_one_of_ours(tmp_path):
    from nabladft.cli.main import build_parser

    arguments = worker_command(tmp_path / "server.toml")

    assert arguments[:3] == (sys.executable, "-m", "nabladft.cli.main")
    parsed = build_parser().parse_args(arguments[3:])
    assert (parsed.action, parsed.with_parent) == ("work", True)
