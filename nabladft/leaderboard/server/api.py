"""The HTTP interface, version 1.

Uploads follow the idea of tus (offsets, resumed after any interruption) with the plainest means:
HEAD tells how many bytes are here, PATCH appends from there.
"""
# FastAPI evaluates the annotations of endpoints, so the names in them are imported at run time.

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import sqlalchemy as sa
import tomli_w

from nabladft import __version__
from nabladft.errors import SubmissionError, missing_extra
from nabladft.leaderboard.entry import LARGEST_ENTRY_BYTES
from nabladft.leaderboard.server.accounts import Account, find_account
from nabladft.leaderboard.server.database import Database
from nabladft.leaderboard.server.limiting import RateLimits
from nabladft.leaderboard.server.pages import status_page
from nabladft.leaderboard.server.refusals import refusal
from nabladft.leaderboard.server.schemas import (
    BoardOut,
    HealthOut,
    LimitsOut,
    Problem,
    SubmissionId,
    SubmissionIn,
    SubmissionOut,
    SubmissionsOut,
    TasksOut,
)
from nabladft.leaderboard.server.settings import ServerSettings
from nabladft.leaderboard.server.shaping import board_out, submission_out, task_out
from nabladft.leaderboard.server.submissions import DeclaredFile, Submissions
from nabladft.leaderboard.server.uploads import Upload

try:
    from fastapi import APIRouter, Depends, FastAPI, Header, Path, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse
    from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as _error:
    raise missing_extra("The scoring server", "server", _error) from _error

_log: Final = logging.getLogger(__name__)

#: Type of the body of an upload.
UPLOAD_TYPE: Final = "application/offset+octet-stream"

#: An entry and the list of its files.
_LARGEST_BODY: Final = LARGEST_ENTRY_BYTES + 100_000

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "The request is refused; the code says why."},
    "5XX": {"model": Problem, "description": "The server cannot do it now; try again later."},
}

