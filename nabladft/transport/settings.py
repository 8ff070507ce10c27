"""How patiently files are read from elsewhere.

Proxies, ``.netrc`` and certificate bundles are not here: requests takes them from the usual
environment variables.

Example:
    >>> TransportSettings.from_environment({"NABLADFT_READ_TIMEOUT": "5"}).read_timeout
    5.0
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from nabladft.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class TransportSettings:
    """Patience and addresses.

    Attributes:
        connect_timeout: Seconds until a connection must stand.
        read_timeout: Seconds without a byte after which a connection counts as hanging.
        attempts: Tries in a row that bring nothing before a server is given up.
        first_wait: Seconds of the first pause between tries, at most; pauses double, with jitter.
        longest_wait: Seconds of the longest pause, whatever the server asks for.
        connections: Connections that one file keeps open at most.
        s3_endpoint: Server of ``s3://`` addresses; None for Amazon's.
        s3_region: Region of Amazon's server.

    Raises:
        InputError: A number is not positive.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 60.0
    connections: int = 16
    s3_endpoint: str | None = None
    s3_region: str | None = None

    def __post_init__(self) -> None:
        """Check."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not value > 0:
                raise InputError(f"{field.name} must be positive, got {value}.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> TransportSettings:
        """Read NABLADFT_CONNECT_TIMEOUT, NABLADFT_READ_TIMEOUT, NABLADFT_ATTEMPTS and S3 names.

        Args:
            environment: Variables; None for those of this process.

        Raises:
            InputError: A variable is not a positive number.
        """
        names = os.environ if environment is None else environment
        given: dict[str, Any] = {}
        for key, kind in (("connect_timeout", float), ("read_timeout", float), ("attempts", int)):
            variable = f"NABLADFT_{key.upper()}"
            if names.get(variable):
                try:
                    given[key] = kind(names[variable])
                except ValueError:
                    message = f"{variable}={names[variable]!r} is not a number of kind {kind}."
                    raise InputError(message) from None
        given["s3_endpoint"] = (
            names.get("NABLADFT_S3_ENDPOINT")
            or names.get("AWS_ENDPOINT_URL_S3")
            or names.get("AWS_ENDPOINT_URL")
        )
        given["s3_region"] = names.get("AWS_REGION") or names.get("AWS_DEFAULT_REGION")
        return cls(**given)
