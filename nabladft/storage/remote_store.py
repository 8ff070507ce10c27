"""A store at a server, read by ranges: its manifest, and of its shards the rows asked for.

It is a :class:`nabladft.storage.store.Store` whose shards are opened in another way, so order,
duplicates, errors and derived labels are those of any store. What was read stays in the cache; a
shard is known by the hash that the manifest gives it, so what is in the cache needs no server.

Example:
    >>> store = RemoteStore("https://example.org/stores/train")  # doctest: +SKIP
    >>> store.read([5, 70_000], fields=["energy"])  # doctest: +SKIP
"""

from __future__ import annotations

import atexit
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw
import h5py
import numpy as np

from nabladft.errors import RemoteMissingError, StoreError, TransportError
from nabladft.storage.index import INDEX_NAME, Index
from nabladft.storage.manifest import MANIFEST_NAME, manifest_from_json
from nabladft.storage.remote_sqlite import RemoteDatabase
from nabladft.storage.scattered import read_by_shard
from nabladft.storage.shard_files import ShardFile
from nabladft.storage.shards import Shard
from nabladft.storage.store import Store
from nabladft.transport.cached_file import CachedFile, CachedStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords, Texts
    from nabladft.storage.manifest import ShardEntry
    from nabladft.storage.shard_files import ArrayLayout

    IntArray = NDArray[np.int64]

#: Bytes at the beginning of a shard that hold most of what HDF5 needs to open it.
_BEGINNING: Final = 24 << 10

#: Up to so many ids are looked up one by one in the index; of more, all ids are read.
_FEW_KEYS: Final = 5000

#: Shards opened, or ids looked up, at once.
_THREADS: Final = 16


class RemoteShardFile(ShardFile):
    """A shard at a server."""

    def __init__(self, url: str, entry: ShardEntry) -> None:
        """Remember; nothing is asked yet."""
        super().__init__(f"{url}/{entry.file}", entry.n_bytes)
        self.file = CachedFile(self.name, size=entry.n_bytes, identity=entry.sha256)
        self.announce = self.file.prefetch

    def read(self, start: int, stop: int) -> bytes:
        """Read the bytes from ``start`` up to ``stop``, exactly."""
        return self.file.read(start, stop)

    def open_hdf5(self) -> h5py.File:
        """Open the file with HDF5; see the base class."""
        try:
            return h5py.File(CachedStream(self.file), "r", rdcc_nbytes=0)
        except TransportError:
            raise
        except OSError as error:
            self.refuse(f"is not an HDF5 file ({error})")

    def read_rows(self, layout: ArrayLayout, starts: IntArray, counts: IntArray) -> NDArray[Any]:
        """Read rows of a contiguous array; see the base class."""
        width = layout.dtype.itemsize * int(np.prod(layout.shape[1:]))
        first = layout.offset + width * starts
        self.file.prefetch(zip(first.tolist(), (first + width * counts).tolist(), strict=True))
        return super().read_rows(layout, starts, counts)

    def close(self) -> None:
        """Let go of the connections."""
        self.file.close()


