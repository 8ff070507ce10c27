"""Tables of pages: what the templates lay out and :mod:`exports` writes as CSV and JSON."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nabladft.benchmark.tables import decimals_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Smaller numbers are written with a power of ten.
_SMALLEST_PLAIN: Final = 1e-4
#: Larger ones get separators of thousands, and from the second on a power of ten again.
_GROUPED: Final = 10_000
_LARGEST_PLAIN: Final = 1e9


#: What is shown where there is no number.
DASH: Final = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: Name in JSON; unique in the table.
        title: Header.
        unit: Symbol, shown in the header; empty for pure numbers and texts.
        better: Which way is better, shown as an arrow; None where neither is.
        group: Header above this and neighbouring columns, or empty.
        hint: What the numbers are, in a sentence.
        is_number: Whether its cells hold numbers.
        has_interval: Whether its cells have lower and upper ends of an interval.
        has_spread: Whether its cells have a standard deviation over seeds.
        is_wide: Whether its texts may break into lines.
        is_drawing: Whether it only draws what another column says; it is not in files.
        file_title: Header in files where that of the page says too little without its neighbours.
    """

    key: str
    title: str
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    group: str = ""
    hint: str = ""
    is_number: bool = True
    has_interval: bool = False
    has_spread: bool = False
    is_wide: bool = False
    is_drawing: bool = False
    file_title: str = ""

    @property
    def full_title(self) -> str:
        """The header with the one above it and the unit, for files."""
        title = self.file_title or ", ".join(part for part in (self.group, self.title) if part)
        return f"{title} [{self.unit}]" if self.unit else title


@dataclass(frozen=True, kw_only=True)
class ColumnGroup:
    """A header above neighbouring columns.

    Attributes:
        title: Header; empty above columns without one.
        span: Number of columns.
        unit: Symbol of the unit that they share, or empty.
        better: Which way is better, or None.
    """

    title: str
    span: int
    unit: str
    better: Literal["lower", "higher"] | None


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a cell or a fact leads.

    Attributes:
        href: Path below the root of the site, or an https address.
        is_external: Whether it leaves the site.
    """

    href: str
    is_external: bool = False


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """An interval drawn in a cell, in percent of its width.

    Attributes:
        low: Left end.
        middle: The value.
        high: Right end.
    """

    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        value: What is sorted and written to files; None when there is none.
        text: What is shown.
        low: Lower end of the interval, or None.
        high: Upper end, or None.
        spread: Standard deviation over seeds, or None.
        link: Where it leads, or None.
        note: Small print below.
        badges: Short marks beside the text.
        is_best: Whether it is the best of its column.
        whisker: The interval as a drawing, or None.
    """

    value: str | float | None = None
    text: str = DASH
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    link: Link | None = None
    note: str = ""
    badges: tuple[str, ...] = ()
    is_best: bool = False
    whisker: Whisker | None = None

    @property
    def interval_text(self) -> str:
        """The interval with the decimals of the value, or nothing."""
        if self.low is None or self.high is None or not isinstance(self.value, int | float):
            return ""
        pattern = number_format(self.value)
        return f"[{self.low:{pattern}}, {self.high:{pattern}}]"

    @property
    def spread_text(self) -> str:
        """The spread with the decimals of the value, or nothing."""
        if self.spread is None or not isinstance(self.value, int | float):
            return ""
        return f"± {self.spread:{number_format(self.value)}}"


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row.

    Attributes:
        cells: As many as there are columns.
        data_seen: Data sets seen in training, for the filter.
        subset: Part of the training data used, for the filter.
    """

    cells: tuple[Cell, ...]
    data_seen: tuple[str, ...] = ()
    subset: str = ""


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Rows that are sorted among themselves.

    Attributes:
        rows: The rows.
        title: Line above them, or empty.
        is_published: Whether they are claims of papers, which are not ranked.
    """

    rows: tuple[TableRow, ...]
    title: str = ""
    is_published: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        slug: Name of its files.
        title: Caption.
        columns: Columns.
        groups: Rows.
        note: Text below.
        sorted_by: Key of the column by which the rows are sorted, or None.
    """

    slug: str
    title: str
    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    note: str = ""
    sorted_by: str | None = None

    def __post_init__(self) -> None:
        """Check that columns can be told apart and that rows have a cell for each."""
        titles = {column.full_title for column in self.columns}
        assert len(titles) == len(self.columns), self.slug
        for row in self.rows():
            assert len(row.cells) == len(self.columns), self.slug

    def rows(self) -> Iterator[TableRow]:
        """Go through the rows of all groups."""
        for group in self.groups:
            yield from group.rows

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def name_at(self) -> int:
        """Index of the column that names the rows: the first with texts."""
        return next((k for k, column in enumerate(self.columns) if not column.is_number), 0)

    @property
    def data_seen(self) -> list[str]:
        """Data sets that the filter offers."""
        return sorted({name for row in self.rows() for name in row.data_seen})

    @property
    def subsets(self) -> list[str]:
        """Training subsets that the filter offers."""
        return sorted({row.subset for row in self.rows() if row.subset})

    @property
    def has_published(self) -> bool:
        """Whether there are published rows beside others."""
        kinds = {group.is_published for group in self.groups if group.rows}
        return kinds == {True, False}

    @property
    def column_groups(self) -> list[ColumnGroup]:
        """Headers above the columns; empty when there are none."""
        found: list[ColumnGroup] = []
        for title, columns in itertools.groupby(self.columns, key=lambda column: column.group):
            members = list(columns)
            same = {(one.unit, one.better) for one in members}
            assert not title or len(same) == 1, self.slug
            unit, better = same.pop() if title else ("", None)
            found.append(ColumnGroup(title=title, span=len(members), unit=unit, better=better))
        return found if any(group.title for group in found) else []


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A line of a list of facts.

    Attributes:
        name: What it is.
        text: The fact.
        link: Where it leads, or None.
        is_code: Whether it is set in a fixed width, as hashes and commands are.
    """

    name: str
    text: str
    link: Link | None = None
    is_code: bool = False


