"""Reading a store."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw
import numpy as np

from nabladft.errors import CorruptStoreError, StoreError
from nabladft.storage.content import content_sum
from nabladft.storage.flat import FlatRecords, Texts, flatten, ordered
from nabladft.storage.flat_source import FlatSource
from nabladft.storage.index import INDEX_NAME, Index
from nabladft.storage.manifest import read_manifest
from nabladft.storage.ragged import offsets_of
from nabladft.storage.scattered import MappedShards, read_by_shard
from nabladft.storage.shards import Shard
from nabladft.storage.source import SourceInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from nabladft.storage.manifest import Manifest, ShardEntry

    IntArray = NDArray[np.int64]

#: Shards open at once. Each holds a file descriptor, of which a process often has only 1,024, and
#: what it keeps in memory must not grow with the store.
_OPEN_SHARDS: Final = 384

#: Most that unpacked chunks of all shards together may take.
_BUFFER_BYTES: Final = 256 << 20

#: Least for one dataset: a few chunks.
_LEAST_BUFFER: Final = 128 << 10

#: Cached attributes as long as the store.
_OF_ALL_SHARDS: Final = frozenset({"keys", "n_atoms", "n_orbitals"})


class Store(FlatSource):
    """A store as it was committed when it was opened.

    Files open at first use, once per process, so a store can be pickled and survives a fork.

    Attributes:
        folder: Where it is.
        manifest: What it says of itself.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the manifest.

        Raises:
            StoreError: The folder is no store.
            CorruptStoreError: The manifest is damaged.
        """
        self.folder = Path(path)
        self._begin(read_manifest(self.folder))

    def _begin(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._first_rows: IntArray = offsets_of(
            np.array([shard.rows for shard in self.manifest.shards], dtype=np.int64)
        )
        self._n_rows = int(self._first_rows[-1])
        self._unpacks = any(stored.codec != "plain" for stored in manifest.fields)
        self._unpacks |= manifest.geometry != "plain"
        self._shards: OrderedDict[int, Shard]
        self._mapped: MappedShards
        self._is_mapped: bool
        self._close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind, and what was read of all shards."""
        kept = {k: v for k, v in self.__dict__.items() if k not in _OF_ALL_SHARDS}
        mapped = MappedShards(len(self.manifest.shards))
        return kept | {"_shards": OrderedDict(), "_mapped": mapped, "_is_mapped": True}

    @cached_property
    def info(self) -> SourceInfo:
        """What the store says of itself."""
        manifest = self.manifest
        location, more = self._whereabouts()
        return SourceInfo(
            name=manifest.name,
            fields=ordered((*manifest.stored_names, *manifest.derived_names)),
            method=manifest.method,
            basis_set=manifest.basis_set,
            orbital_order=manifest.orbital_order,
            details={
                "level_of_theory": manifest.level_of_theory,
                "derived_fields": manifest.derived_names,
                "error_bounds": {
                    stored.name: stored.error_bound
                    for stored in manifest.fields
                    if stored.error_bound is not None
                },
                "licence": manifest.licence,
                **manifest.details,
                **more,
            },
            location=location,
        )

    def _whereabouts(self) -> tuple[Path | None, dict[str, Any]]:
        """Say where the store is on this machine, and what else to tell of its place."""
        return self.folder, {}

    def __len__(self) -> int:
        """Number of conformations."""
        return self._n_rows

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """Labels that are not on disk but follow from those that are."""
        return self.manifest.derived_names

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) that identifies the contents, whatever their order and shards."""
        return self.manifest.data_hash

    @cached_property
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id) of all records, shape (n, 2), in row order."""
        return np.concatenate(
            [
                np.zeros((0, 2), dtype=np.int64),
                *(
                    np.stack([shard.molecule_id, shard.conformation_id], axis=1)
                    for shard in self._all_shards()
                ),
            ]
        )

    def _key_blocks(self) -> Iterable[IntArray]:
        for number in range(len(self.manifest.shards)):
            shard = self._shard(number)
            yield np.stack([shard.molecule_id, shard.conformation_id], axis=1)

    @cached_property
    def n_atoms(self) -> IntArray:
        """Number of atoms of all records, shape (n,)."""
        return self._of_all(lambda shard: np.diff(shard.atom_offsets))

    @cached_property
    def n_orbitals(self) -> IntArray:
        """Number of orbitals of all records, shape (n,); zeros in a store without matrices."""
        return self._of_all(lambda shard: shard.orbital_counts)

    def smiles(self) -> dict[int, str]:
        """SMILES of every molecule, by molecule_id.

        Raises:
            MissingFieldError: A record comes without SMILES.
        """
        texts = self.read_texts(np.arange(len(self))).smiles
        if any(text is None for text in texts):
            return super().smiles()
        return dict(zip(self.keys[:, 0].tolist(), (str(text) for text in texts), strict=True))

    def verify(self) -> None:
        """Read everything and compare it with the manifest.

        Raises:
            CorruptStoreError: A shard is missing or changed, or the index contradicts the shards;
                the message lists everything that is wrong.
        """
        problems: list[str] = []
        for number, entry in enumerate(self.manifest.shards):
            try:
                shard = self._shard(number)
                rows = np.arange(entry.rows)
                if shard.file.sha256() != entry.sha256:
                    problems.append(f"{entry.file}: its sha256 is not that of the manifest")
                elif entry.content_sum != content_sum(
                    shard.read(rows, self.manifest.stored_names),
                    shard.read_texts(rows),
                    self.manifest.stored_names,
                ):
                    problems.append(f"{entry.file}: its records are not those of the manifest")
            except CorruptStoreError as error:
                problems.append(str(error))
        if not problems:
            problems += self._problems_of_index()
        if problems:
            message = f"{self.folder} is damaged. " + "; ".join(problems)
            raise CorruptStoreError(message)

    def _problems_of_index(self) -> list[str]:
        if len(np.unique(self.keys, axis=0)) < len(self):
            return ["a conformation is there twice"]
        if not (self.folder / INDEX_NAME).exists():
            return []  # it can be rebuilt, so a store without one is whole
        advice = f"call rebuild_index({str(self.folder)!r})"
        try:
            index = Index(self.folder)
            try:
                if index.shards() != [(s.file, s.sha256) for s in self.manifest.shards]:
                    return []  # a crash left it behind; the next writer brings it up
                if index.keys() != [tuple(key) for key in self.keys.tolist()]:
                    return [f"{INDEX_NAME} does not list the conformations of the shards; {advice}"]
            finally:
                index.close()
        except (StoreError, apsw.Error) as error:
            return [f"{INDEX_NAME} cannot be read ({error}); {advice}"]
        return []

    def read_stored(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read labels that are on disk.

        Args:
            rows: From 0 to ``len(self) - 1``, in any order, with duplicates.
            fields: Labels on disk.

        Raises:
            CorruptStoreError: A shard is missing or damaged.
        """
        if len(self.manifest.shards) == 1:
            return self._shard(0).read(rows, fields)
        if not len(rows):
            return flatten([], fields)
        flat = self._read_of_many(rows, fields)
        if self._unpacks:
            self._limit_buffers()
        return flat

    def _read_of_many(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        numbers = self._first_rows.searchsorted(rows, side="right") - 1
        local = rows - self._first_rows[numbers]
        if (numbers == numbers[0]).all():
            return self._shard(int(numbers[0])).read(local, fields)
        return self._read_scattered(numbers, local, fields)

    def _read_scattered(
        self, numbers: IntArray, rows: IntArray, fields: Sequence[str]
    ) -> FlatRecords:
        self._check_process()
        if self._is_mapped:
            labels = tuple(fields)
            keeps_all = len(self.manifest.shards) <= _OPEN_SHARDS
            mapped = self._mapped if keeps_all else MappedShards(len(self.manifest.shards))
            missing = mapped.missing(numbers, labels)
            if not missing or mapped.add(self._shards_of(missing), labels):
                return mapped.read(numbers, rows, labels)
            self._is_mapped = False  # packed or elsewhere, and so are the other shards
        return read_by_shard(self._shards_of(numbers.tolist()), numbers, rows, fields)

    def triangles(self, name: str, rows: IntArray) -> list[NDArray[np.float64]] | None:
        """Give the packed triangles of a matrix without copying them.

        Args:
            name: A symmetric matrix that is on disk.
            rows: From 0 to ``len(self) - 1``, shape (n,).

        Returns:
            For each row a view of its memory map, not to be written to; None where the matrices are
            packed or elsewhere.
        """
        found = []
        numbers = self._first_rows.searchsorted(rows, side="right") - 1
        local = rows - self._first_rows[numbers]
        for number, row in zip(numbers.tolist(), local.tolist(), strict=True):
            shard = self._shard(number)
            view = shard.view(name)
            if view is None:
                return None
            start, stop = shard.offsets_of_orbitals(name)[row : row + 2].tolist()
            found.append(view[start:stop])
        return found

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Read SMILES and origin of the geometry, in the order asked for, duplicates included.

        Raises:
            InputError: An index is out of range or not an integer.
            CorruptStoreError: A shard is missing or damaged.
        """
        rows = self.check_rows(indices)
        numbers = self._first_rows.searchsorted(rows, side="right") - 1
        smiles: list[str | None] = [None] * len(rows)
        origin: list[str | None] = [None] * len(rows)
        for number, shard in self._shards_of(numbers.tolist()).items():
            where = np.flatnonzero(numbers == number)
            texts = shard.read_texts(rows[where] - self._first_rows[number])
            for k, position in enumerate(where.tolist()):
                smiles[position] = texts.smiles[k]
                origin[position] = texts.geometry_origin[k]
        return Texts(smiles=smiles, geometry_origin=origin)

    def _all_shards(self) -> list[Shard]:
        numbers = range(len(self.manifest.shards))
        self._prepare_shards(numbers)
        return [self._shard(number) for number in numbers]

    def _shards_of(self, numbers: Iterable[int]) -> dict[int, Shard]:
        """Open the shards of some rows."""
        wanted = sorted(set(numbers))
        self._prepare_shards(wanted)
        return {number: self._shard(number) for number in wanted}

    def _prepare_shards(self, numbers: Sequence[int]) -> None:
        """Get ready to open several shards; for a store elsewhere there is something to do."""

    def _of_all(self, values: Callable[[Shard], IntArray]) -> IntArray:
        parts = [values(shard) for shard in self._all_shards()]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def _shard(self, number: int) -> Shard:
        self._check_process()
        shard = self._shards.get(number)
        if shard is None:
            entry = self.manifest.shards[number]
            shard = self._shards.setdefault(number, self._open_shard(entry))
            if len(self._shards) > _OPEN_SHARDS:
                # Not closed: whoever reads it at this moment holds it.
                self._shards.popitem(last=False)
        elif self._unpacks or len(self.manifest.shards) > _OPEN_SHARDS:
            self._shards.move_to_end(number)
        return shard

    @cached_property
    def _buffer_bytes(self) -> int:
        """Share of one packed dataset in what may be unpacked."""
        n_arrays = 2 + 2 * len(self.manifest.fields)
        n_open = min(len(self.manifest.shards), _OPEN_SHARDS)
        return max(_LEAST_BUFFER, _BUFFER_BYTES // (n_open * n_arrays))

    def _limit_buffers(self) -> None:
        """Give back what was unpacked of the shards that were used longest ago."""
        total = 0
        for shard in reversed(list(self._shards.values())):
            total += shard.buffer_bytes
            if total > _BUFFER_BYTES:
                shard.release_buffers()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            # After a fork the parent's handles must not be shared: HDF5 keeps a file position.
            self._close()

    def _close(self) -> None:
        self._shards = OrderedDict()
        self._mapped = MappedShards(len(self.manifest.shards))
        self._is_mapped = True
        self._process = os.getpid()

    def _open_shard(self, entry: ShardEntry) -> Shard:
        """Open a shard; a store elsewhere opens its bytes in another way."""
        return Shard(self.folder, entry, self.manifest)
