"""A file at a web server, through requests, trusting the server in nothing.

What a server says about range, length and identity is compared with what was asked, and what
arrives with what it said.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import TYPE_CHECKING, Final

import requests
from requests.adapters import HTTPAdapter

from nabladft.errors import BadResponseError, ConnectionFailedError, RemoteChangedError
from nabladft.transport.addresses import shown
from nabladft.transport.failures import failure_of_exception, failure_of_status
from nabladft.transport.remote_file import RemoteFile
from nabladft.transport.retries import fetch_range, retrying

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nabladft.transport.settings import TransportSettings

_CHUNK: Final = 1 << 17

#: Bytes per second below which a connection counts as hanging, over one read time-out.
_SLOWEST: Final = 16

_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)", re.ASCII)


class HttpFile(RemoteFile):
    """A file at an HTTP(S) server.

    Raises:
        TransportError: It cannot be had; each cause has its own message.
    """

    def __init__(self, address: str, *, settings: TransportSettings) -> None:
        """Ask for the first byte: that it is given alone shows that ranges work."""
        self.url = shown(address)
        self._address = address
        self._settings = settings
        self._session = requests.Session()
        # Retries are decided above, where it is known what arrived.
        adapter = HTTPAdapter(pool_maxsize=settings.connections, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._lock = threading.Lock()
        try:
            retrying(settings)(self._probe)
        except BaseException:
            self._session.close()
            raise

    def _probe(self) -> None:
        with self._answer({"Range": "bytes=0-0"}, allowed={200, 206, 416}) as response:
            headers = response.headers
            self.etag = _unquoted(headers.get("ETag"))
            self._weak = headers.get("ETag", "").startswith("W/")
            self._date = headers.get("Last-Modified")
            said = headers.get("Content-Range", "")
            self.accepts_ranges = response.status_code != requests.codes["ok"]
            if response.status_code == requests.codes["partial_content"]:
                found = _RANGE.fullmatch(said.strip())
                if found is None or found[1] != "0" or found[2] != "0":
                    raise BadResponseError(
                        f"{self.url}: asked for bytes 0-0, the server answers with "
                        f"Content-Range {said!r}. It cannot be trusted with ranges."
                    )
                self.size = None if found[3] == "*" else int(found[3])
            elif response.status_code == requests.codes["requested_range_not_satisfiable"]:
                # The answer for an empty file.
                if said.replace(" ", "") != "bytes*/0":
                    raise failure_of_status(self.url, 416, body=b"", retry_after=None)
                self.size = 0
            else:
                length = headers.get("Content-Length", "")
                self.size = int(length) if length.isdigit() else None
        self.identity = self.etag or f"date {self._date or 'unknown'} size {self.size}"

    def read(self, start: int, stop: int) -> bytes:
        """Return exactly bytes ``start`` to ``stop``, going on where a connection breaks."""
        content = bytearray()
        if not self.accepts_ranges and (start, stop) != (0, self.size):
            raise BadResponseError(
                f"{self.url}: the server gives whole files only, so bytes {start} to {stop} cannot "
                "be read alone. Download the file, or name a mirror that accepts ranges."
            )
        if not self.accepts_ranges:
            return retrying(self._settings)(lambda: b"".join(self.stream()))
        fetch_range(
            self.stream,
            start,
            stop,
            write=lambda _, chunk: content.extend(chunk),
            settings=self._settings,
        )
        return bytes(content)

    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop`` (None: the end) over one connection."""
        end = self.size if stop is None else stop
        if end is not None and start >= end:
            return
        whole = start == 0 and end == self.size
        headers = {} if whole else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        if not whole and (self.etag or self._date) and not self._weak:
            # A changed file then comes whole (200), which the checks below see.
            headers["If-Range"] = f'"{self.etag}"' if self.etag else str(self._date)
        with self._answer(headers, allowed={200} if whole else {200, 206}) as response:
            self._check_same(response.headers)
            if not whole:
                end = self._check_range(response, start=start, end=end)
            yield from self._body(response, start=start, end=end)

    def _check_same(self, headers: Mapping[str, str]) -> None:
        etag = _unquoted(headers.get("ETag"))
        date = headers.get("Last-Modified")
        same = etag == self.etag if self.etag or etag else date == self._date
        if not same:
            raise RemoteChangedError(
                f"{self.url} was changed at the server: it was {self.etag or self._date}, now it "
                f"is {etag or date}. Begin again."
            )

    def _check_range(self, response: requests.Response, *, start: int, end: int | None) -> int:
        """Return where the answer ends, after checking that it is the range asked for."""
        if response.status_code == requests.codes["ok"]:
            length = response.headers.get("Content-Length")
            if self.size is not None and length is not None and length != str(self.size):
                raise RemoteChangedError(
                    f"{self.url} was changed at the server: it had {self.size} bytes, now it has "
                    f"{length}. Begin again."
                )
            raise BadResponseError(
                f"{self.url}: asked for bytes {start} to {end}, the server sends the whole file, "
                "although it gave a range before. Nothing of it is used; try a mirror (--mirror)."
            )
        said = response.headers.get("Content-Range", "")
        found = _RANGE.fullmatch(said.strip())
        first, last = (int(found[1]), int(found[2])) if found else (-1, -1)
        if first != start or last < first or (end is not None and last >= end):
            raise BadResponseError(
                f"{self.url}: asked for bytes {start} to {end}, the server answers with "
                f"Content-Range {said!r}. Nothing of it is used; try a mirror (--mirror)."
            )
        if found and found[3] != "*" and self.size is not None and int(found[3]) != self.size:
            raise RemoteChangedError(
                f"{self.url} was changed at the server: it had {self.size} bytes, now it has "
                f"{found[3]}. Begin again."
            )
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and int(length) != last + 1 - first:
            raise BadResponseError(
                f"{self.url}: the server contradicts itself: Content-Range {said!r} with "
                f"Content-Length {length}. Nothing of it is used; try a mirror (--mirror)."
            )
        return last + 1 if end is None else end

    def _body(self, response: requests.Response, *, start: int, end: int | None) -> Iterator[bytes]:
        raw = response.raw
        # We count ourselves; urllib3 would raise and lose what it holds.
        raw.enforce_content_length = False
        take = getattr(raw, "read1", raw.read)
        position, watch_from, watch_since = start, start, time.monotonic()
        while end is None or position < end:
            try:
                chunk = take(_CHUNK)
            except Exception as error:  # noqa: BLE001 - urllib3, ssl and socket errors alike
                raise failure_of_exception(self.url, error) from None
            if not chunk:
                break
            if end is not None and position + len(chunk) > end:
                raise BadResponseError(
                    f"{self.url}: the server sends more than the {end - start} bytes asked for."
                )
            yield chunk
            position += len(chunk)
            waited = time.monotonic() - watch_since
            if waited > self._settings.read_timeout:
                if position - watch_from < _SLOWEST * waited:
                    raise ConnectionFailedError(
                        f"{self.url}: the server hangs: {position - watch_from} bytes in "
                        f"{waited:.0f} seconds."
                    )
                watch_from, watch_since = position, time.monotonic()
        if end is not None and position < end:
            raise ConnectionFailedError(
                f"{self.url}: the server broke off at byte {position}, {end} expected."
            )

    @contextlib.contextmanager
    def _answer(self, headers: dict[str, str], *, allowed: set[int]) -> Iterator[requests.Response]:
        # A compressed answer would be of another length than the file.
        headers = {"Accept-Encoding": "identity"} | headers
        settings = self._settings
        try:
            response = self._session.get(
                self._address,
                headers=headers,
                stream=True,
                timeout=(settings.connect_timeout, settings.read_timeout),
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise failure_of_exception(self.url, error) from None
        with contextlib.closing(response):
            if response.status_code not in allowed:
                body = b""
                with contextlib.suppress(Exception):
                    body = response.raw.read(2048)
                raise failure_of_status(
                    self.url,
                    response.status_code,
                    body=body,
                    retry_after=response.headers.get("Retry-After"),
                )
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise BadResponseError(
                    f"{self.url}: the server sends the file encoded as {encoding!r} although it "
                    "was asked not to. Try a mirror (--mirror)."
                )
            yield response

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()


def _unquoted(etag: str | None) -> str | None:
    return etag.removeprefix("W/").strip('"') if etag else None
