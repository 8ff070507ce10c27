"""Exporting into one file: in batches, resumable, under its own name only when it is complete.

While it is written, the file is in a folder beside it (``.NAME.part``) with the plan and a journal
of what is safe. A file ``NAME.json`` beside the finished one says what was recorded of the source,
the units and the settings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nabladft import __version__
from nabladft.conversion.converting import check_space, refuse_bad
from nabladft.conversion.export_formats import WRITERS
from nabladft.conversion.planning import (
    Plan,
    asked_document,
    check_same,
    describe_target,
    read_plan,
)
from nabladft.conversion.rows import BadRow, read_rows
from nabladft.conversion.selecting import select_rows
from nabladft.conversion.settings import ConversionReport, Progress, Silent
from nabladft.conversion.sizes import boundaries_of, bytes_per_row
from nabladft.conversion.sources import SourceReference, identify_reference
from nabladft.conversion.tasks import READ_BYTES
from nabladft.errors import InputError
from nabladft.fields import FIELDS
from nabladft.storage.flat import ordered
from nabladft.storage.locking import store_lock
from nabladft.storage.manifest import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nabladft.conversion.export_formats import ExportWriter
    from nabladft.conversion.settings import ConversionSettings, TargetFormat, Watcher
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Formats that a source can be exported to.
EXPORT_FORMATS: Final = tuple(WRITERS)

_SUFFIXES: Final[Mapping[str, TargetFormat]] = {".xyz": "extxyz", ".extxyz": "extxyz", ".db": "db"}

#: Size of a file compared with the numbers in memory: text is long, an ASE row has a fixed part.
_GROWTH: Final = {"extxyz": 2.6, "db": 2.5, "schnetpack": 2.5}

_JOURNAL: Final = "journal.json"


def format_of(target: Path) -> TargetFormat:
    """Tell the format of a target from its name; without a known suffix it is a store."""
    return _SUFFIXES.get(target.suffix.lower(), "store")


def record_of(target: Path) -> Path:
    """Give the file that says how an exported file was made."""
    return target.with_name(f"{target.name}.json")


def export(
    source: str | Path | SourceReference,
    target: str | Path,
    settings: ConversionSettings,
    *,
    format: TargetFormat,  # noqa: A002 - the word of the command line
    keys: IntArray | None = None,
    skip_bad: bool = False,
    watcher: Watcher | None = None,
) -> ConversionReport:
    """Export a source into one file; run it again to continue.

    Args:
        source: What :func:`nabladft.open` reads, or a reference with what is joined to it.
        target: File to write.
        settings: What to write; what is about stores is not used.
        format: "extxyz", "db" or "schnetpack".
        keys: Pairs (molecule_id, conformation_id) to take; None for all.
        skip_bad: Leave out rows that cannot be converted and list them in the report.
        watcher: Sees the progress.

    Raises:
        InputError: The format cannot hold a field, a row is bad, or the target is something else.
        StoreError: Another process is writing it.
        ConversionError: The disk has not enough space.
        OSError: The disk is full or not writable.
    """
    reference = source if isinstance(source, SourceReference) else SourceReference.of(source)
    return _Export(reference, Path(target), settings, format, keys).run(
        skip_bad=skip_bad, watcher=watcher or Silent()
    )


def exportable_fields(
    source: ConformationSource, wanted: Sequence[str] | None, format_name: str
) -> tuple[str, ...]:
    """Give the labels to export, total and formation energy both when both are known.

    Raises:
        InputError: A label is a matrix, or of the orbitals.
        UnknownNameError: There is no such field.
        MissingFieldError: The source does not hold it.
    """
    names = ordered(source.check_fields(wanted))
    kept = tuple(name for name in names if "n_orbitals" not in FIELDS[name].shape)
    if kept != names:
        refused = [name for name in names if name not in kept]
        advice = f" Choose what to export with --fields {' '.join(kept)}" if kept else ""
        message = f"{format_name} cannot hold {', '.join(refused)}.{advice}"
        raise InputError(message)
    return names


class _Export:
    """One export: the open source, and the places of the target."""

    def __init__(
        self,
        reference: SourceReference,
        target: Path,
        settings: ConversionSettings,
        format_name: TargetFormat,
        keys: IntArray | None,
    ) -> None:
        self.target = target
        self.settings = settings
        self.format: TargetFormat = format_name
        self.keys = keys
        self.source = reference.open()
        self.fields = exportable_fields(self.source, settings.fields, format_name)
        alone = tuple(name for name in self.fields if name != "formation_energy")
        described = alone if "energy" in self.fields else self.fields
        manifest = describe_target(self.source, described, settings)
        self.identity = identify_reference(reference, self.source)
        asked = asked_document(settings, self.fields, manifest, keys)
        self.asked = {k: v for k, v in asked.items() if not k.startswith("shard")}
        self.asked["format"] = format_name
        self.part = target.with_name(f".{target.name}.part")

    def run(self, *, skip_bad: bool, watcher: Watcher) -> ConversionReport:
        """Write, or go on, or find that nothing is left to do."""
        if self.target.exists() and not self.part.exists():
            return self._completed()
        self.part.mkdir(parents=True, exist_ok=True)
        with store_lock(self.part):
            if self.target.exists() and not (self.part / _JOURNAL).exists():
                return self._completed()
            plan = self._plan()
            document = self._write(plan, skip_bad=skip_bad, watcher=watcher)
            write_atomically(
                record_of(self.target), (json.dumps(document, indent=2) + "\n").encode()
            )
            data = self.part / "data"
            if data.exists():  # else an earlier process died after this
                data.replace(self.target)
            for path in self.part.iterdir():
                path.unlink()
            self.part.rmdir()
        return self._report(document, n_now=document["n_now"])

    def _plan(self) -> Plan:
        plan = read_plan(self.part)
        if plan is not None:
            check_same(plan.source, self.identity, target=self.target, what="source")
            check_same(plan.settings, self.asked, target=self.target, what="settings")
            return plan
        try:
            rows, bad = select_rows(self.source, self.keys, self.settings.limit)
            sizes, _ = bytes_per_row(self.source, rows, self.fields)
            n_bytes = int(_GROWTH[self.format] * sizes.sum())
            check_space(self.part, n_bytes)
        except Exception:
            for path in self.part.iterdir():
                path.unlink()
            self.part.rmdir()
            raise
        plan = Plan(
            settings=self.asked,
            source=self.identity,
            rows=rows,
            boundaries=boundaries_of(sizes, shard_bytes=READ_BYTES, shard_rows=None),
            bad=bad,
            n_bytes=n_bytes,
            row_bytes=float(sizes.mean()),
        )
        plan.write(self.part)
        return plan

    def _write(self, plan: Plan, *, skip_bad: bool, watcher: Watcher) -> dict[str, Any]:
        journal = self._journal(plan)
        bad = [BadRow.from_dict(row) for row in journal["left_out"]]
        refuse_bad(self.source.info.name, bad, skip_bad=skip_bad)
        writer = WRITERS[self.format](self.part / "data", self.fields, self.source.info.method)
        n_done = int(plan.boundaries[journal["parts"]])
        progress = Progress(n_rows=len(plan.rows), n_done=n_done, n_bytes=plan.n_bytes)
        n_before = journal["n_conformations"]
        if journal["parts"] < plan.n_shards:
            writer.open(journal["state"])
            try:
                with watcher.converting(progress) as view:
                    for k in range(journal["parts"], plan.n_shards):
                        rows = plan.rows_of_shard(k)
                        found = self._append(writer, rows, journal, skip_bad=skip_bad)
                        bad += found
                        journal["left_out"] = [row.to_dict() for row in bad]
                        journal["parts"] = k + 1
                        write_atomically(self.part / _JOURNAL, json.dumps(journal).encode())
                        view.update(len(rows))
            finally:
                writer.close()
        return {
            "nabladft": __version__,
            "source": self.identity,
            "settings": self.asked,
            "units": writer.units(),
            "n_conformations": journal["n_conformations"],
            "left_out": sorted(journal["left_out"], key=lambda row: int(row["row"])),
            "n_now": journal["n_conformations"] - n_before,
        }

    def _append(
        self, writer: ExportWriter, rows: IntArray, journal: dict[str, Any], *, skip_bad: bool
    ) -> list[BadRow]:
        flat, texts, bad = read_rows(self.source, rows, self.fields)
        refuse_bad(self.source.info.name, bad, skip_bad=skip_bad)
        if len(flat):
            journal["state"] = writer.append(flat, texts)
            journal["n_conformations"] += len(flat)
        return bad

    def _journal(self, plan: Plan) -> dict[str, Any]:
        path = self.part / _JOURNAL
        if path.exists():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        left_out = [row.to_dict() for row in plan.bad]
        return {"parts": 0, "state": 0, "n_conformations": 0, "left_out": left_out}

    def _completed(self) -> ConversionReport:
        place = record_of(self.target)
        try:
            document = json.loads(place.read_text(encoding="utf-8"))
            made = document["source"], document["settings"]
        except (OSError, ValueError, KeyError, TypeError):
            message = (
                f"{self.target} exists and was not made by this export ({place.name} does not say "
                "so). Choose another target, or delete it."
            )
            raise InputError(message) from None
        check_same(made[0], self.identity, target=self.target, what="source")
        check_same(made[1], self.asked, target=self.target, what="settings")
        return self._report(document, n_now=0)

    def _report(self, document: dict[str, Any], *, n_now: int) -> ConversionReport:
        return ConversionReport(
            target=self.target,
            format=self.format,
            n_conformations=document["n_conformations"],
            n_now=n_now,
            n_bytes=self.target.stat().st_size,
            bad=tuple(BadRow.from_dict(row) for row in document["left_out"]),
            details=document,
        )
