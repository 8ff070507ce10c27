"""Records of several shards in the order asked for.

A shuffled batch of a large store takes a row or two from each of hundreds of shards, so that
anything done once per shard costs more than the copying. Maps of plain shards all lie in the memory
of one process: seen as one array of bytes from the lowest to the highest of them, rows are copied
out of it by their addresses, whatever shard they are in. Packed shards, and shards elsewhere, are
read one by one, and the records put in order afterwards.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.errors import CorruptStoreError
from nabladft.fields import FIELDS
from nabladft.storage.flat import FlatRecords, fields_with_orbitals, values_per_record
from nabladft.storage.ragged import Rows, SingleRows, offsets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from nabladft.storage.shards import Shard

    IntArray = NDArray[np.int64]


class _MappedArray:
    """One array of many shards, as far as they are mapped."""

    def __init__(self, n_shards: int) -> None:
        self._address = np.zeros(n_shards, dtype=np.int64)
        # The views keep the maps open for as long as their addresses are used.
        self._views: dict[int, NDArray[Any]] = {}
        self._memory: NDArray[np.uint8] | None = None
        self._lowest = 0

    def add(self, number: int, view: NDArray[Any]) -> None:
        """Take one more shard."""
        self._views[number] = view
        self._address[number] = view.__array_interface__["data"][0]
        self._dtype, self._tail = view.dtype, view.shape[1:]
        self._width = view.dtype.itemsize * prod(view.shape[1:])
        self._memory = None

    def take(self, numbers: IntArray, rows: Rows) -> NDArray[Any]:
        """Copy rows, which the caller has checked, of shards that have been added."""
        memory = self._window()
        begin = self._address.take(numbers)
        begin -= self._lowest
        begin += self._width * rows.starts
        copied = rows.take_bytes(memory, begin, self._width)
        return copied.view(self._dtype).reshape(-1, *self._tail)

    def _window(self) -> NDArray[np.uint8]:
        """See the memory from the lowest to the highest array as bytes, not to be written to."""
        if self._memory is None:
            views = [view for view in self._views.values() if view.size]
            addresses = [view.__array_interface__["data"][0] for view in views]
            ends = [a + view.nbytes for a, view in zip(addresses, views, strict=True)]
            self._lowest = min(addresses, default=0)
            self._memory = np.zeros(0, dtype=np.uint8)
            if views:
                self._memory = np.asarray(_Memory(self._lowest, max(ends) - self._lowest))
        return self._memory


class _Memory:
    """A stretch of this process's memory, for NumPy."""

    def __init__(self, address: int, n_bytes: int) -> None:
        self.__array_interface__ = {
            "data": (address, True),
            "shape": (n_bytes,),
            "typestr": "|u1",
            "version": 3,
        }


class MappedShards:
    """All mapped shards of a store, read as if they were one.

    Addresses lead anywhere, so nothing is copied that has not been checked: a shard is taken only
    if its arrays are as long as its offsets say, and rows of atoms or orbitals are compared with
    that length.
    """

    def __init__(self, n_shards: int) -> None:
        """Begin with no shard."""
        self._n_shards = n_shards
        self._arrays: dict[str, _MappedArray] = {}
        self._ends: dict[str, IntArray] = {}
        self._is_ready: dict[tuple[str, ...], NDArray[np.bool_]] = {}

    def missing(self, numbers: IntArray, fields: tuple[str, ...]) -> list[int]:
        """List the shards to :meth:`add` before rows of ``numbers`` can be read."""
        if fields not in self._is_ready:
            self._is_ready[fields] = np.zeros(self._n_shards, dtype=bool)
        is_ready = self._is_ready[fields].take(numbers)
        return [] if is_ready.all() else sorted(set(numbers[~is_ready].tolist()))

    def add(self, shards: Mapping[int, Shard], fields: tuple[str, ...]) -> bool:
        """Take shards.

        Returns:
            Whether all of them are mapped; otherwise none was taken.

        Raises:
            CorruptStoreError: An array is shorter than the offsets of its shard say.
        """
        names = _arrays_of(fields)
        views = {n: {name: _view(shard, name) for name in names} for n, shard in shards.items()}
        if any(view is None for found in views.values() for view in found.values()):
            return False
        for number, found in views.items():
            shard = shards[number]
            for name, view in found.items():
                assert view is not None
                end = _end(shard, name)
                if len(view) < end:
                    shard.file.refuse(f"has {len(view)} values of {name}, its offsets say {end}")
                self._array(name).add(number, view)
                self._ends.setdefault(name, np.zeros(self._n_shards, dtype=np.int64))[number] = end
            self._is_ready[fields][number] = True
        return True

    def read(self, numbers: IntArray, rows: IntArray, fields: tuple[str, ...]) -> FlatRecords:
        """Read records.

        Args:
            numbers: Number of the shard of each record, shape (n,).
            rows: Row of each record within its shard, shape (n,), none outside.
            fields: Stored labels.

        Raises:
            CorruptStoreError: The offsets of a shard lead outside.
        """
        singles = SingleRows(rows)
        atoms = self._between("atom_offsets", "positions", numbers, rows)
        return FlatRecords(
            molecule_id=self._take("molecule_id", numbers, singles),
            conformation_id=self._take("conformation_id", numbers, singles),
            atom_offsets=atoms.offsets,
            atomic_numbers=self._take("atomic_numbers", numbers, atoms),
            positions=self._take("positions", numbers, atoms),
            orbital_counts=self._take("orbital_counts", numbers, singles)
            if fields_with_orbitals(fields)
            else np.zeros(len(rows), dtype=np.int64),
            values={
                name: self._take(name, numbers, self._where(name, numbers, singles, atoms))
                for name in fields
            },
        )

    def _where(self, name: str, numbers: IntArray, singles: Rows, atoms: Rows) -> Rows:
        axes = FIELDS[name].shape[:1]
        if axes == ("n_atoms",):
            return atoms
        if axes == ("n_orbitals",):
            return self._between(_offsets_name(name), name, numbers, singles.starts)
        return singles

    def _between(self, offsets: str, name: str, numbers: IntArray, rows: IntArray) -> Rows:
        """Find the rows of a ragged array."""
        starts = self._take(offsets, numbers, SingleRows(rows))
        stops = self._take(offsets, numbers, SingleRows(rows + 1))
        # The array of atomic numbers is as long as that of positions, and so on.
        if (
            (starts < 0).any()
            or (stops < starts).any()
            or (stops > self._ends[name][numbers]).any()
        ):
            message = f"Offsets of {name} in a shard are damaged. Find it with Store.verify()."
            raise CorruptStoreError(message)
        stops -= starts
        return Rows(starts, stops)

    def _take(self, name: str, numbers: IntArray, rows: Rows) -> NDArray[Any]:
        values = self._array(name).take(numbers, rows)
        return values.astype(FIELDS[name].dtype, copy=False) if name in FIELDS else values

    def _array(self, name: str) -> _MappedArray:
        if name not in self._arrays:
            self._arrays[name] = _MappedArray(self._n_shards)
        return self._arrays[name]


