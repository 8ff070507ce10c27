"""A web server on loopback that behaves as badly as a test asks, and counts what it sends.

Example:
    with HostileServer() as server:
        server.put("/a.db", content=b"...", bytes_per_second=1e6, mean_bytes_to_drop=5000, seed=3)
        fetch_file([server.url("/a.db")], target)
        assert server.sent("/a.db") <= ...
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 16


def s3_etag(content: bytes, part_bytes: int | None = None) -> str:
    """The ETag that S3 gives: MD5, or MD5 of the MD5s of the parts with their number."""
    if part_bytes is None:
        return hashlib.md5(content).hexdigest()
    pieces = [content[at : at + part_bytes] for at in range(0, len(content), part_bytes)]
    joined = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    return f"{hashlib.md5(joined).hexdigest()}-{len(pieces)}"


@dataclass
class Resource:
    """One path of the server and how it is served.

    Attributes:
        content: The bytes, or a file that has them (which may be sparse and huge).
        etag: Sent as it is, in quotes; None sends none.
        last_modified: Seconds since 1970; None sends none.
        ranges: Whether ranges are honoured.
        ignores_range_after: Number of requests after which a range gets the whole file.
        bytes_per_second: Speed of one connection.
        mean_bytes_to_drop: Each connection is cut after a random number of bytes, this on average.
        drops_left: How many connections are cut at most.
        seed: Of the cuts.
        length_error: Added to the Content-Length that is sent.
        range_error: Added to the start in Content-Range.
        total_error: Added to the total in Content-Range.
        statuses: Sent instead, one for each of the first requests.
        status: Sent instead to every request.
        body: Body of such an answer.
        retry_after: Header of such an answer.
        hangs_after: Bytes after which a connection sends nothing more, for a while.
        redirect_to: Sent as Location with status 302.
        becomes: Another content, which stands here after ``becomes_after`` requests.
        becomes_after: See there.
        chunked: Whether the length is not said (chunked transfer encoding).
    """

    content: bytes | Path = b""
    etag: str | None = None
    last_modified: float | None = 1.7e9
    ranges: bool = True
    ignores_range_after: int | None = None
    bytes_per_second: float | None = None
    mean_bytes_to_drop: float | None = None
    drops_left: int = 10**9
    seed: int = 0
    length_error: int = 0
    range_error: int = 0
    total_error: int = 0
    statuses: list[int] = field(default_factory=list)
    status: int | None = None
    body: bytes = b""
    retry_after: str | None = None
    hangs_after: int | None = None
    redirect_to: str | None = None
    becomes: Resource | None = None
    becomes_after: int = 0
    chunked: bool = False

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.size = (
            len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size
        )

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from start to stop, in pieces."""
        if isinstance(self.content, bytes):
            for at in range(start, stop, _CHUNK):
                yield self.content[at : min(at + _CHUNK, stop)]
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while start < stop:
                piece = file.read(min(_CHUNK, stop - start))
                start += len(piece)
                yield piece


