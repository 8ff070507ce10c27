"""What is at an address: a store, or one file.

A store is told by its manifest. An address whose last part has a suffix is taken for a file first,
one without for a store first, so that the usual case takes one question to the server.

Example:
    >>> find_remote("https://example.org/stores/train")  # doctest: +SKIP
    <nabladft.storage.remote_store.RemoteStore object at ...>
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from nabladft.errors import AccessRefusedError, RemoteMissingError
from nabladft.storage.manifest import MANIFEST_NAME
from nabladft.storage.remote_store import RemoteStore
from nabladft.transport.addresses import shown
from nabladft.transport.cached_file import CachedFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from nabladft.storage.source import ConformationSource


def find_remote(address: str) -> RemoteStore | CachedFile:
    """Give the store or the file at an address.

    Raises:
        RemoteMissingError: There is neither.
        StoreError: There is a store, but not one that can be read.
        TransportError: The server cannot be reached, refuses, or does not give parts of files.
    """
    path = PurePosixPath(unquote(urlsplit(address).path))
    if path.name == MANIFEST_NAME:
        return RemoteStore(address.rpartition("/")[0])
    attempts: list[Callable[[str], RemoteStore | CachedFile]] = [_store, CachedFile]
    if path.suffix and not address.endswith("/"):
        attempts.reverse()
    first: RemoteMissingError | AccessRefusedError | None = None
    for attempt in attempts:
        try:
            return attempt(address)
        except (RemoteMissingError, AccessRefusedError) as error:
            # Some servers refuse what they do not have, so that nobody can find out.
            first = first or error
    assert first is not None
    if isinstance(first, AccessRefusedError):
        raise first
    message = (
        f"There is neither a file {shown(address)} nor a store of that name: the server has no "
        f"{MANIFEST_NAME} there. Check the address."
    )
    raise RemoteMissingError(message) from first


def _store(address: str) -> RemoteStore:
    manifest = CachedFile(f"{address.rstrip('/')}/{MANIFEST_NAME}")
    return RemoteStore(address, manifest)


def address_of(source: ConformationSource) -> str | None:
    """Say where a source is read from a server; None if it is on this machine."""
    found = getattr(source, "url", None)
    return None if found is None else str(found)
