"""How many requests a token or an address may make in a minute.

Counts are in the memory of the process: a restart forgets them. The limit on scored submissions of
a day is in the database, which forgets nothing.
"""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING

from nabladft.errors import missing_extra
from nabladft.leaderboard.server.refusals import refusal

try:
    from limits import RateLimitItemPerMinute
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter
except ImportError as _error:
    raise missing_extra("The scoring server", "server", _error) from _error

if TYPE_CHECKING:
    from nabladft.errors import SubmissionError
    from nabladft.leaderboard.server.settings import Limits


class RateLimits:
    """Moving windows of one minute."""

    def __init__(self, limits: Limits) -> None:
        """Begin with empty windows."""
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._token = RateLimitItemPerMinute(limits.requests_per_minute)
        self._address = RateLimitItemPerMinute(limits.address_requests_per_minute)

    def count_address(self, address: str) -> None:
        """Count a request from an address.

        Raises:
            SubmissionError: There were too many.
        """
        key = network_of(address)
        if not self._windows.hit(self._address, "address", key):
            raise self._refusal(self._address, "address", key)

    def count_token(self, token_id: str) -> None:
        """Count a request with a token.

        Raises:
            SubmissionError: There were too many.
        """
        if not self._windows.hit(self._token, "token", token_id):
            raise self._refusal(self._token, "token", token_id)

    def _refusal(self, item: RateLimitItemPerMinute, *key: str) -> SubmissionError:
        reset = self._windows.get_window_stats(item, *key).reset_time
        seconds = max(1, int(reset - time.time()) + 1)
        error = refusal("rate_limit", seconds=seconds)
        error.retry_after = seconds
        return error


def network_of(address: str) -> str:
    """Give what is counted as one address: with IPv6 a whole /64, which one person has.

    Example:
        >>> network_of("192.0.2.7"), network_of("2001:db8::1:2"), network_of("unix")
        ('192.0.2.7', '2001:db8::', 'unix')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
