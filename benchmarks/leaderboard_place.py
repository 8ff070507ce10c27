"""A place for a scoring server: the blind copy of nano, a configuration, predictions to send.

What the kill test, the load test and the tests of the server share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

import nabladft
from nabladft.benchmark.evaluation import evaluate
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.leaderboard.entry import EXAMPLE
from nabladft.leaderboard.server.blinding import write_public_copy
from nabladft.leaderboard.server.public import public_score
from nabladft.leaderboard.server.scoring import BlindSource
from nabladft.leaderboard.server.settings import read_settings
from nabladft.predictions import PredictionsInfo, PredictionsWriter
from nabladft.splits import read_split

if TYPE_CHECKING:
    from pathlib import Path

    from nabladft.leaderboard.server.settings import ServerSettings
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource

#: The task of every place: one part, so that a submission is one file.
TASK = "nano-structures"
PART = "test_structures"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with everything that a server needs.

    Attributes:
        folder: It.
        config: Configuration file.
        settings: What it says.
        public: The copy without labels.
        split: Its split.
        data_hash: Its hash.
    """

    folder: Path
    config: Path
    settings: ServerSettings
    public: ConformationSource
    split: Split
    data_hash: str


def make_place(
    folder: Path,
    *,
    copy: Path | None = None,
    labels: str = "nano",
    database: str | None = None,
    limits: dict[str, Any] | None = None,
    scoring: dict[str, Any] | None = None,
) -> Place:
    """Write the copy and the configuration.

    Args:
        folder: An empty folder.
        copy: A public copy that is there already, to save time.
        labels: The private data.
        database: Address of the database; None for SQLite in the folder.
        limits: Of the configuration.
        scoring: Of the configuration.
    """
    if copy is None:
        copy = folder / "public"
        write_public_copy(nabladft.open("nano"), read_split("nano"), copy, parts=[PART])
    public, split = nabladft.open(copy / "data"), read_split(copy / "split.json")
    content: dict[str, Any] = {
        "data": "data",
        "limits": {"submissions_per_day": 1_000_000} | (limits or {}),
        "scoring": {"lease_seconds": 2.0, "poll_seconds": 0.1} | (scoring or {}),
        "tasks": [
            {
                "name": TASK,
                "kind": "energy",
                "labels": labels,
                "split": str(copy / "split.json"),
                "data_hash": public.data_hash,
                "parts": [PART],
            }
        ],
    }
    if database is not None:
        content["database"] = database
    config = folder / "server.toml"
    config.write_text(tomli_w.dumps(content))
    return Place(
        folder=folder,
        config=config,
        settings=read_settings(config),
        public=public,
        split=split,
        data_hash=public.data_hash,
    )


def write_predictions(
    place: Place,
    path: Path,
    *,
    number: int = 0,
    energies: np.ndarray[Any, Any] | None = None,
    **attributes: Any,  # noqa: ANN401 - of all types
) -> Path:
    """Write predictions for the part: isolated atoms with an error that the number decides.

    Args:
        place: Where the copy is.
        path: File to write.
        number: Equal numbers give equal predictions; other ones have other scores.
        energies: Total energies instead, shape (n,), hartree, in the order of the split.
        attributes: Replace attributes of the file (data_hash, part, ...).
    """
    rng = np.random.default_rng(number)
    keys = place.split.part(PART)
    records = place.public.read(place.public.rows_of(keys))
    info: dict[str, Any] = {
        "dataset": place.public.info.name,
        "data_hash": place.data_hash,
        "model": f"model {number}",
        "split": place.split.name,
        "split_hash": place.split.sha256,
        "part": PART,
    }
    if energies is None:
        isolated = np.array([isolated_atoms_energy(record.atomic_numbers) for record in records])
        energies = isolated + rng.normal(size=len(records))
    with PredictionsWriter(path, PredictionsInfo(**info | attributes)) as writer:
        writer.append(
            keys=keys,
            atomic_numbers=np.concatenate([record.atomic_numbers for record in records]),
            n_atoms=[record.n_atoms for record in records],
            energy=energies,
            forces=0.01 * rng.normal(size=(sum(record.n_atoms for record in records), 3)),
        )
    return path


def entry_text(number: int = 0) -> str:
    """Give an entry whose name has the number."""
    return EXAMPLE.replace('"my-model"', f'"model-{number}"')


def local_score(place: Place, path: Path, *, seed: int = 1) -> dict[str, Any]:
    """Score predictions here, and round as the server does."""
    (task,) = place.settings.tasks.values()
    source = BlindSource(nabladft.open("nano"), data_hash=place.data_hash)
    results = evaluate(path, source, split=place.split)
    return public_score(results, task, seed=seed, digits=place.settings.scoring.digits)
