"""The child process that scores one submission: the only one that opens what strangers sent.

It gets a job (JSON) in the first line of its standard input and writes the outcome (JSON) to its
standard output. It sets its own limits before it opens anything, knows no database and no token,
and ends when its standard input is closed, that is, when its worker is gone.

Example:
    python -m nabladft.leaderboard.server.scoring < job.json
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from nabladft.benchmark.evaluation import evaluate
from nabladft.benchmark.results import results_document
from nabladft.benchmark.tasks import task_named
from nabladft.errors import (
    FormatError,
    HamiltonianError,
    NablaDFTError,
    OrbitalCountError,
    OrbitalOrderError,
    PredictionsError,
    UnitError,
    UnsupportedElementError,
)
from nabladft.predictions import Predictions
from nabladft.splits import read_split
from nabladft.storage.opening import open_source
from nabladft.storage.source import ConformationSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nabladft.conformation import Conformation
    from nabladft.splits import Split
    from nabladft.storage.flat import FlatRecords
    from nabladft.storage.source import SourceInfo

    IntArray = NDArray[np.int64]

#: Exit code after an exception that nobody thought of.
CRASHED: Final = 70

#: What an exception while scoring says of the submission, the first that fits.
_FAILURES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (UnitError, "unit"),
    (OrbitalOrderError, "orbital_order"),
    (OrbitalCountError, "orbital_count"),
    (HamiltonianError, "hamiltonian"),
    (UnsupportedElementError, "atoms"),
    (PredictionsError, "values"),
    (FormatError, "not_hdf5"),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker tells its child.

    Attributes:
        labels: The private data.
        split: The split file.
        data_hash: Of the public copy, which the files carry.
        kind: Task of this package.
        parts: Parts that are scored.
        metrics: Metrics that are shown.
        seeds: Of the entry; empty when nothing is random.
        paths: The predictions files.
        sha256: Their hashes.
        memory_bytes: Limit of allocated data.
        cpu_seconds: Limit of processor time.
    """

    labels: str
    split: str
    data_hash: str
    kind: str
    parts: tuple[str, ...]
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    memory_bytes: int
    cpu_seconds: int

    def to_json(self) -> str:
        """Write it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Job:
        """Read it."""
        values: dict[str, Any] = json.loads(line)
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**values)


class LabelsUnavailableError(NablaDFTError):
    """The private data or the split cannot be used: nothing that a submitter could mend."""


class RefusedError(NablaDFTError):
    """The submission cannot be scored; the argument is a code of the reviewed list."""


class BlindSource(ConformationSource):
    """The private data under the hash of their public copy, with its failures told apart.

    Predictions were made for the copy without labels and carry its hash; ids and geometries of
    both are the same, which ``nabladft leaderboard blind`` sees to.
    """

    def __init__(self, labels: ConformationSource, *, data_hash: str) -> None:
        """Wrap the private data."""
        self._labels = labels
        self._data_hash = data_hash

    @property
    def info(self) -> SourceInfo:
        """What the private data say of themselves."""
        return self._labels.info

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self._labels)

    def read(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> list[Conformation]:
        """Read records of the private data.

        Raises:
            LabelsUnavailableError: They cannot be read.
        """
        try:
            return self._labels.read(indices, fields=fields)
        except (NablaDFTError, OSError) as error:
            raise LabelsUnavailableError(str(error)) from error

    def read_flat(
        self, indices: Sequence[int] | IntArray, *, fields: Sequence[str] | None = None
    ) -> FlatRecords:
        """Read records of the private data as flat arrays.

        Raises:
            LabelsUnavailableError: They cannot be read.
        """
        try:
            return self._labels.read_flat(indices, fields=fields)
        except (NablaDFTError, OSError) as error:
            raise LabelsUnavailableError(str(error)) from error

    @property
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id), shape (n, 2)."""
        return self._labels.keys

    @property
    def n_atoms(self) -> IntArray:
        """Number of atoms, shape (n,)."""
        return self._labels.n_atoms

    @property
    def data_hash(self) -> str:
        """Hash of the public copy."""
        return self._data_hash


def score_job(job: Job) -> list[dict[str, Any]]:
    """Score every file of a job.

    Returns:
        For each file its ``seed`` (or None) and its ``results`` document.

    Raises:
        RefusedError: The submission cannot be scored.
        LabelsUnavailableError: The server cannot score it now.
    """
    source, split = _open_labels(job)
    most = max(len(split.part(part)) for part in job.parts)
    opened = [_open_predictions(path, most=most) for path in job.paths]
    seeds = _check_parts(job, opened)
    scored = []
    for predictions, seed, sha256 in zip(opened, seeds, job.sha256, strict=True):
        _check_belongs(job, predictions, split)
        try:
            results = evaluate(predictions, source, split=split)
        except LabelsUnavailableError:
            raise
        except (NablaDFTError, OSError) as error:
            raise RefusedError(_failure_of(error)) from error
        if results.predictions_sha256 != sha256:
            message = f"{predictions.path} is not the file that was uploaded."
            raise LabelsUnavailableError(message)
        shown = [results.metrics[name].value for name in job.metrics if name in results.metrics]
        # Numbers near the largest float overflow in sums and squares.
        if not all(value is None or math.isfinite(value) for value in shown):
            raise RefusedError("values")
        scored.append({"seed": seed, "results": results_document(results)})
    return scored