_OFFSET_HEADERS: Final = {
    "Upload-Offset": {
        "description": "bytes that are here",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "Upload-Length": {
        "description": "bytes of the whole file",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
}

#: The words by which FastAPI's own refusals are known in this API.
_CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_type",
}


def create_app(settings: ServerSettings, database: Database) -> ASGIApp:
    """Make the application, for uvicorn or any other ASGI server.

    Args:
        settings: Of the server.
        database: Of the server; its tables are made when the application starts.

    Raises:
        SplitError: The split file of a task cannot be used.
        UnknownNameError: It is not there, or lacks a part.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        database.create()
        yield
        database.close()

    app = FastAPI(
        title="nabladft scoring server",
        summary="Predictions come in, rounded aggregates go out, labels stay.",
        version=__version__,
        # The pages of these would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=_PROBLEMS,
        max_body_size=_LARGEST_BODY,
    )
    limits, submissions = RateLimits(settings.limits), Submissions(settings, database)
    account_of = _authenticated(database, limits)
    app.include_router(_public_routes(settings, submissions, database))
    app.include_router(_submission_routes(submissions, account_of))
    app.include_router(_upload_routes(settings, submissions, account_of))
    app.add_exception_handler(SubmissionError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused_by_framework)
    app.add_exception_handler(sa.exc.OperationalError, _database_away)
    app.add_exception_handler(Exception, _failed)
    # Outside of FastAPI's own limit of bodies, which would answer with plain text.
    return _Edge(app, limits=limits, upload_bytes=settings.limits.upload_bytes)


def _public_routes(
    settings: ServerSettings, submissions: Submissions, database: Database
) -> APIRouter:
    """Make the routes that need no token."""
    router = APIRouter()
    tasks = [task_out(task, digits=settings.scoring.digits) for task in settings.tasks.values()]
    known = TasksOut(
        title=settings.title,
        version=__version__,
        tasks=tasks,
        limits=LimitsOut(
            upload_bytes=settings.limits.upload_bytes,
            files=settings.limits.files,
            submissions_per_day=settings.limits.submissions_per_day,
            open_submissions=settings.limits.open_submissions,
        ),
    )

    @router.get("/v1/tasks")
    def tasks_() -> TasksOut:
        """List tasks and limits."""
        return known

    @router.get("/v1/leaderboard")
    def leaderboard() -> BoardOut:
        """List what has been scored, the best first."""
        return board_out(submissions.board(), settings)

    @router.get("/healthz")
    def health() -> HealthOut:
        """Tell whether the database answers."""
        with database.reading() as connection:
            connection.execute(sa.select(1))
        return HealthOut(status="ok")

    @router.get("/status", response_class=HTMLResponse)
    def status() -> HTMLResponse:
        """Show the queue and the board to people."""
        page = status_page(
            title=settings.title,
            tasks=tasks,
            board=board_out(submissions.board(), settings),
            counts=submissions.counts(),
        )
        return HTMLResponse(page)

    return router


def _authenticated(database: Database, limits: RateLimits) -> Callable[..., Account]:
    """Make the dependency that gives the account of a request, or refuses it."""
    bearer = HTTPBearer(auto_error=False, description="from `nabladft leaderboard token add`")

    def account_of(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> Account:
        account = find_account(database, credentials.credentials) if credentials else None
        if account is None:
            raise refusal("unauthorized")
        limits.count_token(account.token_id)
        return account

    return account_of


def _submission_routes(submissions: Submissions, account_of: Callable[..., Account]) -> APIRouter:
    """Make the routes of submissions, which need a token."""
    router = APIRouter()
    Who = Annotated[Account, Depends(account_of)]

    @router.post("/v1/submissions", status_code=201, responses={200: {"model": SubmissionOut}})
    def create(body: SubmissionIn, account: Who, response: Response) -> SubmissionOut:
        """Announce a submission. The same content again gives the same submission (200)."""
        submission, is_new = submissions.create(
            account,
            task=body.task,
            entry=_entry_text(body.entry),
            declared=[
                DeclaredFile(name=one.name, n_bytes=one.size, sha256=one.sha256)
                for one in body.files
            ],
        )
        response.status_code = 201 if is_new else 200
        return submission_out(submission)

    @router.get("/v1/submissions")
    def list_own(account: Who) -> SubmissionsOut:
        """List the hundred newest submissions of this account."""
        return SubmissionsOut(
            submissions=[submission_out(one) for one in submissions.of_account(account)]
        )

    @router.get("/v1/submissions/{submission_id}")
    def show(submission_id: SubmissionId, account: Who) -> SubmissionOut:
        """Tell state, place in the queue, and rounded aggregates once it is scored."""
        return submission_out(submissions.find(account, submission_id))

    @router.delete("/v1/submissions/{submission_id}", status_code=204)
    def delete(submission_id: SubmissionId, account: Who) -> None:
        """Delete a submission before it is scored."""
        submissions.delete(account, submission_id)

    @router.post("/v1/submissions/{submission_id}/submit")
    def submit(submission_id: SubmissionId, account: Who) -> SubmissionOut:
        """Put a complete submission into the queue; again, nothing changes."""
        return submission_out(submissions.submit(account, submission_id))

    return router


def _upload_routes(
    settings: ServerSettings, submissions: Submissions, account_of: Callable[..., Account]
) -> APIRouter:
    """Make the routes of files, which need a token."""
    router = APIRouter(prefix="/v1/submissions/{submission_id}/files")

    def upload_of(
        submission_id: SubmissionId,
        number: Annotated[int, Path(ge=0, le=999)],
        account: Annotated[Account, Depends(account_of)],
    ) -> tuple[Upload, str]:
        return submissions.upload(account, submission_id, number)

    Which = Annotated[tuple[Upload, str], Depends(upload_of)]

    # Ruff does not see that the dependency takes the number.
    @router.head(
        "/{number}",  # noqa: FAST003
        responses={200: {"headers": _OFFSET_HEADERS}},
        response_class=Response,
    )
    def offset(which: Which) -> Response:
        """Tell how many bytes of a file are here."""
        return _with_offset(200, which[0], which[0].offset)

    @router.patch(
        "/{number}",  # noqa: FAST003
        status_code=204,
        response_class=Response,
        responses={204: {"headers": _OFFSET_HEADERS}},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {UPLOAD_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            }
        },
        max_body_size=settings.limits.upload_bytes,
    )
    async def append(
        request: Request, which: Which, upload_offset: Annotated[int, Header(ge=0, le=2**53)]
    ) -> Response:
        """Append bytes to a file, from the offset that the server has."""
        if request.headers.get("content-type") != UPLOAD_TYPE:
            raise HTTPException(415, f"The body must be of type {UPLOAD_TYPE}.")
        upload, state = which
        if state != "uploading":
            raise refusal("state", state=state)
        try:
            here = await upload.receive(
                request.stream(), upload_offset, settings.limits.idle_seconds
            )
        except ClientDisconnect:
            # Nobody hears this answer; what came is kept.
            raise refusal("idle") from None
        return _with_offset(204, upload, here)

    return router


class _Edge:
    """What is done for every request: count its address, look at its size, set headers."""

    def __init__(self, app: ASGIApp, *, limits: RateLimits, upload_bytes: int) -> None:
        self._app = app
        self._limits = limits
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self._limits.count_address(scope["client"][0] if scope.get("client") else "unknown")
            self._refuse_large(scope)
        except SubmissionError as error:
            await _problem(error)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _refuse_large(self, scope: Scope) -> None:
        """Refuse a body by its declared size; one without is counted as it comes by FastAPI."""
        declared = Headers(scope=scope).get("content-length", "")
        limit = self._upload_bytes if scope["method"] == "PATCH" else _LARGEST_BODY
        if declared.isdigit() and int(declared) > limit:
            raise refusal("body_too_large", limit=limit)


def _entry_text(entry: str | dict[str, Any]) -> str:
    """Give an entry as TOML text.

    Raises:
        SubmissionError: It holds what TOML cannot, or no Unicode.
    """
    try:
        text = entry if isinstance(entry, str) else tomli_w.dumps(entry)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        reason = "it holds something that TOML cannot (null, mixed lists, broken Unicode)."
        raise refusal("entry", reason=reason) from None
    return text


def _with_offset(status: int, upload: Upload, offset: int) -> Response:
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(upload.n_bytes)}
    return Response(status_code=status, headers=headers)


def _problem(error: SubmissionError) -> JSONResponse:
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    # Names that a stranger chose may be no Unicode.
    message = str(error).encode(errors="backslashreplace").decode()
    content = {"code": error.code, "message": message}
    return JSONResponse(content, status_code=error.status, headers=headers)


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SubmissionError)
    return _problem(error)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a request, without repeating its values."""
    assert isinstance(error, RequestValidationError)
    texts = [
        f"{'.'.join(map(str, one['loc']))[:200]}: {one['msg'][:200]}" for one in error.errors()[:8]
    ]
    return _problem(SubmissionError("; ".join(texts), code="invalid", status=422))


def _refused_by_framework(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    answer = _problem(SubmissionError(error.detail, code=code, status=error.status_code))
    answer.headers.update(error.headers or {})
    return answer


def _database_away(_: Request, error: Exception) -> JSONResponse:
    _log.error("the database is away: %s", error)
    text = "The database is busy or away. Try again in a moment."
    busy = SubmissionError(text, code="busy", status=503)
    busy.retry_after = 2
    return _problem(busy)


def _failed(_: Request, __: Exception) -> JSONResponse:
    # The server's log has the traceback.
    text = "The server failed at this request. If it does so again, write to the operators."
    return _problem(SubmissionError(text, code="internal", status=500))
