import csv
import io
from dataclasses import replace

import pytest

from nabladft.benchmark.results import Results
from nabladft.benchmark.tables import (
    UNIT_SYMBOLS,
    Row,
    Table,
    comma_separated,
    comparison_table,
    markdown,
    metric_table,
    results_table,
    terminal,
)
from nabladft.benchmark.tasks import task_named, tasks
from nabladft.metrics import METRICS, Estimate

TASK = task_named("energy")


def results(part, *, seconds=None, **values):
    metrics = {
        name: Estimate(value=v[0], ci_low=v[1], ci_high=v[2], n_conformations=9, n_molecules=3)
        for name, v in values.items()
    }
    return Results(
        model="m",
        dataset="d",
        data_hash="0",
        split="s",
        split_hash="1",
        part=part,
        n_conformations=9,
        n_molecules=3,
        metrics=metrics,
        predictions_sha256="2",
        code_version="c",
        prediction_seconds=seconds,
        scorer_version="v",
        bootstrap={},
    )


def row(name, energy, *, cosine=0.5, seconds=None, **more):
    """A baseline whose error grows by a tenth from part to part."""
    return Row(
        name=name,
        task="energy",
        is_learned=name != "atoms",
        results={
            part: results(
                part,
                seconds=seconds,
                energy_mae=(energy * (1 + k / 10), energy / 2, energy * 2),
                forces_cosine=(cosine, None, None),
            )
            for k, part in enumerate(TASK.parts)
        },
        **more,
    )


@pytest.fixture
def rows():
    return [
        row("atoms", 1.2345, cosine=0.0, minutes=0.0, n_parameters=0),
        row(
            "painn",
            0.0067891,
            cosine=0.9,
            seconds=0.0123,
            minutes=3.04,
            n_parameters=46177,
            peak_memory_bytes=1_500_000_000,
        ),
        Row(name="gone", task="energy", is_learned=True, results={}, not_run="needs gone 1.0"),
    ]


def test_cells_have_three_digits_and_the_reported_unit(rows):
    table = metric_table("energy_mae", rows, TASK)

    assert table.title == "Energy MAE [mEh], lower is better"
    assert table.header[:3] == ("baseline", "conformations [mEh]", "structures [mEh]")
    assert table.rows[0][:2] == ("atoms (no learning)", "1234 [617, 2469]")
    assert table.rows[1] == (
        *("painn", "6.79 [3.39, 13.58]", "7.47 [3.39, 13.58]", "8.15 [3.39, 13.58]"),
        *("3.0", "12.3", "1.50", "46,177"),
    )


def test_the_best_of_each_column_is_marked_whichever_way_is_better(rows):
    for metric in ("energy_mae", "forces_cosine"):
        table = metric_table(metric, rows, TASK)
        assert table.best[0] == (False,) * 8
        assert table.best[1] == (False, True, True, True, False, False, False, False)


def test_a_row_that_was_not_run_stays_and_says_why(rows):
    table = metric_table("energy_mae", rows, TASK)

    assert table.rows[2] == ("gone", "not run", "not run", "not run", "-", "-", "-", "-")
    assert table.notes == ("gone was not run: needs gone 1.0",)
    for text in (markdown([table]), terminal([table])):
        assert "gone was not run: needs gone 1.0" in text


def test_a_metric_that_nobody_has_is_a_dash(rows):
    table = metric_table("relative_energy_mae", rows, TASK)

    assert table.rows[0][1:4] == ("-", "-", "-")
    assert not any(any(marks) for marks in table.best)


def test_markdown_has_bold_best_values_and_a_rectangle(rows):
    lines = markdown([metric_table("energy_mae", rows, TASK)]).splitlines()

    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 5
    assert {line.count("|") for line in body} == {9}
    assert "| painn | **6.79 [3.39, 13.58]** |" in body[3]


def test_terminal_columns_are_aligned(rows):
    lines = terminal([metric_table("energy_mae", rows, TASK)]).splitlines()

    ruler = next(line for line in lines if line.startswith("---"))
    ends = [k for k, c in enumerate(ruler) if c == "-" and ruler[k + 1 : k + 2] in (" ", "")]
    for line in lines[3:6]:
        assert all(line[end : end + 1] != " " or end >= len(line) for end in ends[1:]), line
    assert "6.79 [3.39, 13.58] *" in lines[5]


