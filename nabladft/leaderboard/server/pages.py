"""The status page, for people: the queue, and what has been scored. No script, no other file."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from nabladft import __version__
from nabladft.benchmark.tables import UNIT_SYMBOLS
from nabladft.benchmark.tasks import task_named
from nabladft.errors import missing_extra
from nabladft.metrics import METRICS

try:
    import jinja2
except ImportError as _error:
    raise missing_extra("The scoring server", "server", _error) from _error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nabladft.leaderboard.server.schemas import BoardOut, TaskOut


def status_page(
    *, title: str, tasks: Sequence[TaskOut], board: BoardOut, counts: Mapping[str, int]
) -> str:
    """Write the page. Every text of an entry is escaped.

    Args:
        title: Of the server.
        tasks: Of the server.
        board: Rows, the best first.
        counts: Submissions by state.
    """
    titles = {task.name: {name: _title(name, task.kind) for name in task.metrics} for task in tasks}
    return _template().render(
        title=title,
        version=__version__,
        tasks=tasks,
        rows=board.rows,
        titles=titles,
        n_queued=counts.get("queued", 0),
        n_scoring=counts.get("scoring", 0),
        n_scored=counts.get("scored", 0),
    )


def _title(metric: str, kind: str) -> str:
    """Name a metric with the unit in which the task is reported."""
    unit = UNIT_SYMBOLS[task_named(kind).units[metric]]
    return f"{METRICS[metric].title} [{unit}]" if unit else METRICS[metric].title


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nabladft.leaderboard.server", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("status.html.jinja")
