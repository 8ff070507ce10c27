"""What a file somewhere else is, wherever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator


class RemoteFile(ABC):
    """A file somewhere else, read by ranges; several threads may read at a time.

    Attributes:
        url: Where it is, without credentials.
        size: Bytes; None when the server does not say.
        etag: The server's tag of the content, unquoted; None without.
        identity: Changes when the content changes: ETag, else date and size, else size.
        accepts_ranges: Whether a part can be asked for.
    """

    url: str
    size: int | None
    etag: str | None
    identity: str
    accepts_ranges: bool

    @abstractmethod
    def read(self, start: int, stop: int) -> bytes:
        """Return exactly bytes ``start`` to ``stop``, trying again when a connection fails.

        Raises:
            TransportError: They cannot be had, or the file is no longer the same.
        """

    @abstractmethod
    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop`` (None: the end) over one connection.

        Raises:
            ConnectionFailedError: The connection failed, hung or broke off; worth another try.
            TransportError: They cannot be had, or the file is no longer the same.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the connections back."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
