import asyncio
import fcntl
import hashlib
import os

import pytest

from nabladft.errors import SubmissionError
from nabladft.leaderboard.server.uploads import Upload

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def upload(tmp_path):
    return Upload(
        folder=tmp_path / "made",
        number=0,
        n_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def send(upload, content, offset, *, piece=100_000, fails_after=None, idle=5.0):
    async def pieces():
        for start in range(0, len(content), piece):
            if fails_after is not None and start >= fails_after:
                raise ConnectionError
            yield content[start : start + piece]

    return asyncio.run(upload.receive(pieces(), offset, idle))


def code_of(action):
    with pytest.raises(SubmissionError) as caught:
        action()
    return caught.value.code


def test_a_file_that_arrives_whole_is_verified_and_cannot_be_changed(upload):
    assert upload.offset == 0

    assert send(upload, CONTENT, 0) == len(CONTENT)

    assert upload.is_verified
    assert upload.offset == len(CONTENT)
    assert upload.path.read_bytes() == CONTENT
    assert upload.path.stat().st_mode & 0o222 == 0
    assert code_of(lambda: send(upload, b"x", len(CONTENT))) == "offset"
    assert upload.path.read_bytes() == CONTENT


@pytest.mark.parametrize("broken_at", [0, 1, 300_000, 1_200_000])
def test_a_broken_connection_leaves_what_came_and_is_resumed(broken_at, upload):
    with pytest.raises(ConnectionError):
        send(upload, CONTENT, 0, fails_after=broken_at)
    here = upload.offset
    assert here == -(-broken_at // 100_000) * 100_000
    assert not upload.is_verified

    send(upload, CONTENT[here:], here)

    assert upload.path.read_bytes() == CONTENT


@pytest.mark.parametrize("offset", [0, 99, 101, 10**9])
def test_only_the_next_byte_is_accepted(offset, upload):
    send(upload, CONTENT[:100], 0)

    assert code_of(lambda: send(upload, CONTENT[offset:], offset)) == "offset"
    assert upload.offset == 100


def test_more_bytes_than_declared_are_refused_and_none_of_the_excess_is_kept(upload):
    assert code_of(lambda: send(upload, CONTENT + b"x", 0)) == "too_many_bytes"
    assert upload.offset <= len(CONTENT)
    assert not upload.is_verified


def test_a_file_with_another_hash_is_emptied_and_can_be_sent_again(upload):
    wrong = CONTENT[:-1] + b"x"

    assert code_of(lambda: send(upload, wrong, 0)) == "checksum"
    assert upload.offset == 0

    send(upload, CONTENT, 0)
    assert upload.is_verified


def test_a_file_that_was_complete_when_the_server_was_killed_is_verified_later(upload):
    upload.folder.mkdir()
    upload.unfinished.write_bytes(CONTENT)

    upload.verify()
    upload.verify()

    assert upload.path.read_bytes() == CONTENT


def test_an_incomplete_file_cannot_be_verified(upload):
    send(upload, CONTENT[:7], 0)

    with pytest.raises(SubmissionError, match="File 0 is not complete: 7 of 1280000 bytes"):
        upload.verify()


def test_two_requests_cannot_write_one_file(upload):
    send(upload, CONTENT[:7], 0)
    other = os.open(upload.unfinished, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)

    assert code_of(lambda: send(upload, CONTENT[7:], 7)) == "locked"
    os.close(other)
    send(upload, CONTENT[7:], 7)
    assert upload.is_verified


def test_a_sender_that_falls_silent_is_let_go_and_may_come_back(upload):
    async def pieces():
        yield CONTENT[:10]
        await asyncio.sleep(30)
        yield CONTENT[10:]

    assert code_of(lambda: asyncio.run(upload.receive(pieces(), 0, 0.05))) == "idle"
    assert upload.offset == 10
    send(upload, CONTENT[10:], 10)
    assert upload.is_verified


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
def test_a_request_that_is_cancelled_leaves_a_file_that_can_be_resumed(seconds, upload):
    async def pieces():
        for start in range(0, len(CONTENT), 1 << 18):
            yield CONTENT[start : start + (1 << 18)]
            await asyncio.sleep(0.005)

    async def cancel():
        task = asyncio.create_task(upload.receive(pieces(), 0, 5.0))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(cancel())

    here = upload.offset
    if not upload.is_verified:
        assert (upload.unfinished.read_bytes() if here else b"") == CONTENT[:here]
        send(upload, CONTENT[here:], here)
    assert upload.path.read_bytes() == CONTENT


def test_a_file_that_was_deleted_meanwhile_is_not_found(upload):
    async def pieces():
        yield CONTENT
        upload.unfinished.unlink()

    assert code_of(lambda: asyncio.run(upload.receive(pieces(), 0, 5.0))) == "not_found"