class RemoteStore(Store):
    """A store at a server, as its manifest was when it was opened.

    Attributes:
        url: Address of its folder.
        manifest: What it says of itself.
    """

    def __init__(self, url: str, manifest_file: CachedFile | None = None) -> None:
        """Fetch the manifest.

        Args:
            url: Address of the store's folder.
            manifest_file: Its manifest, when it was already asked for.

        Raises:
            StoreError: There is no store of a version that can be read.
            CorruptStoreError: The manifest is damaged.
            TransportError: The server cannot be reached, or does not give parts of files.
        """
        self.url = url.rstrip("/")
        where = f"{self.url}/{MANIFEST_NAME}"
        file = CachedFile(where) if manifest_file is None else manifest_file
        text = file.read(0, file.size).decode("utf-8", "replace")
        file.close()
        self._begin(manifest_from_json(text, where))

    @property
    def folder(self) -> Path:  # type: ignore[override] # of this machine, and there is none
        """Refuse: what needs a folder needs a copy.

        Raises:
            StoreError: Always.
        """
        message = (
            f"{self.url} is at a server: it can be read, but neither written nor verified there. "
            "Download it, or the conformations you need (nabladft download --ids)."
        )
        raise StoreError(message)

    def verify(self) -> None:
        """Refuse: a manifest is compared with files of this machine.

        Raises:
            StoreError: Always.
        """
        _ = self.folder

    def _whereabouts(self) -> tuple[Path | None, dict[str, Any]]:
        return None, {"url": self.url}

    def rows_of(self, keys: Sequence[tuple[int, int]] | IntArray) -> IntArray:
        """Find the rows of (molecule_id, conformation_id) pairs, shape (n,).

        Some are looked up in the index of the store, of which only the pages on the way are
        fetched; for many, or without an index, all ids are read.

        Raises:
            InputError: A pair is not in this store; the message counts them and names the first.
        """
        if len(keys) > _FEW_KEYS or len(keys) == 0 or "keys" in self.__dict__:
            return super().rows_of(keys)
        database = self._index
        if database is None:
            return super().rows_of(keys)
        pieces = np.array_split(np.asarray(keys, dtype=np.int64), min(_THREADS, len(keys)))
        with ThreadPoolExecutor(_THREADS) as threads:
            rows = np.concatenate(list(threads.map(partial(_look_up, database), pieces)))
        if (rows < 0).any():
            return super().rows_of(keys)  # which says what is not there
        return rows

    def open_index(self) -> Index | None:
        """Open the index at the server; None when there is none that belongs to this store."""
        database = self._index
        return None if database is None else Index.over(database.connect(), str(database))

    @cached_property
    def _index(self) -> RemoteDatabase | None:
        """The index at the server, when there is one that belongs to this manifest."""
        try:
            database = RemoteDatabase(f"{self.url}/{INDEX_NAME}")
            connection = database.connect()
            try:
                index = Index.over(connection, str(database))
                listed = [(shard.file, shard.sha256) for shard in self.manifest.shards]
                return database if index.shards() == listed else None
            finally:
                connection.close()
        except (RemoteMissingError, StoreError, apsw.Error):
            return None  # it can be done without

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id) of all records, shape (n, 2), in row order."""
        with ThreadPoolExecutor(_THREADS) as threads:
            shards = self._all_shards()
            pairs = list(threads.map(lambda s: (s.molecule_id, s.conformation_id), shards))
        empty = np.zeros((0, 2), dtype=np.int64)
        return np.concatenate([empty, *(np.stack(pair, axis=1) for pair in pairs)])

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Read SMILES and origin of the geometry; see the base class."""
        rows = self.check_rows(indices)
        numbers = self._first_rows.searchsorted(rows, side="right") - 1
        shards = self._shards_of(numbers.tolist())
        with ThreadPoolExecutor(_THREADS) as threads:
            # Their texts are not kept, but what was fetched for them is.
            list(
                threads.map(
                    lambda n: shards[n].read_texts(rows[numbers == n] - self._first_rows[n]), shards
                )
            )
        return super().read_texts(rows)

    def _read_scattered(
        self, numbers: IntArray, rows: IntArray, fields: Sequence[str]
    ) -> FlatRecords:
        with ThreadPoolExecutor(_THREADS) as threads:
            shards = self._shards_of(numbers.tolist())
            return read_by_shard(shards, numbers, rows, fields, each=threads.map)

    def _open_shard(self, entry: ShardEntry) -> Shard:
        return Shard(Path(), entry, self.manifest, RemoteShardFile(self.url, entry))

    def _prepare_shards(self, numbers: Sequence[int]) -> None:
        """Fetch the beginnings of shards together; HDF5 would open them one after the other."""
        closed = [number for number in numbers if number not in self._shards]
        files = [RemoteShardFile(self.url, self.manifest.shards[number]) for number in closed]
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(lambda file: file.read(0, min(_BEGINNING, file.n_bytes)), files))


def _look_up(database: RemoteDatabase, keys: IntArray) -> IntArray:
    connection = database.connect()
    try:
        return Index.over(connection, str(database)).rows_of(keys)
    finally:
        connection.close()


@atexit.register
def _close_hdf5() -> None:
    """Close what HDF5 reads through Python: HDF5 would do it after Python is gone, and crash."""
    for found in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        if found.get_access_plist().get_driver() == h5py.h5fd.fileobj_driver:
            h5py.File(found).close()
