"""The entry of a model: what is written by hand, and what scoring adds to it.

The format is ``entry.schema.json`` beside this module, version 1; whatever comes from outside is
checked against it before anything else looks at it. TOML has no null: what is not known is absent.

Example:
    >>> entry = parse_entry(EXAMPLE, where="example")
    >>> entry.name, entry.model.n_parameters, entry.scores
    ('my-model', 1200000, ())
    >>> parse_entry(format_entry(entry), where="again") == entry
    True
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import tomli_w

from nabladft.errors import EntryError, suggestion
from nabladft.metrics import METRICS, Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION: Final = 1
SCHEMA_PATH: Final = Path(__file__).with_name("entry.schema.json")

#: An entry with a hundred scores is 200 kB; whoever sends more means no good.
LARGEST_ENTRY_BYTES: Final = 1_000_000

#: What a person writes; ``nabladft submit --example`` prints it.
EXAMPLE: Final = """\
schema_version = 1
name = "my-model"          # of the file and the page: lower case
title = "My model"         # in tables
task = "energy"            # or "hamiltonian", "overlap"

[who]
authors = ["Ada Lovelace", "Charles Babbage"]
affiliations = ["Analytical Engine Laboratory"]
contact = "https://example.org/my-model/issues"

[model]
description = "An equivariant network with four interaction layers."
paper = "https://doi.org/10.1000/182"
code = "https://example.org/my-model"
licence = "MIT"
n_parameters = 1_200_000

[training]
data = ["nano"]            # everything that the weights have seen
subset = "train"
n_conformations = 156
seeds = [1]                # one for each training that you submit
hardware = "1 x NVIDIA H100"
hours = 0.5                # of one training
"""


@dataclass(frozen=True, kw_only=True)
class Who:
    """Authors.

    Attributes:
        authors: Full names.
        affiliations: Institutions.
        contact: Page where questions can be asked, https.
    """

    authors: tuple[str, ...]
    affiliations: tuple[str, ...] = ()
    contact: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The model.

    Attributes:
        description: Plain text.
        licence: Of code and weights.
        n_parameters: Trained numbers.
        paper: Its address, https.
        code: Its address, https.
    """

    description: str
    licence: str
    n_parameters: int
    paper: str | None = None
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingCard:
    """How it was trained.

    Attributes:
        data: Every data set that the weights have seen.
        seeds: Of each training submitted.
        hardware: What it was trained on.
        hours: Wall time of one training.
        subset: Part of the training data used ("tiny", ..., "train" for all), or None.
        n_conformations: Conformations trained on, or None.
    """

    data: tuple[str, ...]
    seeds: tuple[int, ...]
    hardware: str
    hours: float
    subset: str | None = None
    n_conformations: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredData:
    """What was scored: names and hashes of data and split; the split is None when all was."""

    dataset: str
    data_hash: str
    split: str | None = None
    split_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """What scored it: versions, and the bootstrap of the intervals."""

    version: str
    bootstrap_seed: int
    n_resamples: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class PredictionsFile:
    """The file that was scored: hash, size, and where it can be had (https) if anywhere."""

    sha256: str
    n_bytes: int
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Metrics of one predictions file.

    Attributes:
        n_conformations: Conformations scored.
        n_molecules: Molecules scored.
        predictions: The file.
        metrics: By name, in the units of :data:`nabladft.metrics.METRICS`.
        part: Part of the split, or None.
        seed: Of the training, or None where nothing is random.
        prediction_seconds: Wall time of predicting one conformation as stated, or None.
    """

    n_conformations: int
    n_molecules: int
    predictions: PredictionsFile
    metrics: Mapping[str, Estimate]
    part: str | None = None
    seed: int | None = None
    prediction_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the leaderboard.

    Attributes:
        name: Of the file and the page; safe as a file name.
        title: In tables.
        task: Name of the task.
        who: Authors.
        model: The model.
        training: How it was trained.
        scores: One for each part and seed; empty before scoring.
        data: What was scored; None before scoring.
        scorer: What scored it; None before scoring.
        details_sha256: Hash of the file of details; None before scoring.
    """

    name: str
    title: str
    task: str
    who: Who
    model: ModelCard
    training: TrainingCard
    scores: tuple[Score, ...] = field(default=())
    data: ScoredData | None = None
    scorer: Scorer | None = None
    details_sha256: str | None = None