def limit_process(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Set the limits of this process; they cannot be raised again.

    Data (what is allocated) is limited and not the address space, because a large store of labels
    is read through a memory map.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    # At the soft limit the process is told by SIGXCPU, at the hard one it is killed.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Read the job, score, write the outcome.

    Returns:
        Exit code: 0 with an outcome, 70 after an exception that nobody thought of.
    """
    # What libraries print goes to the log of the worker, and not between the JSON.
    outcome_pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_worker, daemon=True).start()
    limit_process(memory_bytes=job.memory_bytes, cpu_seconds=job.cpu_seconds)
    try:
        outcome: dict[str, Any] = {"outcome": "scored", "scored": score_job(job)}
    except RefusedError as error:
        traceback.print_exc()
        outcome = {"outcome": "failed", "code": str(error)}
    except LabelsUnavailableError:
        traceback.print_exc()
        outcome = {"outcome": "unavailable"}
    except MemoryError:
        outcome = {"outcome": "failed", "code": "memory"}
    except Exception:  # noqa: BLE001 - the worker counts crashes
        traceback.print_exc()
        return CRASHED
    json.dump(outcome, outcome_pipe)
    outcome_pipe.flush()
    return 0


def _end_with_worker() -> None:
    # The worker holds the other end and writes nothing more: reading ends when it does.
    os.read(sys.stdin.fileno(), 1)
    os._exit(CRASHED)


def _open_labels(job: Job) -> tuple[BlindSource, Split]:
    try:
        labels = open_source(job.labels)
        split = read_split(job.split)
        if split.data_hash not in {None, labels.data_hash, job.data_hash}:
            message = f"The split {job.split} was made for other data than {job.labels}."
            raise LabelsUnavailableError(message)
        # A store is opened only when it is read.
        for part in job.parts:
            labels.rows_of(split.part(part))
        labels.check_fields(task_named(job.kind).required)
    except (NablaDFTError, OSError) as error:
        raise LabelsUnavailableError(str(error)) from error
    blind = BlindSource(labels, data_hash=job.data_hash)
    return blind, replace(split, data_hash=job.data_hash)


def _open_predictions(path: str, *, most: int) -> Predictions:
    try:
        return Predictions(path, most=most)
    except (NablaDFTError, OSError, ValueError, KeyError) as error:
        code = _failure_of(error)
        raise RefusedError("not_predictions" if code == "values" else code) from error


def _check_parts(job: Job, opened: Sequence[Predictions]) -> list[int | None]:
    """Give the seed of each file, or refuse unless every part comes once for every seed."""
    seeds = [_seed_of(one, job.seeds) for one in opened]
    found = [(one.info.part, seed) for one, seed in zip(opened, seeds, strict=True)]
    wanted = {(part, seed) for part in job.parts for seed in job.seeds or (None,)}
    if len(found) != len(wanted) or set(found) != wanted:
        raise RefusedError("parts")
    return seeds


def _seed_of(predictions: Predictions, seeds: Sequence[int]) -> int | None:
    """Find the seed of a file: none where nothing is random, the only one, or the stated one."""
    if not seeds:
        return None
    stated = predictions.info.details.get("seed", seeds[0] if len(seeds) == 1 else None)
    if type(stated) is not int:
        raise RefusedError("parts")
    return stated


def _check_belongs(job: Job, predictions: Predictions, split: Split) -> None:
    """Refuse, with its own code, what ``evaluate`` would refuse with a text."""
    info, task = predictions.info, task_named(job.kind)
    if info.data_hash != job.data_hash:
        raise RefusedError("data")
    if info.split_hash is None or info.split_hash != split.sha256:
        raise RefusedError("split")
    held = set(predictions.fields)
    if not set(task.required) <= held <= set(task.fields):
        raise RefusedError("quantities")
    try:
        predictions.check_keys(split.part(str(info.part)), what="the part")
    except PredictionsError as error:
        raise RefusedError("conformations") from error


def _failure_of(error: Exception) -> str:
    """Give the code of an exception of scoring."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "alloc" in text:
        return "memory"
    return next((code for kind, code in _FAILURES if isinstance(error, kind)), "not_predictions")


if __name__ == "__main__":
    sys.exit(main())
