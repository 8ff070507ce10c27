"""What pages say of tasks, parts, metrics and quantities: ``texts.toml`` beside this module.

Example:
    >>> part_title("test_scaffolds"), part_title("my_part")
    ('scaffolds', 'my_part')
    >>> metric_title("forces_mae")
    'Forces MAE'
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from nabladft.benchmark.tables import UNIT_SYMBOLS
from nabladft.benchmark.tables import part_title as title_in_tables
from nabladft.benchmark.tasks import tasks
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE: Final = Path(__file__).with_name("texts.toml")

#: Where the documentation is; pages of the site link to it.
DOCS: Final = "https://github.com/nabladft/nabladft/blob/main/docs"
REPOSITORY: Final = "https://github.com/nabladft/nabladft"


@cache
def texts() -> Mapping[str, Any]:
    """Read all texts."""
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def task_title(name: str) -> str:
    """Name a task for people."""
    return tasks()[name].title if name in tasks() else name.capitalize()


def task_summary(name: str) -> str:
    """Say in a sentence what a task asks for."""
    return cast("str", texts()["tasks"].get(name, {}).get("summary", ""))


def part_title(part: str) -> str:
    """Name a part of a split for people, as all tables of this package do."""
    return cast("str", texts()["parts"].get(part, {}).get("title", title_in_tables(part)))


def part_summary(part: str) -> str:
    """Say in a sentence what is in a part of a split."""
    return cast("str", texts()["parts"].get(part, {}).get("summary", ""))


def metric_title(name: str) -> str:
    """Name a metric for people."""
    title = METRICS[name].title if name in METRICS else name.replace("_", " ")
    return f"{title[0].upper()}{title[1:]}"


def metric_meaning(name: str) -> str:
    """Say in a sentence what a metric is."""
    return cast("str", texts()["metrics"].get(name, ""))


def quantity_title(name: str) -> str:
    """Name a quantity of a parity sample for people."""
    return cast("str", texts()["quantities"].get(name, name.replace("_", " ")))


def unit_symbol(unit: str) -> str:
    """Give the symbol of a unit; a unit without one is its own."""
    return {"percent": "%", "angstrom": "Å"}.get(unit, UNIT_SYMBOLS.get(unit, unit))
