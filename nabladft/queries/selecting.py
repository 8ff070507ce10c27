"""Asking: a source and a text in, the conformations that fulfil it out.

Example:
    >>> found = query("nano", "elements contain Br and n_atoms < 12")
    >>> len(found), found.keys[:2].tolist()
    (33, [[8, 0], [8, 1]])
    >>> found.table(["formula", "energy"]).formula[0]
    'C4H3BrS'
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nabladft.errors import InputError, UnknownNameError
from nabladft.queries.asking import Question
from nabladft.queries.compiling import Compiled, Compiler, source_of
from nabladft.queries.names import NAMES, element_of
from nabladft.queries.places import index_of
from nabladft.storage.index_schema import integer, unpack_inchikey
from nabladft.storage.opening import open_source
from nabladft.storage.source import ConformationSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.splits import Split
    from nabladft.storage.index_building import Progress
    from nabladft.storage.index_reading import Index

    IntArray = NDArray[np.int64]

#: What a table shows when nothing else is asked for.
DEFAULT_COLUMNS: Final = (
    "molecule_id",
    "conformation_id",
    "formula",
    "n_atoms",
    "energy",
    "smiles",
)

#: Rows taken from SQLite at once.
_STEP: Final = 50_000

#: Molecules tried to estimate how many fulfil a query, and the share of them that counts as many.
_TRIED: Final = 100
_MANY: Final = 0.1


@dataclass(frozen=True, eq=False)
class Selection:
    """The conformations that fulfil a query.

    Attributes:
        source: The data.
        text: The query.
        keys: Pairs (molecule_id, conformation_id), shape (n, 2).
        rows: Their rows in the source, shape (n,).
    """

    source: ConformationSource
    text: str
    keys: IntArray
    rows: IntArray

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.rows)

    def records(self, columns: Sequence[str] = DEFAULT_COLUMNS) -> Iterator[dict[str, Any]]:
        """Tell of each conformation what the index knows, one after the other.

        Args:
            columns: Names of the query language (energies in hartree).

        Raises:
            UnknownNameError: There is no such name.
            InputError: A name is not one value, or the index does not hold it.
        """
        with index_of(self.source) as index:
            yield from _records(index, self.keys, columns)

    def table(self, columns: Sequence[str] = DEFAULT_COLUMNS) -> pd.DataFrame:
        """Tell of all conformations what the index knows, as a table."""
        return pd.DataFrame(self.records(columns), columns=list(columns))


def query(
    data: ConformationSource | str | Path,
    text: str = "",
    *,
    splits: Iterable[Split | str | Path] = (),
    ids: IntArray | None = None,
    order_by: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    processes: int = 1,
    progress: Progress | None = None,
) -> Selection:
    """Find the conformations that fulfil a query.

    Args:
        data: A source, or what :func:`nabladft.open` takes.
        text: A query (``docs/query.md``); an empty one takes everything.
        splits: Split files whose parts the query speaks of.
        ids: Only these pairs (molecule_id, conformation_id), shape (n, 2).
        order_by: Name to sort by, "-name" for descending; else molecule_id, conformation_id.
        limit: At most so many, after sorting.
        sample: So many of them at random (all, when there are fewer); the order stays.
        seed: Of the sample.
        processes: Processes for RDKit.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        QueryError: The text is no query, or asks for what the index does not hold.
        UnknownNameError: There is no such data set, or no such name to sort by.
        MissingExtraError: A substructure is asked for and RDKit is not installed.
        NablaDFTError: The data cannot be opened.
    """
    source = data if isinstance(data, ConformationSource) else open_source(data)
    if (sample is not None and sample < 1) or (limit is not None and limit < 1):
        message = f"limit and sample must be at least 1, got {limit=} and {sample=}."
        raise InputError(message)
    with index_of(source, processes=processes, progress=progress) as index:
        question = Question(index, source, text, splits, processes=processes, progress=progress)
        with question.compiled(ids) as (compiled, compiler):
            order = _order(compiler, order_by)
            # A sample is of all that fulfil the query; only then is it cut.
            found = _select(index, compiled, order, None if sample else limit)
    if sample is not None and sample < len(found):
        chosen = np.random.default_rng(seed).choice(len(found), size=sample, replace=False)
        found = found[np.sort(chosen)]
    found = found[:limit]
    return Selection(source, text, found[:, :2], found[:, 2])


def count(
    data: ConformationSource | str | Path,
    text: str = "",
    *,
    splits: Iterable[Split | str | Path] = (),
    ids: IntArray | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> int:
    """Count the conformations that fulfil a query, without listing them; see :func:`query`."""
    source = data if isinstance(data, ConformationSource) else open_source(data)
    with index_of(source, processes=processes, progress=progress) as index:
        question = Question(index, source, text, splits, processes=processes, progress=progress)
        with question.compiled(ids) as (compiled, _):
            origin = source_of(compiled.tables, scan=_fulfilled_by_many(index, compiled))
            sql = f"SELECT count(*) FROM {origin} WHERE {compiled.sql}"  # noqa: S608 - ours
            return integer(index.connection, sql, compiled.bindings)


def _order(compiler: Compiler, order_by: str | None) -> Compiled:
    """Write what to sort by; ids decide between equals."""
    if order_by is None:
        return Compiled("c.molecule_id, c.conformation_id", (), "c")
    name = order_by.removeprefix("-")
    found = compiler.expression(_checked(name))
    direction = "DESC" if order_by.startswith("-") else "ASC"
    sql = f"{found.sql} {direction}, c.molecule_id, c.conformation_id"
    return Compiled(sql, found.bindings, found.tables)


def _select(index: Index, where: Compiled, order: Compiled, limit: int | None) -> IntArray:
    """Give molecule_id, conformation_id and row of what fulfils a condition, shape (n, 3)."""
    origin = source_of(where.tables + order.tables, scan=_fulfilled_by_many(index, where))
    sql = (
        "SELECT c.molecule_id, c.conformation_id, c.row"  # noqa: S608 - compiled by us
        f" FROM {origin}"
        f" WHERE {where.sql} ORDER BY {order.sql} LIMIT ?"
    )
    if "m" in where.tables:
        # The same ids; so written, SQLite sees that molecules come in this order anyway.
        sql = sql.replace("ORDER BY c.molecule_id,", "ORDER BY m.molecule_id,")
    cursor = index.connection.execute(
        sql, (*where.bindings, *order.bindings, -1 if limit is None else limit)
    )
    parts = [np.zeros((0, 3), dtype=np.int64)]
    while rows := list(islice(cursor, _STEP)):
        parts.append(np.array(rows, dtype=np.int64))
    return np.concatenate(parts)


def _fulfilled_by_many(index: Index, where: Compiled) -> bool:
    """Estimate from molecules spread over all ids whether going through all of them pays."""
    if "m" not in where.tables:
        return False
    ask = partial(integer, index.connection)
    if ask("SELECT count(*) FROM (SELECT 1 FROM molecules LIMIT 1)") == 0:
        return False
    low = ask("SELECT min(molecule_id) FROM molecules")
    high = ask("SELECT max(molecule_id) FROM molecules")
    above = "SELECT molecule_id FROM molecules WHERE molecule_id >= ? LIMIT 1"
    places = np.linspace(low, high, _TRIED).astype(np.int64).tolist()
    ids = sorted({ask(above, (place,)) for place in places})
    sql = (
        "SELECT count(DISTINCT c.molecule_id)"  # noqa: S608 - compiled by us
        f" FROM json_each(?) AS tried CROSS JOIN {_after_ids(where)} AND {where.sql}"
    )
    return ask(sql, (json.dumps(ids), *where.bindings)) > _MANY * len(ids)


def _after_ids(where: Compiled) -> str:
    """Join the tables to some molecule ids."""
    composition = "CROSS JOIN compositions AS k ON k.composition = m.composition "
    return (
        "molecules AS m ON m.molecule_id = tried.value "
        + (composition if "k" in where.tables else "")
        + "CROSS JOIN conformations AS c WHERE c.molecule_id = m.molecule_id"
    )


def _records(index: Index, keys: IntArray, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    compiler = Compiler(index.about())
    wanted = [compiler.expression(_checked(name)) for name in columns]
    shown = ", ".join(part.sql for part in wanted)
    bindings = tuple(value for part in wanted for value in part.bindings)
    tables = "".join(part.tables for part in wanted)
    sql = (
        f"SELECT {shown} FROM {source_of(tables)}"  # noqa: S608 - compiled by us
        " WHERE c.molecule_id = ? AND c.conformation_id = ?"
    )
    cursor = index.connection.cursor()
    for key in keys.tolist():
        for values in cursor.execute(sql, (*bindings, *key)):
            yield {
                name: unpack_inchikey(value) if name == "inchikey" and value else value
                for name, value in zip(columns, values, strict=True)
            }


def _checked(name: str) -> str:
    if name not in NAMES and element_of(name) is None:
        raise UnknownNameError("name", name, [*NAMES, "n_<element>"])
    return name
