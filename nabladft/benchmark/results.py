"""The results file: what a predictions file scored, with everything needed to trust the number."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nabladft.errors import FormatError, InputError
from nabladft.metrics import METRICS, Estimate, metric_named

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "nabladft-results"
FORMAT_VERSION: Final = 2

#: Changes when a definition of a metric changes, so that old and new numbers are never mixed.
SCORER_VERSION: Final = 2

#: Attributes of :class:`Results` with values by kind of atom or orbital.
_KINDS: Final = ("by_element", "by_element_pair", "by_degrees")


@dataclass(frozen=True, kw_only=True)
class SizeBin:
    """Metrics of the conformations of some sizes.

    Attributes:
        smallest: Number of atoms of the smallest conformations of the bin.
        largest: Number of atoms of the largest.
        metrics: Estimates by name of the metric.
    """

    smallest: int
    largest: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Scores of one predictions file on one part of one split.

    Attributes:
        model: Name of the model.
        dataset: Name of the data.
        data_hash: Hash of the data.
        split: Name of the split, or None when all data were scored.
        split_hash: Hash of the split, or None.
        part: Part of the split, or None.
        n_conformations: Conformations scored.
        n_molecules: Molecules scored.
        metrics: Estimates by name of the metric, in the units of :data:`nabladft.metrics.METRICS`.
        by_size: The same for conformations of similar numbers of atoms.
        by_element: Value by chemical symbol for the metrics that can be told by element.
        by_element_pair: Value by two chemical symbols ("H-C", the lighter first), over the blocks
            between atoms of these two elements.
        by_degrees: Value by the angular degrees of two orbitals ("s-p").
        predictions_sha256: Hash of the predictions file.
        code_version: Version of the code that made the predictions.
        prediction_seconds: Wall time of predicting one conformation as the file states it (our
            ``predict`` writes it), or None.
        scorer_version: Version of this package and of the definitions of the metrics.
        bootstrap: Seed, number of resamples and confidence of the intervals.
    """

    model: str
    dataset: str
    data_hash: str
    split: str | None
    split_hash: str | None
    part: str | None
    n_conformations: int
    n_molecules: int
    metrics: Mapping[str, Estimate]
    by_size: tuple[SizeBin, ...] = ()
    by_element: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    by_element_pair: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    by_degrees: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    predictions_sha256: str
    code_version: str
    prediction_seconds: float | None = None
    scorer_version: str
    bootstrap: Mapping[str, float]


def results_document(results: Results) -> dict[str, Any]:
    """Turn results into what JSON can hold, each number with its unit."""
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(results)}
    content["metrics"] = _with_units(content["metrics"])
    content["by_size"] = [
        {**size_bin, "metrics": _with_units(size_bin["metrics"])} for size_bin in content["by_size"]
    ]
    for kind in _KINDS:
        content[kind] = {
            name: {"unit": METRICS[name].unit, "values": values}
            for name, values in content[kind].items()
        }
    return content


def results_to_json(results: Results) -> str:
    """Write results as JSON, each number with its unit."""
    return json.dumps(results_document(results), indent=2) + "\n"


def write_results(results: Results, path: str | Path) -> None:
    """Write a results file in one atomic step."""
    write_atomically(path, results_to_json(results).encode())


def read_results(path: str | Path) -> Results:
    """Read a results file.

    Raises:
        InputError: There is no such file.
        FormatError: It is not a results file of this version, or units were changed.
    """
    path = Path(path)
    if not path.is_file():
        message = f"There is no results file {path}."
        raise InputError(message)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        message = f"{path} is not a results file: {type(error).__name__} {error}."
        raise FormatError(message) from error
    return parse_results(document, where=str(path))


def parse_results(document: Mapping[str, Any], *, where: str) -> Results:
    """Turn what JSON holds into results.

    Args:
        document: What :func:`results_document` makes.
        where: Name of the file, for messages.

    Raises:
        FormatError: It is not a results file of this version, or units were changed.
    """
    try:
        content = dict(document)
        found = (content.pop("format"), content.pop("format_version"))
        if found != (FORMAT, FORMAT_VERSION):
            message = (
                f"{where} is {found[0]} version {found[1]}, {FORMAT} {FORMAT_VERSION} expected."
            )
            raise FormatError(message)
        metrics = _estimates(content.pop("metrics"))
        by_size = tuple(
            SizeBin(
                smallest=size_bin["smallest"],
                largest=size_bin["largest"],
                metrics=_estimates(size_bin["metrics"]),
            )
            for size_bin in content.pop("by_size")
        )
        by_element, by_element_pair, by_degrees = (
            {name: table["values"] for name, table in content.pop(kind).items()} for kind in _KINDS
        )
        return Results(
            metrics=metrics,
            by_size=by_size,
            by_element=by_element,
            by_element_pair=by_element_pair,
            by_degrees=by_degrees,
            **content,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        message = f"{where} is not a results file: {type(error).__name__} {error}."
        raise FormatError(message) from error


def write_atomically(path: str | Path, content: bytes) -> None:
    """Replace a file in one step, so that a crash leaves the old one or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _with_units(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: {"value": values["value"], "unit": METRICS[name].unit, **values}
        for name, values in metrics.items()
    }


def _estimates(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    found = {}
    for name, values in metrics.items():
        unit = metric_named(name).unit
        if values["unit"] != unit:
            message = f"{name} must be in {unit}, got {values['unit']}."
            raise FormatError(message)
        found[name] = Estimate(**{key: value for key, value in values.items() if key != "unit"})
    return found
