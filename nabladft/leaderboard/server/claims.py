"""What workers change: claim, extend, finish, give back, expire. Each is one transaction.

A claim is a random word in the row and a time until which it holds. Whoever has no claim any more
changes nothing: every change but the claim itself asks for the word.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nabladft.leaderboard.server.audit import append
from nabladft.leaderboard.server.database import files, private_results, submissions
from nabladft.leaderboard.server.submissions import mark_deleted, submission_folder
from nabladft.leaderboard.server.uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nabladft.leaderboard.server.database import Database
    from nabladft.leaderboard.server.settings import ServerSettings


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A submission that a worker has.

    Attributes:
        id: Of the submission.
        claim: The random word.
        task: Name of the task.
        entry: TOML.
        uploads: Its files.
    """

    id: str
    claim: str
    task: str
    entry: str
    uploads: tuple[Upload, ...]


class Claims:
    """The queue as workers see it.

    Args:
        settings: Of the server.
        database: Of the server.
        worker: Name of this worker, for the audit log.
    """

    def __init__(self, settings: ServerSettings, database: Database, *, worker: str) -> None:
        """Keep them; nothing is read yet."""
        self._settings = settings
        self._database = database
        self._worker = worker

    def claim(self) -> Claimed | None:
        """Take the submission that has waited longest, or None when none waits.

        One whose lease is over is taken from the worker that had it, which is dead or asleep.
        """
        now, word = time.time(), secrets.token_hex(16)
        waits = (submissions.c.state == "queued") & (submissions.c.not_before <= now)
        left = (submissions.c.state == "scoring") & (submissions.c.lease_until < now)
        with self._database.writing() as connection:
            row = (
                connection.execute(
                    sa.select(submissions)
                    .where(waits | left)
                    .order_by(submissions.c.submitted_at, submissions.c.id)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                )
                .mappings()
                .one_or_none()
            )
            if row is None:
                return None
            connection.execute(
                submissions.update()
                .where(submissions.c.id == row["id"])
                .values(
                    state="scoring",
                    claim=word,
                    lease_until=now + self._settings.scoring.lease_seconds,
                    n_claims=row["n_claims"] + 1,
                )
            )
            found = connection.execute(
                sa.select(files).where(files.c.submission_id == row["id"]).order_by(files.c.number)
            ).mappings()
            folder = submission_folder(self._settings, row["id"])
            uploads = tuple(
                Upload(
                    folder=folder,
                    number=one["number"],
                    n_bytes=one["n_bytes"],
                    sha256=one["sha256"],
                )
                for one in found
            )
            append(
                connection,
                who=self._worker,
                what="submission_claimed",
                subject=row["id"],
                number=row["n_claims"] + 1,
            )
        return Claimed(
            id=row["id"], claim=word, task=row["task"], entry=row["entry"], uploads=uploads
        )

    def extend(self, claimed: Claimed) -> bool:
        """Say that this worker lives, and tell whether it still has the submission."""
        with self._database.writing() as connection:
            return self._change(
                connection,
                claimed,
                lease_until=time.time() + self._settings.scoring.lease_seconds,
            )

    def finish(
        self,
        claimed: Claimed,
        *,
        public_scores: Sequence[Mapping[str, Any]],
        results: Sequence[Mapping[str, Any]],
    ) -> bool:
        """Record the scores, and tell whether this worker still had the submission.

        Args:
            claimed: The submission.
            public_scores: What may be seen, one for each file.
            results: All digits, one results document for each file.
        """
        public, document = json.dumps(list(public_scores)), json.dumps(list(results))
        with self._database.writing() as connection:
            if not self._change(
                connection,
                claimed,
                state="scored",
                finished_at=time.time(),
                public_scores=public,
                claim=None,
                lease_until=None,
            ):
                return False
            connection.execute(
                private_results.insert().values(submission_id=claimed.id, document=document)
            )
            append(
                connection,
                who=self._worker,
                what="submission_scored",
                subject=claimed.id,
                results=hashlib.sha256(document.encode()).hexdigest(),
                public=hashlib.sha256(public.encode()).hexdigest(),
            )
        return True

    def fail(self, claimed: Claimed, code: str) -> bool:
        """Record that the submission cannot be scored, by a code of the reviewed list."""
        with self._database.writing() as connection:
            return self._fail(connection, claimed, code)

    def crashed(self, claimed: Claimed) -> bool:
        """Put the submission back after its scoring crashed; after too many crashes it failed."""
        with self._database.writing() as connection:
            n_crashes = 1 + int(
                connection.execute(
                    sa.select(submissions.c.n_crashes).where(submissions.c.id == claimed.id)
                ).scalar_one()
            )
            if n_crashes >= self._settings.scoring.attempts:
                return self._fail(connection, claimed, "crashed", n_crashes=n_crashes)
            return self._give_back(
                connection, claimed, "submission_crashed", n_crashes=n_crashes, not_before=0.0
            )

    def delay(self, claimed: Claimed) -> bool:
        """Put the submission back because the server cannot score it now; pauses grow.

        This is no fault of the submission, so it never fails by it.
        """
        with self._database.writing() as connection:
            n_delays = 1 + int(
                connection.execute(
                    sa.select(submissions.c.n_delays).where(submissions.c.id == claimed.id)
                ).scalar_one()
            )
            pause = min(600.0, self._settings.scoring.poll_seconds * 2.0 ** min(n_delays, 20))
            return self._give_back(
                connection,
                claimed,
                "submission_delayed",
                n_delays=n_delays,
                not_before=time.time() + pause,
            )

    def release(self, claimed: Claimed) -> bool:
        """Put the submission back because this worker stops."""
        with self._database.writing() as connection:
            return self._give_back(connection, claimed, "submission_released")

    def expire(self) -> int:
        """Delete uploads that were begun long ago and never submitted, and count them."""
        oldest = time.time() - 86400 * self._settings.limits.keep_uploads_days
        with self._database.writing() as connection:
            found = connection.execute(
                sa.select(submissions.c.id)
                .where(submissions.c.state == "uploading", submissions.c.created_at < oldest)
                .with_for_update(skip_locked=True)
            ).scalars()
            ids = [
                one for one in found.all() if mark_deleted(connection, one, states=["uploading"])
            ]
            for one in ids:
                append(connection, who=self._worker, what="submission_expired", subject=one)
        return len(ids)

    def deleted(self, names: Sequence[str]) -> list[str]:
        """Tell which of these ids are of deleted submissions."""
        with self._database.reading() as connection:
            return list(
                connection.execute(
                    sa.select(submissions.c.id).where(
                        submissions.c.id.in_(names), submissions.c.state == "deleted"
                    )
                ).scalars()
            )

    def _fail(
        self, connection: sa.Connection, claimed: Claimed, code: str, **values: object
    ) -> bool:
        if not self._change(
            connection,
            claimed,
            state="failed",
            finished_at=time.time(),
            failure=code,
            claim=None,
            lease_until=None,
            **values,
        ):
            return False
        append(
            connection,
            who=self._worker,
            what="submission_failed",
            subject=claimed.id,
            reason=code,
        )
        return True

    def _give_back(
        self, connection: sa.Connection, claimed: Claimed, what: str, **values: object
    ) -> bool:
        if not self._change(
            connection, claimed, state="queued", claim=None, lease_until=None, **values
        ):
            return False
        append(connection, who=self._worker, what=what, subject=claimed.id)
        return True

    def _change(self, connection: sa.Connection, claimed: Claimed, **values: object) -> bool:
        """Change the row if this worker still has it."""
        changed = connection.execute(
            submissions.update()
            .where(
                submissions.c.id == claimed.id,
                submissions.c.state == "scoring",
                submissions.c.claim == claimed.claim,
            )
            .values(**values)
        )
        return changed.rowcount == 1
