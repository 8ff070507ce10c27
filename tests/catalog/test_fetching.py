"""Whole downloads from a server that behaves badly."""

import errno
import hashlib
import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from benchmarks.downloading import one_killed_run
from nabladft.catalog import fetching, transfer
from nabladft.catalog.fetching import Reporter, bytes_to_fetch, fetch_file
from nabladft.catalog.journal import Journal
from nabladft.catalog.verification import Expected
from nabladft.errors import (
    AccessRefusedError,
    BadResponseError,
    ConnectionFailedError,
    DownloadError,
    RemoteChangedError,
    TransportError,
    VerificationError,
)
from nabladft.transport.files import TransportSettings
from tests.hostile_server import HostileServer, Resource, s3_etag

MIB = 1 << 20
CONTENT = random.Random(2).randbytes(2 * MIB + 4321)
OTHER = random.Random(3).randbytes(len(CONTENT))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = TransportSettings(
    connect_timeout=2, read_timeout=0.5, attempts=3, first_wait=0.01, longest_wait=0.02
)


class Notes(Reporter):
    def __init__(self):
        self.said, self.n_bytes, self.kept = [], 0, 0

    def begin(self, name, *, size, kept):
        self.kept = kept

    def advance(self, n_bytes):
        self.n_bytes += n_bytes

    def say(self, message):
        self.said.append(message)


@pytest.fixture
def server():
    with HostileServer() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "a.db"


def fetch(server, target, *paths, notes=None, **options):
    return fetch_file(
        [server.url(path) for path in paths or ("/a.db",)],
        target,
        reporter=notes,
        **({"part_bytes": 1 << 18, "settings": QUICK} | options),
    )


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


def interrupt_after(server, target, n_bytes, **options):
    """Fetch until so many bytes have come, then raise what Ctrl-C raises."""
    notes = Notes()

    def advance(n):
        notes.n_bytes += n
        if notes.n_bytes >= n_bytes:
            raise KeyboardInterrupt

    notes.advance = advance
    with pytest.raises(KeyboardInterrupt):
        fetch(server, target, notes=notes, **options)


@pytest.mark.parametrize(
    "behaviour",
    [
        {"etag": s3_etag(CONTENT)},
        {"etag": s3_etag(CONTENT, MIB)},
        {"etag": "5f3b-1a2b"},
        {"etag": None, "last_modified": None},
        {"mean_bytes_to_drop": 200_000, "seed": 1},
        {"bytes_per_second": 2e6},
        {"statuses": [503, 206 + 297]},
        {"ranges": False},
        {"ranges": False, "chunked": True},
        {"ranges": False, "mean_bytes_to_drop": 1_500_000, "drops_left": 2, "seed": 5},
        {"ranges": False, "chunked": True, "mean_bytes_to_drop": MIB, "drops_left": 2},
    ],
    ids=str,
)
def test_a_file_arrives_whole_whatever_the_server_does(server, target, behaviour):
    server.put("/a.db", content=CONTENT, **behaviour)

    fetched = fetch(
        server,
        target,
        expected=Expected(size=len(CONTENT), sha256=SHA256),
        # Which part meets which cut depends on the threads; many cuts in a row are no failure here.
        settings=replace(QUICK, attempts=30, read_timeout=5),
    )

    assert target.read_bytes() == CONTENT
    assert left(target) == ["a.db"]
    assert fetched.n_fetched == fetched.n_bytes == len(CONTENT)
    assert fetched.verified == ("size", "SHA-256")
    if behaviour.get("ranges", True):
        assert server.sent("/a.db") == len(CONTENT)


def test_empty_and_tiny_files_arrive(server, target):
    server.put("/a.db", content=b"")
    server.put("/b.db", content=b"x")

    assert fetch(server, target).n_bytes == 0
    assert fetch(server, target.with_name("b"), "/b.db", connections=3).n_bytes == 1


