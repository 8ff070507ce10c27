"""Preparing a question: ids, parts of splits and matches of patterns are put aside in tables.

Then the question is one SQL statement. Nothing on disk changes: the tables are temporary.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from nabladft.errors import QueryError, UnknownNameError
from nabladft.queries.compiling import EVERYTHING, Compiled, Compiler, joined
from nabladft.queries.language import And, Comparison, Not, Or, Substructure, parse, refuse
from nabladft.queries.substructure import check_smarts, matching_molecules, required_elements
from nabladft.resources import resource_folder
from nabladft.splits import Split, read_split
from nabladft.storage.index_schema import integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.queries.language import Condition
    from nabladft.storage.index_building import Progress
    from nabladft.storage.index_reading import Index
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]


class Question:
    """One question to one index."""

    def __init__(
        self,
        index: Index,
        source: ConformationSource,
        text: str,
        splits: Iterable[Split | str | Path] = (),
        *,
        processes: int = 1,
        progress: Progress | None = None,
    ) -> None:
        """Read the query.

        Args:
            index: To ask.
            source: Whose index it is.
            text: The query; an empty one takes everything.
            splits: Whose parts the query may speak of; without any, that of the data set.
            processes: For RDKit.
            progress: Called with what is being done, how much of it is done, and how much there is.

        Raises:
            QueryError: The text is no query.
            SplitError: A file is no split.
        """
        self._index = index
        self._source = source
        self._text = text
        self._tree = parse(text) if text.strip() else None
        self._splits = [s if isinstance(s, Split) else read_split(s) for s in splits]
        self._processes = processes
        self._progress = progress
        self._tables: list[str] = []

    @contextmanager
    def compiled(self, ids: IntArray | None = None) -> Iterator[tuple[Compiled, Compiler]]:
        """Compile the query; what was put aside for it is removed afterwards.

        Args:
            ids: Only these pairs (molecule_id, conformation_id), shape (n, 2).

        Raises:
            QueryError: It asks for what there is not.
            MissingExtraError: A substructure is asked for and RDKit is not installed.
        """
        tree = self._tree
        sets: dict[tuple[str, str], str | int] = {}
        matches: dict[str, str] = {}
        compiler = Compiler(
            self._index.about(),
            text=self._text,
            sets=sets,
            matches=matches,
            looks_up_tags=isinstance(tree, And),
        )
        try:
            for part in _mentioned(tree):
                if isinstance(part, Comparison) and part.name in {"split", "tag"}:
                    sets[part.name, str(part.value.content)] = self._keys_of(part)
            listed = [] if ids is None else [self._only(ids)]
            for part in _mentioned(tree):
                if isinstance(part, Substructure):
                    rest = [*listed, *_other_conditions(tree, compiler)]
                    matches[part.smarts] = self._matches_of(part, rest)
            parts = [*listed, *([] if tree is None else [compiler.compile(tree)])]
            yield (joined(parts, "AND") if parts else EVERYTHING), compiler
        finally:
            for table in self._tables:
                self._index.connection.execute(f"DROP TABLE temp.{table}")

    def _only(self, ids: IntArray) -> Compiled:
        return Compiled(f"(c.molecule_id, c.conformation_id) IN {self._put_keys(ids)}", (), "c")

    def _keys_of(self, asked: Comparison) -> str | int:
        """Find the keys of a part or a tag: a table with them, or the number of the tag."""
        name, value = asked.name, str(asked.value.content)
        splits = (self._splits or self._own_splits()) if name == "split" else []
        for split in splits:
            if value in split.parts:
                return self._put_keys(split.parts[value])
        if value in self._index.tags():
            return integer(self._index.connection, "SELECT tag FROM tags WHERE name = ?", (value,))
        known = sorted({*self._index.tags(), *(part for split in splits for part in split.parts)})
        reason = str(UnknownNameError(name, value, known))
        if not known:
            remedy = "Name a split file (--split)." if name == "split" else "Make one (--tag)."
            reason = f"No {name} {value!r}: these data have none. {remedy}"
        return refuse(self._text, asked.position, reason)

    def _own_splits(self) -> list[Split]:
        """The split that comes with a data set of the package."""
        path = resource_folder("splits") / f"{self._source.info.name}.json"
        if not path.is_file():
            return []
        split = read_split(path)
        return [split] if split.data_hash == self._source.data_hash else []

    def _matches_of(self, asked: Substructure, rest: list[Compiled]) -> str:
        """Put the molecules that match a pattern into a table of their own."""
        try:
            check_smarts(asked.smarts)
        except QueryError as error:
            refuse(self._text, asked.position, str(error))
        needed = Compiled("1", (), "cm")
        for number, n in required_elements(asked.smarts).items():
            sql = (
                "m.composition IN (SELECT composition FROM composition_elements"
                " WHERE atomic_number = ? AND count >= ?)"
            )
            needed = joined([needed, Compiled(sql, (number, n), "cm")], "AND")
        candidates = joined([*rest, needed], "AND")
        if set("".join(part.tables for part in rest)) <= {"m"}:
            source, column = "molecules AS m", "m.molecule_id"
        else:
            source, column = candidates.source, "DISTINCT c.molecule_id"
        table = self._new_table("molecule_id INTEGER PRIMARY KEY")
        self._index.connection.executemany(
            f"INSERT INTO temp.{table} VALUES (?)",  # noqa: S608 - a number of ours
            [
                (number,)
                for number in matching_molecules(
                    self._index,
                    asked.smarts,
                    f"SELECT {column} FROM {source} WHERE {candidates.sql}",  # noqa: S608 - ours
                    candidates.bindings,
                    processes=self._processes,
                    progress=self._progress,
                )
            ],
        )
        return f"temp.{table}"

    def _put_keys(self, keys: IntArray) -> str:
        table = self._new_table(
            "molecule_id INTEGER, conformation_id INTEGER,"
            " PRIMARY KEY (molecule_id, conformation_id)",
            "WITHOUT ROWID",
        )
        pairs = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        self._index.connection.executemany(
            f"INSERT OR IGNORE INTO temp.{table} VALUES (?, ?)",  # noqa: S608 - a number of ours
            pairs.tolist(),
        )
        return f"temp.{table}"

    def _new_table(self, columns: str, ending: str = "") -> str:
        table = f"put_aside_{len(self._tables)}"
        self._index.connection.execute(f"CREATE TEMP TABLE {table} ({columns}) {ending}")
        self._tables.append(table)
        return table


def _mentioned(condition: Condition | None) -> Iterator[Condition]:
    """Go through all parts of a condition."""
    if condition is None:
        return
    yield condition
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _mentioned(part)
        case Not(part):
            yield from _mentioned(part)


def _other_conditions(tree: Condition | None, compiler: Compiler) -> list[Compiled]:
    """Compile what must hold besides any pattern, to look for patterns in fewer molecules."""
    parts = tree.parts if isinstance(tree, And) else ()
    return [
        compiler.compile(part)
        for part in parts
        if not any(isinstance(one, Substructure) for one in _mentioned(part))
    ]