def number_format(value: float) -> str:
    """Choose how to write a number and its uncertainty: three significant digits.

    Example:
        >>> [f"{v:{number_format(v)}}" for v in (12345.6, 65.04, 0.01234, 1.2e-7, 0.0, 1e200)]
        ['12,346', '65.0', '0.0123', '1.2e-07', '0', '1.0e+200']
    """
    if value == 0:
        return ".0f"
    if not _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN:
        return ".1e"
    if abs(value) >= _GROUPED:
        return ",.0f"
    return f".{decimals_of(value)}f"


def range_text(low: int, high: int) -> str:
    """Write a range of whole numbers.

    Example:
        >>> range_text(3, 3), range_text(1, 2) == f"1{DASH}2"
        ('3', True)
    """
    return str(low) if low == high else f"{low}{DASH}{high}"


def number_cell(
    value: float | None,
    *,
    low: float | None = None,
    high: float | None = None,
    spread: float | None = None,
    text: str | None = None,
    note: str = "",
    is_best: bool = False,
) -> Cell:
    """Make a cell of a number; a dash when there is none.

    Args:
        value: The number.
        low: Lower end of its interval.
        high: Upper end.
        spread: Standard deviation over seeds.
        text: How it is written; three significant digits by default.
        note: Small print.
        is_best: Whether it is the best of its column.
    """
    if value is None:
        return Cell(note=note)
    shown = f"{value:{number_format(value)}}" if text is None else text
    return Cell(
        value=value, text=shown, low=low, high=high, spread=spread, note=note, is_best=is_best
    )


def count_cell(value: int | None) -> Cell:
    """Make a cell of a count, every digit shown."""
    return Cell() if value is None else Cell(value=value, text=f"{value:,}")


def text_cell(
    text: str | None, *, link: Link | None = None, note: str = "", badges: Sequence[str] = ()
) -> Cell:
    """Make a cell of a text; a dash when there is none."""
    if not text:
        return Cell(note=note)
    return Cell(value=text, text=text, link=link, note=note, badges=tuple(badges))
