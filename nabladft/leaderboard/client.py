"""Submitting to a scoring server: announce, upload, submit, wait. Every step can be repeated.

A connection that breaks is made again; an upload goes on where the server's file ends; announcing
and submitting the same twice changes nothing. So a submission that was interrupted is continued by
running the same again.

Example:
    server = ScoringServer("https://board.example.org", token)
    submission = server.create(task="nano-energy", entry=toml_text, paths=paths)
    server.upload(submission, paths)
    server.submit(submission["id"])
    print(server.wait(submission["id"])["scores"])
"""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from tenacity.nap import sleep as plain_sleep

from nabladft.benchmark.evaluation import file_sha256
from nabladft.errors import (
    AccessRefusedError,
    BadResponseError,
    ConnectionFailedError,
    InputError,
    SubmissionError,
)
from nabladft.transport.failures import failure_of_exception, failure_of_status, seconds_of
from nabladft.transport.retries import retrying
from nabladft.transport.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: Bytes of one request of an upload; what a reverse proxy has to let pass.
PIECE_BYTES: Final = 8 << 20

#: Hashing a file of many gigabytes takes the server a while.
_PATIENCE_SECONDS: Final = 300.0

#: Pauses between two looks at a submission that waits.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0

_UPLOAD_TYPE: Final = "application/offset+octet-stream"

_FINAL_STATES: Final = frozenset({"scored", "failed"})


