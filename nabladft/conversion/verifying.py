"""Reading source and target again and comparing every record.

A plain store holds the very numbers, a compact one those within its bounds. An export in other
units may differ by the rounding of the conversion there and back, a few units of the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.conversion.selecting import key_codes, select_rows
from nabladft.conversion.settings import Silent
from nabladft.conversion.sizes import boundaries_of, bytes_per_row
from nabladft.conversion.tasks import READ_BYTES
from nabladft.fields import FIELDS
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.conversion.settings import ConversionReport, Watcher
    from nabladft.conversion.sources import SourceReference
    from nabladft.storage.flat import FlatRecords, Texts
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Largest relative difference of a number that was converted to another unit and back.
CONVERSION_TOLERANCE: Final = 4.0 * float(np.finfo(np.float64).eps)

#: Problems listed; more of them say nothing new.
_LISTED: Final = 10


@dataclass
class Verification:
    """What the comparison found.

    Attributes:
        n_compared: Conformations compared.
        deviations: Largest difference of each field, in its unit.
        allowed: What is allowed, in words, by field.
        problems: What is wrong; empty when the target is faithful.
    """

    n_compared: int = 0
    deviations: dict[str, float] = field(default_factory=dict)
    allowed: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the target is faithful."""
        return not self.problems

    @property
    def lines(self) -> list[str]:
        """One line per field, for people."""
        return [
            f"{name}: largest difference {deviation:.2g} {FIELDS[name].unit} "
            f"(allowed: {self.allowed[name]})"
            for name, deviation in self.deviations.items()
        ]


def verify(
    source: SourceReference,
    report: ConversionReport,
    *,
    keys: IntArray | None = None,
    limit: int | None = None,
    watcher: Watcher | None = None,
) -> Verification:
    """Compare the target of a conversion with its source, record by record.

    Args:
        source: What was converted.
        report: Of the conversion.
        keys: As given to the conversion.
        limit: As given to the conversion.
        watcher: Sees the progress.

    Raises:
        NablaDFTError: Source or target cannot be read.
        OSError: A file cannot be read.
    """
    comparison = _Comparison(source.open(), report.target, report)
    rows, repeated = select_rows(comparison.source, keys, limit)
    result = comparison.result
    n_expected = len(rows) - (len(report.bad) - len(repeated))
    if len(comparison.target) != n_expected:
        result.problems.append(
            f"{len(comparison.target)} conformations are in the target, {n_expected} expected."
        )
    source_rows = comparison.match(rows)
    if source_rows is None:
        return result
    sizes, _ = bytes_per_row(comparison.source, source_rows, comparison.fields)
    cuts = boundaries_of(sizes, shard_bytes=READ_BYTES, shard_rows=None)
    with (watcher or Silent()).verifying(len(source_rows)) as view:
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            comparison.compare(source_rows[start:stop], np.arange(start, stop))
            view.update(stop - start)
    return result


class _Comparison:
    """Two sources, what is compared, and what was found."""

    def __init__(self, source: ConformationSource, target: Path, report: ConversionReport) -> None:
        self.source = source
        self.target = open_source(target)
        self.is_export = report.format != "store"
        self.bounds: Mapping[str, float] = {}
        held = set(self.target.info.fields)
        if isinstance(self.target, Store):
            stored = self.target.manifest.fields
            self.fields = tuple(one.name for one in stored)
            self.bounds = {one.name: one.error_bound for one in stored if one.error_bound}
        else:
            self.fields = tuple(report.details["settings"]["fields"])
        self.result = Verification()
        absent = [name for name in self.fields if name not in held]
        if absent:
            self.result.problems.append(f"The target does not hold {', '.join(absent)}.")
        self.fields = tuple(name for name in self.fields if name in held)
        self.is_converted = report.format in {"extxyz", "db"}
        for name in ("positions", *self.fields):
            self.result.deviations[name] = 0.0
            self.result.allowed[name] = self._allowed(name)

    def match(self, rows: IntArray) -> IntArray | None:
        """Find the row of the source of every row of the target."""
        theirs = np.asarray(self.target.keys)
        codes, wanted = key_codes(np.asarray(self.source.keys)[rows], theirs)
        order = np.argsort(codes, kind="stable")
        place = np.minimum(np.searchsorted(codes[order], wanted), len(order) - 1)
        foreign = np.flatnonzero(codes[order][place] != wanted)
        if foreign.size:
            first = theirs[foreign[0]]
            self.result.problems.append(
                f"{foreign.size} conformations of the target are not in the source; the first is "
                f"{first[0]}/{first[1]}."
            )
            return None
        if len(np.unique(wanted)) < len(wanted):
            self.result.problems.append("The target has conformations more than once.")
        return rows[order[place]]

    def compare(self, source_rows: IntArray, target_rows: IntArray) -> None:
        one = self.source.read_flat(source_rows, fields=self.fields)
        other = self.target.read_flat(target_rows, fields=self.fields)
        self.result.n_compared += len(source_rows)
        if not np.array_equal(one.atom_offsets, other.atom_offsets) or not np.array_equal(
            one.atomic_numbers, other.atomic_numbers
        ):
            self._wrong(one, 0, "has other atoms (this record or one of the next)")
            return
        self._compare_values("positions", one, one.positions, other.positions)
        for name in self.fields:
            self._compare_values(name, one, one.values[name], other.values[name])
        self._compare_texts(
            one, self.source.read_texts(source_rows), self.target.read_texts(target_rows)
        )

    def _compare_values(
        self, name: str, flat: FlatRecords, one: NDArray[Any], other: NDArray[Any]
    ) -> None:
        if one.shape != other.shape:
            self._wrong(flat, 0, f"has {name} of another shape (this record or one of the next)")
            return
        gap = np.abs(one - other)
        if gap.size == 0:
            return
        largest = float(gap.max())
        self.result.deviations[name] = max(self.result.deviations[name], largest)
        tolerance: Any = self.bounds.get(name, 0.0)
        if self.is_converted:
            tolerance = CONVERSION_TOLERANCE * np.abs(one)
        wrong = np.flatnonzero((gap > tolerance).reshape(len(gap), -1).any(axis=1))
        if wrong.size:
            offsets = flat.atom_offsets if name == "positions" else flat.value_offsets(name)
            record = int(np.searchsorted(offsets, wrong[0], side="right")) - 1
            self._wrong(flat, record, f"differs in {name} by up to {largest:.3g}")

    def _compare_texts(self, flat: FlatRecords, one: Texts, other: Texts) -> None:
        for k, (mine, theirs) in enumerate(zip(one.smiles, other.smiles, strict=True)):
            if mine != theirs:
                self._wrong(flat, k, f"has SMILES {theirs!r}, {mine!r} in the source")
        for k, (mine, theirs) in enumerate(
            zip(one.geometry_origin, other.geometry_origin, strict=True)
        ):
            # Where an exported file says nothing, its reader says "input".
            if mine != theirs and not (self.is_export and mine is None):
                self._wrong(flat, k, f"has origin {theirs!r}, {mine!r} in the source")

    def _allowed(self, name: str) -> str:
        if name in self.bounds:
            return f"{self.bounds[name]:g}"
        return f"{CONVERSION_TOLERANCE:.1g} of the value" if self.is_converted else "none"

    def _wrong(self, flat: FlatRecords, k: int, reason: str) -> None:
        if len(self.result.problems) < _LISTED:
            key = f"{int(flat.molecule_id[k])}/{int(flat.conformation_id[k])}"
            self.result.problems.append(f"{key} {reason}.")