def test_a_folder_is_a_source(target, tmp_path):
    origin = tmp_path / "origin.db"
    origin.write_bytes(CONTENT)

    fetch_file([origin.as_uri()], target, expected=Expected(sha256=SHA256), part_bytes=1 << 18)

    assert target.read_bytes() == CONTENT


def test_a_file_of_which_nothing_is_known_is_told(server, target):
    server.put("/a.db", content=CONTENT, ranges=False, chunked=True)
    notes = Notes()

    assert fetch(server, target, notes=notes).verified == ()
    assert "whether it is whole is not known" in notes.said[-1]


def test_redirects_lead_to_the_file(server, target):
    server.put("/a.db", redirect_to=server.url("/b.db"))
    server.put("/b.db", content=CONTENT, etag=s3_etag(CONTENT))

    assert fetch(server, target).verified == ("size", "ETag")


def test_a_server_without_ranges_is_told(server, target):
    server.put("/a.db", content=CONTENT, ranges=False)
    notes = Notes()

    fetch(server, target, notes=notes)

    assert "whole files only: one connection" in notes.said[0]


def test_parts_come_over_several_connections_at_a_time(server, target):
    server.put("/a.db", content=CONTENT, bytes_per_second=1e6)

    fetch(server, target, connections=5)

    assert 1 < server.most_sending <= 5


def test_a_complete_file_is_not_fetched_again(server, target):
    server.put("/a.db", content=CONTENT)
    fetch(server, target)
    n_requests = server.n_requests("/a.db")

    again = fetch(server, target, expected=Expected(size=len(CONTENT)))

    assert again.was_there
    assert server.n_requests("/a.db") == n_requests


def test_an_unfinished_file_of_another_program_is_refused(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:1000])

    with pytest.raises(DownloadError, match=r"exists with 1000 bytes, the catalogue says 2101473"):
        fetch(server, target, expected=Expected(size=len(CONTENT)))
    assert target.read_bytes() == CONTENT[:1000]


def test_an_interrupted_download_goes_on_without_fetching_a_byte_twice(server, target):
    server.put("/a.db", content=CONTENT, etag=s3_etag(CONTENT, MIB), bytes_per_second=4e6)
    interrupt_after(server, target, 700_000)
    server.settle()
    sent = server.sent("/a.db")
    assert left(target) == ["a.db.part", "a.db.part.journal"]
    missing = bytes_to_fetch(target, len(CONTENT))
    assert missing <= len(CONTENT) - 700_000

    notes = Notes()
    fetched = fetch(server, target, notes=notes)

    assert target.read_bytes() == CONTENT
    assert notes.kept == len(CONTENT) - missing
    assert fetched.n_fetched == missing == server.sent("/a.db") - sent
    assert bytes_to_fetch(target, len(CONTENT)) == 0


def test_a_file_replaced_at_the_server_is_begun_again(server, target):
    server.put("/a.db", content=OTHER, etag=s3_etag(OTHER), bytes_per_second=4e6)
    interrupt_after(server, target, 700_000)
    server.put("/a.db", content=CONTENT, etag=s3_etag(CONTENT))
    notes = Notes()

    fetch(server, target, notes=notes)

    assert target.read_bytes() == CONTENT
    assert "is begun again: its ETag is" in notes.said[0]


def test_a_part_file_that_was_tampered_with_is_begun_again(server, target):
    server.put("/a.db", content=CONTENT, bytes_per_second=4e6)
    interrupt_after(server, target, 700_000)
    os.truncate(target.with_name("a.db.part"), 5)
    notes = Notes()

    fetch(server, target, notes=notes)

    assert target.read_bytes() == CONTENT
    assert "was moved, cut or replaced" in notes.said[0]


def test_a_file_replaced_midway_is_never_mixed(server, target):
    changed = Resource(content=OTHER, etag=s3_etag(OTHER))
    server.put("/a.db", content=CONTENT, etag=s3_etag(CONTENT), becomes=changed, becomes_after=4)

    with pytest.raises(RemoteChangedError, match="was changed at the server"):
        fetch(server, target)
    assert not target.exists()
    fetch(server, target)
    assert target.read_bytes() == OTHER


