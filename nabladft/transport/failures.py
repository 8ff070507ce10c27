"""What went wrong between us and a server, in words; each cause has its own message.

The texts of the libraries below are not shown: they may hold signed links.
"""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING, Final

import requests

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

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Answers that may be better the next time.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524})

_BUSY: Final = {
    408: "says that our request came too slowly",
    425: "is not ready yet",
    429: "says that we ask too often",
    502: "cannot reach the machine behind it",
    503: "is overloaded or being serviced",
    504: "gets no answer from the machine behind it",
}


_EXPIRED: Final = "{url}: the signed link has expired (HTTP {status}). Get a new link."
_REFUSED: Final = (
    "{url} is refused (HTTP {status}): it is not public, the link has expired, or the server "
    "blocks this network or country. Try another network or a mirror (--mirror)."
)
_GONE: Final = (
    "{url} is not there (HTTP {status}): it was moved or removed. Check the address, update the "
    "catalogue, or name a mirror (--mirror)."
)
_OTHER: Final = "{url} is no longer the file that was begun with (HTTP {status}). Begin again."

#: Answers that stay, and what to do.
_LASTING: Final[dict[int, tuple[type[TransportError], str]]] = {
    401: (
        AccessRefusedError,
        "{url} asks for a user name and password (HTTP 401). Put them into ~/.netrc.",
    ),
    403: (AccessRefusedError, _REFUSED),
    404: (RemoteMissingError, _GONE),
    407: (
        AccessRefusedError,
        (
            "{url}: the proxy asks for a user name and password (HTTP 407). Put them into "
            "HTTPS_PROXY, as http://USER:PASSWORD@HOST:PORT."
        ),
    ),
    410: (RemoteMissingError, _GONE),
    412: (RemoteChangedError, _OTHER),
    416: (RemoteChangedError, _OTHER),
    451: (AccessRefusedError, _REFUSED),
}


def failure_of_status(
    url: str, status: int, *, body: bytes, retry_after: str | None
) -> TransportError:
    """Return the error that an HTTP status stands for.

    Args:
        url: Address to show, without credentials.
        status: HTTP status that was not expected.
        body: Beginning of the answer's body; S3 says there what it means.
        retry_after: Header of that name.
    """
    if status in _PASSING:
        says = _BUSY.get(status, "has an internal failure")
        return ConnectionFailedError(
            f"{url}: the server {says} (HTTP {status}).", retry_after=seconds_of(retry_after)
        )
    kind, text = _LASTING.get(
        status, (BadResponseError, "{url}: the server answered HTTP {status}, 200 or 206 expected.")
    )
    if status in {400, 401, 403} and (b"xpired" in body or b"InvalidToken" in body):
        kind, text = AccessRefusedError, _EXPIRED
    return kind(text.format(url=url, status=status))


def seconds_of(retry_after: str | None) -> float | None:
    """Return the pause that a Retry-After header asks for, a number or a date.

    Example:
        >>> seconds_of("7"), seconds_of("soon"), seconds_of("Fri, 01 Jan 1999 00:00:00 GMT")
        (7.0, None, 0.0)
    """
    if not retry_after:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        when = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


#: What the name of an exception anywhere in the chain of causes tells, the most telling first.
_CAUSES: Final[tuple[tuple[frozenset[str], type[NablaDFTError], str], ...]] = (
    (
        frozenset({"ProxyError"}),
        ConnectionFailedError,
        (
            "{url}: the proxy of HTTPS_PROXY or HTTP_PROXY cannot be used{why}. Correct it, or put "
            "the host into NO_PROXY."
        ),
    ),
    (
        frozenset({"SSLCertVerificationError", "CertificateError"}),
        TransportError,
        (
            "{url}: the server's certificate is not trusted{why}. If your network inspects TLS, "
            "set REQUESTS_CA_BUNDLE to its certificate bundle."
        ),
    ),
    (
        frozenset({"NameResolutionError", "gaierror"}),
        ConnectionFailedError,
        (
            "{url}: the host name is not found. Check the address, the network and DNS; behind a "
            "proxy set HTTPS_PROXY."
        ),
    ),
    (
        frozenset({"ConnectTimeout", "ConnectTimeoutError"}),
        ConnectionFailedError,
        (
            "{url}: no connection within the time-out. The server is down or a firewall drops the "
            "packets; try a mirror (--mirror), or a longer NABLADFT_CONNECT_TIMEOUT."
        ),
    ),
    (
        frozenset({"ReadTimeout", "ReadTimeoutError", "TimeoutError"}),
        ConnectionFailedError,
        "{url}: the server hangs: no byte within the time-out (NABLADFT_READ_TIMEOUT).",
    ),
    (
        frozenset({"TooManyRedirects"}),
        BadResponseError,
        "{url}: the server redirects in a circle.",
    ),
    (
        frozenset({"InvalidURL", "MissingSchema", "LocationParseError"}),
        InputError,
        "{url} is not a valid address.",
    ),
    (frozenset({"SSLError"}), ConnectionFailedError, "{url}: TLS failed{why}."),
    (
        frozenset({"ConnectionRefusedError"}),
        ConnectionFailedError,
        "{url}: connection refused: no server listens there.",
    ),
)


def failure_of_exception(url: str, error: Exception) -> NablaDFTError:
    """Return the error that an exception of the libraries below stands for.

    Args:
        url: Address to show, without credentials.
        error: What requests, urllib3 or the socket raised.
    """
    causes = list(_chain(error))
    names = {type(cause).__name__ for cause in causes}
    for telling, kind, text in _CAUSES:
        if names & telling:
            return kind(text.format(url=url, why=_why(causes)))
    return ConnectionFailedError(f"{url}: the connection broke off{_why(causes)}.")


def _chain(error: BaseException) -> Iterator[BaseException]:
    # urllib3 keeps the cause in `reason` or as an argument, not always as __cause__.
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        pending += current.args


def _why(causes: list[BaseException]) -> str:
    # Only what the system said: texts of the libraries above it hold whole addresses.
    for cause in causes:
        said = getattr(cause, "verify_message", None) or (
            cause.strerror
            if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException)
            else None
        )
        if isinstance(said, str) and said and "://" not in said:
            return f" ({said})"
    return ""
