"""The tables, and the two kinds of transactions. SQLite or PostgreSQL run the same code.

Example:
    >>> database = Database("sqlite://")
    >>> database.create()
    >>> with database.writing() as connection:
    ...     _ = connection.execute(accounts.insert().values(id="a", name="ada", created_at=0.0))
    >>> with database.reading() as connection:
    ...     connection.execute(sa.select(accounts.c.name)).scalar_one()
    'ada'
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nabladft.errors import ConfigError, StoreError, missing_extra

try:
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.pool import StaticPool
except ImportError as _error:
    raise missing_extra("The scoring server", "server", _error) from _error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection

#: Version of the tables; a database of another one is refused.
SCHEMA_VERSION: Final = 1

#: Seconds that a transaction waits for another one to end.
_BUSY_SECONDS: Final = 30

#: Key of PostgreSQL's lock under which tables are made.
_CREATE_LOCK: Final = 0x6E61626C61

metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String(40), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(60), nullable=False, unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
)

#: Of a token only the hash of its secret is kept.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("revoked_at", sa.Double),
)

submissions = sa.Table(
    "submissions",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    # Account and content; what has been deleted has another one, so that it can be sent again.
    sa.Column("content_key", sa.String(120), nullable=False, unique=True),
    # Task and predictions without the entry.
    sa.Column("predictions_key", sa.String(64), nullable=False),
    sa.Column("task", sa.String(64), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("submitted_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    # Not claimed before that time, after the labels could not be read.
    sa.Column("not_before", sa.Double, nullable=False, default=0.0),
    # The worker that has it: a random word, and until when.
    sa.Column("claim", sa.String(32)),
    sa.Column("lease_until", sa.Double),
    sa.Column("n_claims", sa.Integer, nullable=False, default=0),
    sa.Column("n_crashes", sa.Integer, nullable=False, default=0),
    sa.Column("n_delays", sa.Integer, nullable=False, default=0),
    # Why it failed: a code of the reviewed list.
    sa.Column("failure", sa.String(40)),
    # What may be seen of the scores: rounded, as JSON.
    sa.Column("public_scores", sa.Text),
    sa.Index("submissions_queue", "state", "submitted_at"),
)

files = sa.Table(
    "files",
    metadata,
    sa.Column("submission_id", sa.ForeignKey("submissions.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("n_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)

#: Results files with all digits. The API never selects from this table.
private_results = sa.Table(
    "private_results",
    metadata,
    sa.Column("submission_id", sa.ForeignKey("submissions.id"), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", sa.String(80), nullable=False),
    sa.Column("what", sa.String(40), nullable=False),
    sa.Column("subject", sa.String(64), nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)

#: Lines of the audit log are only added, whoever is connected.
_TRIGGERS: Final = {
    "sqlite": [
        f"CREATE TRIGGER audit_log_no_{verb.lower()} BEFORE {verb} ON audit_log "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        (
            "CREATE OR REPLACE FUNCTION audit_log_append_only() RETURNS trigger AS $$ "
            "BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$ LANGUAGE plpgsql"
        ),
        (
            "CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only()"
        ),
    ],
}


@event.listens_for(audit_log, "after_create")
def _protect(_: object, connection: sa.Connection, **__: object) -> None:
    for statement in _TRIGGERS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


class Database:
    """A database with these tables.

    Args:
        url: SQLAlchemy's address, of SQLite or PostgreSQL (psycopg).

    Raises:
        ConfigError: It is the address of neither.
    """

    def __init__(self, url: str) -> None:
        """Make the engine; nothing is opened yet."""
        try:
            address = sa.make_url(url)
        except sa.exc.ArgumentError:
            message = "The setting database is not an address of a database."
            raise ConfigError(message) from None
        options: dict[str, Any] = {"pool_pre_ping": True}
        self.is_sqlite = address.get_backend_name() == "sqlite"
        if self.is_sqlite:
            options["connect_args"] = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
            if address.database in {None, "", ":memory:"}:
                options["poolclass"] = StaticPool
            else:
                Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
        elif address.drivername != "postgresql+psycopg":
            message = (
                f"The database is {address.drivername!r}; expected sqlite:///... or "
                "postgresql+psycopg://..."
            )
            raise ConfigError(message)
        self.engine = sa.create_engine(address, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _open_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    def create(self) -> None:
        """Make the tables that are not there.

        Raises:
            StoreError: The database is of another version of this package.
        """
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATE_LOCK)))
            metadata.create_all(connection)
            found = connection.execute(
                sa.select(meta.c.value).where(meta.c.key == "schema_version")
            ).scalar()
            if found is None:
                connection.execute(
                    meta.insert().values(key="schema_version", value=str(SCHEMA_VERSION))
                )
            elif found != str(SCHEMA_VERSION):
                message = (
                    f"The database has tables of version {found}; this nabladft reads version "
                    f"{SCHEMA_VERSION}. Use the nabladft that made it, or a new database."
                )
                raise StoreError(message)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Run a transaction that may write; it is committed unless the block raises."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Run a transaction that only reads; it waits for no writer."""
        with self.engine.connect().execution_options(only_reads=True) as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _open_sqlite(connection: DBAPIConnection, _: object) -> None:
    # Python's module would begin transactions itself, and too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # A commit that was answered is on the disk, also when the power fails.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    only_reads = connection.get_execution_options().get("only_reads", False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
