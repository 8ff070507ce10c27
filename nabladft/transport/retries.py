"""Another attempt when a connection fails: exponential pauses with jitter, Retry-After respected.

The pauses and counts are tenacity's; ours is the decision what counts as a failed attempt: one
that brought (nearly) nothing. A server that drops every connection after some megabytes is slow,
not dead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tenacity
from tenacity.nap import sleep as plain_sleep

from nabladft.errors import ConnectionFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nabladft.transport.settings import TransportSettings

#: Bytes that make an attempt count as one that brought something.
_ENOUGH: Final = 1 << 16


def retrying(
    settings: TransportSettings, *, sleep: Callable[[float], None] = plain_sleep
) -> tenacity.Retrying:
    """Return the caller that tries again after a :class:`ConnectionFailedError`, and nothing else.

    Args:
        settings: Number of attempts and pauses.
        sleep: How to pause; one that an event interrupts lets a download stop at once.
    """
    jitter = tenacity.wait_random_exponential(
        multiplier=settings.first_wait, max=settings.longest_wait
    )

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None) or 0.0
        return max(min(asked, settings.longest_wait), jitter(state))

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(settings.attempts),
        wait=wait,
        retry=tenacity.retry_if_exception_type(ConnectionFailedError),
        sleep=sleep,
        reraise=True,
    )


def fetch_range(
    stream: Callable[[int, int], Iterator[bytes]],
    start: int,
    stop: int,
    *,
    write: Callable[[int, bytes], None],
    settings: TransportSettings,
    sleep: Callable[[float], None] = plain_sleep,
) -> None:
    """Fetch bytes ``start`` to ``stop``, going on where a connection broke: no byte twice.

    ``stream(start, stop)`` opens one connection, ``write(position, chunk)`` takes what it brings.

    Raises:
        ConnectionFailedError: So many attempts in a row as the settings say brought nothing.
        TransportError: The server refuses, or the file is another one.
    """
    position = start
    again = retrying(settings, sleep=sleep)

    def attempt() -> None:
        nonlocal position
        began = position
        try:
            for chunk in stream(position, stop):
                write(position, chunk)
                position += len(chunk)
        except ConnectionFailedError:
            if position - began < _ENOUGH:
                raise

    while position < stop:
        again(attempt)
