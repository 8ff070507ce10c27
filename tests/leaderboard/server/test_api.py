"""The API over HTTP: a real server on loopback."""

import json
import re
import socket
import time
import tomllib
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import sqlalchemy as sa

import nabladft
from benchmarks.leaderboard_place import TASK, entry_text, local_score, write_predictions
from nabladft.leaderboard.server.database import submissions as table

HEAD = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}


def announce(server, *, size=5, sha256="a" * 64, entry=None, task=TASK, **more):
    body = {
        "task": task,
        "entry": entry or entry_text(),
        "files": [{"name": "p.h5", "size": size, "sha256": sha256}],
    }
    return requests.post(
        f"{server.url}/v1/submissions", json=body | more, headers=server.headers(), timeout=20
    )


def submit(server, path, number=0):
    client = server.client()
    made = client.create(task=TASK, entry=entry_text(number), paths=[path])
    client.upload(made, [path])
    return client.submit(made["id"])


def code_of(response):
    problem = response.json()
    assert set(problem) == {"code", "message"}
    return response.status_code, problem["code"]


def test_the_whole_way_gives_the_score_that_is_computed_here(new_server, database_url):
    server = new_server(database=database_url)
    path = write_predictions(server.board.place, server.board.place.folder / "p.h5")
    states = []

    made = submit(server, path)
    assert made["state"] == "queued"
    assert made["queue_position"] == 1
    server.board.worker().work_once()
    found = server.client().wait(made["id"], report=lambda one: states.append(one["state"]))

    assert found["scores"] == [local_score(server.board.place, path)]
    assert states == ["scored"]
    (row,) = requests.get(f"{server.url}/v1/leaderboard", timeout=20).json()["rows"]
    assert row["scores"] == found["scores"]
    assert row["account"] == "ada"
    # Again: the same submission, nothing is computed anew.
    assert submit(server, path)["id"] == made["id"]
    assert not server.board.worker().work_once()


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer x", "Basic eDp5", f"Bearer nabladft_{'0' * 16}_{'a' * 43}"],
)
@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("POST", "/v1/submissions"),
        ("GET", "/v1/submissions"),
        ("GET", f"/v1/submissions/{'0' * 32}"),
        ("DELETE", f"/v1/submissions/{'0' * 32}"),
        ("POST", f"/v1/submissions/{'0' * 32}/submit"),
        ("PATCH", f"/v1/submissions/{'0' * 32}/files/0"),
    ],
)
def test_without_a_good_token_nothing_is_answered(authorization, method, place, server):
    headers = {"Authorization": authorization} if authorization else {}
    body = {"task": TASK, "entry": "", "files": [{"name": "p", "size": 1, "sha256": "a" * 64}]}

    answer = requests.request(
        method,
        server.url + place,
        headers=headers | (HEAD if method == "PATCH" else {}),
        json=body if place == "/v1/submissions" and method == "POST" else None,
        timeout=20,
    )

    assert code_of(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sha256": "A" * 64}, (422, "invalid")),
        ({"size": 0}, (422, "invalid")),
        ({"size": 5.5}, (422, "invalid")),
        ({"size": "5"}, (422, "invalid")),
        ({"size": 10**12}, (413, "file_too_large")),
        ({"surprise": 1}, (422, "invalid")),
        ({"task": "nowhere"}, (422, "unknown_task")),
        ({"entry": "x" * 2_000_000}, (413, "body_too_large")),
        ({"entry": "\ud800"}, (422, "entry")),
        ({"entry": {"name": "\ud800"}}, (422, "entry")),
        ({"entry": {"name": None}}, (422, "entry")),
        ({"entry": {"name": [1, {}]}}, (422, "entry")),
        ({"files": []}, (422, "invalid")),
        ({"files": [{"name": "../p", "size": 1, "sha256": "a" * 64}]}, (422, "invalid")),
    ],
)
def test_bad_announcements_are_refused_with_a_code(change, expected, server):
    assert code_of(announce(server, **change)) == expected


@pytest.mark.parametrize(
    "body", [b"{", b"[" * 100_000, b'{"task": ' + b"9" * 5000 + b"}", b"\xff\xfe", b""]
)
def test_bodies_that_are_not_json_are_refused(body, server):
    answer = requests.post(
        f"{server.url}/v1/submissions",
        data=body,
        headers=server.headers() | {"Content-Type": "application/json"},
        timeout=20,
    )

    assert answer.status_code in {400, 422}
    assert set(answer.json()) == {"code", "message"}


