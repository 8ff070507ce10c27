"""From a source to a store: plan, let workers stage shards, assemble; and go on after any stop.

Example:
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "small"
    >>> report = convert("nano", folder, ConversionSettings(fields=("energy",), limit=3))
    >>> report.n_conformations, report.n_now
    (3, 3)
    >>> convert("nano", folder, ConversionSettings(fields=("energy",), limit=3)).n_now
    0
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft import __version__
from nabladft.conversion.planning import (
    Plan,
    asked_document,
    check_same,
    describe_target,
    fields_to_store,
    make_plan,
    read_plan,
)
from nabladft.conversion.rows import BadRow
from nabladft.conversion.scheduling import in_processes, in_this_process, on_cluster
from nabladft.conversion.settings import ConversionReport, ConversionSettings, Progress, Silent
from nabladft.conversion.sources import SourceReference, identify_reference
from nabladft.conversion.tasks import (
    READ_BYTES,
    ShardTask,
    TaskResult,
    convert_shard,
    forget_source,
    result_of,
)
from nabladft.errors import ConversionError, InputError, StoreError
from nabladft.storage.index import update_index
from nabladft.storage.manifest import MANIFEST_NAME, read_manifest
from nabladft.storage.staging import STAGING_NAME, ShardStaging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from nabladft.conversion.scheduling import Scheduler
    from nabladft.conversion.settings import Watcher
    from nabladft.storage.manifest import Manifest
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Free space wanted beyond the estimate, as a share of it: it is an estimate.
_SPARE: Final = 0.1

#: Conformations from which on it pays to start processes for the index.
_MANY: Final = 50_000

#: Bad rows named in a message; all are in the report.
_SHOWN: Final = 3


def convert(
    source: str | Path | SourceReference,
    target: str | Path,
    settings: ConversionSettings | None = None,
    *,
    keys: IntArray | None = None,
    skip_bad: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    watcher: Watcher | None = None,
) -> ConversionReport:
    """Convert a source into a store; run it again to continue.

    Args:
        source: What :func:`nabladft.open` reads, or a reference with what is joined to it.
        target: Folder of the store; new, empty, or of the same conversion.
        settings: What to make.
        keys: Pairs (molecule_id, conformation_id) to take, shape (n, 2); None for all.
        skip_bad: Leave out rows that cannot be converted and list them in the report.
        workers: Processes on this machine.
        scheduler: Of a Dask cluster, see :func:`nabladft.conversion.scheduling.on_cluster`.
        watcher: Sees the progress.

    Returns:
        What was made; with ``n_now`` = 0 when it was complete already.

    Raises:
        InputError: A row is bad, something asked for is not in the source, or the target was
            started with other settings or from another source.
        StoreError: The target is something else, another process is at work in it, or a value does
            not fit its codec.
        ConversionError: The disk has not enough space, or workers die or cannot be reached.
        NablaDFTError: The source cannot be opened.
        OSError: The disk is full or not writable.
    """
    settings = settings or ConversionSettings()
    reference = source if isinstance(source, SourceReference) else SourceReference.of(source)
    work = _Work(reference, Path(target), settings, keys, workers)
    if (work.folder / MANIFEST_NAME).exists() and not work.is_staging:
        return work.completed()
    staging = work.begin()
    with staging.locked(), _no_litter(staging):
        if (work.folder / MANIFEST_NAME).exists():
            # Another process finished it, or died between the manifest and the cleaning up.
            report = work.completed()
            update_index(work.folder, read_manifest(work.folder))
            staging.remove()
            return report
        plan = work.plan(staging, skip_bad=skip_bad)
        if workers > 1 and scheduler is None:
            crew: AbstractContextManager[Scheduler] = in_processes(workers)
        elif scheduler is not None:
            crew = on_cluster(scheduler, workers=workers, sees=staging.area / "plan.json")
        else:
            crew = in_this_process()
        return work.do(plan, staging, crew, skip_bad=skip_bad, watcher=watcher or Silent())


class _Work:
    """One conversion: the open source, the description of the target, the way between them."""

    def __init__(
        self,
        reference: SourceReference,
        folder: Path,
        settings: ConversionSettings,
        keys: IntArray | None,
        workers: int,
    ) -> None:
        self.workers = workers
        self.reference = reference
        self.folder = folder
        self.settings = settings
        self.keys = keys
        self.source: ConformationSource = reference.open()
        fields = fields_to_store(self.source, settings.fields)
        self.manifest: Manifest = describe_target(self.source, fields, settings)
        self.identity = identify_reference(reference, self.source)
        self.asked = asked_document(settings, fields, self.manifest, keys)

    @property
    def is_staging(self) -> bool:
        return (self.folder / STAGING_NAME).exists()

    def begin(self) -> ShardStaging:
        """Make the folder of the target, or refuse one that holds something else."""
        if self.folder.exists() and not self.folder.is_dir():
            message = f"{self.folder} is a file; a store is a folder. Choose another target."
            raise InputError(message)
        if self.folder.is_dir() and not self.is_staging:
            others = [path.name for path in self.folder.iterdir() if path.name != ".lock"]
            if others:
                message = (
                    f"{self.folder} is not empty and not a store: it holds {others[0]!r}. Choose a "
                    "new folder."
                )
                raise StoreError(message)
        return ShardStaging(self.folder)

    def plan(self, staging: ShardStaging, *, skip_bad: bool) -> Plan:
        plan = read_plan(staging.area)
        if plan is None:
            plan = make_plan(
                self.source,
                self.manifest,
                self.settings,
                asked=self.asked,
                identity=self.identity,
                keys=self.keys,
            )
            refuse_bad(self.source.info.name, [*plan.bad], skip_bad=skip_bad)
            check_space(self.folder, plan.n_bytes)
            plan.write(staging.area)
            return plan
        check_same(plan.source, self.identity, target=self.folder, what="source")
        check_same(plan.settings, self.asked, target=self.folder, what="settings")
        return plan

    def do(
        self,
        plan: Plan,
        staging: ShardStaging,
        crew: AbstractContextManager[Scheduler],
        *,
        skip_bad: bool,
        watcher: Watcher,
    ) -> ConversionReport:
        done = {p: result_of(staged) for p, staged in staging.finished().items()}
        refuse_bad(self.source.info.name, [*plan.bad], skip_bad=skip_bad)
        for result in done.values():
            refuse_bad(self.source.info.name, [*result.bad], skip_bad=skip_bad)
        missing = [k for k in range(plan.n_shards) if k not in done]
        share = sum(len(plan.rows_of_shard(k)) for k in missing) / len(plan.rows)
        check_space(self.folder, int(share * plan.n_bytes))
        step = max(1, int(READ_BYTES / plan.row_bytes))
        progress = Progress(
            n_rows=len(plan.rows),
            n_done=sum(result.n_rows for result in done.values()),
            n_bytes=plan.n_bytes,
        )
        n_now = 0
        if missing:
            tasks = (
                ShardTask(
                    position=k,
                    rows=plan.rows_of_shard(k),
                    read_rows=step,
                    source=self.reference,
                    content=json.dumps(self.identity, sort_keys=True),
                    target=str(self.folder.resolve()),
                    manifest=self.manifest,
                    skip_bad=skip_bad,
                )
                for k in missing
            )
            with crew as scheduler, watcher.converting(progress) as view:
                results = scheduler.run(convert_shard, tasks)
                try:
                    for result in results:
                        refuse_bad(self.source.info.name, [*result.bad], skip_bad=skip_bad)
                        done[result.position] = result
                        n_now += result.n_rows - len(result.bad)
                        view.update(result.n_rows)
                finally:
                    results.close()
                    forget_source()
        return self._assemble(plan, staging, done, n_now, watcher)

    def completed(self) -> ConversionReport:
        """Report on a target that is complete; refuse one that is of something else."""
        manifest = read_manifest(self.folder)
        made = manifest.details.get("conversion")
        if made is None:
            message = (
                f"{self.folder} holds a store that was not made by this conversion. Choose another "
                "target."
            )
            raise InputError(message)
        check_same(made["source"], self.identity, target=self.folder, what="source")
        check_same(made["settings"], self.asked, target=self.folder, what="settings")
        return ConversionReport(
            target=self.folder,
            format="store",
            n_conformations=manifest.n_conformations,
            n_now=0,
            n_bytes=sum(shard.n_bytes for shard in manifest.shards),
            bad=tuple(BadRow.from_dict(row) for row in made["left_out"]),
            details=manifest.details,
        )

    def _assemble(
        self,
        plan: Plan,
        staging: ShardStaging,
        done: dict[int, TaskResult],
        n_now: int,
        watcher: Watcher,
    ) -> ConversionReport:
        bad = [*plan.bad, *(row for k in sorted(done) for row in done[k].bad)]
        bad.sort(key=lambda row: row.row)
        if len(bad) - len(plan.bad) == len(plan.rows):
            staging.remove()
            message = f"No row of {self.source.info.name!r} can be converted; the first: {bad[0]}"
            raise InputError(message)
        conversion = {
            "nabladft": __version__,
            "source": self.identity,
            "settings": self.asked,
            "left_out": [row.to_dict() for row in bad],
            # A store made from a store keeps what is known of the way before.
            "before": self.manifest.details.get("conversion"),
        }
        details = {**self.manifest.details, "conversion": conversion}
        manifest = staging.assemble(
            replace(self.manifest, details=details),
            processes=self.workers if len(plan.rows) > _MANY else 1,
            progress=watcher.indexing,
        )
        return ConversionReport(
            target=self.folder,
            format="store",
            n_conformations=manifest.n_conformations,
            n_now=n_now,
            n_bytes=sum(shard.n_bytes for shard in manifest.shards),
            bad=tuple(bad),
            details=manifest.details,
        )


def refuse_bad(name: str, bad: list[BadRow], *, skip_bad: bool) -> None:
    """Refuse bad rows unless they may be left out.

    Raises:
        InputError: There is one; the message has the first ones with reasons.
    """
    if bad and not skip_bad:
        shown = "; ".join(map(str, bad[:_SHOWN]))
        more = f" (and {len(bad) - _SHOWN} more)" if len(bad) > _SHOWN else ""
        message = (
            f"{name!r} has rows that cannot be converted: {shown}{more} Correct them, or leave "
            "them out with --skip-bad FILE.csv, which lists them. Finished work is kept."
        )
        raise InputError(message)


def check_space(folder: Path, n_bytes: int) -> None:
    """Refuse to begin what cannot end well.

    Raises:
        ConversionError: The disk has less free space than the target needs.
    """
    free = shutil.disk_usage(folder).free
    needed = int(n_bytes * (1.0 + _SPARE))
    if free < needed:
        message = (
            f"{folder} needs about {needed / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} GB "
            "free. Free some space, choose another disk, or make a compact store (--compact)."
        )
        raise ConversionError(message)


@contextmanager
def _no_litter(staging: ShardStaging) -> Iterator[None]:
    """Leave no trace of a conversion that failed before it began."""
    try:
        yield
    except Exception:
        if not (staging.area / "plan.json").exists():
            staging.remove()
            if {path.name for path in staging.folder.iterdir()} <= {".lock"}:
                shutil.rmtree(staging.folder)
        raise
