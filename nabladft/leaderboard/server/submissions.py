"""What submitters change: create, look, submit, delete. Each is one transaction.

Asking twice for the same gives the same answer and changes nothing more, so that a client that got
no answer asks again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from nabladft.errors import EntryError
from nabladft.leaderboard.entry import Entry, format_entry, parse_entry
from nabladft.leaderboard.server.audit import append
from nabladft.leaderboard.server.database import accounts, files, submissions
from nabladft.leaderboard.server.refusals import refusal
from nabladft.leaderboard.server.uploads import Upload, remove_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nabladft.leaderboard.server.accounts import Account
    from nabladft.leaderboard.server.database import Database
    from nabladft.leaderboard.server.settings import ServerSettings, TaskSettings

#: States in which a submission waits for somebody.
OPEN: Final = ("uploading", "queued", "scoring")

_DAY_SECONDS: Final = 86400

#: What is selected for the API: not the results with all digits.
_SHOWN: Final = (
    "id task name entry state created_at submitted_at finished_at n_delays failure public_scores"
).split()


@dataclass(frozen=True, kw_only=True)
class DeclaredFile:
    """A predictions file as it is announced.

    Attributes:
        name: For people; no path.
        n_bytes: Size.
        sha256: Hash.
    """

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submission as its account may see it.

    Attributes:
        row: Columns of the table of submissions.
        uploads: Its files.
        names: Their names.
        queue_position: 1 for the next to be scored; None unless queued.
    """

    row: Mapping[str, Any]
    uploads: tuple[Upload, ...]
    names: tuple[str, ...]
    queue_position: int | None


