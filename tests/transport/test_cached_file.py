import os
import pickle

import numpy as np
import pytest

from nabladft.errors import BadResponseError, RemoteChangedError, RemoteMissingError
from nabladft.transport.cache import BLOCK, BlockCache
from nabladft.transport.cached_file import CachedFile, CachedStream
from nabladft.transport.settings import TransportSettings
from tests.range_server import RangeServer

SIZE = 3_000_123
PATIENCE = TransportSettings(attempts=2, first_wait=0.01)


@pytest.fixture
def content(rng):
    return rng.integers(0, 256, SIZE, dtype=np.uint8).tobytes()


@pytest.fixture
def server(tmp_path, content):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.bin").write_bytes(content)
    with RangeServer(folder) as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return BlockCache(tmp_path / "cache", limit=10**9)


def open_file(server, cache, name="a.bin", **options):
    return CachedFile(server.url(name), cache=cache, settings=PATIENCE, **options)


def test_any_range_is_what_the_file_has(server, cache, content, rng):
    file = open_file(server, cache)
    assert file.size == SIZE

    for start in [0, SIZE - 5, *rng.integers(0, SIZE, 50).tolist()]:
        stop = min(SIZE, start + int(rng.integers(0, 50_000)))
        assert file.read(start, stop) == content[start:stop]
    assert file.read(SIZE - 3, SIZE + 100) == content[-3:]
    assert file.read(SIZE, SIZE + 1) == b""


def test_neighbours_are_one_request_and_nothing_is_asked_twice(server, cache, content):
    file = open_file(server, cache)
    server.forget()

    file.prefetch([(0, 100), (BLOCK, BLOCK + 1), (5 * BLOCK, 6 * BLOCK), (1_000_000, 1_000_010)])

    assert len(server.log) == file.traffic.requests == 2
    assert server.n_bytes == file.traffic.n_bytes == 7 * BLOCK
    assert file.read(5 * BLOCK, 6 * BLOCK) == content[5 * BLOCK : 6 * BLOCK]
    file.prefetch([(0, 6 * BLOCK)])
    assert len(server.log) == 2


def test_reading_on_reads_further_ahead_each_time(server, cache, content):
    file = open_file(server, cache)
    server.forget()

    joined = b"".join(file.read(start, start + 1000) for start in range(0, SIZE, 1000))

    assert joined == content
    assert len(server.log) < 12
    assert server.n_bytes == SIZE


def test_a_read_here_and_there_fetches_little(server, cache):
    file = open_file(server, cache)
    server.forget()

    file.read(2_000_000, 2_000_010)

    assert server.n_bytes <= 16 << 10


def test_a_second_handle_finds_everything_on_disk(server, cache, content):
    open_file(server, cache).read(0, SIZE)
    server.forget()

    other = open_file(server, BlockCache(cache.folder, limit=cache.limit))

    assert other.read(0, SIZE) == content
    assert [n for _, _, n in server.log] == [1]  # the question what the file is


def test_size_and_hash_from_a_manifest_need_no_question(server, cache, content):
    known = {"size": SIZE, "identity": "sha256 of it"}
    open_file(server, cache, **known).read(0, SIZE)
    server.forget()

    other = open_file(server, cache, **known)

    assert other.read(5, 50_000) == content[5:50_000]
    assert server.log == []


def test_a_pickled_handle_reads_on_in_another_process(server, cache, content, monkeypatch):
    monkeypatch.setenv("NABLADFT_CACHE", str(cache.folder))
    file = open_file(server, None)
    file.read(0, 10)

    other = pickle.loads(pickle.dumps(file))

    assert other.read(1_000_000, 1_000_010) == content[1_000_000:1_000_010]


def replace(server, content):
    (server.folder / "a.bin").write_bytes(content)
    os.utime(server.folder / "a.bin", (1, 1))


def test_a_file_that_changed_is_refused_by_an_open_handle(server, cache, content):
    file = open_file(server, cache)
    before = file.read(0, 10)
    replace(server, content[::-1])

    with pytest.raises(RemoteChangedError, match="was changed at the server"):
        file.read(2_000_000, 2_000_010)
    assert open_file(server, cache).read(0, 10) == content[::-1][:10] != before


def test_a_file_that_changed_is_refused_by_a_pickled_handle(server, cache, content, monkeypatch):
    monkeypatch.setenv("NABLADFT_CACHE", str(cache.folder))
    file = pickle.loads(pickle.dumps(open_file(server, None)))
    replace(server, content[::-1])

    with pytest.raises(RemoteChangedError, match="another file than when it was opened"):
        file.read(2_000_000, 2_000_010)


def test_a_file_shorter_than_its_manifest_says_is_refused(server, cache):
    file = open_file(server, cache, size=SIZE + 1, identity="hash")

    with pytest.raises(RemoteChangedError, match=f"has {SIZE} bytes, {SIZE + 1} expected"):
        file.read(0, 10)


def test_a_server_without_ranges_is_refused_with_advice(server, cache):
    server.ranges = False

    with pytest.raises(BadResponseError, match="Download the file"):
        open_file(server, cache)


def test_a_file_that_is_not_there(server, cache):
    with pytest.raises(RemoteMissingError):
        open_file(server, cache, "b.bin")


def test_without_etags_the_whole_address_tells_files_apart(server, cache, content):
    server.etags = False
    (server.folder / "b.bin").write_bytes(content[::-1])

    one, other = open_file(server, cache), open_file(server, cache, "b.bin")

    assert one.read(0, 10) == content[:10]
    assert other.read(0, 10) == content[::-1][:10]


def test_what_cannot_be_told_from_a_later_file_is_not_kept(server, cache, content):
    server.etags = False
    assert open_file(server, cache).read(0, 10) == content[:10]
    (server.folder / "a.bin").write_bytes(content[::-1])

    assert open_file(server, cache).read(0, 10) == content[::-1][:10]
    assert cache.usage().files == ()


def test_many_files_keep_few_connections_and_read_on(server, cache, content):
    for number in range(40):
        (server.folder / f"{number}.bin").write_bytes(content[number : number + 9000])
    files = [open_file(server, cache, f"{number}.bin") for number in range(40)]
    for file in files:
        file.read(0, 10)

    server.forget()
    assert [file.read(8500, 8510) for file in files] == [
        content[n + 8500 : n + 8510] for n in range(40)
    ]
    assert all(n > 1 for _, _, n in server.log)  # no file was asked again what it is


def test_a_stream_is_a_file_object(server, cache, content):
    stream = CachedStream(open_file(server, cache))

    assert stream.seek(-10, os.SEEK_END) == SIZE - 10
    assert stream.read() == content[-10:]
    assert stream.seek(100) == stream.tell() == 100
    assert stream.read(20) == content[100:120]
