"""Files at a server that behaves badly: what is read is right, or the message says what is not."""

import shutil
import socket
import ssl
import subprocess

import pytest

from nabladft.errors import (
    AccessRefusedError,
    BadResponseError,
    ConnectionFailedError,
    InputError,
    NablaDFTError,
    RemoteChangedError,
    RemoteMissingError,
    TransportError,
)
from nabladft.transport.failures import failure_of_status
from nabladft.transport.files import TransportSettings, open_remote
from nabladft.transport.retries import retrying
from tests.hostile_server import HostileServer, Resource

CONTENT = bytes(range(256)) * 2000
QUICK = TransportSettings(
    connect_timeout=2, read_timeout=0.5, attempts=3, first_wait=0.01, longest_wait=0.02
)


@pytest.fixture
def server():
    with HostileServer() as running:
        yield running


def opened(server, **behaviour):
    server.put("/a.db", **({"content": CONTENT} | behaviour))
    return open_remote(server.url("/a.db"), settings=QUICK)


def test_a_served_file_says_what_it_is(server):
    with opened(server, etag="abc") as remote:
        assert (remote.size, remote.etag, remote.identity) == (len(CONTENT), "abc", "abc")
        assert remote.accepts_ranges
        assert remote.read(1000, 3000) == CONTENT[1000:3000]
        assert b"".join(remote.stream()) == CONTENT


@pytest.mark.parametrize("as_uri", [False, True])
def test_a_file_on_this_machine_is_read_alike(tmp_path, as_uri):
    path = tmp_path / "a b.db"
    path.write_bytes(CONTENT)

    with open_remote(path.as_uri() if as_uri else path) as remote:
        assert remote.size == len(CONTENT)
        assert remote.read(1000, 3000) == CONTENT[1000:3000]
        before = remote.identity
    path.write_bytes(CONTENT + b"x")
    with open_remote(path) as remote:
        assert remote.identity != before


def test_an_s3_name_is_read_at_its_endpoint(server):
    server.put("/bucket/a.db", content=CONTENT)
    settings = TransportSettings(s3_endpoint=server.url(""))

    with open_remote("s3://bucket/a.db", settings=settings) as remote:
        assert remote.read(5, 9) == CONTENT[5:9]


def test_an_empty_file_is_a_file(server):
    with opened(server, content=b"") as remote:
        assert (remote.size, remote.read(0, 0), list(remote.stream())) == (0, b"", [])


def test_redirects_are_followed(server):
    server.put("/b.db", content=CONTENT)

    with opened(server, redirect_to=server.url("/b.db")) as remote:
        assert remote.read(7, 77) == CONTENT[7:77]


def test_reading_goes_on_where_connections_break(server):
    with opened(server, mean_bytes_to_drop=300_000, drops_left=2, seed=4) as remote:
        assert remote.read(0, len(CONTENT)) == CONTENT
    assert server.sent("/a.db") == len(CONTENT)
    assert server.n_requests("/a.db") > 2


def test_a_busy_server_is_asked_again(server):
    with opened(server, statuses=[503, 429]) as remote:
        assert remote.read(0, 9) == CONTENT[:9]


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        ({"status": 401}, AccessRefusedError, r"user name and password .*netrc"),
        ({"status": 403}, AccessRefusedError, r"not public, the link has expired, or .* blocks"),
        ({"status": 451}, AccessRefusedError, r"blocks this network or country"),
        (
            {"status": 403, "body": b"<Message>Request has expired</Message>"},
            AccessRefusedError,
            r"signed link has expired",
        ),
        ({"status": 404}, RemoteMissingError, r"moved or removed"),
        ({"status": 500}, ConnectionFailedError, r"internal failure \(HTTP 500\)"),
        ({"status": 503}, ConnectionFailedError, r"overloaded"),
        ({"status": 418}, BadResponseError, r"HTTP 418, 200 or 206 expected"),
    ],
)
def test_each_refusal_has_its_own_message(server, behaviour, error, message):
    with pytest.raises(error, match=message):
        opened(server, **behaviour)


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        ({"range_error": 3}, BadResponseError, r"asked for bytes 10 to 500.*bytes 13-502"),
        ({"total_error": 3}, RemoteChangedError, r"it had 512000 bytes, now it has 512003"),
        ({"length_error": 3}, BadResponseError, r"contradicts itself"),
        ({"ignores_range_after": 1}, BadResponseError, r"sends the whole file"),
        ({"mean_bytes_to_drop": 0.001}, ConnectionFailedError, r"broke off at byte 10, 500"),
        ({"hangs_after": 100}, ConnectionFailedError, r"hangs"),
        ({"ranges": False}, BadResponseError, r"whole files only"),
        (
            {"etag": "a", "becomes": Resource(content=CONTENT, etag="b"), "becomes_after": 1},
            RemoteChangedError,
            r"it was a, now it is b",
        ),
        (
            {"becomes": Resource(content=CONTENT, last_modified=1.6e9), "becomes_after": 1},
            RemoteChangedError,
            r"it was Tue, 14 Nov 2023 .*, now it is Sun, 13 Sep 2020",
        ),
    ],
)
def test_a_server_is_not_believed(server, behaviour, error, message):
    with opened(server, **behaviour) as remote, pytest.raises(error, match=message):
        remote.read(10, 500)