def test_an_entry_may_be_json(server):
    first = announce(server)
    again = announce(server, entry=tomllib.loads(entry_text()))

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]


def test_an_upload_that_stops_goes_on_where_it_stopped(server):
    path = write_predictions(server.board.place, server.board.place.folder / "p.h5")
    content = path.read_bytes()
    client = server.client()
    made = client.create(task=TASK, entry=entry_text(), paths=[path])
    place = f"{server.url}/v1/submissions/{made['id']}/files/0"

    def send(piece, offset):
        return requests.patch(
            place,
            data=piece,
            headers=server.headers() | HEAD | {"Upload-Offset": str(offset)},
            timeout=20,
        )

    assert send(content[:1000], 0).headers["Upload-Offset"] == "1000"
    assert code_of(send(content[:1000], 0)) == (409, "offset")
    assert code_of(send(content[1000:] + b"x", 1000))[0] == 413
    head = requests.head(place, headers=server.headers(), timeout=20)
    assert int(head.headers["Upload-Length"]) == len(content)
    steps = []
    client.upload(made, [path], progress=steps.append)
    assert sum(steps) == len(content)
    assert client.submit(made["id"])["state"] == "queued"
    assert code_of(send(b"x", len(content))) == (409, "state")


def test_a_connection_that_breaks_in_the_middle_leaves_what_came(server):
    made = announce(server, size=100_000).json()
    parts = urlsplit(server.url)
    request = (
        f"PATCH /v1/submissions/{made['id']}/files/0 HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {server.headers()['Authorization']}\r\nContent-Length: 100000\r\n"
        "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(request.encode() + b"x" * 40_000)
        time.sleep(0.3)
    for _ in range(100):
        offset = server.client().show(made["id"])["files"][0]["offset"]
        if offset == 40_000:
            break
        time.sleep(0.1)

    assert offset == 40_000


def test_a_wrong_hash_is_refused_and_the_file_can_be_sent_again(server):
    made = announce(server, size=5, sha256="b" * 64).json()
    place = f"{server.url}/v1/submissions/{made['id']}/files/0"

    answer = requests.patch(place, data=b"12345", headers=server.headers() | HEAD, timeout=20)

    assert code_of(answer) == (422, "checksum")
    assert server.client().show(made["id"])["files"][0]["offset"] == 0


def test_an_upload_needs_its_own_type_and_a_file_that_was_announced(server):
    made = announce(server).json()
    place = f"{server.url}/v1/submissions/{made['id']}/files"

    plain = requests.patch(
        f"{place}/0", data=b"12345", headers=server.headers() | {"Upload-Offset": "0"}, timeout=20
    )
    other = requests.patch(f"{place}/1", data=b"12345", headers=server.headers() | HEAD, timeout=20)

    assert code_of(plain) == (415, "unsupported_type")
    assert code_of(other) == (404, "no_file")


@pytest.mark.parametrize(
    ("limits", "who"),
    [({"requests_per_minute": 5}, "token"), ({"address_requests_per_minute": 5}, "address")],
)
def test_too_many_requests_of_a_token_or_an_address_have_to_wait(limits, who, new_server):
    server = new_server(limits=limits)
    headers = server.headers() if who == "token" else {}
    place = "/v1/submissions" if who == "token" else "/healthz"

    answers = [requests.get(server.url + place, headers=headers, timeout=20) for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert code_of(answers[-1]) == (429, "rate_limit")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61


def test_a_failure_has_a_code_and_a_message_of_the_reviewed_list(server):
    path = server.board.place.folder / "p.h5"
    path.write_bytes(b"no HDF5 at all")
    made = submit(server, path)
    server.board.score_here()

    found = server.client().show(made["id"])

    assert found["state"] == "failed"
    assert found["failure"]["code"] == "not_hdf5"
    assert str(server.board.place.folder) not in json.dumps(found)


def test_texts_of_an_entry_are_escaped_on_the_status_page(server):
    entry = entry_text().replace('"My model"', '"<script>alert(1)</script>"')
    entry = entry.replace('"Ada Lovelace"', '"\\"><img src=x onerror=alert(1)>"')
    server.board.queue(1, entry=entry)
    server.board.score_here()

    answer = requests.get(f"{server.url}/status", timeout=20)

    assert "&lt;script&gt;alert(1)" in answer.text
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_every_answer_forbids_sniffing_framing_and_caching(server):
    for place in ("/status", "/healthz", "/v1/tasks", "/nowhere", "/openapi.json"):
        headers = requests.get(server.url + place, timeout=20).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"


def test_a_database_that_is_away_is_told_as_such(server, monkeypatch):
    def fail(*_, **__):
        raise sa.exc.OperationalError("SELECT secret", {}, Exception("at host db.internal"))

    monkeypatch.setattr(server.board.database.engine, "connect", fail)
    answer = requests.get(f"{server.url}/healthz", timeout=20)

    assert code_of(answer) == (503, "busy")
    assert "secret" not in answer.text
    assert "db.internal" not in answer.text


def numbers_in(text):
    """Every number with a decimal point in a text, as written."""
    return re.findall(r"-?\d+\.\d+(?:e[+-]?\d+)?", text)


def test_a_probe_sees_nothing_but_rounded_aggregates(server):
    """Shift the energy of one conformation; the label behind it stays hidden.

    From means with all digits the sign of the error of that conformation, and by bisection its
    label, could be read. From rounded ones a small shift cannot be told; a large one can, and tells
    one bit: to which side of the prediction the label is.
    """
    place = server.board.place
    labels = nabladft.open("nano")
    keys = place.split.part("test_structures")
    truth = np.array([r.energy for r in labels.read(labels.rows_of(keys), fields=["energy"])])
    rng = np.random.default_rng(0)
    guess = truth + 0.5 * rng.normal(size=len(truth))
    # The error of the others is large, so the last digit that is shown stands for more than this.
    shifts = (0.0, 1e-3, -1e-3, 4.0)
    answers = []
    for number, shift in enumerate(shifts):
        probe = guess.copy()
        probe[0] += shift
        path = write_predictions(
            place, place.folder / f"p{number}.h5", energies=probe, details={"seed": 1}
        )
        made = submit(server, path, number)
        server.board.score_here()
        answers.append(server.client().show(made["id"]))
    shown = [answer["scores"][0]["metrics"]["energy_mae"] for answer in answers]
    exact = [
        np.abs(guess - truth + shift * (np.arange(len(truth)) == 0)).mean() for shift in shifts
    ]

    # What is not visible: a shift that moves the mean by 0.03 mEh of 400.
    assert len(set(exact)) == 4
    assert shown[0] == shown[1] == shown[2]
    # What is visible: three digits of the mean, and a shift that moves it by a quarter.
    assert [one["value"] for one in shown] == [float(f"{1e3 * one:.3g}") for one in exact]
    assert shown[3]["value"] > 1.1 * shown[0]["value"]
    # And nothing with more digits anywhere: own submission, list, board, page.
    made = answers[0]["id"]
    texts = [
        requests.get(server.url + where, headers=server.headers(), timeout=20).text
        for where in (f"/v1/submissions/{made}", "/v1/submissions", "/v1/leaderboard", "/status")
    ]
    for text in texts:
        for number in numbers_in(text):
            digits = number.lstrip("-0.").replace(".", "").rstrip("0")
            assert len(digits) <= 3, number


def test_no_answer_about_a_submission_tells_of_labels_or_of_single_conformations(server):
    path = write_predictions(server.board.place, server.board.place.folder / "p.h5")
    made = submit(server, path)
    server.board.score_here()
    found = server.client().show(made["id"])

    assert set(found) == {
        "id", "task", "name", "state", "created_at", "submitted_at", "finished_at",
        "queue_position", "delayed", "files", "failure", "scores",
    }  # fmt: skip
    (score,) = found["scores"]
    assert set(score) == {"part", "seed", "n_conformations", "n_molecules", "metrics"}
    assert set(score["metrics"]) == {"energy_mae", "forces_mae"}
    for metric in score["metrics"].values():
        assert set(metric) == {"value", "ci_low", "ci_high", "unit"}
    with server.board.database.reading() as connection:
        row = connection.execute(table.select()).mappings().one()
    assert "by_element" not in json.dumps({**row}, default=str)
