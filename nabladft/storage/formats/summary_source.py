"""Geometries of one source with the properties of a summary, joined by id.

Example:
    >>> joined = SummarySource(open_source("structures.xyz"), "summary.csv.gz")  # doctest: +SKIP
    >>> joined.info.details["summary_units"]["dipole"]  # doctest: +SKIP
    "debye: the length of (X, Y, Z) is TOTAL within 4e-05; against the dipoles of the source: ..."
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.nuclei import nuclear_repulsion_energy
from nabladft.chemistry.units import convert
from nabladft.errors import InputError, UnitError
from nabladft.fields import FIELDS
from nabladft.storage.content import MODULUS, content_sum, data_hash
from nabladft.storage.derived import derivable_fields, isolated_atoms_energies
from nabladft.storage.extended_source import ExtendedSource
from nabladft.storage.flat import ordered
from nabladft.storage.formats.summary_table import FIELD_COLUMNS, SummaryTable, open_summary
from nabladft.storage.formats.summary_units import SettledUnit, settle_units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords
    from nabladft.storage.source import ConformationSource, SourceInfo

    IntArray = NDArray[np.int64]

#: Records read at once where all are gone through.
_STEP: Final = 256

#: Largest relative error of the nuclear repulsion of a record: float32 positions give 1e-7.
_REPULSION_TOLERANCE: Final = 1e-5

_ENERGIES: Final = {"energy", "formation_energy"}


class SummarySource(ExtendedSource):
    """A source with labels added that a summary has for the same conformations.

    Labels that the source itself has stay its own. Units are settled by recomputation at first use
    (:func:`~nabladft.storage.formats.summary_units.settle_units`), and what could not be settled is
    left out; ``info.details`` has the evidence. Each record read is checked: its nuclear repulsion
    must be that of the table, so that a table of other conformations cannot be joined.

    Attributes:
        base: Decides records and geometries.
        table: The summary.
    """

    def __init__(
        self,
        base: ConformationSource,
        summary: SummaryTable | str | Path,
        *,
        units: Mapping[str, str] | None = None,
    ) -> None:
        """Open the summary.

        Args:
            base: The geometries.
            summary: A summary or its path.
            units: Units that you vouch for, by field, where recomputation cannot settle them.

        Raises:
            FormatError: The file is no summary, or damaged.
            UnitError: A given unit is unknown or of another dimension.
        """
        self.base = base
        self.table = summary if isinstance(summary, SummaryTable) else open_summary(summary)
        self.declared_units = dict(units or {})
        for name, unit in self.declared_units.items():
            if name not in FIELD_COLUMNS:
                message = f"A summary has no {name!r}. It has: {', '.join(FIELD_COLUMNS)}."
                raise InputError(message)
            convert(1.0, source=unit, target=FIELDS[name].unit)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the table behind: it is opened again where it is needed."""
        return {
            "base": self.base,
            "path": self.table.path,
            "declared_units": self.declared_units,
            "units": self.units,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the table again."""
        self.__dict__.update(state)
        self.table = open_summary(state["path"])

    @cached_property
    def units(self) -> dict[str, SettledUnit]:
        """Unit and evidence of every field of the table.

        Raises:
            UnitError: The table does not belong to these geometries.
            InputError: They have no conformation in common, or a declared unit is contradicted.
        """
        settled = settle_units(self.table, self.base)
        for name, unit in self.declared_units.items():
            if settled[name].unit not in (None, unit):
                message = (
                    f"{name} of {self.table.path} was said to be in {unit}, but it is in "
                    f"{settled[name].unit}: {settled[name].evidence}."
                )
                raise UnitError(message)
            if settled[name].unit is None:
                settled[name] = SettledUnit(unit, f"as told; {settled[name].evidence}")
        return settled

    @cached_property
    def added(self) -> tuple[str, ...]:
        """Labels that come from the table: those with a settled unit that the source has not."""
        held = set(self.base.info.fields)
        added = [n for n in FIELD_COLUMNS if n not in held and self.units[n].unit is not None]
        if held & _ENERGIES or "energy" in added:
            # Of total and formation energy one is kept, the other follows.
            added = [n for n in added if n != "formation_energy"]
        if held & _ENERGIES:
            added = [n for n in added if n != "energy"]
        return ordered(added)

    @cached_property
    def derived_fields(self) -> tuple[str, ...]:
        """Labels that follow from others."""
        known = getattr(self.base, "derived_fields", None)
        if known is None:
            known = self.base.info.details.get("derived_fields", ())
        return (*known, *self._own_derived)

    @cached_property
    def _own_derived(self) -> tuple[str, ...]:
        if not _ENERGIES & set(self.added):
            return ()
        flat = self.base.read_flat(range(min(len(self.base), _STEP)), fields=())
        elements = np.unique(flat.atomic_numbers).tolist()
        return derivable_fields(self.added, method=self.base.info.method, elements=elements)

    @cached_property
    def info(self) -> SourceInfo:
        """What the geometries' source says of itself, and what the table adds.

        Raises:
            UnitError: The table does not belong to these geometries.
            InputError: They have no conformation in common.
        """
        info = self.base.info
        fields = ordered((*info.fields, *self.added, *self._own_derived))
        evidence = {name: f"{found.unit}: {found.evidence}" for name, found in self.units.items()}
        left_out = [name for name in FIELD_COLUMNS if name not in fields]
        details = {
            **info.details,
            "derived_fields": self.derived_fields,
            "summary": str(self.table.path),
            "summary_fields": self.added,
            "summary_units": {name: evidence[name] for name in self.added},
            "summary_left_out": {name: self.units[name].evidence for name in left_out},
        }
        return replace(info, fields=fields, details=details)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) that identifies the contents; reads everything."""
        stored = ordered([name for name in self.info.fields if name not in self.derived_fields])
        total = 0
        for start in range(0, len(self), _STEP):
            rows = range(start, min(start + _STEP, len(self)))
            total += content_sum(self.read_flat(rows, fields=stored), self.read_texts(rows), stored)
        return data_hash(total % MODULUS, len(self))

    def read_flat(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> FlatRecords:
        """Read records as flat arrays, in the order asked for, duplicates included.

        Args:
            indices: Rows, 0 to ``len(self) - 1``; negative ones count from the end.
            fields: Labels to read; None reads every label present.

        Raises:
            InputError: The table lacks a record or a value of it, or has another geometry; or an
                index is out of range.
            MissingFieldError: The source does not hold a field that was asked for.
        """
        names = self.check_fields(fields)
        own = [name for name in names if name in self.added or name in self._own_derived]
        rows = self.check_rows(indices)
        flat = self.base.read_flat(rows, fields=[name for name in names if name not in own])
        if not own:
            return flat
        keys = np.stack([flat.molecule_id, flat.conformation_id], axis=1)
        found = self.table.find(keys)
        absent = np.flatnonzero(found < 0)
        if len(absent):
            self._refuse(keys[absent[0]], "is not in it")
        self._check_geometry(flat, found, keys)
        values = dict(flat.values)
        for name in own:
            if name in self.added:
                values[name] = self._label(name, found, keys)
        for name in set(own) - set(self.added):
            other = next(iter(_ENERGIES - {name}))
            stored = values[other] if other in values else self._label(other, found, keys)
            atoms = isolated_atoms_energies(flat.atomic_numbers, flat.atom_offsets)
            values[name] = stored - atoms if name == "formation_energy" else stored + atoms
        return replace(flat, values={name: values[name] for name in names})

    def _label(self, name: str, rows: IntArray, keys: IntArray) -> NDArray[np.float64]:
        """Read one label of the table in atomic units, shape (n,) or (n, 3)."""
        found = self.table.read(rows, FIELD_COLUMNS[name])
        empty = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(empty):
            self._refuse(keys[empty[0]], f"has no {name} there")
        unit = self.units[name].unit or FIELDS[name].unit
        values = convert(found, source=unit, target=FIELDS[name].unit)
        return values if FIELDS[name].shape else values[:, 0]

    def _check_geometry(self, flat: FlatRecords, rows: IntArray, keys: IntArray) -> None:
        told = self._label("nuclear_repulsion_energy", rows, keys)
        for k, (start, stop) in enumerate(
            zip(flat.atom_offsets[:-1].tolist(), flat.atom_offsets[1:].tolist(), strict=True)
        ):
            expected = nuclear_repulsion_energy(
                flat.atomic_numbers[start:stop], flat.positions[start:stop]
            )
            if abs(told[k] - expected) > _REPULSION_TOLERANCE * max(1.0, expected):
                self._refuse(
                    keys[k],
                    f"has a nuclear repulsion of {told[k]:.6f} hartree there, but its geometry "
                    f"gives {expected:.6f}",
                )

    def _refuse(self, key: IntArray, reason: str) -> None:
        message = (
            f"Conformation {key[0]}/{key[1]} of {self.base.info.name!r} cannot be joined to "
            f"{self.table.path}: it {reason}."
        )
        raise InputError(message)
