"""Write the tables of ``docs/hamiltonians.md`` from the results that are checked in.

Results are the ``tables.csv`` of a benchmark, kept as ``docs/results/<suite>.csv``. Run it from the
root of the repository after one of them was replaced:

    nabladft benchmark mini
    cp runs/benchmark-mini/tables.csv docs/results/mini.csv
    python docs/hamiltonians_tables.py

It replaces what is between the markers of each table, of results or of entries of the leaderboard,
and writes every metric of a suite into ``docs/results/<suite>.md``. A test compares pages and
results.
"""  # noqa: INP001 - a script

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from nabladft.benchmark.tables import UNIT_SYMBOLS, decimals_of, part_title
from nabladft.benchmark.tasks import task_named
from nabladft.chemistry.units import convert
from nabladft.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).with_name("hamiltonians.md")
RESULTS = Path(__file__).with_name("results")
ENTRIES = Path(__file__).parents[1] / "leaderboard" / "entries" / "hamiltonian"
#: Smaller numbers are written with a power of ten.
_SMALL = 1e-3
_INTRODUCTION = """\
# Every metric on `{suite}`

Written by `python docs/hamiltonians_tables.py` from [{suite}.csv]({suite}.csv), which is the same
for programs. What metrics mean: [metrics](../metrics.md); what they tell:
[Hamiltonians](../hamiltonians.md). ± is the standard deviation over seeds, brackets are 95 %
intervals over molecules; the best value of a column is bold where
less is better."""
_TABLE = re.compile(
    r"(<!-- results: (?P<suite>[\w-]+) (?P<metrics>[\w ]+) -->\n)"
    r".*?(?P<end><!-- end of results -->)",
    re.DOTALL,
)

_COMPARISON = re.compile(
    r"(<!-- entries: (?P<names>[\w -]+): (?P<metrics>[\w ]+) -->\n)"
    r".*?(?P<end><!-- end of entries -->)",
    re.DOTALL,
)


def main() -> None:
    """Rewrite the page and those of the suites."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for path in sorted(RESULTS.glob("*.csv")):
        path.with_suffix(".md").write_text(all_tables(path.stem), encoding="utf-8")


def with_tables(text: str) -> str:
    """Return the text of the page with its tables made anew."""
    text = _TABLE.sub(lambda match: _put(match, _tables(match["suite"], _words(match))), text)
    return _COMPARISON.sub(
        lambda match: _put(match, _compared(match["names"].split(), _words(match))), text
    )


def _words(match: re.Match[str]) -> list[str]:
    return match["metrics"].split()


def _put(match: re.Match[str], lines: Iterator[str]) -> str:
    return match[1] + "\n".join(lines) + "\n" + match["end"]


def all_tables(suite: str) -> str:
    """Return the page with every metric of a suite."""
    rows = _rows(suite)
    lines = [_INTRODUCTION.format(suite=suite)]
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        metrics = list(dict.fromkeys(row["metric"] for row in of_task if row["metric"]))
        lines += ["", f"## {task_named(task).title}", *_written(of_task, [*metrics, "costs"])]
    return "\n".join(lines)


def _tables(suite: str, metrics: list[str]) -> Iterator[str]:
    yield from _written(_rows(suite), metrics)


def _rows(suite: str) -> list[dict[str, str]]:
    with (RESULTS / f"{suite}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _written(rows: list[dict[str, str]], metrics: list[str]) -> Iterator[str]:
    """Write one table for ``costs``, or one for each metric: a row a baseline, a column a part."""
    for metric in metrics:
        yield ""
        yield from _costs(rows) if metric == "costs" else _table(metric, rows)
    yield ""


def _table(metric: str, rows: list[dict[str, str]]) -> Iterator[str]:
    mine = [row for row in rows if row["metric"] == metric]
    task = task_named(mine[0]["task"])
    unit = UNIT_SYMBOLS[task.units[metric]]
    title = METRICS[metric].title
    yield f"**{title[0].upper()}{title[1:]}{f' [{unit}]' if unit else ''}**"
    yield ""
    yield f"| baseline | {' | '.join(part_title(part) for part in task.parts)} |"
    yield f"|---|{'---:|' * len(task.parts)}"
    cells = {(row["baseline"], row["part"]): row for row in mine}
    best = {
        part: min(
            (float(row["value"]) for row in mine if row["part"] == part and row["value"]),
            default=None,
        )
        for part in task.parts
    }
    for baseline in dict.fromkeys(row["baseline"] for row in mine):
        texts = []
        for part in task.parts:
            row = cells.get((baseline, part))
            if row is None or not row["value"]:
                texts.append("-")
                continue
            text = _cell(row)
            is_best = METRICS[metric].better == "lower" and float(row["value"]) == best[part]
            texts.append(f"**{text}**" if is_best else text)
        yield f"| `{baseline}` | {' | '.join(texts)} |"


def _costs(rows: list[dict[str, str]]) -> Iterator[str]:
    yield "| baseline | parameters | training [min] | memory [GB] | seeds |"
    yield "|---|---:|---:|---:|---:|"
    task = "hamiltonian" if any(row["task"] == "hamiltonian" for row in rows) else rows[0]["task"]
    first = {row["baseline"]: row for row in reversed(rows) if row["task"] == task}
    for baseline, row in reversed(first.items()):
        parameters = f"{int(float(row['n_parameters'])):,}" if row["n_parameters"] else "-"
        minutes = f"{float(row['training_minutes']):.1f}" if row["training_minutes"] else "-"
        memory = row["peak_memory_bytes"]
        gigabytes = f"{float(memory) / 1e9:.2f}" if memory else "-"
        yield f"| `{baseline}` | {parameters} | {minutes} | {gigabytes} | {row['n_seeds']} |"


def _compared(names: list[str], metrics: list[str]) -> Iterator[str]:
    """Write entries of the leaderboard side by side: a row a metric, a column a part and entry."""
    entries = [tomllib.loads((ENTRIES / f"{name}.toml").read_text("utf-8")) for name in names]
    task = task_named("hamiltonian")
    columns = [(part, entry) for part in task.parts for entry in entries]
    yield ""
    titles = [f"{part_title(part)}: {entry['title']}" for part, entry in columns]
    yield f"| mean ± standard deviation over seeds | {' | '.join(titles)} |"
    yield f"|---|{'---:|' * len(columns)}"
    for metric in metrics:
        cells = []
        for part, entry in columns:
            found = [score["metrics"][metric] for score in entry["scores"] if score["part"] == part]
            values = [
                convert(one["value"], source=one["unit"], target=task.units[metric])
                for one in found
            ]
            row = {"value": str(mean(values)), "seed_spread": str(stdev(values)), "ci_low": ""}
            cells.append(_cell(row))
        unit = UNIT_SYMBOLS[task.units[metric]]
        yield f"| {METRICS[metric].title}{f' [{unit}]' if unit else ''} | {' | '.join(cells)} |"
    yield ""


def _cell(row: dict[str, str]) -> str:
    """Write "value ± spread over seeds [interval over molecules]"."""
    value = float(row["value"])
    form = ".1e" if 0 < abs(value) < _SMALL else f".{min(decimals_of(value), 4)}f"
    text = f"{value:{form}}"
    if row["seed_spread"]:
        text += f" ± {float(row['seed_spread']):{form}}"
    if row["ci_low"]:
        text += f" [{float(row['ci_low']):{form}}, {float(row['ci_high']):{form}}]"
    return text


if __name__ == "__main__":
    main()
