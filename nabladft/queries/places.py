"""The index that answers for a source: its own, or one made for the occasion and kept.

A store brings its index. For anything else (a published file, a store whose index is missing or out
of date), an index is made at the first question and kept in the cache folder until the file
changes; that reads the file once.

Example:
    >>> from nabladft.storage.opening import open_source
    >>> with index_of(open_source("nano")) as index:
    ...     len(index)
    315
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from nabladft.catalog.places import data_folder
from nabladft.errors import StoreError
from nabladft.storage.index import Index, index_source
from nabladft.storage.remote_store import RemoteStore
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nabladft.storage.index_building import Progress
    from nabladft.storage.source import ConformationSource


def index_cache() -> Path:
    """Folder of indices made here: ``NABLADFT_INDEX_CACHE``, else ``indices`` beside the data."""
    said = os.environ.get("NABLADFT_INDEX_CACHE")
    return Path(said) if said else data_folder() / "indices"


@contextmanager
def index_of(
    source: ConformationSource, *, processes: int = 1, progress: Progress | None = None
) -> Iterator[Index]:
    """Open the index of a source; make one where there is none.

    Args:
        source: The data.
        processes: How many processes RDKit may use to make it.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        StoreError: The data are at a server and have no index there.
        OSError: The cache folder cannot be written.
    """
    own = _own_index(source)
    if own is not None:
        with own:
            yield own
        return
    info = source.info
    location = info.location
    if location is None and "url" in info.details:
        message = (
            f"{info.details['url']} has no index at the server, and making one would fetch all of "
            "it. Download it first, then ask again."
        )
        raise StoreError(message)
    if location is None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index.sqlite"
            index_source(source, path, processes=processes, progress=progress)
            with Index.of_file(path) as index:
                yield index
        return
    path = index_cache() / f"{_fingerprint(source, location)}.sqlite"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        index_source(source, path, processes=processes, progress=progress)
    with Index.of_file(path) as index:
        yield index


def _own_index(source: ConformationSource) -> Index | None:
    if isinstance(source, RemoteStore):
        found = source.open_index()
        if found is not None:
            # What a query puts aside must not go through the reader of remote files.
            found.connection.execute("PRAGMA temp_store = MEMORY")
        return found
    if not isinstance(source, Store):
        return None
    try:
        index = Index(source.folder)
    except StoreError:
        return None
    try:
        if index.shards() == [(s.file, s.sha256) for s in source.manifest.shards]:
            return index
    except apsw.Error:
        pass
    index.close()
    return None


def _fingerprint(source: ConformationSource, location: Path) -> str:
    """Tell a file in its present state from all others."""
    digest = hashlib.sha256(str(location.resolve()).encode())
    if isinstance(source, Store):
        digest.update(source.data_hash.encode())
    else:
        status = location.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]
