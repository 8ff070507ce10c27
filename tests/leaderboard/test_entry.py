"""Entries: what is written is read back, and what does not fit is refused by field."""

import jsonschema
import pytest

from nabladft.errors import EntryError
from nabladft.leaderboard.entry import (
    EXAMPLE,
    LARGEST_ENTRY_BYTES,
    Entry,
    ModelCard,
    PredictionsFile,
    Score,
    ScoredData,
    Scorer,
    TrainingCard,
    Who,
    entry_schema,
    format_entry,
    parse_entry,
    read_entry,
)
from nabladft.metrics import Estimate


def scored_entry() -> Entry:
    estimate = Estimate(value=1 / 3, ci_low=0.1, ci_high=0.7, n_conformations=40, n_molecules=12)
    nothing = Estimate(value=None, ci_low=None, ci_high=None, n_conformations=0, n_molecules=0)
    return Entry(
        name="painn-nano",
        title="PaiNN ∇²",
        task="energy",
        who=Who(authors=("A", "B"), contact="https://example.org/issues?a=1#top"),
        model=ModelCard(description="Two\nlines.", licence="MIT", n_parameters=12),
        training=TrainingCard(data=("nano",), seeds=(1, 2), hardware="2 cores", hours=0.1),
        data=ScoredData(dataset="nano", data_hash="0" * 64, split="nano", split_hash="1" * 64),
        scorer=Scorer(version="x", bootstrap_seed=0, n_resamples=2000, confidence=0.95),
        details_sha256="2" * 64,
        scores=(
            Score(
                n_conformations=40,
                n_molecules=12,
                predictions=PredictionsFile(sha256="3" * 64, n_bytes=100),
                metrics={"energy_mae": estimate, "relative_energy_mae": nothing},
                part="test_structures",
                seed=1,
                prediction_seconds=0.01,
            ),
        ),
    )


def test_a_scored_entry_comes_back_to_the_last_digit():
    entry = scored_entry()

    assert parse_entry(format_entry(entry), where="entry.toml") == entry


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(dict(entry_schema()))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "my-model"', 'name = "../../etc/x"', r"name: '\.\./\.\./etc/x' cannot be used"),
        ('name = "my-model"', 'name = "My model"', r"name: 'My model' cannot be used.*lower case"),
        ('task = "energy"', 'task = "enrgy"', r"task: 'enrgy' is none of \['energy'"),
        ('licence = "MIT"', "", r"model: 'licence' is a required property; add it"),
        ('licence = "MIT"', 'licenze = "MIT"', r"unknown field 'licenze'. Did you mean 'licence'"),
        ("hours = 0.5", "hours = -1", r"training\.hours: -1 is less than the minimum"),
        ("hours = 0.5", "hours = nan", r"is not TOML: nan is not a number"),
        ("hours = 0.5", "hours = inf", r"is not TOML: inf is not a number"),
        ('"https://doi', '"javascript:alert(1)//', r"model\.paper: 'javascript.*https://"),
        ('"https://doi', '"https://doi\\u0022onload=', r"model\.paper"),
        ("schema_version = 1", "schema_version = 2", r"schema_version: 2, but this nabladft reads"),
        ('title = "My model"', 'title = "a\\u202eb"', r"title: .* cannot be used.*plain text"),
        ('title = "My model"', 'title = "   "', r"title: .* cannot be used"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(old, new, message):
    assert old in EXAMPLE

    with pytest.raises(EntryError, match=message):
        parse_entry(EXAMPLE.replace(old, new), where="entry.toml")


def test_scores_without_hashes_are_refused():
    text = format_entry(scored_entry())
    without = text.replace("[details]", "[who2]")

    with pytest.raises(EntryError, match=r"unknown field 'who2'"):
        parse_entry(without, where="entry.toml")


def test_another_unit_or_metric_is_refused():
    text = format_entry(scored_entry())

    with pytest.raises(EntryError, match=r"energy_mae\.unit: 'eV', 'hartree' expected"):
        parse_entry(text.replace('unit = "hartree"', 'unit = "eV"', 1), where="entry.toml")
    with pytest.raises(EntryError, match=r"no metric 'energy_mea'. Did you mean 'energy_mae'"):
        parse_entry(text.replace("energy_mae]", "energy_mea]"), where="entry.toml")


def test_a_huge_file_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "entry.toml"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)

    with pytest.raises(EntryError, match="more than 1,000,000 bytes"):
        read_entry(path)
    with pytest.raises(EntryError, match="more than 1,000,000 bytes"):
        parse_entry("#" * (LARGEST_ENTRY_BYTES + 1), where="entry.toml")


@pytest.mark.parametrize("text", ["a = ", "\ud800", b"\xff\xfe", "a = " + "[" * 5000])
def test_what_is_no_toml_is_refused(text):
    with pytest.raises(EntryError, match="is not TOML"):
        parse_entry(text, where="entry.toml")