def test_a_file_replaced_without_a_sign_is_caught_by_its_hash(server, target):
    changed = Resource(content=OTHER, etag="same")
    server.put("/a.db", content=CONTENT, etag="same", becomes=changed, becomes_after=4)

    with pytest.raises(VerificationError, match=r"fetched twice and is wrong: SHA-256 is"):
        fetch(server, target, expected=Expected(sha256=SHA256))
    assert not target.exists()


def test_a_file_replaced_meanwhile_is_told_from_a_damaged_one(server, target):
    # A probe and nine parts; what is asked afterwards shows the new file.
    later = Resource(content=OTHER, etag="new")
    changed = Resource(content=OTHER, etag="same", becomes=later, becomes_after=10)
    server.put("/a.db", content=CONTENT, etag="same", becomes=changed, becomes_after=4)

    with pytest.raises(VerificationError, match="was replaced while it was being fetched"):
        fetch(server, target, expected=Expected(sha256=SHA256))
    assert not target.exists()
    assert server.sent("/a.db") == len(CONTENT)


def test_a_damaged_copy_is_fetched_from_the_mirror(server, target):
    damaged = CONTENT[:5000] + b"?" + CONTENT[5001:]
    server.put("/a.db", content=damaged)
    server.put("/mirror/a.db", content=CONTENT)
    notes = Notes()

    fetch(server, target, "/a.db", "/mirror/a.db", notes=notes, expected=Expected(sha256=SHA256))

    assert target.read_bytes() == CONTENT
    assert "fetching it once more" in notes.said[0]


@pytest.mark.parametrize(
    "expected",
    [
        Expected(sha256="0" * 64),
        Expected(md5="0" * 32),
        Expected(etag="0" * 32),
        Expected(etag="0" * 32 + "-3", etag_part_bytes=MIB),
    ],
    ids=str,
)
def test_a_wrong_hash_leaves_nothing_under_the_name(server, target, expected):
    server.put("/a.db", content=CONTENT)

    with pytest.raises(VerificationError, match=r"says 0+.*Nothing is left under its name"):
        fetch(server, target, expected=expected)
    assert not target.exists()


def test_an_etag_in_unusual_parts_is_kept_and_not_fetched_again(server, target):
    etag = s3_etag(CONTENT, 654_321)
    server.put("/a.db", content=CONTENT)

    with pytest.raises(VerificationError, match=r"none of the usual part sizes.*--accept-changed"):
        fetch(server, target, expected=Expected(etag=etag))
    assert not target.exists()
    fetched = fetch(server, target, expected=Expected(etag=etag, etag_part_bytes=654_321))

    assert target.read_bytes() == CONTENT
    assert fetched.n_fetched == 0
    assert server.sent("/a.db") == len(CONTENT)


def test_a_server_s_own_etag_in_unusual_parts_is_a_remark(server, target):
    server.put("/a.db", content=CONTENT, etag=s3_etag(CONTENT, 654_321))
    notes = Notes()

    assert fetch(server, target, notes=notes).verified == ("size",)
    assert "none of the usual part sizes" in notes.said[0]


def test_another_file_than_the_catalogue_s_is_not_even_begun(server, target):
    server.put("/a.db", content=CONTENT, etag=s3_etag(CONTENT))

    for expected, message in (
        (Expected(size=5), r"it has 2101473 bytes, the catalogue says 5.*--accept-changed"),
        (Expected(etag="0" * 32), r"its ETag is .*, the catalogue says 0+.*--accept-changed"),
    ):
        with pytest.raises(VerificationError, match=message):
            fetch(server, target, expected=expected)
    assert server.sent("/a.db") == 0


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        ({"status": 403}, AccessRefusedError, "not public"),
        ({"length_error": 9}, BadResponseError, "contradicts itself"),
        ({"range_error": 9}, BadResponseError, "Content-Range"),
        ({"ignores_range_after": 3}, BadResponseError, "sends the whole file"),
        ({"hangs_after": 50_000}, ConnectionFailedError, "hangs"),
        ({"mean_bytes_to_drop": 0.01}, ConnectionFailedError, "broke off"),
    ],
)
def test_a_hopeless_server_leaves_one_message_and_no_file(
    server, target, behaviour, error, message
):
    server.put("/a.db", content=CONTENT, **behaviour)

    with pytest.raises(error, match=message):
        fetch(server, target)
    assert not target.exists()


