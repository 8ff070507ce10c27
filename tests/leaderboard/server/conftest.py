"""A place for a server, databases of both kinds, and a running server on loopback."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn

import nabladft
from benchmarks.leaderboard_place import PART, TASK, entry_text, make_place, write_predictions
from nabladft.leaderboard.client import ScoringServer
from nabladft.leaderboard.server.accounts import add_token, find_account
from nabladft.leaderboard.server.api import create_app
from nabladft.leaderboard.server.blinding import write_public_copy
from nabladft.leaderboard.server.database import Database
from nabladft.leaderboard.server.scoring import RefusedError, score_job
from nabladft.leaderboard.server.submissions import DeclaredFile, Submissions
from nabladft.leaderboard.server.worker import Worker
from nabladft.splits import read_split
from nabladft.transport.settings import TransportSettings

QUICK = TransportSettings(attempts=3, first_wait=0.01, longest_wait=0.05)


@pytest.fixture(scope="session")
def public_copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blind") / "public"
    write_public_copy(nabladft.open("nano"), read_split("nano"), folder, parts=[PART])
    return folder


@pytest.fixture
def new_place(tmp_path, public_copy):
    def new(**options):
        return make_place(tmp_path, copy=public_copy, **options)

    return new


@pytest.fixture
def place(new_place):
    return new_place()


def postgres_folder():
    """Folder of PostgreSQL's programs, or None."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Address of a PostgreSQL that runs for these tests, as a user without rights."""
    programs = postgres_folder()
    if programs is None:
        pytest.skip("PostgreSQL is not on this machine (Debian: apt-get install postgresql)")
    folder = tmp_path_factory.mktemp("postgres")
    options = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        for parent in list(folder.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "board", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        **options,
    )
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **options,
    )
    try:
        yield _when_it_answers(folder)
    finally:
        # At once: nothing in it is needed any more.
        server.send_signal(signal.SIGQUIT)
        server.wait(20)


def _when_it_answers(folder):
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(host=str(folder), user="board", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return f"postgresql+psycopg://board@/{{name}}?host={folder}"
    pytest.fail("PostgreSQL does not answer")


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite'}"
    import psycopg

    address = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    folder = address.partition("host=")[2]
    with psycopg.connect(
        host=folder, user="board", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return address.format(name=name)


class WorkerHere(Worker):
    """A worker that does the work of its child."""

    def _run_child(self, claimed, job):
        try:
            outcome = {"outcome": "scored", "scored": score_job(job)}
        except RefusedError as error:
            outcome = {"outcome": "failed", "code": str(error)}
        return json.loads(json.dumps(outcome))


@dataclass
class Board:
    """A server without its HTTP part."""

    place: object
    database: Database
    tokens: dict = field(default_factory=dict)

    def account(self, name="ada"):
        if name not in self.tokens:
            self.tokens[name] = add_token(self.database, name)
        return find_account(self.database, self.tokens[name])

    @property
    def submissions(self):
        return Submissions(self.place.settings, self.database)

    def worker(self, **options):
        return Worker(self.place.settings, self.database, **options)

    def score_here(self):
        """Score the next submission in this process, which is quicker than in another."""
        return WorkerHere(self.place.settings, self.database).work_once()

    def create(self, number=0, *, name="ada", path=None, entry=None):
        """Announce a submission whose file is on the disk already, complete."""
        path = path or write_predictions(
            self.place, self.place.folder / f"made-{number}.h5", number=number
        )
        content = path.read_bytes()
        declared = DeclaredFile(
            name=path.name, n_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
        made, _ = self.submissions.create(
            self.account(name), task=TASK, entry=entry or entry_text(number), declared=[declared]
        )
        (upload,) = made.uploads
        upload.folder.mkdir(parents=True, exist_ok=True)
        if not upload.is_verified:
            upload.unfinished.write_bytes(content)
        return made.row["id"]

    def queue(self, number=0, **options):
        made = self.create(number, **options)
        self.submissions.submit(self.account(options.get("name", "ada")), made)
        return made

    def find(self, submission_id, name="ada"):
        return self.submissions.find(self.account(name), submission_id)


@pytest.fixture
def new_board(new_place):
    with ExitStack() as stack:

        def new(**options):
            place = new_place(**options)
            database = Database(place.settings.database)
            database.create()
            stack.callback(database.close)
            return Board(place, database)

        yield new


@pytest.fixture
def board(new_board, database_url):
    """With each of the two kinds of database."""
    return new_board(database=database_url)


@dataclass
class Running:
    """A server that answers on loopback."""

    board: Board
    url: str

    def client(self, name="ada", **options):
        self.board.account(name)
        return ScoringServer(self.url, self.board.tokens[name], **{"settings": QUICK, **options})

    def headers(self, name="ada"):
        self.board.account(name)
        return {"Authorization": f"Bearer {self.board.tokens[name]}"}


@pytest.fixture
def new_server(new_board):
    with ExitStack() as stack:

        def new(*, port=0, board=None, **options):
            board = board or new_board(**options)
            listener = socket.socket(proto=socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            app = create_app(board.place.settings, board.database)
            server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()

            def stop():
                server.should_exit = True
                thread.join()

            stack.callback(stop)
            while not server.started:
                time.sleep(0.01)
            running = Running(board, f"http://127.0.0.1:{listener.getsockname()[1]}")
            running.stop = stop
            return running

        yield new


@pytest.fixture
def server(new_server):
    return new_server()