def test_several_trainings_are_a_mean_a_spread_and_the_mean_of_their_intervals():
    once, twice, thrice = (row("painn", energy, minutes=1.0) for energy in (0.002, 0.003, 0.007))
    both = replace(once, repeats=(twice.results, thrice.results))

    table = metric_table("energy_mae", [both], TASK)

    # Mean 4, standard deviation sqrt((4 + 1 + 9) / 2), ends 1, 1.5, 3.5 and 4, 6, 14.
    assert table.rows[0][1] == "4.00 ± 2.65 [2.00, 8.00]"
    line = next(csv.DictReader(io.StringIO(comma_separated([both]))))
    assert (line["n_seeds"], float(line["seed_spread"])) == ("3", pytest.approx(7**0.5, rel=1e-6))
    assert [float(line[k]) for k in ("value", "ci_low", "ci_high")] == pytest.approx([4, 2, 8])


def test_the_csv_has_every_number_unrounded(rows):
    found = list(csv.DictReader(io.StringIO(comma_separated(rows))))

    painn = [line for line in found if line["baseline"] == "painn"]
    assert len(painn) == 6
    assert float(painn[0]["value"]) == pytest.approx(6.7891, rel=1e-8)
    assert painn[0]["unit"] == "millihartree"
    assert painn[0]["training_minutes"] == "3.04"
    assert painn[0]["prediction_milliseconds"] == "12.3"
    assert [line["not_run"] for line in found if line["baseline"] == "gone"] == ["needs gone 1.0"]
    assert {line["learned"] for line in found if line["baseline"] == "atoms"} == {"false"}


def test_results_of_one_file_are_a_table():
    table = results_table(results("p", energy_mae=(0.001, None, None)), TASK)

    assert table.rows == (("energy MAE", "1.00", "mEh", "9", "3"),)


def test_all_metrics_of_a_part_are_rows_of_one_table(rows):
    table = comparison_table("test_structures", rows, TASK)

    assert table.title == "All metrics, structures"
    assert table.header == ("metric", "atoms (no learning)", "painn")
    assert table.rows == (
        ("energy MAE [mEh]", "1358", "7.47"),
        ("forces cosine", "0.00", "0.900"),
    )
    assert table.best == ((False, False, True), (False, False, True))


def test_a_rate_is_also_a_count():
    table = results_table(results("p", scf_worse_rate=(2 / 9, 0.0, 0.5)), task_named("hamiltonian"))

    assert table.rows == (("SCF made worse", "2 of 9: 0.222 [0.000, 0.500]", "", "9", "3"),)


def test_round_off_is_written_with_a_power_of_ten():
    table = results_table(results("p", energy_mae=(3.21e-20, 2e-20, 4e-20)), TASK)

    assert table.rows[0][1] == "3.2e-17 [2.0e-17, 4.0e-17]"


def test_what_only_describes_an_error_has_no_best():
    task = task_named("hamiltonian")
    shares = {"hamiltonian_virtual_share": (0.9, None, None), "gap_mae": (0.1, None, None)}
    one = Row(
        name="one",
        task="hamiltonian",
        is_learned=True,
        results={"test_structures": results("test_structures", **shares)},
    )

    table = comparison_table("test_structures", [one], task)

    assert table.rows[0][0] == "gap MAE [mEh]"
    assert table.best == ((False, True), (False, False))
    assert "better" not in metric_table("hamiltonian_virtual_share", [one], task).title


def test_every_metric_belongs_to_one_task_and_every_unit_has_a_symbol():
    listed = [metric for task in tasks().values() for metric in task.metrics]

    assert sorted(listed) == sorted(METRICS)
    assert {unit for task in tasks().values() for unit in task.units.values()} <= set(UNIT_SYMBOLS)


@pytest.mark.parametrize(
    "text",
    ["<img src=x onerror=alert(1)>", "a | b", "[x](javascript:y)", "a\nb", "`c`", "**d**", "@all"],
)
def test_a_hostile_name_is_only_text_in_markdown(text):
    table = Table(title=text, header=(text, "error"), rows=((text, "1"),), best=((False, True),))

    page = markdown([table])

    assert len(page.splitlines()) == 5
    assert all(line.replace("\\|", "").count("|") == 3 for line in page.splitlines()[2:])
    assert "<" not in page
    assert "](" not in page.replace("\\]", "")
    assert "@" not in page
    assert page.replace("\\*", "").count("**") == 2
    assert page.replace("\\`", "").count("`") == 0
