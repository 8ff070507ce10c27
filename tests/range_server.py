"""A small, honest file server on loopback that counts what it gives."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RangeServer:
    """Serves the files of a folder, with ranges, and counts requests and bytes of bodies.

    Attributes:
        folder: What is served.
        log: Pairs (path, first byte, bytes) of every answer.
        ranges: Set to False to answer with whole files only.
        etags: Set to False to leave out ETags (and dates).
    """

    def __init__(self, folder):
        self.folder = folder
        self.log = []
        self.ranges = True
        self.etags = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # a reader that has enough closes its connection

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, name=""):
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    @property
    def n_bytes(self):
        return sum(n for _, _, n in self.log)

    def forget(self):
        self.log.clear()

    def answer(self, request):
        path = self.folder / request.path.partition("?")[0].strip("/")
        if not path.is_file():
            self.log.append((request.path, 0, 0))
            request.send_response(404)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        status = path.stat()
        start, stop, code = 0, status.st_size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        same = request.headers.get("If-Range", etag) == etag
        if asked and self.ranges and same:
            start, stop = int(asked[1]), min(int(asked[2] or stop) + 1, stop)
            code = 206
        self.log.append((request.path, start, stop - start))
        request.send_response(code)
        request.send_header("Content-Length", str(stop - start))
        if self.etags:
            request.send_header("ETag", etag)
        if code == 206:
            request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{status.st_size}")
        request.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            request.wfile.write(file.read(stop - start))
