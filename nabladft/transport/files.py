"""Open a file wherever it is: HTTP(S), public S3, ``file://``, a path.

Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"0123456789") and file.flush()
    ...     with open_remote(file.name) as remote:
    ...         remote.size, remote.read(2, 5)
    (10, b'234')
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nabladft.transport.addresses import https_address, is_web, local_place
from nabladft.transport.local import LocalFile
from nabladft.transport.remote_file import RemoteFile
from nabladft.transport.settings import TransportSettings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RemoteFile", "TransportSettings", "open_remote"]


def open_remote(location: str | Path, *, settings: TransportSettings | None = None) -> RemoteFile:
    """Open a file somewhere else; one small request says its size, identity and abilities.

    Args:
        location: ``http(s)://``, ``s3://bucket/key`` (public), ``file://`` or a path.
        settings: Time-outs, retries, S3 server; None for those of the environment.

    Raises:
        TransportError: It cannot be had; each cause has its own message.
        InputError: The address is of an unknown kind.
    """
    settings = settings or TransportSettings.from_environment()
    address = str(location)
    if not is_web(address):
        return LocalFile(local_place(address))
    # requests takes a while to load, and local files do without.
    from nabladft.transport.http import HttpFile  # noqa: PLC0415

    web = https_address(address, endpoint=settings.s3_endpoint, region=settings.s3_region)
    return HttpFile(web, settings=settings)
