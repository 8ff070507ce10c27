"""Addresses of files: what kind they are, how S3 names map to HTTPS, how they are shown.

Example:
    >>> shown("https://user:secret@example.org/a.db?X-Amz-Signature=12")
    'https://example.org/a.db?...'
    >>> https_address("s3://bucket/folder/a.db", endpoint="https://s3.example.org")
    'https://s3.example.org/bucket/folder/a.db'
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from nabladft.errors import InputError


def shown(address: str) -> str:
    """Return an address without user, password and query: fit for messages and journals."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    query = "..." if parts.query else ""
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def is_web(address: str) -> bool:
    """Whether an address is read over HTTP(S): ``http``, ``https`` or ``s3``."""
    return address.lower().startswith(("http://", "https://", "s3://"))


def local_place(address: str) -> Path:
    """Return the path that a ``file://`` address or a plain path names.

    Raises:
        InputError: The address is of a kind that cannot be read, or names another machine.
    """
    if "://" not in address:
        return Path(address).expanduser()
    parts = urlsplit(address)
    if parts.scheme.lower() != "file":
        raise InputError(
            f"{shown(address)} cannot be read: {parts.scheme}:// is unknown here. "
            "Known: http://, https://, s3://, file:// and paths."
        )
    if parts.netloc not in {"", "localhost"}:
        raise InputError(
            f"{shown(address)} names the machine {parts.netloc!r}: a file:// address has three "
            "slashes, as in file:///data/file.db."
        )
    return Path(unquote(parts.path))


def https_address(address: str, *, endpoint: str | None = None, region: str | None = None) -> str:
    """Return the HTTP(S) address of a file; ``s3://bucket/key`` becomes its public address.

    Args:
        address: ``http://``, ``https://`` or ``s3://``.
        endpoint: Server that has the buckets, as ``https://host``; None for Amazon's.
        region: Region of Amazon's server; None for the one that redirects.

    Raises:
        InputError: An ``s3://`` address without bucket or key.
    """
    parts = urlsplit(address)
    if parts.scheme.lower() != "s3":
        return address
    bucket, key = parts.netloc, parts.path.lstrip("/")
    if not bucket or not key:
        raise InputError(f"{address} is no S3 file: expected s3://BUCKET/KEY.")
    path = quote(key, safe="/~!$&'()*+,;=:@%")
    if endpoint:
        base = endpoint if "://" in endpoint else f"https://{endpoint}"
        return f"{base.rstrip('/')}/{bucket}/{path}"
    host = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    # A bucket with dots has no matching certificate as a host name.
    return f"https://{host}/{bucket}/{path}" if "." in bucket else f"https://{bucket}.{host}/{path}"


def joined(base: str, relative: str) -> str:
    """Join a mirror (address or folder) and a path below it.

    Example:
        >>> joined("https://example.org/data/", "energy/a.db")
        'https://example.org/data/energy/a.db'
    """
    return f"{base.rstrip('/')}/{quote(relative) if is_web(base) else relative}"