@pytest.mark.parametrize(
    "dying",
    [
        {"becomes": Resource(status=403), "becomes_after": 4},
        {"becomes": Resource(statuses=[500] * 99), "becomes_after": 4},
        {"becomes": Resource(content=OTHER, etag="other"), "becomes_after": 4},
        {"hangs_after": 1 << 15},
    ],
    ids=["refused", "failing", "replaced", "hanging"],
)
def test_a_download_goes_on_from_the_mirror(server, target, dying):
    etag = s3_etag(CONTENT)
    server.put("/a.db", content=CONTENT, etag=etag, **dying)
    server.put("/mirror/a.db", content=CONTENT, etag=etag)
    notes = Notes()

    fetch(server, target, "/a.db", "/mirror/a.db", notes=notes)

    assert target.read_bytes() == CONTENT
    assert server.sent("/mirror/a.db") <= len(CONTENT)
    assert any(f"going on from {server.url('/mirror/a.db')}" == said for said in notes.said)


def test_a_mirror_with_another_file_is_not_mixed_in(server, target):
    server.put("/a.db", content=CONTENT, etag=s3_etag(CONTENT), hangs_after=1 << 15)
    server.put("/mirror/a.db", content=OTHER, etag=s3_etag(OTHER))

    with pytest.raises(DownloadError, match=r"mirror/a.db holds another file: its ETag is"):
        fetch(server, target, "/a.db", "/mirror/a.db")
    assert server.sent("/mirror/a.db") == 0


def test_a_mirror_that_proves_nothing_is_not_mixed_in(server, target):
    server.put("/a.db", content=CONTENT, hangs_after=1 << 15)
    server.put("/mirror/a.db", content=CONTENT, last_modified=1.6e9)

    with pytest.raises(DownloadError, match="nothing shows that it holds the same file"):
        fetch(server, target, "/a.db", "/mirror/a.db")


def test_a_mirror_without_the_file_is_passed_over(server, target):
    server.put("/a.db", content=CONTENT)
    notes = Notes()

    fetch(server, target, "/mirror/a.db", "/a.db", notes=notes)

    assert target.read_bytes() == CONTENT
    assert notes.said == []


def test_when_no_place_has_it_each_is_named(server, target):
    server.put("/b.db", status=403)

    with pytest.raises(DownloadError, match=r"(?s)No place.*a.db is not there.*b.db is refused"):
        fetch(server, target, "/a.db", "/b.db")


def test_a_second_process_is_refused(server, target):
    target.parent.mkdir()
    server.put("/a.db", content=CONTENT)

    with (
        Journal(target.with_name("a.db.part.journal")),
        pytest.raises(DownloadError, match=r"is being fetched into .* by another process"),
    ):
        fetch(server, target)


def test_too_little_space_is_told_before_the_first_byte(server, target, monkeypatch):
    server.put("/a.db", content=CONTENT)
    usage = fetching.shutil.disk_usage(target.parent.parent)._replace(free=1_000_000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)

    with pytest.raises(DownloadError, match=r"needs 0.00 GB more, and .* has 0.00 GB free"):
        fetch(server, target)
    assert server.sent("/a.db") == 0


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "FAT"),
        (errno.EIO, "disk reports an error"),
    ],
)
def test_a_disk_that_takes_no_more_loses_nothing(server, target, monkeypatch, number, message):
    server.put("/a.db", content=CONTENT, bytes_per_second=4e6)
    write, written = os.pwrite, []

    def full(descriptor, data, position):
        if sum(written) > 700_000:
            raise OSError(number, os.strerror(number))
        written.append(len(data))
        return write(descriptor, data, position)

    with monkeypatch.context() as patched:
        patched.setattr("nabladft.catalog.transfer.os.pwrite", full)
        with pytest.raises(DownloadError, match=f"{message}.*kept"):
            fetch(server, target)
    notes = Notes()
    fetch(server, target, notes=notes)

    assert notes.kept > 0
    assert target.read_bytes() == CONTENT


