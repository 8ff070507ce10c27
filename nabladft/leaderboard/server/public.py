"""What may be seen of a score: aggregates of whole parts, rounded.

Example:
    >>> rounded(0.012345, 3), rounded(0.012345, 3, like=1.5), rounded(1234.5, 3)
    (0.0123, 0.01, 1230.0)
    >>> round(bits_of_number(3), 1)
    14.1
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from nabladft.benchmark.tasks import task_named
from nabladft.chemistry.units import convert
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.benchmark.results import Results
    from nabladft.leaderboard.server.settings import TaskSettings

#: Numbers below the smallest or above the largest power of ten are shown as 0 or as the largest.
_SMALLEST_POWER: Final = -9
_LARGEST_POWER: Final = 9


def public_score(
    results: Results, task: TaskSettings, *, seed: int | None, digits: int
) -> dict[str, Any]:
    """Give what may be seen of the score of one file, ready for JSON.

    Values are in the units in which the task is reported. An interval has the decimals of its
    value, so that it tells no more than the value does.

    Args:
        results: All digits.
        task: Which metrics are shown.
        seed: Of the training.
        digits: Significant digits.
    """
    units = task_named(task.kind).units
    shown: dict[str, Any] = {}
    for name in task.metrics:
        estimate = results.metrics.get(name)
        if estimate is None or estimate.value is None or not math.isfinite(estimate.value):
            continue
        source, target = METRICS[name].unit, units[name]
        value, low, high = (
            float(convert(one, source=source, target=target))
            if one is not None and math.isfinite(one)
            else None
            for one in (estimate.value, estimate.ci_low, estimate.ci_high)
        )
        assert value is not None
        shown[name] = {
            "value": rounded(value, digits),
            "ci_low": None if low is None else rounded(low, digits, like=value),
            "ci_high": None if high is None else rounded(high, digits, like=value),
            "unit": target,
        }
    return {
        "part": results.part,
        "seed": seed,
        "n_conformations": results.n_conformations,
        "n_molecules": results.n_molecules,
        "metrics": shown,
    }


def rounded(value: float, digits: int, *, like: float | None = None) -> float:
    """Round to significant digits, or to the decimals that another number has after that."""
    bound = 10.0**_LARGEST_POWER
    value = max(-bound, min(bound, value))
    measure = max(-bound, min(bound, value if like is None else like))
    power = _SMALLEST_POWER
    if abs(measure) >= 10.0**_SMALLEST_POWER:
        power = math.floor(math.log10(abs(measure)))
    # Python's round is right to the last bit, and 0.0 is added so that there is no -0.0.
    return round(value, digits - 1 - power) + 0.0


def bits_of_number(digits: int) -> float:
    """Count the bits that one shown number can carry at most: the logarithm of its values."""
    powers = _LARGEST_POWER - _SMALLEST_POWER + 1
    # Positive numbers, and zero; no metric shown is negative but the cosine, of one power.
    return math.log2(9 * 10 ** (digits - 1) * powers + 1)


def bits_of_submission(tasks: Sequence[TaskSettings], *, n_files: int, digits: int) -> float:
    """Count the bits that one submission can learn at most from the scores of any of the tasks.

    Value and both ends of the interval count as full numbers, which is more than they are.
    """
    return n_files * max(len(task.metrics) for task in tasks) * 3 * bits_of_number(digits)
