"""Whether a file or store is what the catalogue says, or at least whole by itself.

Example:
    >>> from nabladft.catalog.catalogue import load_catalogue
    >>> from nabladft.catalog.places import local_path
    >>> product = load_catalogue().get("nano")
    >>> verdict = check_data(local_path(product), product, quick=True)
    >>> verdict.is_right, [check.what for check in verdict.checks]
    (True, ['conformations', 'molecules', 'ids'])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.catalog.describing import count_text, size_text
from nabladft.catalog.product import READABLE_KINDS
from nabladft.catalog.verification import Verifier, expected_of
from nabladft.errors import InputError, NablaDFTError
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nabladft.catalog.product import Product
    from nabladft.catalog.verification import Expected, Mismatch
    from nabladft.storage.source import ConformationSource

#: Bytes hashed at once.
_CHUNK: Final = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: "size", "ETag", "MD5", "SHA-256", "manifest", "conformations", "molecules", "ids" or
            "contents".
        found: What is there, in words.
        expected: What should be there, in words; None when nobody said.
        is_right: Whether they agree; None when there is nothing to compare with.
    """

    what: str
    found: str
    expected: str | None = None
    is_right: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Everything that was looked at of one file or store.

    Attributes:
        path: The file or folder.
        product: Name of the product it was compared with, or None.
        checks: What was looked at, in this order.
    """

    path: Path
    product: str | None
    checks: tuple[Check, ...]

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.is_right is not False for check in self.checks)

    @property
    def is_proven(self) -> bool:
        """Whether the content itself was compared: by a hash, or with a store's manifest."""
        proofs = {"ETag", "MD5", "SHA-256", "manifest"}
        return any(check.what in proofs and check.is_right for check in self.checks)


def check_data(
    path: Path,
    product: Product | None = None,
    *,
    quick: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Compare a file or store with the catalogue, its manifest and itself.

    What is wrong is in the verdict; nothing is raised for it.

    Args:
        path: The file, or the folder of a store.
        product: What it should be; None compares with nothing but itself.
        quick: Compare sizes and counts only; read neither every byte nor every record.
        progress: Called with the number of bytes just hashed.

    Raises:
        OSError: The file cannot be read at all.
    """
    checks: list[Check] = []
    if product is not None and path.is_file():
        checks += _byte_checks(path, product, quick=quick, progress=progress)
    readable = product is None or product.kind in READABLE_KINDS
    # Reading rows out of wrong bytes would only repeat the complaint in other words.
    if readable and all(check.is_right is not False for check in checks):
        checks += _row_checks(path, product, quick=quick)
    return Verdict(path=path, product=product.name if product else None, checks=tuple(checks))


def product_of_file(path: Path, products: Iterable[Product]) -> Product | None:
    """Find which product a file is, by its name and, if that is not enough, its size.

    Raises:
        InputError: Several products have that name; the message lists them.
    """
    named = [product for product in products if product.file_name == path.name]
    size = path.stat().st_size if path.is_file() else None
    if len(named) > 1:
        named = [product for product in named if product.n_bytes in {None, size}]
        exact = [product for product in named if product.n_bytes == size]
        named = exact if len(exact) == 1 else named
    if len(named) > 1:
        names = ", ".join(product.name for product in named)
        message = f"{path} may be any of {names}. Say which: --as {named[0].name}"
        raise InputError(message)
    return named[0] if named else None


def _byte_checks(
    path: Path, product: Product, *, quick: bool, progress: Callable[[int], None]
) -> list[Check]:
    expected = expected_of(product)
    size = path.stat().st_size
    size_check = _size_check(size, product)
    if size_check.is_right is False or quick:
        return [size_check]
    if not expected.hashes:
        return [size_check, Check(what="hash", found="none known to compare with")]
    verifier = Verifier(size, expected)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            verifier.update(chunk)
            progress(len(chunk))
    wrong: dict[str, Mismatch] = {found.kind: found for found in verifier.mismatches(path)}
    checks = [size_check]
    for kind in expected.hashes:
        value, mismatch = _value_of(expected, kind), wrong.get(kind)
        if mismatch is None:
            checks.append(Check(what=kind, found=value, expected=value, is_right=True))
        elif mismatch.certain:
            checks.append(Check(what=kind, found=mismatch.found, expected=value, is_right=False))
        else:
            # Uploaded in parts of an unusual size, perhaps; that is no proof against the file.
            found = "not found with any usual size of parts"
            checks.append(Check(what=kind, found=found, expected=value))
    return checks


def _value_of(expected: Expected, kind: str) -> str:
    values = {"SHA-256": expected.sha256, "MD5": expected.md5, "ETag": expected.etag}
    return values[kind] or ""


def _size_check(size: int, product: Product) -> Check:
    found = f"{count_text(size)} bytes"
    if product.n_bytes is not None:
        said, right = f"{count_text(product.n_bytes)} bytes", size == product.n_bytes
        return Check(what="size", found=found, expected=said, is_right=right)
    n_parts = int((product.etag or "").partition("-")[2] or 0)
    if product.etag_part_bytes and n_parts:
        most = n_parts * product.etag_part_bytes
        least = most - product.etag_part_bytes + 1
        said = f"{count_text(least)} to {count_text(most)} bytes ({n_parts} parts of the ETag)"
        return Check(what="size", found=found, expected=said, is_right=least <= size <= most)
    about = product.n_bytes_about
    expected = None if about is None else f"about {size_text(about)}"
    return Check(what="size", found=found, expected=expected)


def _row_checks(path: Path, product: Product | None, *, quick: bool) -> list[Check]:
    try:
        source = open_source(path)
        checks = _manifest_checks(source) if not quick and isinstance(source, Store) else []
        checks.append(_count_check("conformations", len(source), product, "n_conformations"))
        if not quick or isinstance(source, Store):
            checks += _id_checks(source, product)
    except NablaDFTError as error:
        return [Check(what="contents", found=str(error), is_right=False)]
    return checks


def _manifest_checks(store: Store) -> list[Check]:
    try:
        store.verify()
    except NablaDFTError as error:
        return [Check(what="manifest", found=str(error), is_right=False)]
    found = "every shard and the index agree with it"
    return [Check(what="manifest", found=found, is_right=True)]


def _id_checks(source: ConformationSource, product: Product | None) -> list[Check]:
    keys = source.keys
    n_molecules = len(np.unique(keys[:, 0]))
    checks = [_count_check("molecules", n_molecules, product, "n_molecules")]
    n_repeated = len(keys) - len(np.unique(keys, axis=0))
    found = "no conformation twice" if n_repeated == 0 else f"{count_text(n_repeated)} repeated"
    return [*checks, Check(what="ids", found=found, is_right=n_repeated == 0)]


def _count_check(what: str, found: int, product: Product | None, attribute: str) -> Check:
    exact = getattr(product, attribute, None)
    about = getattr(product, f"{attribute}_about", None)
    if exact is not None:
        said = count_text(exact)
        return Check(what=what, found=count_text(found), expected=said, is_right=found == exact)
    return Check(
        what=what, found=count_text(found), expected=about and f"about {count_text(about)}"
    )
