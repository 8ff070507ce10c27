"""The pages about Hamiltonians show the results that are checked in."""

import csv
import importlib.util
from pathlib import Path

import pytest

from nabladft.benchmark.suites import suite_named

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("tables", DOCS / "hamiltonians_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return (DOCS / "hamiltonians.md").read_text()


def test_the_tables_are_those_of_the_results(script, page):
    assert script.with_tables(page) == page, "run: python docs/hamiltonians_tables.py"


def test_a_changed_number_is_noticed(script, page):
    first = next(line for line in page.splitlines() if line.startswith("| `so2net` | "))

    assert script.with_tables(page.replace(first, "| `so2net` | 0 |")) == page


@pytest.mark.parametrize("suite", ["mini", "nano"])
def test_the_page_of_a_suite_has_every_metric_of_its_results(script, suite):
    path = DOCS / "results" / f"{suite}.md"

    assert script.all_tables(suite) == path.read_text(), "run: python docs/hamiltonians_tables.py"


@pytest.mark.parametrize("suite", ["mini", "nano"])
def test_every_baseline_of_hamiltonians_has_three_seeds_in_the_results(suite):
    with (DOCS / "results" / f"{suite}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    runs = [run for run in suite_named(suite).runs if run.task in {"hamiltonian", "overlap"}]
    assert {row["baseline"] for row in rows} >= {run.name for run in runs}
    learned = [row for row in rows if row["learned"] == "true" and row["n_parameters"]]
    assert {row["n_seeds"] for row in learned if float(row["n_parameters"]) > 0} == {"3"}
