"""Ranks, ratios and names of contests."""

import pytest

from nabladft.leaderboard.board import read_board
from nabladft.leaderboard.site.charts import pareto_front
from nabladft.leaderboard.site.contests import contests_of

METRIC, PART = "energy_mae", "test_scaffolds"


@pytest.fixture(scope="module")
def contests(board):
    return contests_of(read_board(board))


@pytest.fixture(scope="module")
def energy(contests):
    return next(one for one in contests if one.task.name == "energy")


def test_only_the_same_task_data_and_split_are_one_contest(contests):
    assert [(one.task.name, one.data.dataset) for one in contests] == [
        ("energy", "nano"),
        ("hamiltonian", "memory"),
    ]


def test_a_rank_leaves_open_what_intervals_leave_open(energy):
    ends = {
        one.slug: (found.low, found.high)
        for one in energy.contestants
        if (found := energy.value(one, METRIC, PART))
    }
    ranks = energy.rank_ranges(METRIC, PART)

    for slug, (low, high) in ends.items():
        n_surely_better = sum(other_high < low for _, other_high in ends.values())
        n_surely_worse = sum(other_low > high for other_low, _ in ends.values())
        assert ranks[slug] == (1 + n_surely_better, len(ends) - n_surely_worse)


def test_higher_is_better_turns_ranks_around(energy):
    ranks = energy.rank_ranges("forces_cosine", PART)

    assert ranks["energy-careful-nano"][0] == 1
    assert ranks["energy-isolated_atoms-nano"] == (4, 4)


def test_what_learns_nothing_is_as_bad_as_itself(energy):
    assert energy.dummy.scored.entry.name == "isolated_atoms-nano"
    assert energy.against_dummy(energy.dummy, METRIC, PART) == 1
    assert energy.against_dummy(energy.dummy, "forces_cosine", PART) is None


def test_the_order_of_a_part_is_that_of_the_first_headline(energy):
    values = [energy.value(one, METRIC, PART).value for one in energy.in_part(PART)]

    assert values == sorted(values)
    assert energy.best(METRIC, PART) is energy.in_part(PART)[0]


def test_the_front_does_not_depend_on_the_order_of_the_models():
    points = [{"cost": c, "error": e} for c, e in ((3, 7), (1, 9), (4, 1), (2, 5), (2, 6))]

    assert pareto_front(points, better="lower") == pareto_front(points[::-1], better="lower")
    assert [one["error"] for one in pareto_front(points, better="lower")] == [9, 5, 1]
