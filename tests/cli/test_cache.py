from nabladft.cli.main import main
from nabladft.transport.cache import BLOCK, BlockCache


def test_the_cache_is_shown_and_cleared(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NABLADFT_CACHE", str(tmp_path))
    monkeypatch.setenv("NABLADFT_CACHE_LIMIT", "50MB")
    cache = BlockCache(tmp_path, limit=10**9)
    key = cache.key("https://example.org/a.db", "etag")
    cache.describe(key, "https://example.org/a.db", "etag")
    cache.put(key, 0, 250 * BLOCK * b"x")

    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    cleared = capsys.readouterr().out
    assert main(["cache"]) == 0

    assert "1.0 MB of at most 50 MB" in shown
    assert "0.0 days ago  https://example.org/a.db" in shown
    assert cleared.startswith("Freed 1.0 MB")
    assert "example.org" not in capsys.readouterr().out


def test_no_cache_says_so(monkeypatch, capsys):
    monkeypatch.setenv("NABLADFT_CACHE_LIMIT", "0")

    assert main(["cache", "--clear"]) == 0
    assert "There is no cache" in capsys.readouterr().out


def test_a_limit_that_is_no_size_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("NABLADFT_CACHE_LIMIT", "much")

    assert main(["cache"]) == 2
    assert "NABLADFT_CACHE_LIMIT: 'much' is not a size" in capsys.readouterr().err
