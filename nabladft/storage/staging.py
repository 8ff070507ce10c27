"""Finished shards on their way into a store: each safe on disk at once, none in the store yet.

Where one process appends to a store, :class:`nabladft.storage.writing.StoreWriter` does it. Where
many processes, perhaps on many machines, fill one store, each writes whole shards into a staging
area inside the store's folder, under names that follow from the position of the shard; one process
then makes the store of all of them in one atomic step. Until then the folder has no manifest, so an
unfinished store is never taken for a whole one.

Example:
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from nabladft.conformation import Conformation
    >>> from nabladft.storage.flat import Texts, flatten
    >>> from nabladft.storage.writing import describe_store
    >>> folder = Path(tempfile.mkdtemp()) / "demo"
    >>> record = Conformation(
    ...     molecule_id=1,
    ...     conformation_id=0,
    ...     atomic_numbers=np.array([2]),
    ...     positions=np.zeros((1, 3)),
    ...     energy=-2.9,
    ... )
    >>> manifest = describe_store(name="demo", level_of_theory={}, fields=["energy"])
    >>> staging = ShardStaging(folder)
    >>> texts = Texts(smiles=[None], geometry_origin=[None])
    >>> staged = staging.write(0, flatten([record], ["energy"]), texts, manifest)
    >>> staging.assemble(manifest).n_conformations
    1
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from nabladft.errors import StoreError
from nabladft.storage.index import update_index
from nabladft.storage.locking import store_lock
from nabladft.storage.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    write_atomically,
    write_manifest,
)
from nabladft.storage.shards import build_shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nabladft.storage.flat import FlatRecords, Texts
    from nabladft.storage.index_building import Progress

STAGING_NAME: Final = ".staging-shards"
_NOTE: Final = re.compile(r"shard-(\d+)\.json")


@dataclass(frozen=True)
class StagedShard:
    """One finished part of a store.

    Attributes:
        position: Of the shard in the store.
        entry: Of the manifest; None when the part has no records.
        notes: What the writer wants to remember, as JSON.
    """

    position: int
    entry: ShardEntry | None
    notes: Mapping[str, Any] = field(default_factory=dict)


class ShardStaging:
    """The finished shards of one store that is being made.

    Args:
        folder: Of the store; made when absent.

    Attributes:
        folder: Of the store.
        area: Where staged shards are, inside it.
    """

    def __init__(self, folder: Path) -> None:
        """Make the staging area."""
        self.folder = folder
        self.area = folder / STAGING_NAME
        self.area.mkdir(parents=True, exist_ok=True)

    def locked(self) -> AbstractContextManager[None]:
        """Keep a second process from making the same store; writers of single shards need no lock.

        Raises:
            StoreError: Another process is making it.
        """
        return store_lock(self.folder)

    def write(
        self,
        position: int,
        flat: FlatRecords,
        texts: Texts,
        manifest: Manifest,
        *,
        notes: Mapping[str, Any] | None = None,
    ) -> StagedShard:
        """Stage one shard; after the return it is on disk.

        The same records give the same bytes, so two processes that write the same shard, of which
        one was believed dead, do no harm.

        Args:
            position: Of the shard in the store, from 0.
            flat: The records, with the labels of the manifest; none makes an empty part.
            texts: Their words.
            manifest: Says how each field is stored.
            notes: Anything to remember of this part, as JSON.

        Raises:
            StoreError: A value does not fit its codec.
            OSError: The disk is full or not writable; nothing is left behind.
        """
        entry = None
        if len(flat):
            content, entry = build_shard(_shard_name(position), flat, texts, manifest)
            write_atomically(self.area / entry.file, content)
        staged = StagedShard(position, entry, dict(notes or {}))
        # The note is written last: a shard without one is not finished.
        write_atomically(self.area / _note_name(position), _to_json(staged).encode())
        return staged

    def finished(self) -> dict[int, StagedShard]:
        """Find the finished parts, by position.

        Parts whose files are missing, or not whole, do not count; they are written again.
        """
        return {staged.position: staged for staged in self._notes() if self._is_whole(staged)}

    def discard(self, position: int) -> None:
        """Forget a part, which then has to be written again."""
        (self.area / _note_name(position)).unlink(missing_ok=True)

    def assemble(
        self, manifest: Manifest, *, processes: int = 1, progress: Progress | None = None
    ) -> Manifest:
        """Make the store of all finished parts, in one atomic step; the caller holds the lock.

        Args:
            manifest: Of the store, without shards.
            processes: How many processes the index may use.
            progress: Sees the making of the index, see :func:`nabladft.storage.index.update_index`.

        Returns:
            The manifest that was written.

        Raises:
            StoreError: The index cannot be written (the store is whole nevertheless).
            OSError: The disk is full or not writable; running this again completes it.
        """
        staged = self.finished()
        entries = tuple(
            entry for position in sorted(staged) if (entry := staged[position].entry) is not None
        )
        for entry in entries:
            place = self.area / entry.file
            if place.exists():  # else an earlier process died in this loop
                place.replace(self.folder / entry.file)
        complete = replace(manifest, shards=entries)
        write_manifest(self.folder, complete)
        update_index(self.folder, complete, processes=processes, progress=progress)
        self.remove()
        return complete

    def remove(self) -> None:
        """Delete the staging area."""
        shutil.rmtree(self.area, ignore_errors=True)

    def _notes(self) -> Iterator[StagedShard]:
        for path in sorted(self.area.iterdir()):
            if not _NOTE.fullmatch(path.name):
                continue
            try:
                yield _from_json(path.read_text(encoding="utf-8"))
            except (ValueError, KeyError, TypeError) as error:
                message = f"{path} is damaged ({error}). Delete it; its shard is made again."
                raise StoreError(message) from error

    def _is_whole(self, staged: StagedShard) -> bool:
        if staged.entry is None:
            return True
        places = (self.area / staged.entry.file, self.folder / staged.entry.file)
        return any(p.is_file() and p.stat().st_size == staged.entry.n_bytes for p in places)


def is_unfinished(folder: Path) -> bool:
    """Say whether a folder holds a store that is still being made."""
    return (folder / STAGING_NAME).is_dir() and not (folder / MANIFEST_NAME).exists()


def _shard_name(position: int) -> str:
    return f"shard-{position:05d}.h5"


def _note_name(position: int) -> str:
    return f"shard-{position:05d}.json"


def _to_json(staged: StagedShard) -> str:
    document: dict[str, Any] = {"position": staged.position, "notes": staged.notes, "entry": None}
    if staged.entry is not None:
        document["entry"] = asdict(staged.entry) | {"content_sum": f"{staged.entry.content_sum:x}"}
    return json.dumps(document)


def _from_json(text: str) -> StagedShard:
    document = json.loads(text)
    entry = document["entry"]
    if entry is not None:
        entry = ShardEntry(
            **entry
            | {
                "elements": tuple(entry["elements"]),
                "content_sum": int(entry["content_sum"], 16),
            }
        )
    return StagedShard(int(document["position"]), entry, document["notes"])
