import pytest

from nabladft.catalog.journal import Journal
from nabladft.errors import DownloadError

HEADER = {"size": 100, "etag": "a"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.db.part.journal"


def written(path):
    with Journal(path) as journal:
        journal.begin(HEADER)
        journal.record_done(0, 10)
        journal.record_digest(8, 0, "aa")
        journal.record_done(20, 30)
    return path.read_bytes()


def test_a_journal_remembers(path):
    written(path)

    with Journal(path) as journal:
        assert journal.header.items() >= HEADER.items()
        assert list(journal.done) == [(0, 10), (20, 30)]
        assert journal.digests == {8: {0: "aa"}}


def test_a_journal_cut_anywhere_says_no_more_than_was_written(path):
    whole = written(path)
    seen = []
    for n_bytes in range(len(whole) + 1):
        path.write_bytes(whole[:n_bytes])
        with Journal(path) as journal:
            seen.append(list(journal.done))
            if not journal.header:
                assert not journal.done.total
                continue
            journal.record_done(50, 60)
        with Journal(path) as journal:
            assert list(journal.done) == [*seen[-1], (50, 60)]
    assert seen[0] == []
    assert seen[-1] == [(0, 10), (20, 30)]


def test_a_damaged_line_and_what_follows_do_not_count(path):
    lines = written(path).splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"10", b"90") + b"".join(lines[2:]))

    with Journal(path) as journal:
        assert list(journal.done) == []


def test_a_second_process_is_refused(path):
    with Journal(path), pytest.raises(DownloadError, match=r"a.db is being fetched .* by another"):
        Journal(path)
    Journal(path).close()


def test_the_journal_of_another_version_is_refused(path):
    with Journal(path) as journal:
        journal.begin({"version": 2})

    with pytest.raises(DownloadError, match="another version of nabladft"):
        Journal(path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DownloadError, match=r"cannot be written \(No such file"):
        Journal(tmp_path / "missing" / "a")


def test_a_removed_journal_is_gone_and_free(path):
    journal = Journal(path)
    journal.begin(HEADER)
    journal.remove()

    assert not path.exists()
    with Journal(path) as again:
        assert again.header == {}