def test_a_server_that_sends_less_than_it_says_is_noticed(server):
    with opened(server, ranges=False, length_error=7) as remote:
        assert remote.size == len(CONTENT) + 7
        with pytest.raises(ConnectionFailedError, match=r"broke off at byte 512000, 512007"):
            list(remote.stream())


def test_a_retry_waits_as_long_as_the_server_asks():
    busy = failure_of_status("http://x", 429, body=b"", retry_after="5")
    waits = []

    def ask():
        raise busy

    for longest in (30.0, 2.0):
        settings = TransportSettings(attempts=2, first_wait=0.01, longest_wait=longest)
        with pytest.raises(ConnectionFailedError, match="ask too often"):
            retrying(settings, sleep=waits.append)(ask)
    assert waits == [5.0, 2.0]


def test_no_listener_and_no_host_are_told_apart():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionFailedError, match="connection refused"):
        open_remote(f"http://127.0.0.1:{port}/a.db", settings=QUICK)
    with pytest.raises(ConnectionFailedError, match="host name is not found"):
        open_remote("http://no-such-host.invalid/a.db", settings=QUICK)


def test_a_server_that_never_answers_is_given_up():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/a.db"
        with pytest.raises(ConnectionFailedError, match="hangs"):
            open_remote(address, settings=QUICK)


def test_a_port_that_speaks_no_tls_is_named(server):
    server.put("/a.db", content=CONTENT)

    with pytest.raises(TransportError, match="TLS failed"):
        open_remote(server.url("/a.db").replace("http:", "https:"), settings=QUICK)


@pytest.fixture
def certificate(tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed; it makes the certificate")
    path = tmp_path / "site.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    command = [openssl, *words.split(), "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", path, "-out", tmp_path / "crt"], check=True, stderr=-3)
    path.write_text(path.read_text() + (tmp_path / "crt").read_text())
    return path


def test_a_certificate_is_checked_and_a_bundle_of_the_site_is_used(
    server, certificate, monkeypatch
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.put("/a.db", content=CONTENT)
    address = server.url("/a.db").replace("http:", "https:")

    with pytest.raises(TransportError, match=r"not trusted .*set REQUESTS_CA_BUNDLE") as caught:
        open_remote(address, settings=QUICK)
    assert not isinstance(caught.value, ConnectionFailedError)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with open_remote(address, settings=QUICK) as remote:
        assert remote.read(3, 9) == CONTENT[3:9]


def test_a_password_comes_from_netrc_and_stays_with_its_host(server, tmp_path, monkeypatch):
    server.put("/a.db", redirect_to=f"http://localhost:{server.server_port}/b.db")
    server.put("/b.db", content=CONTENT)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    with open_remote(server.url("/a.db"), settings=QUICK):
        pass

    sent = {path: headers.get("Authorization") for path, headers in server.requests}
    assert sent["/a.db"].startswith("Basic ")
    assert sent["/b.db"] is None


def test_a_proxy_that_cannot_be_used_is_named(server, monkeypatch):
    server.put("/a.db", content=CONTENT)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(ConnectionFailedError, match="proxy of HTTPS_PROXY"):
        open_remote(server.url("/a.db"), settings=QUICK)


@pytest.mark.parametrize("status", [400, 403, 404, 503])
def test_messages_show_no_credentials(server, status):
    server.put("/a.db", content=CONTENT, status=status)
    address = server.url("/a.db?X-Amz-Signature=hush").replace("//", "//ada:secret@")

    with pytest.raises(NablaDFTError) as caught:
        open_remote(address, settings=QUICK)

    assert "hush" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("missing.db", RemoteMissingError, "does not exist"),
        (".", TransportError, "cannot be read|not a regular file"),
        ("gopher://example.org/a", InputError, "gopher:// is unknown"),
    ],
)
def test_places_that_are_no_files_are_refused(tmp_path, monkeypatch, location, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        open_remote(location)


def test_a_file_that_is_cut_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(CONTENT)
    with open_remote(path) as remote:
        path.write_bytes(CONTENT[:100])
        with pytest.raises(RemoteChangedError, match="changed while it was being read"):
            remote.read(0, 500)
