"""Accounts and their tokens. A token is shown once; of its secret only the hash is kept.

Example:
    >>> from nabladft.leaderboard.server.database import Database
    >>> database = Database("sqlite://")
    >>> database.create()
    >>> token = add_token(database, "ada")
    >>> find_account(database, token).name, find_account(database, token + "x")
    ('ada', None)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from nabladft.errors import InputError, UnknownNameError
from nabladft.leaderboard.server.audit import append
from nabladft.leaderboard.server.database import accounts, tokens

if TYPE_CHECKING:
    from nabladft.leaderboard.server.database import Database

#: The prefix lets scanners of leaked secrets recognise a token.
_TOKEN: Final = re.compile(r"nabladft_([0-9a-f]{16})_([0-9A-Za-z_-]{43})", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who a token belongs to."""

    id: str
    name: str
    token_id: str


@dataclass(frozen=True, kw_only=True)
class TokenLine:
    """A token as it is listed.

    Attributes:
        id: What ``revoke`` takes.
        name: Of the account.
        created_at: Seconds since 1970.
        revoked_at: Likewise, or None while it is good.
    """

    id: str
    name: str
    created_at: float
    revoked_at: float | None


def add_token(database: Database, name: str, *, who: str = "operator") -> str:
    """Make a token for an account, and the account where there is none of that name.

    Returns:
        The token, which cannot be had again.

    Raises:
        InputError: The name cannot be used.
    """
    if not _NAME.fullmatch(name):
        message = (
            f"{name!r} cannot be the name of an account: up to 60 letters, digits, '.', '_', '@' "
            "and '-', beginning with a letter or digit."
        )
        raise InputError(message)
    token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    with database.writing() as connection:
        account = connection.execute(
            sa.select(accounts.c.id).where(accounts.c.name == name)
        ).scalar()
        if account is None:
            account = secrets.token_hex(8)
            connection.execute(
                accounts.insert().values(id=account, name=name, created_at=time.time())
            )
        connection.execute(
            tokens.insert().values(
                id=token_id,
                account_id=account,
                secret_sha256=_hash(secret),
                created_at=time.time(),
            )
        )
        append(connection, who=who, what="token_added", subject=token_id, account=name)
    return f"nabladft_{token_id}_{secret}"


def find_account(database: Database, token: str) -> Account | None:
    """Give the account of a token that is good, or None."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    with database.reading() as connection:
        row = connection.execute(
            sa.select(tokens.c.secret_sha256, accounts.c.id, accounts.c.name)
            .join(accounts)
            .where(tokens.c.id == found[1], tokens.c.revoked_at.is_(None))
        ).one_or_none()
    # The same work whether or not there is such a token.
    expected = row.secret_sha256 if row else _hash("")
    is_right = hmac.compare_digest(_hash(found[2]), expected)
    return Account(id=row.id, name=row.name, token_id=found[1]) if row and is_right else None


def revoke_token(database: Database, token_id: str, *, who: str = "operator") -> None:
    """Make a token useless. What was submitted with it stays.

    Raises:
        UnknownNameError: There is no such token, or it is revoked already.
    """
    with database.writing() as connection:
        changed = connection.execute(
            tokens.update()
            .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
            .values(revoked_at=time.time())
        )
        if changed.rowcount:
            append(connection, who=who, what="token_revoked", subject=token_id)
            return
    good = [line.id for line in list_tokens(database) if line.revoked_at is None]
    raise UnknownNameError("good token", token_id, good)


def list_tokens(database: Database) -> list[TokenLine]:
    """List all tokens, the oldest first."""
    with database.reading() as connection:
        rows = connection.execute(
            sa.select(tokens.c.id, accounts.c.name, tokens.c.created_at, tokens.c.revoked_at)
            .join(accounts)
            .order_by(tokens.c.created_at)
        )
        return [TokenLine(**row) for row in rows.mappings()]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