def _offsets_name(name: str) -> str:
    return f"offsets of {name}"


def _arrays_of(fields: Iterable[str]) -> list[str]:
    """List the arrays that reading some fields needs."""
    names = ["molecule_id", "conformation_id", "atom_offsets", "atomic_numbers", "positions"]
    for name in fields:
        names.append(name)
        if FIELDS[name].shape[:1] == ("n_orbitals",):
            names += [_offsets_name(name), "orbital_counts"]
    return names


def _view(shard: Shard, name: str) -> NDArray[Any] | None:
    field = name.removeprefix("offsets of ")
    if field == name:
        return shard.view(name)
    return None if shard.view(field) is None else shard.offsets_of_orbitals(field)


def _end(shard: Shard, name: str) -> int:
    """Say how long an array must be."""
    if name == "atom_offsets" or name.startswith("offsets of "):
        return shard.n_rows + 1
    axes = FIELDS[name].shape[:1] if name in FIELDS else ()
    if axes == ("n_atoms",):
        return int(shard.atom_offsets[-1])
    return int(shard.offsets_of_orbitals(name)[-1]) if axes == ("n_orbitals",) else shard.n_rows


def read_by_shard(
    shards: Mapping[int, Shard],
    numbers: IntArray,
    rows: IntArray,
    fields: Sequence[str],
    *,
    each: Callable[..., Iterable[FlatRecords]] = map,
) -> FlatRecords:
    """Read each shard once, and put the records in order afterwards.

    Args:
        shards: The shards, by number.
        numbers: Number of the shard of each record, shape (n,).
        rows: Row of each record within its shard, shape (n,).
        fields: Stored labels.
        each: Applies a function to each shard; another ``map`` where waiting is worth threads.

    Raises:
        CorruptStoreError: The data cannot be unpacked.
    """
    # Group by shard; within one shard the order stays.
    order = np.argsort(numbers, kind="stable")
    sorted_numbers = numbers[order]
    bounds = np.flatnonzero(np.diff(sorted_numbers, prepend=-1, append=-1))

    def read(start: int, stop: int) -> FlatRecords:
        return shards[int(sorted_numbers[start])].read(rows[order[start:stop]], fields)

    parts = list(each(read, bounds[:-1].tolist(), bounds[1:].tolist()))
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return _take(_concatenate(parts, fields), back, fields)


def _concatenate(parts: Sequence[FlatRecords], fields: Sequence[str]) -> FlatRecords:
    return FlatRecords(
        molecule_id=np.concatenate([part.molecule_id for part in parts]),
        conformation_id=np.concatenate([part.conformation_id for part in parts]),
        atom_offsets=offsets_of(np.concatenate([np.diff(part.atom_offsets) for part in parts])),
        atomic_numbers=np.concatenate([part.atomic_numbers for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        orbital_counts=np.concatenate([part.orbital_counts for part in parts]),
        values={name: np.concatenate([part.values[name] for part in parts]) for name in fields},
    )


def _take(flat: FlatRecords, order: IntArray, fields: Sequence[str]) -> FlatRecords:
    n_atoms = np.diff(flat.atom_offsets)
    atoms = Rows(flat.atom_offsets[order], n_atoms[order])

    def values(name: str) -> NDArray[Any]:
        counts = values_per_record(name, n_atoms=n_atoms, n_orbitals=flat.orbital_counts)
        return Rows(offsets_of(counts)[order], counts[order]).take(flat.values[name])

    return FlatRecords(
        molecule_id=flat.molecule_id[order],
        conformation_id=flat.conformation_id[order],
        atom_offsets=atoms.offsets,
        atomic_numbers=atoms.take(flat.atomic_numbers),
        positions=atoms.take(flat.positions),
        orbital_counts=flat.orbital_counts[order],
        values={name: values(name) for name in fields},
    )
