"""The details of an entry: everything that pages show, too much for the entry itself.

One JSON file beside the entry, bound to it by its hash: the results files, a sample of predicted
against reference values, and the conformations with the largest errors. Like the entry it may come
from a stranger, so it is checked against ``details.schema.json`` beside this module, and no number
of it is infinite.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema
from referencing import Registry, Resource

from nabladft.benchmark.results import Results, parse_results, results_document
from nabladft.errors import EntryError, NablaDFTError
from nabladft.leaderboard.entry import entry_schema, refuse_problems
from nabladft.metrics import metric_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT: Final = "nabladft-entry-details"
FORMAT_VERSION: Final = 1
SCHEMA_PATH: Final = Path(__file__).with_name("details.schema.json")

LARGEST_DETAILS_BYTES: Final = 1_000_000

#: Points of a parity sample, and conformations listed as the worst of a part, at most.
MOST_POINTS: Final = 300
N_WORST: Final = 5


@dataclass(frozen=True, kw_only=True)
class ParitySample:
    """Some predicted values beside the reference, the same ones for all models.

    Attributes:
        part: Part of the split, or None.
        seed: Of the training, or None.
        quantity: What the values are ("formation_energy", "forces", "hamiltonian_diagonal", ...).
        unit: Their unit.
        reference: Values of the data.
        predicted: Values of the model, as many.
        n_total: How many there are of which these are a sample.
    """

    part: str | None
    seed: int | None
    quantity: str
    unit: str
    reference: tuple[float, ...]
    predicted: tuple[float, ...]
    n_total: int


@dataclass(frozen=True, kw_only=True)
class WorstConformation:
    """A conformation with one of the largest errors.

    Attributes:
        part: Part of the split, or None.
        seed: Of the training, or None.
        metric: Name of the metric.
        unit: Unit of the metric in :data:`nabladft.metrics.METRICS`.
        value: The metric of this conformation alone.
        molecule_id: Id of the molecule.
        conformation_id: Id of the conformation.
        smiles: The molecule, or None where the data do not say.
        atomic_numbers: Of its atoms.
        positions_angstrom: Of its atoms, as many triples (x, y, z).
    """

    part: str | None
    seed: int | None
    metric: str
    unit: str
    value: float
    molecule_id: int
    conformation_id: int
    smiles: str | None
    atomic_numbers: tuple[int, ...]
    positions_angstrom: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Details:
    """What is in the file.

    Attributes:
        name: Name of the entry.
        task: Name of the task.
        results: Results files, in the order of the scores of the entry.
        parity: Samples of predicted values.
        worst: The conformations with the largest errors of each part, the worst first.
    """

    name: str
    task: str
    results: tuple[Results, ...]
    parity: tuple[ParitySample, ...] = ()
    worst: tuple[WorstConformation, ...] = ()


@cache
def details_schema() -> Mapping[str, Any]:
    """Read the JSON schema of details."""
    found: Mapping[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return found


def read_details(path: str | Path) -> Details:
    """Read and check a file of details.

    Raises:
        EntryError: There is no such file, it is too large, no JSON, or against the schema.
    """
    path = Path(path)
    return parse_details(read_limited(path), where=path.name)


def read_limited(path: Path) -> bytes:
    """Read a file of details, but not if it is too large to be one.

    Raises:
        EntryError: There is no such file, or it is too large.
    """
    if not path.is_file():
        message = f"There is no file of details {path}. `nabladft submit` writes it with the entry."
        raise EntryError(message)
    with path.open("rb") as file:
        content = file.read(LARGEST_DETAILS_BYTES + 1)
    _refuse_size(content, path.name)
    return content


def parse_details(content: bytes, *, where: str) -> Details:
    """Read and check details.

    Args:
        content: JSON.
        where: Name of the file, for messages.

    Raises:
        EntryError: They are too large, no JSON, or against the schema; or a number is not finite.
    """
    _refuse_size(content, where)
    try:
        document = json.loads(
            content.decode("utf-8"),
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as error:
        message = f"{where} is not JSON: {str(error) or type(error).__name__}."
        raise EntryError(message) from error
    if not isinstance(document, dict):
        message = f"{where} is a JSON {type(document).__name__}, an object is expected."
        raise EntryError(message)
    refuse_problems(_validator(), document, where=where, what="details")
    try:
        details = Details(
            name=document["name"],
            task=document["task"],
            results=tuple(parse_results(one, where=where) for one in document["results"]),
            parity=tuple(_parity_of(one) for one in document["parity"]),
            worst=tuple(_worst_of(one) for one in document["worst"]),
        )
    except NablaDFTError as error:
        if isinstance(error, EntryError):
            error.add_note(f"(in {where})")
            raise
        message = f"{where}: {error}"
        raise EntryError(message) from error
    return details


def format_details(details: Details) -> str:
    """Write details as JSON, floats to the last digit, one result, sample or molecule a line."""
    lists = {
        "results": [results_document(one) for one in details.results],
        "parity": [dataclasses.asdict(one) for one in details.parity],
        "worst": [dataclasses.asdict(one) for one in details.worst],
    }
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": details.name,
        "task": details.task,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines += [f"{json.dumps(key)}: {_lines(values)}" for key, values in lists.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def sha256_of(content: bytes) -> str:
    """Hash bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _lines(values: Sequence[Any]) -> str:
    body = ",\n".join(json.dumps(one, separators=(",", ":"), allow_nan=False) for one in values)
    return f"[\n{body}\n]" if values else "[]"


def _refuse_size(content: bytes, where: str) -> None:
    if len(content) > LARGEST_DETAILS_BYTES:
        message = (
            f"{where} has more than {LARGEST_DETAILS_BYTES:,} bytes, the most that a file of "
            "details may have."
        )
        raise EntryError(message)


@cache
def _validator() -> jsonschema.Draft202012Validator:
    entry = dict(entry_schema())
    registry: Registry[Any] = Registry().with_resource(entry["$id"], Resource.from_contents(entry))
    return jsonschema.Draft202012Validator(details_schema(), registry=registry)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = f"{text[:40]} is not a number that can be used"
        raise ValueError(message)
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "an object has the same key twice"
        raise ValueError(message)
    return found


def _parity_of(document: Mapping[str, Any]) -> ParitySample:
    sample = ParitySample(
        **dict(document)
        | {key: tuple(map(float, document[key])) for key in ("reference", "predicted")}
    )
    if len(sample.reference) != len(sample.predicted):
        message = (
            f"parity of {sample.quantity}, part {sample.part!r}: {len(sample.reference)} reference "
            f"values and {len(sample.predicted)} predicted ones."
        )
        raise EntryError(message)
    return sample


def _worst_of(document: Mapping[str, Any]) -> WorstConformation:
    found = WorstConformation(
        **dict(document)
        | {
            "value": float(document["value"]),
            "atomic_numbers": tuple(document["atomic_numbers"]),
            "positions_angstrom": tuple(
                (float(x), float(y), float(z)) for x, y, z in document["positions_angstrom"]
            ),
        }
    )
    place = f"worst conformation {found.molecule_id}/{found.conformation_id}"
    if len(found.atomic_numbers) != len(found.positions_angstrom):
        message = (
            f"{place}: {len(found.atomic_numbers)} atoms and {len(found.positions_angstrom)} "
            "positions."
        )
        raise EntryError(message)
    unit = metric_named(found.metric).unit
    if found.unit != unit:
        message = f"{place}: {found.metric} in {found.unit!r}, {unit!r} expected."
        raise EntryError(message)
    return found
