"""Whether the bytes of a file are those that were promised: SHA-256, MD5 and S3 ETags.

The ETag of an S3 object uploaded in N parts is the MD5 of the parts' MD5s and ``-N``. The part
size is not in it; it is found from size and N. Upstream's own code assumes 8 MiB and so refuses
its own larger files.

Example:
    >>> likely_part_sizes(15_118_426_112, 1803)[0]
    8388608
    >>> verifier = Verifier(3, Expected(etag="900150983cd24fb0d6963f7d28e17f72"))
    >>> verifier.update(b"abc")
    >>> verifier.mismatches()
    []
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nabladft.errors import InputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nabladft.catalog.product import Product

_MIB: Final = 1 << 20
#: Part sizes that are hashed side by side while bytes arrive; others are tried on the whole file.
_AT_ONCE: Final = 3
#: Bytes to read, at most, to try further part sizes on a whole file.
_READ_AGAIN: Final = 10**11
_CONTENT_ETAG = re.compile(r"([0-9a-f]{32})(?:-([1-9][0-9]*))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of a file's content beforehand.

    Attributes:
        size: Bytes, or None.
        sha256: Hex, or None.
        md5: Hex, or None.
        etag: S3 ETag: an MD5, or MD5 of MD5s with ``-N``; None, or another tag, proves nothing.
        etag_part_bytes: Part size of such an ETag, or None to find it.
        said_by: Who says so, for messages.
    """

    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    etag: str | None = None
    etag_part_bytes: int | None = None
    said_by: str = "the catalogue"

    @property
    def hashes(self) -> tuple[str, ...]:
        """Names of what proves the content: "SHA-256", "MD5", "ETag"."""
        return tuple(
            name
            for name, value in (
                ("SHA-256", self.sha256),
                ("MD5", self.md5),
                ("ETag", content_etag(self.etag)),
            )
            if value
        )


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One hash that is not the promised one.

    Attributes:
        kind: Which.
        expected: The promised one.
        found: That of the file; of an ETag, with the likeliest part size.
        said_by: Who promised it.
        certain: False for an ETag whose part size is not known: the file may be right and have
            been uploaded in parts of an unusual size.
    """

    kind: Literal["SHA-256", "MD5", "ETag"]
    expected: str
    found: str
    said_by: str
    certain: bool = True

    def __str__(self) -> str:
        """Say so in words."""
        if not self.certain:
            return (
                f"the ETag {self.expected}, said by {self.said_by}, comes out with none of the "
                "usual part sizes"
            )
        return f"{self.kind} is {self.found}, {self.said_by} says {self.expected}"


def expected_of(product: Product) -> Expected:
    """Return what the catalogue promises of a product."""
    return Expected(
        size=product.n_bytes,
        sha256=product.sha256,
        md5=product.md5,
        etag=product.etag,
        etag_part_bytes=product.etag_part_bytes,
    )


def content_etag(etag: str | None) -> str | None:
    """Return an ETag if it has the form of one that follows from the content, else None.

    Example:
        >>> content_etag("5f3b-1a2b"), content_etag("900150983CD24FB0D6963F7D28E17F72-3")
        (None, '900150983cd24fb0d6963f7d28e17f72-3')
    """
    plain = (etag or "").strip('"').lower()
    return plain if _CONTENT_ETAG.fullmatch(plain) else None


def likely_part_sizes(size: int, n_parts: int) -> list[int]:
    """List part sizes that cut ``size`` bytes into ``n_parts``, the likeliest first.

    Powers of two come first (8 MiB is the most common), then whole mebibytes, then the sizes that
    some clients compute: whole megabytes, and the smallest that gives so many parts.

    Example:
        >>> likely_part_sizes(40 << 20, 5)
        [8388608, 9437184, 9000000, 10000000]
    """
    if n_parts == 1:
        return [max(size, 1)]
    smallest, largest = -(-size // n_parts), (size - 1) // (n_parts - 1)
    powers = [1 << n for n in range(smallest.bit_length() - 1, largest.bit_length() + 1)]
    found = sorted(powers, key=lambda n: abs(n.bit_length() - (8 * _MIB).bit_length()))
    # Rounder numbers first: 24 before 25.
    whole = range(-(-smallest // _MIB), largest // _MIB + 1)
    found += [n * _MIB for n in sorted(whole, key=lambda n: -(n & -n))]
    found += [n * 10**6 for n in range(-(-smallest // 10**6), largest // 10**6 + 1)]
    found.append(smallest)
    return list(dict.fromkeys(n for n in found if smallest <= n <= largest))


class _PartDigests:
    """MD5s of the parts of one part size, from bytes in sequence."""

    def __init__(self, part_bytes: int, known: Mapping[int, str]) -> None:
        self.part_bytes = part_bytes
        self.digests: list[str] = []
        while len(self.digests) in known:
            self.digests.append(known[len(self.digests)])
        self.position = len(self.digests) * part_bytes
        self._running = hashlib.md5(usedforsecurity=False)

    def update(self, chunk: memoryview) -> None:
        while chunk:
            room = self.part_bytes - self.position % self.part_bytes
            piece, chunk = chunk[:room], chunk[room:]
            self._running.update(piece)
            self.position += len(piece)
            if len(piece) == room:
                self._finish()

    def _finish(self) -> None:
        self.digests.append(self._running.hexdigest())
        self._running = hashlib.md5(usedforsecurity=False)

    def etag(self) -> str:
        """The ETag of everything given."""
        digests = list(self.digests)
        if self.position % self.part_bytes or not digests:
            digests.append(self._running.hexdigest())
        joined = b"".join(bytes.fromhex(digest) for digest in digests)
        return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(digests)}"


class Verifier:
    """Hashes the bytes of a file in sequence, by everything that is expected of it.

    Attributes:
        position: How many bytes it has seen; the next update continues there. It begins above 0
            when the MD5s of the first parts are known from an earlier run.

    Raises:
        InputError: The part size contradicts the number of parts.
    """

    def __init__(
        self,
        size: int | None,
        expected: Expected,
        *,
        known: Mapping[int, Mapping[int, str]] | None = None,
        keep: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Prepare the hashes.

        Args:
            size: Bytes of the file; None when not known, then part sizes cannot be found.
            expected: What is promised.
            known: MD5s of S3 parts from an earlier run: part size -> part number -> hex digest.
            keep: Called with part size, number and digest of each S3 part completed.
        """
        self._expected = expected
        self._keep = keep
        self._sha256 = hashlib.sha256() if expected.sha256 else None
        etag = content_etag(expected.etag)
        plain = etag is not None and "-" not in etag
        self._md5 = hashlib.md5(usedforsecurity=False) if expected.md5 or plain else None
        self._parts: list[_PartDigests] = []
        self._untried: list[int] = []
        if etag is not None and not plain:
            sizes = _part_sizes(size, etag, expected.etag_part_bytes)
            n_further = max(2, min(64, _READ_AGAIN // max(1, size or 1)))
            self._untried = sizes[_AT_ONCE : _AT_ONCE + n_further]
            # Known MD5s save reading only if nothing else needs the bytes from the start.
            usable = {} if self._sha256 or self._md5 else known or {}
            self._parts = [_PartDigests(n, usable.get(n, {})) for n in sizes[:_AT_ONCE]]
        self.position = min((parts.position for parts in self._parts), default=0)

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._sha256:
            self._sha256.update(chunk)
        if self._md5:
            self._md5.update(chunk)
        for parts in self._parts:
            before = len(parts.digests)
            # Of other part sizes more may be known than of this one.
            parts.update(memoryview(chunk)[parts.position - self.position :])
            if self._keep:
                for number in range(before, len(parts.digests)):
                    self._keep(parts.part_bytes, number, parts.digests[number])
        self.position += len(chunk)

    def mismatches(self, path: Path | None = None) -> list[Mismatch]:
        """List what is not as promised, after the last byte.

        Args:
            path: The file, to try further part sizes on; None to try none.
        """
        expected, found = self._expected, []
        etag = content_etag(expected.etag)
        if self._sha256 and expected.sha256:
            found.append(self._compare("SHA-256", expected.sha256, self._sha256.hexdigest()))
        if self._md5 and expected.md5:
            found.append(self._compare("MD5", expected.md5, self._md5.hexdigest()))
        if self._md5 and etag and "-" not in etag:
            found.append(self._compare("ETag", etag, self._md5.hexdigest()))
        if etag and "-" in etag and all(parts.etag() != etag for parts in self._parts):
            further = path is not None and any(
                _etag_of_file(path, n) == etag for n in self._untried
            )
            if not further:
                # No part size at all gives so many parts of so few bytes.
                likeliest = self._parts[0].etag() if self._parts else "of another number of parts"
                certain = bool(expected.etag_part_bytes) or etag.endswith("-1") or not self._parts
                found.append(self._compare("ETag", etag, likeliest, certain=certain))
        return [mismatch for mismatch in found if mismatch is not None]

    def _compare(
        self,
        kind: Literal["SHA-256", "MD5", "ETag"],
        expected: str,
        found: str,
        *,
        certain: bool = True,
    ) -> Mismatch | None:
        if expected.lower() == found:
            return None
        said_by = self._expected.said_by
        return Mismatch(kind=kind, expected=expected, found=found, said_by=said_by, certain=certain)


def _part_sizes(size: int | None, etag: str, given: int | None) -> list[int]:
    n_parts = int(etag.partition("-")[2])
    if given is not None:
        if size is not None and max(1, -(-size // given)) != n_parts:
            raise InputError(
                f"ETag {etag} has {n_parts} parts, but {size} bytes in parts of {given} make "
                f"{-(-size // given)}. Correct etag_part_bytes, or leave it out to have it found."
            )
        return [given]
    return likely_part_sizes(size, n_parts) if size is not None else []


def _etag_of_file(path: Path, part_bytes: int) -> str:
    parts = _PartDigests(part_bytes, {})
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            parts.update(memoryview(chunk))
    return parts.etag()


def verify_file(
    path: Path, expected: Expected, *, progress: Callable[[int], None] = lambda _: None
) -> tuple[str, ...]:
    """Read a whole file and compare it with what is promised of it.

    Args:
        path: The file.
        expected: What is promised.
        progress: Called with the number of bytes just read.

    Returns:
        What agreed: "size", "SHA-256", "MD5", "ETag"; nothing promised, nothing returned.

    Raises:
        VerificationError: Something is not as promised.
        OSError: The file cannot be read.
    """
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        raise VerificationError(
            f"{path} has {size} bytes, {expected.said_by} says {expected.size}. Move it away and "
            "fetch it again."
        )
    verifier = Verifier(size, expected)
    if expected.hashes:
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                verifier.update(chunk)
                progress(len(chunk))
    wrong = verifier.mismatches(path)
    if wrong:
        raise VerificationError(f"{path}: {'; '.join(map(str, wrong))}. Fetch it again.")
    return (*(("size",) if expected.size is not None else ()), *expected.hashes)
