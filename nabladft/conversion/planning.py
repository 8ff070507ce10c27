"""What is to be done: which rows go into which shard, and what the store will say of itself.

A plan is made once and kept beside the finished shards. A later run of the same command must ask
for the same and find the same source, else it is refused with the difference.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft import __version__
from nabladft.conversion.rows import BadRow, read_rows
from nabladft.conversion.sources import derived_fields
from nabladft.errors import FormatError, InputError, NablaDFTError, StoreError
from nabladft.fields import FIELDS
from nabladft.storage.flat import fields_with_orbitals, ordered, values_per_record
from nabladft.storage.manifest import write_atomically
from nabladft.storage.remote import address_of
from nabladft.storage.shards import build_shard
from nabladft.storage.store import Store
from nabladft.storage.writing import describe_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.conversion.settings import ConversionSettings
    from nabladft.storage.manifest import Manifest
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

PLAN_NAME: Final = "plan.json"
_ROWS_NAME: Final = "rows.npz"

#: Rows looked at to estimate sizes.
_SAMPLE: Final = 8

#: Atoms assumed of every row where they cannot be counted: more than almost any published one has.
_LARGE_MOLECULE: Final = 60

#: Rows whose atoms are counted together, at a server.
_COUNTED: Final = 1024

#: Details of a source that are about the file it is in, not about the data.
_NOT_KEPT: Final = frozenset({"derived_fields", "format"})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The work, in full.

    Attributes:
        settings: What was asked for, as JSON.
        source: What identifies the source, as JSON.
        rows: Rows of the source to convert, in order, shape (n,).
        boundaries: Shard k takes ``rows[boundaries[k]:boundaries[k + 1]]``.
        bad: Rows left out already: ids that occurred before.
        n_bytes: Estimated size of the target.
    """

    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    rows: IntArray
    boundaries: IntArray
    bad: tuple[BadRow, ...]
    n_bytes: int

    @property
    def n_shards(self) -> int:
        """Number of parts."""
        return len(self.boundaries) - 1

    def rows_of_shard(self, position: int) -> IntArray:
        """Give the rows of the source that one shard takes."""
        return self.rows[self.boundaries[position] : self.boundaries[position + 1]]

    def write(self, folder: Path) -> None:
        """Write into a folder.

        Raises:
            OSError: The disk is full or not writable.
        """
        buffer = io.BytesIO()
        np.savez(buffer, rows=self.rows, boundaries=self.boundaries)
        write_atomically(folder / _ROWS_NAME, buffer.getvalue())
        document = {
            "nabladft": __version__,
            "settings": self.settings,
            "source": self.source,
            "bad": [row.to_dict() for row in self.bad],
            "n_bytes": self.n_bytes,
        }
        write_atomically(folder / PLAN_NAME, json.dumps(document, indent=2).encode())


def read_plan(folder: Path) -> Plan | None:
    """Read the plan of a folder; None when it has none.

    Raises:
        StoreError: It is damaged.
    """
    path = folder / PLAN_NAME
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        with np.load(folder / _ROWS_NAME, allow_pickle=False) as arrays:
            return Plan(
                settings=document["settings"],
                source=document["source"],
                rows=arrays["rows"],
                boundaries=arrays["boundaries"],
                bad=tuple(BadRow.from_dict(row) for row in document["bad"]),
                n_bytes=int(document["n_bytes"]),
            )
    except (ValueError, KeyError, TypeError, OSError) as error:
        message = f"{path} is damaged ({error}). Delete {folder} and convert again."
        raise StoreError(message) from error


def check_same(
    there: Mapping[str, Any], wanted: Mapping[str, Any], *, target: Path, what: str
) -> None:
    """Refuse to continue a conversion that was started otherwise.

    Args:
        there: What the target was started with.
        wanted: What is asked for now.
        target: For the message.
        what: "settings" or "source".

    Raises:
        InputError: They differ; the message has every difference.
    """
    # Through JSON, because one side comes from there: tuples are lists.
    now = json.loads(json.dumps(wanted))
    differences = [
        f"{key} was {there.get(key)!r}, is {now.get(key)!r}"
        for key in sorted({*there, *now})
        if there.get(key) != now.get(key)
    ]
    if not differences:
        return
    began = "was started with other settings" if what == "settings" else "is of another source"
    advice = (
        "Repeat the first command to continue, or choose another target."
        if what == "settings"
        else "The source has changed since, or is another one; convert it into a new target."
    )
    message = f"{target} {began}: {'; '.join(differences)}. {advice}"
    raise InputError(message)


