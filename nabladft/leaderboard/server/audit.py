"""The audit log: who did what, when, to what; lines are added and never changed.

Each line has the SHA-256 of the line before it and of its own content, so a line that was changed
or removed behind the database's back breaks the chain from there on.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from nabladft.leaderboard.server.database import audit_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nabladft.leaderboard.server.database import Database

#: Key of PostgreSQL's lock under which lines get their numbers.
_APPEND_LOCK: Final = 0x6E61626C62

_BEGINNING: Final = "0" * 64


@dataclass(frozen=True, kw_only=True)
class AuditLine:
    """One line of the log.

    Attributes:
        number: From 1, without gaps.
        at: Seconds since 1970.
        who: Account, worker or operator.
        what: The action.
        subject: What it was done to.
        details: Anything else worth keeping, hashes above all.
        sha256: Hash of the line before and of this one.
        is_whole: Whether the hash is right, given the line before.
    """

    number: int
    at: float
    who: str
    what: str
    subject: str
    details: Mapping[str, Any]
    sha256: str
    is_whole: bool


def append(
    connection: sa.Connection, *, who: str, what: str, subject: str, **details: object
) -> None:
    """Add a line, as the last thing of a transaction that does what the line says."""
    if connection.dialect.name != "sqlite":
        # Held until the transaction ends, so that numbers have no gaps; SQLite has one writer.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_APPEND_LOCK)))
    last = connection.execute(
        sa.select(audit_log.c.number, audit_log.c.sha256)
        .order_by(audit_log.c.number.desc())
        .limit(1)
    ).one_or_none()
    number, before = (last.number + 1, last.sha256) if last else (1, _BEGINNING)
    row = {
        "number": number,
        "at": time.time(),
        "who": who,
        "what": what,
        "subject": subject,
        "details": json.dumps(details, sort_keys=True),
    }
    connection.execute(audit_log.insert().values(**row, sha256=_hash(before, row)))


def lines(database: Database) -> Iterator[AuditLine]:
    """Read the log from its beginning, checking the chain."""
    before, expected = _BEGINNING, 1
    with database.reading() as connection:
        rows = connection.execution_options(yield_per=1000).execute(
            sa.select(audit_log).order_by(audit_log.c.number)
        )
        for row in rows.mappings():
            content = {name: row[name] for name in row if name != "sha256"}
            is_whole = row["number"] == expected and row["sha256"] == _hash(before, content)
            before, expected = row["sha256"], row["number"] + 1
            yield AuditLine(
                **content | {"details": json.loads(row["details"])},
                sha256=row["sha256"],
                is_whole=is_whole,
            )


def _hash(before: str, row: Mapping[str, Any]) -> str:
    content = json.dumps([row[name] for name in sorted(row)])
    return hashlib.sha256(f"{before}\n{content}".encode()).hexdigest()