class Submissions:
    """The submissions of a server."""

    def __init__(self, settings: ServerSettings, database: Database) -> None:
        """Keep both; nothing is read yet."""
        self._settings = settings
        self._database = database

    def create(
        self, account: Account, *, task: str, entry: str, declared: Sequence[DeclaredFile]
    ) -> tuple[Submission, bool]:
        """Announce a submission; one with the same content that is there is given back.

        Returns:
            The submission, and whether it is new.

        Raises:
            SubmissionError: Something of it cannot be accepted, or too many are open.
        """
        parsed, settings = self._checked(task, entry, declared)
        text = format_entry(parsed)
        hashes = sorted(one.sha256 for one in declared)
        content = [task, text, sorted((one.name, one.n_bytes, one.sha256) for one in declared)]
        key = f"{account.id}:{_hash(content)}"
        with self._database.writing() as connection:
            self._lock(connection, account)
            found = connection.execute(
                sa.select(submissions.c.id).where(submissions.c.content_key == key)
            ).scalar()
            if found is None:
                self._refuse_too_many(connection, account)
                found = secrets.token_hex(16)
                connection.execute(
                    submissions.insert().values(
                        id=found,
                        account_id=account.id,
                        content_key=key,
                        predictions_key=_hash([settings.name, hashes]),
                        task=settings.name,
                        name=parsed.name,
                        entry=text,
                        state="uploading",
                        created_at=time.time(),
                    )
                )
                connection.execute(
                    files.insert(),
                    [
                        {"submission_id": found, "number": number} | vars(one)
                        for number, one in enumerate(declared)
                    ],
                )
                append(
                    connection,
                    who=account.name,
                    what="submission_created",
                    subject=found,
                    token=account.token_id,
                    content=key.partition(":")[2],
                    files=hashes,
                )
                return self._shown(connection, account, found), True
            return self._shown(connection, account, found), False

    def find(self, account: Account, submission_id: str) -> Submission:
        """Give one submission of an account.

        Raises:
            SubmissionError: This account has none of that id.
        """
        with self._database.reading() as connection:
            return self._shown(connection, account, submission_id)

    def of_account(self, account: Account) -> list[Submission]:
        """Give the hundred newest submissions of an account, without the deleted ones."""
        with self._database.reading() as connection:
            found = connection.execute(
                sa.select(submissions.c.id)
                .where(submissions.c.account_id == account.id, submissions.c.state != "deleted")
                .order_by(submissions.c.created_at.desc())
                .limit(100)
            ).scalars()
            return [self._shown(connection, account, one) for one in found.all()]

    def upload(self, account: Account, submission_id: str, number: int) -> tuple[Upload, str]:
        """Give a file of a submission, and the state of that.

        Raises:
            SubmissionError: There is no such submission of this account, or no such file.
        """
        submission = self.find(account, submission_id)
        for upload in submission.uploads:
            if upload.number == number:
                return upload, str(submission.row["state"])
        raise refusal("no_file")

    def submit(self, account: Account, submission_id: str) -> Submission:
        """Put a complete submission into the queue; one that is there already stays as it is.

        Predictions that this account has submitted today already, with another entry, do not count
        again towards the limit of the day: their score tells nothing new.

        Raises:
            SubmissionError: It is not complete, a hash is wrong, it was deleted, or the limit of
                the day is reached.
        """
        submission = self.find(account, submission_id)
        if submission.row["state"] == "uploading":
            for upload in submission.uploads:
                upload.verify()
        with self._database.writing() as connection:
            self._lock(connection, account)
            row = self._row(connection, account, submission_id)
            if row["state"] == "uploading":
                self._refuse_after_limit(connection, account, row["predictions_key"])
                connection.execute(
                    submissions.update()
                    .where(submissions.c.id == submission_id, submissions.c.state == "uploading")
                    .values(state="queued", submitted_at=time.time())
                )
                append(
                    connection, who=account.name, what="submission_queued", subject=submission_id
                )
            return self._shown(connection, account, submission_id)

    def delete(self, account: Account, submission_id: str) -> None:
        """Delete a submission before it is scored.

        Raises:
            SubmissionError: There is none, or it is being scored or has been.
        """
        with self._database.writing() as connection:
            self._lock(connection, account)
            row = self._row(connection, account, submission_id)
            if not mark_deleted(connection, submission_id, states=("uploading", "queued")):
                raise refusal("state", state=row["state"])
            append(connection, who=account.name, what="submission_deleted", subject=submission_id)
        remove_folder(self.folder(submission_id))

    def board(self, limit: int = 1000) -> list[Mapping[str, Any]]:
        """Give the last scored submission of each account, task and name of entry.

        Returns:
            Rows with task, name, entry, finished_at, public_scores and the account's name.
        """
        same = (submissions.c.account_id, submissions.c.task, submissions.c.name)
        rank = sa.func.row_number().over(
            partition_by=same,
            order_by=(submissions.c.submitted_at.desc(), submissions.c.id.desc()),
        )
        columns = [submissions.c[name] for name in _SHOWN]
        ranked = (
            sa.select(*columns, accounts.c.name.label("account"), rank.label("rank"))
            .join(accounts)
            .where(submissions.c.state == "scored")
            .subquery()
        )
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(ranked)
                .where(ranked.c.rank == 1)
                .order_by(ranked.c.finished_at.desc())
                .limit(limit)
            )
            return [dict(row) for row in rows.mappings()]

    def counts(self) -> dict[str, int]:
        """Count submissions by state."""
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(submissions.c.state, sa.func.count()).group_by(submissions.c.state)
            )
            return {str(state): int(number) for state, number in rows}

    def folder(self, submission_id: str) -> Path:
        """Give the folder of the files of a submission."""
        return submission_folder(self._settings, submission_id)

    def _checked(
        self, task: str, entry: str, declared: Sequence[DeclaredFile]
    ) -> tuple[Entry, TaskSettings]:
        if task not in self._settings.tasks:
            raise refusal("unknown_task")
        settings, limits = self._settings.tasks[task], self._settings.limits
        try:
            parsed = parse_entry(entry, where="the entry")
        except EntryError as error:
            # The text of the submitter and our schema, nothing else, are in that message.
            raise refusal("entry", reason=str(error)[:2000]) from None
        if parsed.scores or parsed.scorer or parsed.data or parsed.details_sha256:
            raise refusal("scored_entry")
        if parsed.task != settings.kind:
            raise refusal("task_kind", entry=parsed.task, name=task, kind=settings.kind)
        n_seeds = len(parsed.training.seeds)
        expected = len(settings.parts) * max(1, n_seeds)
        if expected > limits.files:
            raise refusal("too_many_files", limit=limits.files)
        if len(declared) != expected:
            raise refusal(
                "number_of_files",
                n_parts=len(settings.parts),
                n_seeds=n_seeds,
                expected=expected,
                given=len(declared),
            )
        if any(one.n_bytes > limits.upload_bytes for one in declared):
            raise refusal("file_too_large", limit=limits.upload_bytes)
        if len({one.sha256 for one in declared}) != len(declared):
            raise refusal("same_file")
        return parsed, settings

    def _refuse_too_many(self, connection: sa.Connection, account: Account) -> None:
        limit = self._settings.limits.open_submissions
        n_open = connection.execute(
            sa.select(sa.func.count()).where(
                submissions.c.account_id == account.id, submissions.c.state.in_(OPEN)
            )
        ).scalar_one()
        if n_open >= limit:
            raise refusal("too_many_open", limit=limit)

    def _refuse_after_limit(
        self, connection: sa.Connection, account: Account, predictions_key: str
    ) -> None:
        """Refuse when other predictions of today have used up the limit of the day."""
        limit = self._settings.limits.submissions_per_day
        midnight = time.time() // _DAY_SECONDS * _DAY_SECONDS
        n_scored = connection.execute(
            sa.select(sa.func.count(submissions.c.predictions_key.distinct())).where(
                submissions.c.account_id == account.id,
                submissions.c.submitted_at >= midnight,
                submissions.c.state.in_(("queued", "scoring", "scored", "failed")),
                submissions.c.predictions_key != predictions_key,
            )
        ).scalar_one()
        if n_scored >= limit:
            raise refusal("daily_limit", limit=limit)

    def _lock(self, connection: sa.Connection, account: Account) -> None:
        """Let one request of an account change things at a time; SQLite does anyway."""
        connection.execute(
            sa.select(accounts.c.id).where(accounts.c.id == account.id).with_for_update()
        )

    def _row(
        self, connection: sa.Connection, account: Account, submission_id: str
    ) -> Mapping[str, Any]:
        row = (
            connection.execute(
                sa.select(
                    *(submissions.c[name] for name in _SHOWN), submissions.c.predictions_key
                ).where(
                    submissions.c.id == submission_id,
                    submissions.c.account_id == account.id,
                    submissions.c.state != "deleted",
                )
            )
            .mappings()
            .one_or_none()
        )
        if row is None:
            raise refusal("not_found")
        return dict(row)

    def _shown(self, connection: sa.Connection, account: Account, submission_id: str) -> Submission:
        row = self._row(connection, account, submission_id)
        found = (
            connection.execute(
                sa.select(files)
                .where(files.c.submission_id == submission_id)
                .order_by(files.c.number)
            )
            .mappings()
            .all()
        )
        position = None
        if row["state"] == "queued":
            position = (
                1
                + connection.execute(
                    sa.select(sa.func.count()).where(
                        submissions.c.state == "queued",
                        submissions.c.submitted_at < row["submitted_at"],
                    )
                ).scalar_one()
            )
        folder = self.folder(submission_id)
        return Submission(
            row=row,
            uploads=tuple(
                Upload(
                    folder=folder,
                    number=one["number"],
                    n_bytes=one["n_bytes"],
                    sha256=one["sha256"],
                )
                for one in found
            ),
            names=tuple(one["name"] for one in found),
            queue_position=position,
        )


def submission_folder(settings: ServerSettings, submission_id: str) -> Path:
    """Give the folder of the files of a submission."""
    return settings.data / "uploads" / submission_id


def mark_deleted(connection: sa.Connection, submission_id: str, *, states: Sequence[str]) -> bool:
    """Delete a submission that is in one of these states, and tell whether it was.

    Its content can be sent again: that is then another submission.
    """
    changed = connection.execute(
        submissions.update()
        .where(submissions.c.id == submission_id, submissions.c.state.in_(states))
        .values(state="deleted", content_key=f"deleted:{submission_id}")
    )
    return bool(changed.rowcount)


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
