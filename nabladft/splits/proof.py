"""The proof that no molecule and no scaffold leaks, over files of any size.

:func:`nabladft.splits.check_split` checks a split of one data set that fits into memory, geometries
included. Here the parts are files of millions of conformations, as published; what is compared are
the ids and the table of identities (:mod:`nabladft.splits.identities`).

"Seen in training" means train, validation and ``test_conformations`` together: all of them are
conformations of training molecules.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nabladft.errors import SplitError
from nabladft.splits.leakage import Check
from nabladft.splits.split import pack_keys

if TYPE_CHECKING:
    from nabladft.splits.identities import IdentityTable
    from nabladft.splits.split import Split

_SEEN: Final = ("train", "validation", "test_conformations")

#: Cases named for a broken promise; all are counted.
_NAMED: Final = 20


@dataclass(frozen=True)
class Proof:
    """What a table of identities says of a split.

    Attributes:
        checks: One for each promise.
        shared: For every two parts the numbers of conformations, molecules (by id, by InChIKey, by
            its first block, which leaves out stereochemistry) and scaffolds they share.
    """

    checks: tuple[Check, ...]
    shared: pd.DataFrame

    @property
    def holds(self) -> bool:
        """Whether every promise is kept."""
        return all(check.holds for check in self.checks)


def prove(split: Split, table: IdentityTable) -> Proof:
    """Check every promise that follows from ids, InChIKeys and scaffolds.

    Args:
        split: Ids by part.
        table: Identities of the molecules of all its parts.

    Raises:
        SplitError: The table is not complete, or lacks a molecule of the split.
    """
    table.require_complete()
    parts = list(split.parts)
    packed = dict(zip(parts, pack_keys(*split.parts.values()), strict=True))
    shared_ids = {
        (a, b): np.intersect1d(packed[a], packed[b], assume_unique=True).size
        for a, b in combinations(parts, 2)
    }
    _name_members(split, table)
    checks = [
        _one_meaning(table),
        Check(
            "no conformation is in two parts",
            tuple(f"{n} in {a} and {b}" for (a, b), n in shared_ids.items() if n),
            sum(map(len, packed.values())),
        ),
    ]
    if "validation" in parts:
        checks.append(_unseen(table, "validation", ("train",), "inchikey", "molecules (InChIKey)"))
    if "test_conformations" in parts:
        checks.append(_known_molecules(table))
    checks += [
        _unseen(table, part, _SEEN, "inchikey", "molecules (InChIKey)")
        for part in ("test_structures", "test_scaffolds")
        if part in parts
    ]
    if "test_scaffolds" in parts:
        checks.append(_unseen(table, "test_scaffolds", _SEEN, "scaffold", "scaffolds"))
        checks.append(_no_acyclic(table))
    return Proof(tuple(checks), _shared(table, parts, shared_ids))


def _name_members(split: Split, table: IdentityTable) -> None:
    """Make the temporary table of the molecules of each part, with their identities."""
    execute = table.connection.execute
    execute("DROP TABLE IF EXISTS temp.members; DROP TABLE IF EXISTS temp.ids")
    execute("CREATE TEMP TABLE ids (part TEXT, molecule_id INTEGER)")
    for part, keys in split.parts.items():
        ids = ((part, m) for m in np.unique(keys[:, 0]).tolist())
        with table.connection:
            table.connection.executemany("INSERT INTO ids VALUES (?, ?)", ids)
    execute(
        "CREATE TEMP TABLE members AS SELECT DISTINCT ids.part, molecule_id, inchikey, scaffold"
        " FROM ids LEFT JOIN molecules USING (molecule_id)"
    )
    absent = _number(table, "SELECT count(*) FROM members WHERE inchikey IS NULL")
    if absent:
        query = "SELECT part, molecule_id FROM members WHERE inchikey IS NULL LIMIT 1"
        part, first = execute(query).fetchone() or ("", 0)
        message = (
            f"{absent} molecules of split {split.name!r} have no identity; the first is "
            f"molecule_id {first} of {part}. Give the data of every part."
        )
        raise SplitError(message)
    execute("CREATE INDEX temp.by_inchikey ON members (inchikey, part)")
    execute("CREATE INDEX temp.by_scaffold ON members (scaffold, part)")
    execute("CREATE INDEX temp.by_molecule ON members (molecule_id, part)")


def _check(
    table: IdentityTable, promise: str, query: str, n_checked: int, values: tuple[str, ...] = ()
) -> Check:
    cases = []
    for n, (case,) in enumerate(table.connection.execute(query, values)):
        if n < _NAMED:
            cases.append(str(case))
    if cases and n >= _NAMED:
        cases.append(f"and {n + 1 - _NAMED} more")
    return Check(promise, tuple(cases), n_checked)


def _number(table: IdentityTable, query: str, values: tuple[str, ...] = ()) -> int:
    row = table.connection.execute(query, values).fetchone()
    return int(row[0]) if row else 0


def _size(table: IdentityTable, part: str) -> int:
    return _number(table, "SELECT count(*) FROM members WHERE part = ?", (part,))


def _one_meaning(table: IdentityTable) -> Check:
    query = (
        "SELECT molecule_id FROM members GROUP BY molecule_id HAVING count(DISTINCT inchikey) > 1"
    )
    n_checked = _number(table, "SELECT count(DISTINCT molecule_id) FROM members")
    return _check(table, "a molecule_id means the same molecule everywhere", query, n_checked)


def _known_molecules(table: IdentityTable) -> Check:
    query = (
        "SELECT molecule_id FROM members a WHERE part = 'test_conformations' AND NOT EXISTS"
        " (SELECT 1 FROM members b WHERE b.molecule_id = a.molecule_id"
        " AND b.part IN ('train', 'validation'))"
    )
    promise = "test_conformations: only molecules of train and validation"
    return _check(table, promise, query, _size(table, "test_conformations"))


def _unseen(
    table: IdentityTable, part: str, seen: tuple[str, ...], column: str, what: str
) -> Check:
    marks = ", ".join("?" for _ in seen)
    query = (
        f"SELECT DISTINCT {'a.inchikey' if column == 'inchikey' else 's.smiles'}"  # noqa: S608 - column names of ours
        " FROM members a JOIN scaffolds s ON s.scaffold = a.scaffold WHERE a.part = ?"
        f" AND EXISTS (SELECT 1 FROM members b WHERE b.{column} = a.{column}"
        f" AND b.part IN ({marks}))"
    )
    where = "in train" if seen == ("train",) else "seen in training"
    return _check(table, f"{part}: {what} not {where}", query, _size(table, part), (part, *seen))


def _no_acyclic(table: IdentityTable) -> Check:
    query = (
        "SELECT molecule_id FROM members JOIN scaffolds USING (scaffold)"
        " WHERE part = 'test_scaffolds' AND smiles = ''"
    )
    promise = "test_scaffolds: no molecule without a ring"
    return _check(table, promise, query, _size(table, "test_scaffolds"))


def _shared(
    table: IdentityTable, parts: list[str], shared_ids: dict[tuple[str, str], int]
) -> pd.DataFrame:
    columns = {
        "molecules by id": "molecule_id",
        "by InChIKey": "inchikey",
        "without stereochemistry": "substr(inchikey, 1, 14)",
        "scaffolds": "scaffold",
    }
    rows = []
    for a, b in combinations(parts, 2):
        row: dict[str, str | int] = {"parts": f"{a}, {b}", "conformations": shared_ids[a, b]}
        for title, column in columns.items():
            query = (
                f"SELECT count(*) FROM (SELECT {column} FROM members WHERE part = ?"  # noqa: S608 - column names of ours
                f" INTERSECT SELECT {column} FROM members WHERE part = ?)"
            )
            row[title] = _number(table, query, (a, b))
        rows.append(row)
    return pd.DataFrame(rows, columns=["parts", "conformations", *columns])
