import hashlib
import signal
import subprocess
import sys
import time

import pytest

from nabladft.cli.main import main
from tests.hostile_server import HostileServer, s3_etag

CONTENT = bytes(range(251)) * 20_000
N_BYTES = len(CONTENT)
PRODUCT = """
[[product]]
name = "ours/{name}"
kind = "store"
version = "1"
what = "made for a test"
url = "{url}"
file_name = "{name}.db"
n_bytes = {n_bytes}
{more}
"""


@pytest.fixture
def server():
    with HostileServer() as running:
        yield running


@pytest.fixture
def ours(server, tmp_path, monkeypatch):
    """A catalogue of ours: call it to add a product that the server has."""
    catalogue = tmp_path / "ours.toml"
    catalogue.write_text("format = 1\n")
    (tmp_path / "config.toml").write_text("")
    monkeypatch.setenv("NABLADFT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("NABLADFT_CATALOG", str(catalogue))
    monkeypatch.setenv("NABLADFT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NABLADFT_MIRRORS", "")
    monkeypatch.setenv("NABLADFT_ATTEMPTS", "2")

    def add(name, *, more="", n_bytes=N_BYTES, **behaviour):
        path = f"/published/{name}.db"
        server.put(path, content=CONTENT, **behaviour)
        text = PRODUCT.format(name=name, url=server.url(path), n_bytes=n_bytes, more=more)
        catalogue.write_text(catalogue.read_text() + text)
        return tmp_path / "data" / "ours" / f"{name}.db"

    return add


def test_a_product_arrives_and_is_told_in_one_line(ours, capsys):
    target = ours("a", more=f'sha256 = "{hashlib.sha256(CONTENT).hexdigest()}"')

    assert main(["download", "ours/a"]) == 0

    assert target.read_bytes() == CONTENT
    out, err = capsys.readouterr()
    assert out.startswith("ours/a: 5.0 MB in ")
    assert f"size, SHA-256 agree: {target}" in out
    assert out.count("\n") == 1
    assert err == ""


def test_a_terminal_gets_a_bar_with_speed(ours, capsys, monkeypatch):
    ours("a", ranges=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    assert main(["download", "ours/a"]) == 0

    err = capsys.readouterr().err
    assert "5.02M/5.02M" in err
    assert "B/s]" in err
    assert "whole files only" in err


def test_a_second_time_nothing_is_fetched(ours, server, capsys):
    ours("a")
    main(["download", "ours/a"])
    n_requests = server.n_requests("/published/a.db")

    assert main(["download", "ours/a"]) == 0

    assert "there already (its size agrees" in capsys.readouterr().out
    assert server.n_requests("/published/a.db") == n_requests


def test_a_dry_run_fetches_and_creates_nothing(ours, server, tmp_path, capsys):
    target = ours("a", more=f'etag = "{s3_etag(CONTENT)}"')

    assert main(["download", "ours/a", "--dry-run", "--mirror", "/share"]) == 0

    assert server.n_requests("/published/a.db") == 0
    assert not target.parent.exists()
    out = capsys.readouterr().out
    assert "ours/a: 5.0 MB to fetch" in out
    assert f"to    {target}" in out
    assert "from  /share/ours/a.db" in out
    assert f"else  {server.url('/published/a.db')}" in out
    assert "check size, ETag" in out
    assert "1 file, 5.0 MB to fetch; nothing was fetched." in out


def test_a_folder_is_a_mirror(ours, server, tmp_path):
    target = ours("a", more=f'etag = "{s3_etag(CONTENT)}"', status=404)
    mirror = tmp_path / "mirror" / "ours"
    mirror.mkdir(parents=True)
    (mirror / "a.db").write_bytes(CONTENT)

    assert main(["download", "ours/a", "--mirror", str(mirror.parent)]) == 0

    assert target.read_bytes() == CONTENT
    assert server.n_requests("/published/a.db") == 0


def test_files_go_where_they_are_sent(ours, tmp_path):
    ours("a")

    assert main(["download", "ours/a", "--to", str(tmp_path / "x")]) == 0

    assert (tmp_path / "x" / "a.db").read_bytes() == CONTENT


def test_a_changed_file_is_refused_until_it_is_accepted(ours, capsys):
    target = ours("a", n_bytes=7)

    assert main(["download", "ours/a"]) == 2
    assert "--accept-changed" in capsys.readouterr().err
    assert not target.exists()

    assert main(["download", "ours/a", "--accept-changed"]) == 0
    assert target.read_bytes() == CONTENT


def test_one_failure_does_not_stop_the_others(ours, capsys):
    ours("a", status=403)
    target = ours("b")

    assert main(["download", "ours/*"]) == 1

    assert target.read_bytes() == CONTENT
    err = capsys.readouterr().err
    assert "error: ours/a: " in err
    assert "1 of 2 files were not fetched." in err


def test_a_failure_alone_is_one_message(ours, capsys):
    ours("a", status=403)

    assert main(["download", "ours/a"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: http://127.0.0.1:")
    assert err.count("\n") == 1


def test_connections_are_a_positive_number(ours, capsys):
    ours("a")

    assert main(["download", "ours/a", "--connections", "0"]) == 2
    assert "--connections must be at least 1, got 0" in capsys.readouterr().err


def test_embedded_data_are_there(capsys):
    assert main(["download", "nano"]) == 0
    assert "nothing to fetch" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_an_interruption_is_told_and_the_next_run_goes_on(ours, server, capsys, number):
    target = ours("a", bytes_per_second=2e5, more=f'etag = "{s3_etag(CONTENT)}"')
    process = subprocess.Popen(
        [sys.executable, "-m", "nabladft.cli.main", "download", "ours/a"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while server.sent("/published/a.db") < 300_000:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "run the same command again" in err
    server.settle()
    sent = server.sent("/published/a.db")
    server.put("/published/a.db", content=CONTENT)
    assert main(["download", "ours/a"]) == 0
    assert target.read_bytes() == CONTENT
    assert "from before" in capsys.readouterr().out
    # Nothing came twice but what was in the sockets.
    assert server.sent("/published/a.db") - sent <= len(CONTENT)
    assert server.sent("/published/a.db") - len(CONTENT) < 100_000
