"""Published rows: all are there, by hand against their sources, and a wrong one is refused."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from nabladft.errors import EntryError
from nabladft.leaderboard.published import (
    read_published,
    read_published_metrics,
    read_sources,
)
from nabladft.resources import resource_folder

FOLDER = resource_folder("leaderboard") / "published"
FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts" / "published_results.csv"


@pytest.fixture(scope="module")
def rows():
    return read_published(FOLDER)


def find(rows, **wanted):
    return [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]


def test_every_published_number_is_there(rows):
    assert Counter(row.source for row in rows) == {
        "nabladft-readme": 75 + 30 + 30,
        "nabla2dft-readme": 324,
        "nabla2dft-paper": 354,
        "helm": 3,
    }
    assert Counter(row.flag for row in rows) == {
        "": 709,
        "not converged": 51,
        "not reported": 45,
        "misprint": 8,
        "secondary source": 3,
    }


@pytest.mark.parametrize(
    ("wanted", "value", "flag"),
    [
        # Energies that were regressed as totals.
        ("nabladft-readme energy_mae LR tiny test_structures", 0.046, ""),
        # Table 3 of the paper; the flags are its text and the stars of the README.
        (
            "nabla2dft-paper hamiltonian_mae_published_phisnet PhiSNet tiny test_structures",
            0.00019,
            "",
        ),
        (
            "nabla2dft-paper hamiltonian_mae_published_phisnet PhiSNet large test_structures",
            0.00036,
            "not converged",
        ),
        (
            "nabla2dft-paper hamiltonian_mae_published_qhnet QHNet large test_structures",
            0.00069,
            "not converged",
        ),
        # Table 8, and the same number where the README has that of eSCN.
        ("nabla2dft-paper forces_mae GemNet-OC medium test_structures", 0.0005, ""),
        ("nabla2dft-readme forces_mae GemNet-OC medium test_structures", 0.00036, "misprint"),
        # Table 4, percent.
        ("nabla2dft-paper relaxation_success_rate eSCN large test_trajectories", 53.38, ""),
        ("helm hamiltonian_mae HELM medium test_conformations", 59.21e-6, "secondary source"),
    ],
)
def test_known_values(rows, wanted, value, flag):
    names = ("source", "metric", "model", "train_subset", "test_part")

    (row,) = find(rows, **dict(zip(names, wanted.split(), strict=True)))

    assert row.value == pytest.approx(value, rel=1e-12)
    assert row.flag == flag


def test_a_misprint_is_the_value_of_another_model(rows):
    repeated = find(rows, source="nabla2dft-readme", metric="forces_mae", model="GemNet-OC")
    others = find(rows, source="nabla2dft-readme", metric="forces_mae", model="eSCN")
    paper = find(rows, source="nabla2dft-paper", metric="forces_mae", model="GemNet-OC")

    assert len(repeated) == 12
    for row, other, right in zip(repeated, others, paper, strict=True):
        assert row.test_part == other.test_part == right.test_part
        assert (row.flag == "misprint") == (row.value == other.value)
        assert row.flag == "misprint" or round(row.value, 4) == right.value


def test_values_are_those_of_the_facts_file(rows):
    if not FACTS.is_file():
        pytest.skip(f"{FACTS.name}, from which the rows were made, is not on this machine")
    with FACTS.open(newline="") as file:
        facts = list(csv.DictReader(file))

    assert len(facts) == len(rows)
    for fact, row in zip(facts, rows, strict=True):
        assert row.model == fact["model"]
        assert row.train_subset == fact["train_split"]
        assert row.value == (float(fact["value"]) if fact["value"] else None)
        assert row.unit in {fact["unit"], "1"}
        assert ("not converged" in fact["note"]) == (row.flag in {"not converged", "not reported"})


def test_what_was_not_printed_has_a_flag_that_says_so(rows):
    assert all((row.value is None) == (row.flag == "not reported") for row in rows)


def test_metrics_name_one_of_ours_only_where_the_definition_is_the_same(rows):
    metrics = read_published_metrics(FOLDER)

    assert {row.metric for row in rows} == set(metrics)
    assert metrics["hamiltonian_mae_published_qhnet"].ours == "hamiltonian_mae_published_qhnet"
    assert metrics["core_hamiltonian_mae"].ours is None
    assert metrics["forces_mae_padded"].ours is None
    assert {row.model for row in rows if row.metric == "forces_mae_padded"} == {
        "Graphormer3D-small"
    }


def test_every_source_is_used_and_can_be_found(rows):
    sources = read_sources(FOLDER)

    assert set(sources) == {row.source for row in rows}
    assert all(source.url.startswith("https://") for source in sources.values())


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "published"))


LINE = "energy,energy_mae,hartree,Mine,tiny,test_structures,0.1,,helm,\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            LINE.replace("energy,", "enregy,", 1),
            "line 818: No task 'enregy'. Did you mean 'energy'",
        ),
        (LINE.replace("energy_mae", "energy_mea"), "No metric 'energy_mea'. Did you mean"),
        (LINE.replace(",,", ",diverged,"), "No flag 'diverged'"),
        (LINE.replace("helm", "hlem"), "No source 'hlem'. Did you mean 'helm'"),
        (LINE.replace("hartree", "eV"), "energy_mae in 'eV', 'hartree' expected"),
        (LINE.replace("0.1", "0,1"), "10 fields expected"),
        (LINE.replace("0.1", "nan"), "the value 'nan' is no error or rate"),
        (LINE.replace("0.1", "-0.1"), "the value '-0.1' is no error or rate"),
        (LINE.replace("0.1", ""), "has a value, or the flag 'not reported'"),
        (LINE.replace(",,", ",not reported,"), "has a value, or the flag 'not reported'"),
        (LINE.replace("Mine", ""), "model is empty"),
        (LINE + LINE, "line 819: a second value of helm"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(folder, line, message):
    with (folder / "results.csv").open("a") as file:
        file.write(line)

    with pytest.raises(EntryError, match=message):
        read_published(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('ours = "energy_mae"', "metrics.energy_mae.ours: No metric 'energy_mea'"),
        ('title = "Learning', "sources.helm: unknown field 'titel'. Did you mean 'title'"),
    ],
)
def test_a_wrong_source_is_refused_by_its_name(folder, text, message):
    path = folder / "sources.toml"
    wrong = text.replace("energy_mae", "energy_mea").replace("title", "titel")
    path.write_text(path.read_text().replace(text, wrong))

    with pytest.raises(EntryError, match=message):
        read_published(folder)


def test_a_new_column_is_refused(folder):
    path = folder / "results.csv"
    path.write_text(path.read_text().replace("flag", "remark", 1))

    with pytest.raises(EntryError, match="expected"):
        read_published(folder)
