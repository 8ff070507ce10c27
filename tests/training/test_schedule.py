"""The learning rate at known points."""

import pytest

from nabladft.training.config import OptimizerConfig, ScheduleConfig
from nabladft.training.schedule import LearningRate


def rate(**options):
    return LearningRate(
        ScheduleConfig(**options), OptimizerConfig(learning_rate=0.1), max_epochs=10
    )


def test_cosine_starts_at_the_peak_and_ends_at_its_fraction():
    cosine = rate(name="cosine", final_fraction=0.2)

    assert cosine.at(step=0, epoch=0.0) == pytest.approx(0.1)
    assert cosine.at(step=50, epoch=5.0) == pytest.approx(0.1 * (0.2 + 0.8 * 0.5))
    assert cosine.at(step=100, epoch=10.0) == pytest.approx(0.02)


def test_warmup_rises_linearly():
    warm = rate(name="constant", warmup_steps=3)

    assert [warm.at(step=k, epoch=0.0) for k in range(5)] == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1]
    )


def test_plateau_falls_after_patience_and_not_below_the_minimum():
    plateau = rate(name="plateau", factor=0.5, patience=1, minimum_learning_rate=0.03)
    seen = []
    for score in [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0]:
        plateau.validated(score)
        seen.append(plateau.at(step=9, epoch=1.0))

    assert seen == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.03, 0.03])


def test_the_memory_of_plateau_survives_a_checkpoint():
    first = rate(name="plateau", factor=0.5, patience=0)
    first.validated(1.0)
    first.validated(2.0)
    second = rate(name="plateau", factor=0.5, patience=0)

    second.load_state_dict(first.state_dict())

    assert second.at(step=0, epoch=0.0) == first.at(step=0, epoch=0.0) == pytest.approx(0.05)
