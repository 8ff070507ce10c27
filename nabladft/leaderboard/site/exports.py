"""Tables as CSV and JSON, from the same object as the page, so that they cannot disagree.

Example:
    >>> from nabladft.leaderboard.site import tables
    >>> rows = (tables.TableRow(cells=(tables.text_cell("a"), tables.number_cell(1.25))),)
    >>> table = tables.Table(
    ...     slug="example",
    ...     title="Errors",
    ...     columns=(
    ...         tables.Column(key="model", title="Model", is_number=False),
    ...         tables.Column(key="energy_mae", title="energy MAE", unit="mEh", has_interval=True),
    ...     ),
    ...     groups=(tables.RowGroup(rows=rows),),
    ... )
    >>> print(csv_text(table), end="")
    group,Model,energy MAE [mEh],energy MAE [mEh] low,energy MAE [mEh] high
    ,a,1.25,,
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nabladft.leaderboard.site.tables import Cell, Column, Table, TableRow

#: Texts that begin so are formulas to spreadsheet programs.
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_text(table: Table) -> str:
    """Write a table as CSV, numbers to the last digit.

    Texts that a spreadsheet program would take for a formula get an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["group"]
    for column in (column for column in table.columns if not column.is_drawing):
        header.append(column.full_title)
        if column.has_interval:
            header += [f"{column.full_title} low", f"{column.full_title} high"]
        if column.has_spread:
            header.append(f"{column.full_title} seed spread")
    writer.writerow(header)
    for group in table.groups:
        for row in group.rows:
            line: list[str] = [_safe(group.title)]
            for column, cell in _written(table, row):
                line.append(_csv_value(cell.value))
                if column.has_interval:
                    line += [_csv_value(cell.low), _csv_value(cell.high)]
                if column.has_spread:
                    line.append(_csv_value(cell.spread))
            writer.writerow(line)
    return text.getvalue()


def json_text(table: Table) -> str:
    """Write a table as JSON: what the columns are, then the rows by key of the column."""
    columns = [
        {
            "key": column.key,
            "title": column.full_title,
            "unit": column.unit,
            "better": column.better,
        }
        for column in table.columns
        if not column.is_drawing
    ]
    rows = [
        {"group": group.title, "published": group.is_published, **_json_row(table, row)}
        for group in table.groups
        for row in group.rows
    ]
    document = {"title": table.title, "note": table.note, "columns": columns, "rows": rows}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_row(table: Table, row: TableRow) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, cell in _written(table, row):
        found[column.key] = cell.value
        if column.has_interval:
            found |= {f"{column.key}_low": cell.low, f"{column.key}_high": cell.high}
        if column.has_spread:
            found[f"{column.key}_seed_spread"] = cell.spread
        if cell.note:
            found[f"{column.key}_note"] = cell.note
    return found


def _written(table: Table, row: TableRow) -> list[tuple[Column, Cell]]:
    pairs = zip(table.columns, row.cells, strict=True)
    return [(column, cell) for column, cell in pairs if not column.is_drawing]


def _csv_value(value: str | float | None) -> str:
    if value is None:
        return ""
    return _safe(value) if isinstance(value, str) else repr(value)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text
