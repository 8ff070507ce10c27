"""Labels of several sources joined by id: a Hamiltonian file and its energies, say, or a table.

The first source decides which records there are and their geometries; the others add labels that it
does not have. A record that another source lacks, or has with another geometry, is an error of its
row: nothing is dropped, and nothing is filled up.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.conversion.sources import derived_fields
from nabladft.errors import InputError
from nabladft.fields import FIELDS
from nabladft.storage.extended_source import ExtendedSource
from nabladft.storage.flat import ordered
from nabladft.storage.formats.summary_source import SummarySource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords, Texts
    from nabladft.storage.source import ConformationSource, SourceInfo

    IntArray = NDArray[np.int64]

#: Largest difference of coordinates, bohr, between two files of the same geometry: the published
#: Hamiltonian files have float32, the energy files six decimals of an angstrom.
POSITION_TOLERANCE: Final = 1e-4


class KeyFinder:
    """Finds rows by id in a few bytes per row: sorted numbers instead of a dictionary.

    Args:
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
    """

    def __init__(self, keys: IntArray) -> None:
        """Sort."""
        self._molecules = np.unique(keys[:, 0])
        self._low = int(keys[:, 1].min(initial=0))
        self._span = int(keys[:, 1].max(initial=0)) - self._low + 1
        codes = self._codes(keys)
        self._order = np.argsort(codes, kind="stable")
        self._sorted = codes[self._order]

    def find(self, keys: IntArray) -> IntArray:
        """Find the first row of each pair, shape (n,); -1 where there is none."""
        if len(self._sorted) == 0:
            return np.full(len(keys), -1, dtype=np.int64)
        codes = self._codes(keys)
        place = np.minimum(np.searchsorted(self._sorted, codes), len(self._sorted) - 1)
        is_there = (self._sorted[place] == codes) & (codes >= 0)
        return np.where(is_there, self._order[place], -1)

    def _codes(self, keys: IntArray) -> IntArray:
        """Give each pair one number; -1 where the molecule or conformation is out of range."""
        rank = np.searchsorted(self._molecules, keys[:, 0])
        inside = self._molecules[np.minimum(rank, len(self._molecules) - 1)] == keys[:, 0]
        second = keys[:, 1] - self._low
        inside &= (second >= 0) & (second < self._span)
        return np.where(inside, rank * self._span + second, -1)


class JoinedSource(ExtendedSource):
    """A source with labels of others added.

    Args:
        base: Decides records and geometries.
        others: Add the labels that those before them do not have.

    Raises:
        InputError: Two sources are of different methods.
    """

    def __init__(self, base: ConformationSource, others: Sequence[ConformationSource]) -> None:
        """Look at what the sources say of themselves."""
        self.base = base
        self.others = tuple(others)
        for other in self.others:
            methods = {m.lower() for m in (base.info.method, other.info.method) if m is not None}
            if len(methods) > 1:
                message = (
                    f"{base.info.name!r} is {base.info.method}, {other.info.name!r} is "
                    f"{other.info.method}: labels of different methods are not joined."
                )
                raise InputError(message)

    @cached_property
    def info(self) -> SourceInfo:
        """What the first source says of itself, with the labels of all."""
        info = self.base.info
        added = [name for names in self._added for name in names]
        matrices = [
            other.info
            for other, names in zip(self.others, self._added, strict=True)
            if any(FIELDS[name].in_orbitals for name in names)
        ]
        for theirs in matrices:
            if info.orbital_order is not None and info.orbital_order != theirs.orbital_order:
                message = (
                    f"{info.name!r} has orbital order {info.orbital_order!r}, {theirs.name!r} "
                    f"{theirs.orbital_order!r}. Convert one of them first."
                )
                raise InputError(message)
            info = replace(info, orbital_order=theirs.orbital_order, basis_set=theirs.basis_set)
        joined = {
            other.info.name: list(names)
            for other, names in zip(self.others, self._added, strict=True)
        }
        return replace(
            info,
            fields=ordered((*self.base.info.fields, *added)),
            method=info.method or next((o.info.method for o in self.others if o.info.method), None),
            details={**info.details, "joined": joined, "derived_fields": self.derived_fields},
        )

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """Labels that follow from others."""
        found = list(derived_fields(self.base))
        for other, names in zip(self.others, self._added, strict=True):
            found += [name for name in derived_fields(other) if name in names]
        return tuple(found)

    @cached_property
    def _added(self) -> list[tuple[str, ...]]:
        held = set(self.base.info.fields)
        added = []
        for other in self.others:
            names = tuple(name for name in other.info.fields if name not in held)
            held |= set(names)
            added.append(names)
        return added

    @property
    def data_hash(self) -> str:
        """Hashes of all sources: the joined data have no other."""
        return "+".join(source.data_hash for source in (self.base, *self.others))

    def read_flat(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> FlatRecords:
        """Read records as flat arrays.

        Args:
            indices: Rows of the first source.
            fields: Labels to read; None reads all.

        Raises:
            InputError: Another source lacks a record, or has another geometry.
        """
        names = self.check_fields(fields)
        rows = self.check_rows(indices)
        flat = self.base.read_flat(rows, fields=[n for n in names if n in self.base.info.fields])
        values = dict(flat.values)
        counts = flat.orbital_counts
        for k, added in enumerate(self._added):
            wanted = [name for name in added if name in names]
            if not wanted:
                continue
            other = self.others[k].read_flat(self._rows_in(k, rows), fields=wanted)
            self._check_geometry(k, flat, other)
            values |= other.values
            counts = np.maximum(counts, other.orbital_counts)
        return replace(flat, values={name: values[name] for name in names}, orbital_counts=counts)

    def read_texts(self, indices: Sequence[int] | IntArray) -> Texts:
        """Read SMILES and origin of the geometry; SMILES may come from any of the sources."""
        rows = self.check_rows(indices)
        texts = self.base.read_texts(rows)
        for k, other in enumerate(self.others):
            if None not in texts.smiles:
                break
            found = other.read_texts(self._rows_in(k, rows)).smiles
            texts = replace(
                texts, smiles=[a or b for a, b in zip(texts.smiles, found, strict=True)]
            )
        return texts

    def _rows_in(self, k: int, rows: IntArray) -> IntArray:
        keys = np.asarray(self.base.keys)[rows]
        found = self._finders[k].find(keys)
        absent = np.flatnonzero(found < 0)
        if absent.size:
            key = keys[absent[0]]
            message = f"Conformation {key[0]}/{key[1]} is not in {self.others[k].info.name!r}."
            raise InputError(message)
        return found

    @cached_property
    def _finders(self) -> list[KeyFinder]:
        return [KeyFinder(np.asarray(other.keys)) for other in self.others]

    def _check_geometry(self, k: int, mine: FlatRecords, theirs: FlatRecords) -> None:
        if np.array_equal(mine.atomic_numbers, theirs.atomic_numbers) and np.array_equal(
            mine.atom_offsets, theirs.atom_offsets
        ):
            gap = float(np.abs(mine.positions - theirs.positions).max(initial=0.0))
            if gap <= POSITION_TOLERANCE:
                return
            reason = f"coordinates that differ by {gap:.1e} bohr"
        else:
            reason = "other atoms"
        message = (
            f"{self.others[k].info.name!r} has {reason} from those of {self.base.info.name!r} (in "
            f"conformations from {mine.molecule_id[0]}/{mine.conformation_id[0]} on)."
        )
        raise InputError(message)


def join_sources(
    base: ConformationSource,
    others: Sequence[ConformationSource],
    summary: str | None,
    *,
    units: Mapping[str, str] | None = None,
) -> ConformationSource:
    """Join labels of other sources, and of a table of properties, by id.

    Args:
        base: Decides records and geometries.
        others: Sources of more labels.
        summary: Path of a published table of properties, or None.
        units: Of fields of the table, where the user vouches for them.

    Raises:
        InputError: They do not fit together.
    """
    joined = JoinedSource(base, others) if others else base
    return joined if summary is None else SummarySource(joined, summary, units=units)