def test_a_read_only_folder_is_refused(server, target, monkeypatch):
    server.put("/a.db", content=CONTENT)

    # For root nothing is read-only, so the system's answer is given in its place.
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("nabladft.catalog.journal.os.open", refuse)
    with pytest.raises(DownloadError, match=r"cannot be written \(Read-only file system\).*--to"):
        fetch(server, target)


def test_a_target_that_cannot_be_is_refused(server, target, tmp_path):
    (tmp_path / "data").write_bytes(b"")

    with pytest.raises(DownloadError, match=r"cannot be created .*--to"):
        fetch(server, target)
    with pytest.raises(DownloadError, match="exists and is not a file"):
        fetch(server, tmp_path)


def test_a_power_cut_finds_on_disk_what_the_journal_says(server, target, monkeypatch):
    server.put("/a.db", content=CONTENT, mean_bytes_to_drop=400_000)
    part, on_disk, recorded = target.with_name("a.db.part"), [b""], []
    sync, record = transfer._sync, Journal.record_done

    def watched_sync(descriptor):
        # What was written before the call is on disk after it, and nothing later for sure.
        before = part.read_bytes()
        sync(descriptor)
        on_disk[0] = before

    def watched_record(journal, start, stop):
        assert on_disk[0][start:stop] == CONTENT[start:stop]
        recorded.append((start, stop))
        record(journal, start, stop)

    monkeypatch.setattr(transfer, "_sync", watched_sync)
    monkeypatch.setattr(Journal, "record_done", watched_record)
    fetch(server, target, settings=replace(QUICK, attempts=30, read_timeout=5))

    assert len(recorded) == -(-len(CONTENT) // (1 << 18))


def test_the_journal_of_a_finished_file_is_cleared_away(server, target):
    server.put("/a.db", content=CONTENT)
    fetch(server, target)
    # Killed between the last two steps.
    with Journal(target.with_name("a.db.part.journal")) as journal:
        journal.begin({"size": 1})

    fetch(server, target)

    assert left(target) == ["a.db"]


def test_a_terminated_process_keeps_what_came(server, target, tmp_path):
    server.put("/a.db", content=CONTENT, bytes_per_second=2e5)
    code = (
        "import signal, sys, pathlib\n"
        "from nabladft.catalog.fetching import fetch_file\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "print('ready', flush=True)\n"
        "fetch_file([sys.argv[1]], pathlib.Path(sys.argv[2]), part_bytes=1 << 18)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.url("/a.db"), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    while server.sent("/a.db") < 200_000:
        time.sleep(0.01)
    process.terminate()
    process.wait()
    process.stdout.close()

    assert bytes_to_fetch(target, len(CONTENT)) < len(CONTENT)


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_download_loses_nothing_but_what_was_in_flight(tmp_path, seed):
    counts = one_killed_run(tmp_path / "run", seed=seed, pace=0.3)

    assert (counts["corrupt"], counts["restarts"], counts["beyond"]) == (0, 0, 0)


@pytest.mark.slow
def test_a_thousand_killed_downloads_lose_nothing(tmp_path):
    for seed in range(1000, 2000):
        counts = one_killed_run(tmp_path / "run", seed=seed)
        assert (counts["corrupt"], counts["restarts"], counts["beyond"]) == (0, 0, 0), seed


def test_errors_are_of_one_family():
    assert issubclass(DownloadError, TransportError)