def fields_to_store(source: ConformationSource, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Choose the labels to store.

    Of total and formation energy one is stored, the one that the source itself has; the other
    follows from it. A derived one is stored only when asked for alone.

    Args:
        source: Where they are.
        wanted: Labels asked for; None for all.

    Raises:
        UnknownNameError: There is no such field.
        MissingFieldError: The source does not hold it.
    """
    names = source.check_fields(None if wanted is None else tuple(dict.fromkeys(wanted)))
    derived = derived_fields(source)
    if wanted is None:
        names = tuple(name for name in names if name not in derived)
    if {"energy", "formation_energy"} <= set(names):
        second = "energy" if "energy" in derived else "formation_energy"
        names = tuple(name for name in names if name != second)
    return ordered(names)


def describe_target(
    source: ConformationSource, fields: Sequence[str], settings: ConversionSettings
) -> Manifest:
    """Make the manifest of the store, without shards and without provenance.

    Raises:
        StoreError: The settings contradict each other.
        UnknownNameError: An error bound is for a field that is not stored.
    """
    unknown = [name for name in settings.error_bounds if name not in fields]
    if unknown:
        message = (
            f"There is an error bound for {', '.join(unknown)}, which is not stored. Stored are: "
            f"{', '.join(fields) or 'geometries only'}."
        )
        raise InputError(message)
    info = source.info
    matrices = any(FIELDS[name].in_orbitals for name in fields)
    details = {k: v for k, v in info.details.items() if k not in _NOT_KEPT}
    licence = details.pop("licence", None)
    if "summary" in details:
        details["summary"] = PurePath(details["summary"]).name  # no paths of this machine
    if isinstance(source, Store):
        level = dict(source.manifest.level_of_theory)
        details = dict(source.manifest.details)
    else:
        level = level_of_theory(info.method, details)
    return describe_store(
        name=settings.name or info.name,
        level_of_theory=level,
        fields=fields,
        basis_set=info.basis_set if matrices else None,
        orbital_order=info.orbital_order if matrices else None,
        codec=settings.codec,
        error_bounds=dict(settings.error_bounds) or None,
        licence=settings.licence or licence,
        details=_as_json(details),
    )


def level_of_theory(method: str | None, details: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what a source says of its method into the level of theory of a store."""
    if isinstance(details.get("level_of_theory"), dict):
        return dict(details["level_of_theory"])
    if method is None:
        return {}
    functional, _, basis_set = method.partition("/")
    level = {"functional": functional, "basis_set": basis_set} if basis_set else {"method": method}
    return level | ({"program": details["program"]} if "program" in details else {})


def _as_json(details: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what JSON can hold, everything else as text."""
    return dict(json.loads(json.dumps(dict(details), default=str)))


def select_rows(
    source: ConformationSource, keys: IntArray | None, limit: int | None
) -> tuple[IntArray, tuple[BadRow, ...]]:
    """Choose the rows to convert, in the order of the source.

    Args:
        source: Where they are.
        keys: Pairs (molecule_id, conformation_id) wanted; None for all.
        limit: Take at most so many.

    Returns:
        Rows, and those rows whose ids another row had before.

    Raises:
        InputError: A pair is not in the source, or nothing is left.
    """
    if keys is not None and address_of(source) is not None:
        # At a server the ids of all rows may be more bytes than the rows wanted.
        return np.unique(source.rows_of(keys))[:limit], ()
    all_keys = np.asarray(source.keys)
    wanted = all_keys[:0] if keys is None else np.asarray(keys, dtype=np.int64).reshape(-1, 2)
    codes, wanted_codes = key_codes(all_keys, wanted)
    order = np.argsort(codes, kind="stable")  # of equal ones the first is first
    is_second = np.zeros(len(codes), dtype=bool)
    is_second[order[1:]] = codes[order[1:]] == codes[order[:-1]]
    chosen = np.arange(len(codes), dtype=np.int64)
    if keys is not None:
        _check_all_there(wanted[~np.isin(wanted_codes, codes)], len(wanted), source.info.name)
        chosen = np.flatnonzero(np.isin(codes, wanted_codes))
    chosen = chosen[:limit]
    bad = tuple(
        BadRow(row, int(all_keys[row, 0]), int(all_keys[row, 1]), "An earlier row has these ids.")
        for row in chosen[is_second[chosen]].tolist()
    )
    rows = chosen[~is_second[chosen]]
    if len(rows) == 0:
        message = f"There is nothing to convert in {source.info.name!r}."
        raise InputError(message)
    return rows, bad


def key_codes(keys: IntArray, wanted: IntArray) -> tuple[IntArray, IntArray]:
    """Give each pair one number, equal for equal pairs: sorting numbers is fast."""
    both = np.concatenate([keys, wanted])
    if len(both) == 0:
        return keys[:, 0], wanted[:, 0]
    low, high = both.min(axis=0), both.max(axis=0)
    spans = [int(top) - int(bottom) + 1 for bottom, top in zip(low, high, strict=True)]
    if spans[0] * spans[1] < 2**63:
        codes = (both[:, 0] - low[0]) * spans[1] + (both[:, 1] - low[1])
    else:
        codes = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return codes[: len(keys)], codes[len(keys) :]


def _check_all_there(absent: IntArray, n_wanted: int, name: str) -> None:
    if len(absent):
        message = (
            f"{len(absent)} of {n_wanted} conformations asked for are not in {name!r}; the first "
            f"is molecule_id {absent[0, 0]}, conformation_id {absent[0, 1]}."
        )
        raise InputError(message)


def bytes_per_row(
    source: ConformationSource, rows: IntArray, fields: Sequence[str]
) -> tuple[NDArray[np.float64], list[int]]:
    """Estimate the size of rows in memory from their numbers of atoms.

    Orbitals per atom are taken from a few rows, the most of them, because only atoms are counted
    without reading the labels.

    Returns:
        Bytes of each of ``rows``, shape (n,), and the rows that were looked at.
    """
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64))]
    try:
        n_atoms = _atoms_of_rows(source, rows)
    except FormatError:
        # Some row has no atoms. Which one is found, and told, when its turn comes.
        n_atoms = np.full(len(rows), _LARGE_MOLECULE, dtype=np.int64)
    per_atom = 0.0
    sized = fields_with_orbitals(fields)
    if sized:
        for row in sample.tolist():
            try:
                flat = source.read_flat([row], fields=sized[:1])
            except NablaDFTError:
                continue  # as above
            if flat.atom_offsets[-1]:
                per_atom = max(per_atom, float(flat.orbital_counts[0] / flat.atom_offsets[-1]))
    n_orbitals = np.ceil(per_atom * n_atoms).astype(np.int64)
    n_values = 4 * n_atoms + 8
    for name in fields:
        width = int(np.prod([axis for axis in FIELDS[name].shape if isinstance(axis, int)]))
        n_values += width * values_per_record(name, n_atoms=n_atoms, n_orbitals=n_orbitals)
    return 8.0 * n_values.astype(np.float64), sample.tolist()


def _atoms_of_rows(source: ConformationSource, rows: IntArray) -> IntArray:
    """Count the atoms of rows, shape (n,)."""
    if address_of(source) is None:
        return np.asarray(source.n_atoms)[rows].astype(np.int64)
    # At a server, counting the atoms of all rows would fetch something of every row.
    pieces = [
        np.diff(source.read_flat(rows[start : start + _COUNTED], fields=()).atom_offsets)
        for start in range(0, len(rows), _COUNTED)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *pieces])


def boundaries_of(
    sizes: NDArray[np.float64], *, shard_bytes: int, shard_rows: int | None
) -> IntArray:
    """Cut rows into shards.

    Args:
        sizes: Bytes of each row, shape (n,).
        shard_bytes: A shard holds at most so many, but at least one row.
        shard_rows: Rows of a shard instead, when given.

    Returns:
        Shape (n_shards + 1,).
    """
    n = len(sizes)
    if shard_rows is not None:
        return np.append(np.arange(0, n, shard_rows, dtype=np.int64), n)
    ends = np.cumsum(sizes)
    cuts = [0]
    while cuts[-1] < n:
        before = ends[cuts[-1] - 1] if cuts[-1] else 0.0
        cut = int(np.searchsorted(ends, before + shard_bytes, side="right"))
        cuts.append(max(cut, cuts[-1] + 1))
    return np.array(cuts, dtype=np.int64)


def estimated_bytes(
    source: ConformationSource, sample: Sequence[int], manifest: Manifest, total: float
) -> int:
    """Estimate the size of the store from a shard of a few rows, made in memory.

    Args:
        source: Where the rows are.
        sample: The few rows.
        manifest: Of the store.
        total: Size of all rows in memory.
    """
    flat, texts, _ = read_rows(source, np.array(sample), manifest.stored_names)
    if len(flat) == 0:
        return int(total)
    empty = replace(manifest, shards=())
    content, _ = build_shard("sample.h5", flat, texts, empty)
    in_memory = 32.0 * len(flat.atomic_numbers) + 64.0 * len(flat)
    in_memory += sum(8.0 * values.size for values in flat.values.values())
    # A file has a fixed part (about ten kilobytes), which does not grow with the rows.
    fixed = min(len(content) - 1, 10_000)
    return int(total * (len(content) - fixed) / in_memory) + fixed


def make_plan(
    source: ConformationSource,
    manifest: Manifest,
    settings: ConversionSettings,
    *,
    asked: Mapping[str, Any],
    identity: Mapping[str, Any],
    keys: IntArray | None,
) -> Plan:
    """Lay the work out.

    Args:
        source: Of the data.
        manifest: Of the store, without shards.
        settings: What to make.
        asked: The same and the selection as JSON, to compare with later.
        identity: Of the source, to compare with later.
        keys: Conformations wanted; None for all.

    Raises:
        InputError: Nothing to convert, or something that was asked for is not there.
    """
    rows, bad = select_rows(source, keys, settings.limit)
    sizes, sample = bytes_per_row(source, rows, manifest.stored_names)
    return Plan(
        settings=asked,
        source=identity,
        rows=rows,
        boundaries=boundaries_of(
            sizes, shard_bytes=settings.shard_bytes, shard_rows=settings.shard_rows
        ),
        bad=bad,
        n_bytes=estimated_bytes(source, sample, manifest, float(sizes.sum())),
    )
