import multiprocessing
import os
import warnings

import pytest

from nabladft.errors import ConfigError
from nabladft.transport import cache as cache_module
from nabladft.transport.cache import BLOCK, SEGMENT_BLOCKS, BlockCache, default_cache, parse_size

LIMIT = 100_000_000


def block(letter):
    return letter * BLOCK


@pytest.fixture
def key():
    return BlockCache.key("https://example.org/a.db", "etag")


def fresh(cache):
    """The same folder as another process sees it: nothing in memory."""
    return BlockCache(cache.folder, limit=cache.limit)


def segment_files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and "." not in p.name)


def test_blocks_come_back_from_disk(tmp_path, key):
    cache = BlockCache(tmp_path, limit=LIMIT)
    cache.put(key, 7, block(b"a") + block(b"b") + b"end")

    found = fresh(cache).get(key, range(6, 11))

    assert found == {7: block(b"a"), 8: block(b"b"), 9: b"end"}


def test_blocks_across_segments_and_in_several_writes(tmp_path, key):
    cache = BlockCache(tmp_path, limit=LIMIT)
    first = SEGMENT_BLOCKS - 1
    cache.put(key, first, block(b"a") + block(b"b"))
    cache.put(key, 3, block(b"c"))

    other = fresh(cache)

    assert other.get(key, [3]) == {3: block(b"c")}
    assert other.get(key, [first, first + 1]) == {first: block(b"a"), first + 1: block(b"b")}
    assert len(segment_files(tmp_path)) == 2


def test_what_another_process_adds_is_seen(tmp_path, key):
    mine = BlockCache(tmp_path, limit=LIMIT)
    mine.put(key, 0, block(b"a"))
    theirs = fresh(mine)
    assert theirs.get(key, [0, 1]) == {0: block(b"a")}

    mine.put(key, 1, block(b"b"))

    assert theirs.get(key, [1]) == {1: block(b"b")}


def test_other_content_of_the_same_address_is_another_key():
    one = BlockCache.key("https://example.org/a.db", "monday")

    assert one != BlockCache.key("https://example.org/a.db", "tuesday")


@pytest.mark.parametrize("position", [0, 10, 30, 40, 3000], ids=str)
def test_a_changed_byte_is_found_and_the_segment_thrown_away(tmp_path, key, position):
    cache = BlockCache(tmp_path, limit=LIMIT)
    cache.put(key, 0, block(b"a"))
    (path,) = segment_files(tmp_path)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))

    other = fresh(cache)

    assert other.get(key, [0]) == {}
    other.put(key, 0, block(b"a"))
    other.put(key, 1, block(b"b"))
    assert fresh(cache).get(key, [0, 1]) in (
        {0: block(b"a"), 1: block(b"b")},
        {1: block(b"b")},  # the damage looked unfinished, so it was found only now
        {},
    )
    cache = fresh(cache)
    cache.put(key, 0, block(b"a"))
    assert fresh(cache).get(key, [0]) == {0: block(b"a")}


def test_an_unfinished_write_hides_nothing_that_precedes_it(tmp_path, key):
    cache = BlockCache(tmp_path, limit=LIMIT)
    cache.put(key, 0, block(b"a"))
    (path,) = segment_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])

    assert fresh(cache).get(key, [0, 1]) == {0: block(b"a")}


def test_the_least_recently_used_goes_first(tmp_path, key):
    cache = BlockCache(tmp_path, limit=20 * BLOCK)
    for number in range(10):
        cache.put(key, number * SEGMENT_BLOCKS, block(b"x"))
        path = tmp_path / key / f"{number:08x}"
        os.utime(path, (number, number))
    fresh(cache).get(key, [0])  # used now

    for number in range(10, 25):
        cache.put(key, number * SEGMENT_BLOCKS, block(b"y"))

    left = fresh(cache)
    assert left.usage().n_bytes <= 21 * (BLOCK + 64)
    assert left.get(key, [0])
    assert left.get(key, [24 * SEGMENT_BLOCKS])
    assert not left.get(key, [SEGMENT_BLOCKS])
    assert not left.get(key, [2 * SEGMENT_BLOCKS])