class ScoringServer:
    """A scoring server, as one account sees it.

    Args:
        url: Address of the server.
        token: Of the account; None for what needs none.
        settings: How patient to be.
        piece_bytes: Bytes of one request of an upload.
        sleep: How to pause.

    Raises:
        InputError: The address is none, or would send the token over a network in the clear.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        settings: TransportSettings | None = None,
        piece_bytes: int = PIECE_BYTES,
        sleep: Callable[[float], None] = plain_sleep,
    ) -> None:
        """Check the address; nothing is sent yet."""
        self.url = _checked_address(url)
        self._settings = settings or TransportSettings.from_environment()
        self._piece_bytes = piece_bytes
        self._sleep = sleep
        self._session = requests.Session()
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def tasks(self) -> dict[str, Any]:
        """Ask for the tasks and limits of the server.

        Raises:
            TransportError: The server cannot be reached.
            SubmissionError: It refuses.
        """
        return self._json("GET", "/v1/tasks")

    def create(self, *, task: str, entry: str, paths: Sequence[Path]) -> dict[str, Any]:
        """Announce a submission; one with the same content that is there is given back.

        Args:
            task: Name of a task of the server.
            entry: TOML.
            paths: The predictions files.

        Raises:
            TransportError: The server cannot be reached.
            SubmissionError: It refuses; the message says why.
        """
        files = [
            {
                "name": _plain_name(path.name),
                "size": path.stat().st_size,
                "sha256": file_sha256(path),
            }
            for path in paths
        ]
        return self._json(
            "POST", "/v1/submissions", json={"task": task, "entry": entry, "files": files}
        )

    def upload(
        self,
        submission: dict[str, Any],
        paths: Sequence[Path],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Upload what the server does not have yet.

        Args:
            submission: What :meth:`create` gave.
            paths: The same files in the same order.
            progress: Called with the number of bytes of each step, those that were there included.

        Raises:
            TransportError: The server cannot be reached.
            SubmissionError: It refuses.
        """
        for number, path in enumerate(paths):
            place = f"/v1/submissions/{submission['id']}/files/{number}"
            with path.open("rb") as file:
                size = path.stat().st_size
                here = self._offset(place)
                if progress is not None:
                    progress(here)
                while here < size:
                    file.seek(here)
                    after = self._append(place, here, file.read(self._piece_bytes))
                    if progress is not None:
                        progress(after - here)
                    here = after

    def submit(self, submission_id: str) -> dict[str, Any]:
        """Put a complete submission into the queue.

        Raises:
            TransportError: The server cannot be reached.
            SubmissionError: It refuses; the message says why.
        """
        return self._json("POST", f"/v1/submissions/{submission_id}/submit")

    def show(self, submission_id: str) -> dict[str, Any]:
        """Ask for one submission.

        Raises:
            TransportError: The server cannot be reached.
            SubmissionError: This account has none of that id.
        """
        return self._json("GET", f"/v1/submissions/{submission_id}")

    def delete(self, submission_id: str) -> None:
        """Delete a submission before it is scored.

        Raises:
            TransportError: The server cannot be reached.
            SubmissionError: It is being scored or has been, or there is none.
        """
        self._answer("DELETE", f"/v1/submissions/{submission_id}")

    def wait(
        self,
        submission_id: str,
        *,
        report: Callable[[dict[str, Any]], object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Wait until a submission is scored or has failed.

        Args:
            submission_id: Of the submission.
            report: Called with the submission at every look.
            timeout: Seconds to wait at most; None waits for ever.

        Returns:
            The submission as it is then.

        Raises:
            TransportError: The server cannot be reached.
            SubmissionError: There is none, or the time is over.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            found = self.show(submission_id)
            if report is not None:
                report(found)
            if found["state"] in _FINAL_STATES:
                return found
            if timeout is not None and time.monotonic() - began > timeout:
                message = f"The submission is still {found['state']} after {timeout:g} seconds."
                raise SubmissionError(message, code="timeout")
            self._sleep(pause)
            pause = min(1.3 * pause, _LONGEST_PAUSE)

    def _offset(self, place: str) -> int:
        said = self._answer("HEAD", place).headers.get("Upload-Offset", "")
        if not said.isdigit():
            message = f"{self.url} does not say how much of a file it has ({said!r})."
            raise BadResponseError(message)
        return int(said)

    def _append(self, place: str, offset: int, piece: bytes) -> int:
        """Send a piece until some of it has arrived, and give the offset after it."""

        def attempt() -> int:
            try:
                self._once(
                    "PATCH",
                    place,
                    data=piece,
                    headers={"Upload-Offset": str(offset), "Content-Type": _UPLOAD_TYPE},
                )
            except ConnectionFailedError:
                # The server may have some of it, or all.
                after = self._offset(place)
                if after == offset:
                    raise
                return after
            except SubmissionError as error:
                if error.code != "offset":
                    raise
                return self._offset(place)
            return offset + len(piece)

        return retrying(self._settings, sleep=self._sleep)(attempt)

    def _json(self, method: str, place: str, **content: object) -> dict[str, Any]:
        response = self._answer(method, place, **content)
        try:
            found: dict[str, Any] = response.json()
        except ValueError as error:
            message = f"{self.url}{place} answers with something that is not JSON."
            raise BadResponseError(message) from error
        return found

    def _answer(self, method: str, place: str, **content: object) -> requests.Response:
        return retrying(self._settings, sleep=self._sleep)(self._once, method, place, **content)

    def _once(
        self,
        method: str,
        place: str,
        **content: Any,  # noqa: ANN401 - of all types
    ) -> requests.Response:
        url = f"{self.url}{place}"
        try:
            response = self._session.request(
                method,
                url,
                timeout=(self._settings.connect_timeout, _PATIENCE_SECONDS),
                allow_redirects=False,
                **content,
            )
        except requests.RequestException as error:
            raise failure_of_exception(url, error) from error
        if response.ok and not response.is_redirect:
            return response
        raise self._failure(url, response)

    def _failure(self, url: str, response: requests.Response) -> Exception:
        status, asked = response.status_code, response.headers.get("Retry-After")
        code, said = _problem_of(response)
        if status == requests.codes["locked"] or (status == 429 and asked):
            return ConnectionFailedError(said or f"{url} is busy.", retry_after=seconds_of(asked))
        if status == requests.codes["unauthorized"]:
            message = f"{url} does not accept the token. Ask its operators for a new one."
            return AccessRefusedError(message)
        if code is not None and status < 500:
            return SubmissionError(said, code=code, status=status)
        return failure_of_status(url, status, body=b"", retry_after=asked)


def _problem_of(response: requests.Response) -> tuple[str | None, str]:
    """Read why a request was refused; answers to HEAD and those of proxies have no such body."""
    try:
        content = response.json()
        return str(content["code"]), str(content["message"])
    except (ValueError, KeyError, TypeError):
        known = {404: "not_found"} if response.request.method == "HEAD" else {}
        return known.get(response.status_code), "There is no such submission."


def _checked_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        message = f"{url!r} is not the address of a server, such as https://board.example.org."
        raise InputError(message)
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        message = (
            f"{url} would send the token in the clear. Use https; only a server on this machine "
            "may have http."
        )
        raise InputError(message)
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain_name(name: str) -> str:
    """Keep of the name of a file what the server takes.

    Example:
        >>> _plain_name("my predictions (1).h5"), _plain_name("-é.h5")
        ('my_predictions__1_.h5', 'f-_.h5')
    """
    plain = "".join(
        one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in name
    )
    return (plain if plain[:1].isalnum() else f"f{plain}")[:100]
