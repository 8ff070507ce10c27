"""The client against a server that comes and goes; see also server/test_api.py."""

import http.server
import json
import threading

import pytest

from nabladft.errors import (
    AccessRefusedError,
    BadResponseError,
    ConnectionFailedError,
    InputError,
    SubmissionError,
)
from nabladft.leaderboard.client import ScoringServer
from nabladft.transport.settings import TransportSettings

QUICK = TransportSettings(attempts=4, first_wait=0.001, longest_wait=0.01)


class Script:
    """A server on loopback that answers each request with the next of a list."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                script.requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, content = script.answers.pop(0)
                if status is None:
                    # The connection breaks.
                    self.close_connection = True
                    return
                data = json.dumps(content).encode() if content is not None else b""
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_HEAD = answer  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def script():
    made = []

    def new(*answers):
        made.append(Script(*answers))
        return made[-1]

    yield new
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def problem(status, code, **headers):
    return status, headers, {"code": code, "message": f"It is {code}."}


BROKEN = (None, {}, None)


def client(script, **options):
    return ScoringServer(script.url, "secret", settings=QUICK, sleep=lambda _: None, **options)


@pytest.mark.parametrize(
    "url", ["http://board.example.org", "http://10.0.0.1:8000", "http://localhost.evil.example"]
)
def test_a_token_is_not_sent_in_the_clear(url):
    with pytest.raises(InputError, match="would send the token in the clear"):
        ScoringServer(url, "secret")


@pytest.mark.parametrize("url", ["board.example.org", "ftp://x", "https://", "https://x/?a=b"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match="is not the address of a server"):
        ScoringServer(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"])
def test_a_server_on_this_machine_needs_no_tls(url):
    assert ScoringServer(f"{url}/").url == url


@pytest.mark.parametrize(
    "trouble",
    [
        BROKEN,
        problem(503, "busy"),
        problem(429, "rate_limit", **{"Retry-After": "1"}),
        (502, {}, None),
        problem(423, "locked"),
    ],
)
def test_what_passes_is_tried_again(trouble, script):
    served = script(trouble, trouble, (200, {}, {"tasks": []}))

    assert client(served).tasks() == {"tasks": []}
    assert len(served.requests) == 3
    assert all(r[2]["Authorization"] == "Bearer secret" for r in served.requests)


@pytest.mark.parametrize("code", ["daily_limit", "too_many_open"])
def test_a_limit_of_the_day_is_not_tried_again(code, script):
    served = script(problem(429, code))

    with pytest.raises(SubmissionError, match=f"It is {code}") as caught:
        client(served).submit("0")

    assert caught.value.code == code
    assert len(served.requests) == 1


def test_a_server_that_stays_away_is_given_up(script):
    served = script(*[BROKEN] * 4)

    with pytest.raises(ConnectionFailedError):
        client(served).tasks()


def test_a_token_that_is_not_accepted_is_told(script):
    with pytest.raises(AccessRefusedError, match="does not accept the token"):
        client(script(problem(401, "unauthorized"))).tasks()


def test_a_redirect_does_not_get_the_token(script):
    elsewhere = script((200, {}, {}))
    served = script((307, {"Location": elsewhere.url}, None))

    with pytest.raises(BadResponseError):
        client(served).tasks()

    assert elsewhere.requests == []


def test_an_answer_that_is_no_json_is_told(script):
    with pytest.raises(BadResponseError, match="not JSON"):
        client(script((200, {}, None))).tasks()


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "p.h5"
    file.write_bytes(bytes(range(100)))
    return file


def offset(n):
    return (200, {"Upload-Offset": str(n)}, None)


def test_an_upload_sends_each_byte_once_though_connections_break(script, path):
    served = script(
        offset(0),
        (204, {}, None),  # bytes 0 to 39
        BROKEN,  # 40 to 79: lost on the way, but 55 had arrived
        offset(55),
        BROKEN,  # 55 to 94: nothing had arrived
        offset(55),
        (204, {}, None),
        (204, {}, None),  # 95 to 99
    )
    steps = []

    client(served, piece_bytes=40).upload({"id": "x"}, [path], progress=steps.append)

    sent = [
        (int(headers["Upload-Offset"]), body)
        for method, _, headers, body in served.requests
        if method == "PATCH"
    ]
    content = path.read_bytes()
    assert [start for start, _ in sent] == [0, 40, 55, 55, 95]
    assert all(body == content[start : start + 40] for start, body in sent)
    assert sum(steps) == 100


def test_an_upload_that_is_there_is_not_sent(script, path):
    served = script(offset(100))
    steps = []

    client(served).upload({"id": "x"}, [path], progress=steps.append)

    assert [one[0] for one in served.requests] == ["HEAD"]
    assert steps == [100]


def test_an_upload_that_never_gets_on_is_given_up(script, path):
    served = script(offset(0), *[BROKEN, offset(0)] * 4)

    with pytest.raises(ConnectionFailedError):
        client(served).upload({"id": "x"}, [path])


def test_a_wrong_hash_is_told(script, path):
    with pytest.raises(SubmissionError, match="It is checksum"):
        client(script(offset(0), problem(422, "checksum"))).upload({"id": "x"}, [path])


def test_a_submission_that_is_not_there_is_told_also_where_answers_have_no_body(script, path):
    with pytest.raises(SubmissionError, match="no such submission"):
        client(script(problem(404, "not_found"))).upload({"id": "x"}, [path])


def test_waiting_ends_with_the_score_and_reports_on_the_way(script):
    states = ["queued", "scoring", "scored"]
    served = script(*[(200, {}, {"state": state}) for state in states])
    seen = []

    found = client(served).wait("x", report=lambda one: seen.append(one["state"]))

    assert found["state"] == "scored"
    assert seen == states


def test_waiting_too_long_is_told(script):
    served = script(*[(200, {}, {"state": "queued"})] * 3)

    with pytest.raises(SubmissionError, match="still queued"):
        client(served).wait("x", timeout=-1)