def test_usage_names_the_files_and_clear_frees_them(tmp_path, key):
    cache = BlockCache(tmp_path, limit=LIMIT)
    (tmp_path / "mine.txt").write_text("not of the cache")
    cache.describe(key, "https://example.org/a.db", "etag")
    cache.put(key, 0, block(b"a"))

    (file,) = cache.usage().files
    freed = cache.clear()

    assert file.url == "https://example.org/a.db"
    assert freed == file.n_bytes > BLOCK
    assert cache.usage().files == ()
    assert cache.get(key, [0]) == {}
    assert (tmp_path / "mine.txt").exists()


def test_a_folder_that_cannot_be_written_means_no_cache_and_one_warning(tmp_path, key):
    (tmp_path / "file").write_text("in the way")
    cache = BlockCache(tmp_path / "file" / "cache", limit=LIMIT)

    with pytest.warns(RuntimeWarning, match="NABLADFT_CACHE"):
        cache.put(key, 0, block(b"a"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(key, 1, block(b"b"))

    assert cache.get(key, [0, 1]) == {0: block(b"a"), 1: block(b"b")}  # in memory


def test_a_full_disk_means_no_cache_and_nothing_half_written(tmp_path, key, monkeypatch):
    cache = BlockCache(tmp_path, limit=LIMIT)
    cache.put(key, 0, block(b"a"))
    write = os.write
    monkeypatch.setattr(cache_module.os, "write", lambda file, data: write(file, data[:100]))

    with pytest.warns(RuntimeWarning, match="No space left"):
        cache.put(key, 1, block(b"b"))
    monkeypatch.undo()

    assert cache.get(key, [1]) == {1: block(b"b")}
    assert BlockCache(tmp_path, limit=LIMIT).get(key, [1]) == {}


def test_a_limit_of_zero_keeps_nothing_on_disk(tmp_path, key):
    cache = BlockCache(tmp_path / "none", limit=0)
    cache.put(key, 0, block(b"a"))

    assert cache.get(key, [0]) == {0: block(b"a")}
    assert not (tmp_path / "none").exists()


def test_memory_is_bounded(key):
    cache = BlockCache(None, limit=0, memory=4 * BLOCK)
    for number in range(10):
        cache.put(key, number, block(b"x"))

    assert sorted(cache.get(key, range(10))) == [6, 7, 8, 9]


def _fill(folder, key, seed):
    cache = BlockCache(folder, limit=LIMIT)
    for k in range(300):
        number = (k * 7 + seed * 13) % 400
        cache.put(key, number, number.to_bytes(2, "big") * (BLOCK // 2))
        for got, content in cache.get(key, range(number, number + 5)).items():
            assert content == got.to_bytes(2, "big") * (BLOCK // 2)


def test_several_processes_share_a_cache(tmp_path, key):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(tmp_path, key, seed)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4
    found = BlockCache(tmp_path, limit=LIMIT).get(key, range(400))
    assert len(found) > 350
    assert all(c == n.to_bytes(2, "big") * (BLOCK // 2) for n, c in found.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1234", 1234), ("10GB", 10**10), ("1.5 mb", 1_500_000), ("2e9", 2 * 10**9)],
)
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "ten", "10 GiB", "-1", "1.2.3"])
def test_no_sizes(text):
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size(text)


def test_the_environment_says_where_and_how_much(tmp_path, monkeypatch):
    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("NABLADFT_CACHE_LIMIT", "3MB")

    cache = default_cache()

    assert (cache.folder, cache.limit) == (tmp_path / "here", 3_000_000)
    assert default_cache() is cache
    monkeypatch.setenv("NABLADFT_CACHE_LIMIT", "lots")
    with pytest.raises(ConfigError, match="NABLADFT_CACHE_LIMIT"):
        default_cache()