@cache
def entry_schema() -> Mapping[str, Any]:
    """Read the JSON schema of entries."""
    found: Mapping[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return found


def read_entry(path: str | Path) -> Entry:
    """Read and check an entry.

    Raises:
        EntryError: There is no such file, it is too large, no TOML, or against the schema.
    """
    path = Path(path)
    if not path.is_file():
        message = (
            f"There is no entry {path}. `nabladft submit --example > entry.toml` writes one to "
            "fill in."
        )
        raise EntryError(message)
    with path.open("rb") as file:
        content = file.read(LARGEST_ENTRY_BYTES + 1)
    if len(content) > LARGEST_ENTRY_BYTES:
        message = f"{path.name} has more than {LARGEST_ENTRY_BYTES:,} bytes; an entry has a few kB."
        raise EntryError(message)
    return parse_entry(content, where=path.name)


def parse_entry(content: str | bytes, *, where: str) -> Entry:
    """Read and check an entry from text.

    Args:
        content: TOML.
        where: Name of the file, for messages.

    Raises:
        EntryError: It is too large, no TOML, or against the schema; the message names the field.
    """
    if len(content) > LARGEST_ENTRY_BYTES:
        message = f"{where} has more than {LARGEST_ENTRY_BYTES:,} bytes; an entry has a few kB."
        raise EntryError(message)
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        document = tomllib.loads(text, parse_float=_finite)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        message = f"{where} is not TOML: {error or type(error).__name__}."
        raise EntryError(message) from error
    check_document(document, where=where)
    return _entry_of(document)


def check_document(document: Mapping[str, Any], *, where: str) -> None:
    """Check a parsed entry against the schema.

    Raises:
        EntryError: It differs; the message names every field, what is wrong, and what is expected.
    """
    refuse_problems(
        jsonschema.Draft202012Validator(entry_schema()), document, where=where, what="entries"
    )


def refuse_problems(
    validator: jsonschema.Draft202012Validator,
    document: Mapping[str, Any],
    *,
    where: str,
    what: str,
) -> None:
    """Check a document against a schema.

    Args:
        validator: Of the schema.
        document: What TOML or JSON holds.
        where: Name of the file, for messages.
        what: What the schema is of, for messages.

    Raises:
        EntryError: It differs; the message names every field, what is wrong, and what is expected.
    """
    problems = sorted(validator.iter_errors(document), key=lambda one: [str(p) for p in one.path])
    if problems:
        shown = "\n".join(f"  {_explain(problem)}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        message = f"{where} does not follow the schema of {what}:\n{shown}{more}"
        raise EntryError(message)


def format_entry(entry: Entry) -> str:
    """Write an entry as TOML, floats to the last digit."""
    return tomli_w.dumps(_document_of(entry))


#: Problems named in one message.
_SHOWN: Final = 8


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = f"{text} is not a number that can be used"
        raise ValueError(message)
    return number


def _explain(problem: jsonschema.ValidationError) -> str:
    """Tell one difference from the schema as field, problem and fix."""
    place = ".".join(str(step) for step in problem.absolute_path) or "top level"
    schema = problem.schema if isinstance(problem.schema, dict) else {}
    meaning = schema.get("description") or schema.get("$ref", "").rpartition("/")[2]
    expected = f" Expected: {meaning}." if meaning else ""
    instance: Any = problem.instance
    allowed: Any = problem.validator_value
    given = repr(instance)
    given = given if len(given) <= 60 else f"{given[:57]}..."
    if problem.validator == "additionalProperties":
        known = sorted(schema.get("properties", {}))
        stray = sorted(set(instance) - set(known))
        hints = "".join(suggestion(name, known) for name in stray[:1])
        return f"{place}: unknown field {', '.join(map(repr, stray))}.{hints} Known: {known}."
    if problem.validator in {"required", "dependentRequired"}:
        return f"{place}: {problem.message}; add it."
    if problem.validator == "enum":
        return f"{place}: {given} is none of {list(allowed)}."
    if problem.validator == "const":
        return f"{place}: {given}, but this nabladft reads {allowed!r}."
    if problem.validator == "pattern":
        return f"{place}: {given} cannot be used.{expected}"
    return f"{place}: {problem.message[:200]}.{expected}"


def _entry_of(document: Mapping[str, Any]) -> Entry:
    training, who = document["training"], document["who"]
    return Entry(
        name=document["name"],
        title=document["title"],
        task=document["task"],
        who=Who(
            **who
            | {
                "authors": tuple(who["authors"]),
                "affiliations": tuple(who.get("affiliations", ())),
            }
        ),
        model=ModelCard(**document["model"]),
        training=TrainingCard(
            **training
            | {
                "data": tuple(training["data"]),
                "seeds": tuple(training["seeds"]),
                "hours": float(training["hours"]),
            }
        ),
        data=ScoredData(**document["data"]) if "data" in document else None,
        scorer=Scorer(**document["scorer"]) if "scorer" in document else None,
        details_sha256=document.get("details", {}).get("sha256"),
        scores=tuple(_score_of(score) for score in document.get("scores", ())),
    )


def _score_of(document: Mapping[str, Any]) -> Score:
    metrics = {}
    for name, values in document["metrics"].items():
        if name not in METRICS:
            message = f"scores.metrics: there is no metric {name!r}.{suggestion(name, METRICS)}"
            raise EntryError(message)
        unit = METRICS[name].unit
        if values["unit"] != unit:
            message = f"scores.metrics.{name}.unit: {values['unit']!r}, {unit!r} expected."
            raise EntryError(message)
        metrics[name] = Estimate(
            value=values.get("value"),
            ci_low=values.get("ci_low"),
            ci_high=values.get("ci_high"),
            n_conformations=values["n_conformations"],
            n_molecules=values["n_molecules"],
        )
    rest = {key: value for key, value in document.items() if key not in {"metrics", "predictions"}}
    return Score(**rest, predictions=PredictionsFile(**document["predictions"]), metrics=metrics)


def _document_of(entry: Entry) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": entry.name,
        "title": entry.title,
        "task": entry.task,
        "who": _present(entry.who),
        "model": _present(entry.model),
        "training": _present(entry.training),
    }
    if entry.data is not None and entry.scorer is not None:
        document["data"] = _present(entry.data)
        document["scorer"] = _present(entry.scorer)
        document["details"] = {"sha256": entry.details_sha256}
        document["scores"] = [_score_document(score) for score in entry.scores]
    return document


def _score_document(score: Score) -> dict[str, Any]:
    metrics = {
        name: {"value": estimate.value, "unit": METRICS[name].unit, **_present(estimate)}
        for name, estimate in score.metrics.items()
    }
    return _present(score) | {
        "predictions": _present(score.predictions),
        "metrics": {
            name: {key: value for key, value in values.items() if value is not None}
            for name, values in metrics.items()
        },
    }


def _present(record: object) -> dict[str, Any]:
    """List the attributes that are known; TOML has no null."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in vars(record).items()
        if value is not None
    }
