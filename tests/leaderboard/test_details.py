"""Details come back to the last digit, and whatever else a stranger sends is refused."""

import dataclasses
import json

import pytest

from nabladft.benchmark.results import Results, SizeBin
from nabladft.errors import EntryError
from nabladft.leaderboard.details import (
    LARGEST_DETAILS_BYTES,
    Details,
    ParitySample,
    WorstConformation,
    format_details,
    parse_details,
    read_details,
)
from nabladft.metrics import Estimate


def example_details() -> Details:
    estimate = Estimate(value=1 / 3, ci_low=0.1, ci_high=None, n_conformations=3, n_molecules=2)
    results = Results(
        model="a <script> | model",
        dataset="nano",
        data_hash="0" * 64,
        split="nano",
        split_hash="1" * 64,
        part="test_structures",
        n_conformations=3,
        n_molecules=2,
        metrics={"energy_mae": estimate},
        by_size=(SizeBin(smallest=3, largest=9, metrics={"energy_mae": estimate}),),
        by_element={"forces_mae": {"H": 0.1, "Br": 1e-17}},
        predictions_sha256="2" * 64,
        code_version="mine",
        scorer_version="nabladft 0.1.0, metrics 2",
        bootstrap={"seed": 0, "n_resamples": 2000, "confidence": 0.95},
    )
    sample = ParitySample(
        part="test_structures",
        seed=1,
        quantity="formation_energy",
        unit="hartree",
        reference=(0.1, 2.0),
        predicted=(0.2, 1.0),
        n_total=3,
    )
    worst = WorstConformation(
        part="test_structures",
        seed=1,
        metric="energy_mae",
        unit="hartree",
        value=0.5,
        molecule_id=7,
        conformation_id=1,
        smiles="[H]Cl",
        atomic_numbers=(1, 17),
        positions_angstrom=((0.0, 0.0, 0.0), (0.0, 0.0, 1.27)),
    )
    return Details(
        name="my-model", task="energy", results=(results,), parity=(sample,), worst=(worst,)
    )


def changed(path, value):
    """The text of the example with one value replaced; ``path`` is a list of keys."""
    document = json.loads(format_details(example_details()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document).encode()


def test_details_come_back_to_the_last_digit():
    details = example_details()

    text = format_details(details)

    assert parse_details(text.encode(), where="x") == details
    assert format_details(parse_details(text.encode(), where="x")) == text


def test_a_details_file_is_read(tmp_path):
    path = tmp_path / "my-model.details.json"
    path.write_text(format_details(example_details()))

    assert read_details(path) == example_details()
    with pytest.raises(EntryError, match="There is no file of details"):
        read_details(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], "x", "format: 'x', but this nabladft reads 'nabladft-entry-details'"),
        (["format_version"], 2, "format_version: 2, but"),
        (["name"], "../../x", "name: '../../x' cannot be used"),
        (["more"], 1, "unknown field 'more'"),
        (["results"], [], r"results: \[\] should be non-empty"),
        (["results", 0, "model"], "a\u202eb", "results.0.model"),
        (["results", 0, "model"], "a\nb", "results.0.model"),
        (["results", 0, "model"], 7, "results.0.model"),
        (["results", 0, "format_version"], 1, "nabladft-results version 1"),
        (["results", 0, "metrics", "energy_mae", "unit"], "eV", "energy_mae must be in hartree"),
        (["results", 0, "metrics", "energy_mae", "value"], "1", "metrics.energy_mae.value"),
        (["results", 0, "metrics"], {"mae": {}}, "results.0.metrics.mae"),
        (["results", 0, "by_element", "forces_mae", "values"], {"<b>": 1.0}, "by_element"),
        (["results", 0, "data_hash"], "0" * 63, "results.0.data_hash"),
        (["parity", 0, "predicted"], [0.1], "2 reference values and 1 predicted ones"),
        (["parity", 0, "reference"], [0.1] * 301, "parity.0.reference"),
        (["parity", 0, "unit"], "<i>", "parity.0.unit"),
        (["worst", 0, "atomic_numbers"], [1], "1 atoms and 2 positions"),
        (["worst", 0, "atomic_numbers"], [1, 500], "worst.0.atomic_numbers.1"),
        (["worst", 0, "positions_angstrom"], [[0, 0], [1, 1]], "worst.0.positions_angstrom.0"),
        (["worst", 0, "unit"], "eV", "energy_mae in 'eV', 'hartree' expected"),
        (["worst", 0, "metric"], "energy_mea", "energy_mea"),
        (["worst", 0, "smiles"], "C\x00", "worst.0.smiles"),
    ],
)
def test_what_does_not_fit_is_refused_by_place(path, value, message):
    with pytest.raises(EntryError, match=message):
        parse_details(changed(path, value), where="x.details.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number):
    text = format_details(example_details()).replace("0.3333333333333333", number)

    with pytest.raises(EntryError, match="is not a number that can be used"):
        parse_details(text.encode(), where="x")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b'{"name": 1, "name": 2}']
)
def test_what_is_no_json_is_refused(content):
    with pytest.raises(EntryError, match="is not JSON"):
        parse_details(content, where="x")


@pytest.mark.parametrize("content", [b"[]", b"1", b'"x"', b"null"])
def test_json_that_is_no_object_is_refused(content):
    with pytest.raises(EntryError, match="an object is expected"):
        parse_details(content, where="x")


def test_a_huge_file_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "x.details.json"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)

    with pytest.raises(EntryError, match="more than 1,000,000 bytes"):
        read_details(path)
    with pytest.raises(EntryError, match="more than 1,000,000 bytes"):
        parse_details(b" " * (LARGEST_DETAILS_BYTES + 1), where="x")


def test_numbers_that_are_none_are_not_written():
    estimate = Estimate(
        value=float("inf"), ci_low=None, ci_high=None, n_conformations=1, n_molecules=1
    )
    details = example_details()
    broken = dataclasses.replace(details.results[0], metrics={"energy_mae": estimate})

    with pytest.raises(ValueError, match="Out of range"):
        format_details(dataclasses.replace(details, results=(broken,)))
