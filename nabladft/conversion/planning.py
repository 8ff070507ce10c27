"""What is to be done: which rows go into which shard, and what the store will say of itself.

A plan is made once and kept beside the finished shards. A later run of the same command must ask
for the same and find the same source, else it is refused with the difference.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft import __version__
from nabladft.conversion.rows import BadRow
from nabladft.conversion.selecting import select_rows
from nabladft.conversion.sizes import boundaries_of, bytes_per_row, estimated_bytes
from nabladft.conversion.sources import derived_fields
from nabladft.errors import InputError, StoreError
from nabladft.fields import FIELDS
from nabladft.storage.flat import ordered
from nabladft.storage.manifest import write_atomically
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
        row_bytes: Mean size of a row in memory.
    """

    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    rows: IntArray
    boundaries: IntArray
    bad: tuple[BadRow, ...]
    n_bytes: int
    row_bytes: float

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
            "row_bytes": self.row_bytes,
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
                row_bytes=float(document["row_bytes"]),
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


def asked_document(
    settings: ConversionSettings,
    fields: tuple[str, ...],
    manifest: Manifest,
    keys: IntArray | None,
) -> dict[str, Any]:
    """Write down what decides the content of the target, to compare with later."""
    selection = None
    if keys is not None:
        ordered = np.unique(np.asarray(keys, dtype="<i8").reshape(-1, 2), axis=0)
        selection = {
            "n_conformations": len(ordered),
            "sha256": hashlib.sha256(ordered.tobytes()).hexdigest(),
        }
    return asdict(settings) | {
        "fields": list(fields),
        "name": manifest.name,
        "licence": manifest.licence,
        "error_bounds": {f.name: f.error_bound for f in manifest.fields if f.error_bound},
        "selection": selection,
    }


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
        row_bytes=float(sizes.mean()),
    )
