"""Published rows as pages show them."""

import pytest

from nabladft.benchmark.tasks import task_named
from nabladft.catalog.catalogue import PACKAGED, read_catalogue
from nabladft.leaderboard.board import board_folder
from nabladft.leaderboard.published import (
    read_published,
    read_published_metrics,
    read_sources,
)
from nabladft.leaderboard.site.published_tables import (
    Published,
    best_lines,
    distinct_lines,
    lines_of,
    published_table,
    subset_sizes,
    value_cell,
)


@pytest.fixture(scope="module")
def published():
    folder = board_folder() / "published"
    return Published(
        rows=read_published(folder),
        sources=read_sources(folder),
        metrics=read_published_metrics(folder),
        sizes=subset_sizes(read_catalogue([PACKAGED])),
    )


def test_no_number_is_lost_on_the_way_to_the_page(published):
    tables = [published_table(published, task) for task in {row.task for row in published.rows}]
    shown = sum(
        isinstance(cell.value, float)
        for table in tables
        for row in table.rows()
        for cell in row.cells
    )

    assert shown == sum(row.value is not None for row in published.rows)


def test_values_are_shown_in_the_unit_of_our_tables(published):
    line = next(
        line
        for line in lines_of(published, "hamiltonian")
        if line.first.model == "HELM" and line.first.train_subset == "tiny"
    )
    row = line.find("hamiltonian_mae", "test_conformations")
    cell = value_cell(row, "hamiltonian_mae", "millihartree")

    assert cell.value == pytest.approx(0.06033)
    assert cell.text == "0.06033"
    assert cell.note == "second hand"


def test_a_row_of_another_definition_says_so(published):
    line = next(
        line
        for line in lines_of(published, "hamiltonian")
        if line.find("hamiltonian_mae_published_qhnet", "test_structures")
    )
    row = line.find("hamiltonian_mae", "test_structures")

    assert row.metric == "hamiltonian_mae_published_qhnet"
    assert "other definition" in value_cell(row, "hamiltonian_mae", "millihartree").note


def test_the_core_hamiltonian_is_another_quantity(published):
    cores = [
        line
        for line in lines_of(published, "hamiltonian")
        if any(metric.startswith("core") for metric, _ in line.rows)
    ]

    assert cores
    assert not [line for line in cores if line.find("hamiltonian_mae", "test_structures")]


def test_of_two_prints_the_one_without_a_misprint_is_shown(published):
    for line in distinct_lines(published, "energy"):
        assert all(row.flag != "misprint" for row in line.rows.values()), line.first


def test_short_tables_show_each_model_once_and_the_best_first(published):
    lines = best_lines(published, task_named("energy"), "test_scaffolds", limit=5)
    values = [line.find("energy_mae", "test_scaffolds").value for line in lines]

    assert len({line.first.model for line in lines}) == len(lines) == 5
    assert values == sorted(values)


def test_training_sizes_are_those_of_the_catalogue(published):
    assert published.sizes["nabla2DFT", "tiny"] == 12_145
    assert published.sizes["nablaDFT", "tiny"] == 5_768