class HostileServer(ThreadingHTTPServer):
    """Serves resources; start and stop it with ``with``."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.resources: dict[str, Resource] = {}
        self.log: list[tuple[str, int, int]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.idle = threading.Condition()
        self.n_sending = self.most_sending = 0

    def put(self, path: str, **behaviour) -> Resource:
        """Serve something at a path; the options are the attributes of :class:`Resource`."""
        self.resources[path] = Resource(**behaviour)
        return self.resources[path]

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.server_port}{path}"

    def sent(self, path: str) -> int:
        """How many bytes have been sent, those sent twice counted twice, probes left out.

        The first byte alone is asked for to see whether ranges work. A path with a query counts
        what was asked for with that query; without, everything.
        """
        return sum(n for start, n in self.ranges_sent(path) if (start, n) != (0, 1))

    def ranges_sent(self, path: str) -> list[tuple[int, int]]:
        """What was sent: start and number of bytes of each answer."""
        with self.lock:
            return [
                (start, n) for where, start, n in self.log if path in {where, _without_query(where)}
            ]

    def n_requests(self, path: str) -> int:
        """How often a path was asked for."""
        with self.lock:
            return sum(where == path for where, _ in self.requests)

    @contextlib.contextmanager
    def sending(self):
        """Count the answers that are being sent."""
        with self.idle:
            self.n_sending += 1
            self.most_sending = max(self.most_sending, self.n_sending)
        try:
            yield
        finally:
            with self.idle:
                self.n_sending -= 1
                self.idle.notify_all()

    def settle(self):
        """Wait until nothing is being sent; after a kill that takes until the sockets notice."""
        time.sleep(0.05)  # for what is still in the queue of the socket
        with self.idle:
            self.idle.wait_for(lambda: not self.n_sending, timeout=10)

    def handle_error(self, request, client_address):
        """A client that goes away is what these tests are about."""

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        server: HostileServer = self.server
        path = _without_query(self.path)
        with server.lock:
            n_before = sum(where == path for where, _ in server.requests)
            server.requests.append((path, dict(self.headers)))
            resource = server.resources.get(path)
            while resource is not None and resource.becomes and n_before >= resource.becomes_after:
                resource = resource.becomes
            status = None
            if resource is None:
                status = 404
            elif resource.statuses:
                status = resource.statuses.pop(0)
            elif resource.status:
                status = resource.status
        if status is not None:
            self._refuse(status, resource)
            return
        if resource.redirect_to:
            self.send_response(302)
            self.send_header("Location", resource.redirect_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(resource, n_before, body=body)

    def _refuse(self, status, resource):
        body = resource.body if resource else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if resource and resource.retry_after:
            self.send_header("Retry-After", resource.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def _asked(self, resource, n_before):
        """Start and stop of the range asked for, or None for the whole."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        late = resource.ignores_range_after
        if found is None or not resource.ranges or (late is not None and n_before >= late):
            return None
        only_if = self.headers.get("If-Range")
        date = formatdate(resource.last_modified or 0, usegmt=True)
        if only_if and only_if not in {f'"{resource.etag}"', date}:
            return None
        stop = int(found[2]) + 1 if found[2] else resource.size
        return int(found[1]), min(stop, resource.size)

    def _send(self, resource, n_before, *, body):
        asked = self._asked(resource, n_before)
        if asked and asked[0] >= resource.size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{resource.size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, stop = asked or (0, resource.size)
        self.send_response(206 if asked else 200)
        if asked:
            shift = resource.range_error if stop - start > 1 else 0
            total = resource.size + (resource.total_error if stop - start > 1 else 0)
            self.send_header("Content-Range", f"bytes {start + shift}-{stop - 1 + shift}/{total}")
        wrong = resource.length_error if stop - start > 1 else 0
        if resource.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(stop - start + wrong))
        if resource.etag:
            self.send_header("ETag", f'"{resource.etag}"')
        if resource.last_modified is not None:
            self.send_header("Last-Modified", formatdate(resource.last_modified, usegmt=True))
        if resource.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            with self.server.sending():
                self._send_body(resource, start, stop)
        if wrong:
            self._cut()

    def _send_body(self, resource, start, stop):
        end = stop
        if resource.hangs_after is not None:
            end = min(end, start + resource.hangs_after)
        if resource.mean_bytes_to_drop and stop - start > 1:
            end = min(end, start + self._bytes_to_drop(resource))
        n_sent, began = 0, time.monotonic()
        with self.server.lock:
            entry = len(self.server.log)
            self.server.log.append((self.path, start, 0))
        for piece in resource.pieces(start, end):
            for small in _cut_small(piece, resource):
                n_sent += len(small)
                # Counted before it is sent: the client may be killed in between.
                with self.server.lock:
                    self.server.log[entry] = (self.path, start, n_sent)
                chunk = b"%x\r\n%s\r\n" % (len(small), small) if resource.chunked else small
                try:
                    self.wfile.write(chunk)
                except OSError:
                    self.close_connection = True
                    return
                if resource.bytes_per_second:
                    ahead = n_sent / resource.bytes_per_second - (time.monotonic() - began)
                    self.server.stopping.wait(max(0.0, ahead))
        if end < stop:
            if resource.hangs_after is not None:
                self.server.stopping.wait(30)
            self._cut()
        elif resource.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _bytes_to_drop(self, resource):
        with self.server.lock:
            n_bytes = int(resource.random.expovariate(1 / resource.mean_bytes_to_drop))
            resource.drops_left -= 1
            return n_bytes if resource.drops_left >= 0 else resource.size

    def _cut(self):
        """Close the connection although more was promised."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def _without_query(path):
    return path.partition("?")[0]


def _cut_small(piece, resource):
    if not resource.bytes_per_second and resource.hangs_after is None:
        yield piece
        return
    # A fiftieth of a second at a time, so that the speed is even.
    step = max(512, int((resource.bytes_per_second or 1e6) / 50))
    for at in range(0, len(piece), step):
        yield piece[at : at + step]
