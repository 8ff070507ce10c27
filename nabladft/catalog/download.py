"""Which products to fetch, from where to where, and whether there is room for them.

Example:
    >>> from nabladft.catalog.catalogue import load_catalogue
    >>> chosen = choose_products(load_catalogue(), ["energy/train-tiny"])
    >>> [product.name for product in chosen]
    ['energy/train-tiny']
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.catalog.fetching import Fetched, Reporter, bytes_to_fetch, fetch_file
from nabladft.catalog.places import local_path, locations
from nabladft.catalog.verification import Expected, expected_of
from nabladft.errors import DownloadError, InputError, MissingFieldError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nabladft.catalog.catalogue import Catalogue
    from nabladft.catalog.product import Product
    from nabladft.transport.files import TransportSettings

#: Of these two either one gives the other (nabladft/storage/derived.py).
_ENERGIES: Final = frozenset({"energy", "formation_energy"})


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to fetch.

    Attributes:
        product: What it is.
        target: Where it shall lie.
        locations: Where it can be had, in the order to try.
        expected: What its content is compared with.
        n_missing: Bytes to fetch, what earlier runs left taken off; None when not known.
        is_estimate: Whether that number follows from an estimated size.
    """

    product: Product
    target: Path
    locations: tuple[str, ...]
    expected: Expected
    n_missing: int | None
    is_estimate: bool

    def fetch(
        self,
        *,
        connections: int = 8,
        settings: TransportSettings | None = None,
        reporter: Reporter | None = None,
    ) -> Fetched:
        """Fetch it; see :func:`nabladft.catalog.fetching.fetch_file`."""
        return fetch_file(
            self.locations,
            self.target,
            expected=self.expected,
            connections=connections,
            settings=settings,
            reporter=reporter,
        )


def choose_products(
    catalogue: Catalogue, names: Iterable[str], *, fields: Sequence[str] = ()
) -> list[Product]:
    """Find the products that are meant.

    A name is a product's, a pattern with ``*``, or the last part of a name ("train-tiny"). A file
    is fetched whole, so ``fields`` does not take columns out of files; it chooses, among the
    products meant, the smallest that hold these fields, and refuses if none does.

    Raises:
        UnknownNameError: A name is of no product.
        InputError: The last part of a name is that of several products, and no field decides.
        MissingFieldError: No product of that name holds a field.
    """
    chosen: list[Product] = []
    for name in names:
        found = _named(catalogue, name)
        if fields:
            found = _holding(found, fields, name=name, catalogue=catalogue)
        elif len(found) > 1 and not _is_pattern(name):
            listed = ", ".join(f"{product.name} ({size_text(product)})" for product in found)
            raise InputError(
                f"{name!r} is the last part of several products: {listed}. Give the whole name, "
                "or say with --fields what you need of it."
            )
        chosen += found
    return list(dict.fromkeys(chosen))


def plan_downloads(
    products: Iterable[Product],
    *,
    folder: Path | None = None,
    mirrors: Iterable[str] = (),
    accept_changed: bool = False,
) -> list[Download]:
    """Say what is to be fetched from where to where; nothing is fetched or created.

    Args:
        products: What to fetch. Embedded data sets need no fetching and are left out.
        folder: Where the files shall lie, side by side; None for the data folder.
        mirrors: Places to try first.
        accept_changed: Take a file as its server has it now, even if the catalogue says otherwise.
    """
    plans = []
    mirrors = tuple(mirrors)
    for product in products:
        if product.embedded:
            continue
        target = folder / product.file_name if folder else local_path(product)
        size = None if accept_changed and not target.exists() else product.n_bytes_expected
        missing = None if size is None else bytes_to_fetch(target, size)
        plans.append(
            Download(
                product=product,
                target=target,
                locations=locations(product, mirrors),
                expected=Expected() if accept_changed else expected_of(product),
                n_missing=0 if target.exists() else missing,
                is_estimate=product.n_bytes is None,
            )
        )
    return plans


def check_space(plans: Iterable[Download]) -> None:
    """Refuse downloads that together do not fit on the disks they go to.

    Raises:
        DownloadError: They do not; nothing was fetched.
    """
    needed: dict[int, int] = {}
    places: dict[int, Path] = {}
    for plan in plans:
        place = existing_parent(plan.target)
        device = place.stat().st_dev
        needed[device] = needed.get(device, 0) + (plan.n_missing or 0)
        places[device] = place
    for device, n_bytes in needed.items():
        free = shutil.disk_usage(places[device]).free
        if n_bytes > free:
            raise DownloadError(
                f"{n_bytes / 1e9:.1f} GB are to be fetched, and {places[device]} has "
                f"{free / 1e9:.1f} GB free. Nothing was fetched. Free some space, choose another "
                "disk with --to or NABLADFT_DATA, or take fewer products; single conformations "
                "can be fetched with --ids."
            )


def existing_parent(path: Path) -> Path:
    """Return the nearest folder above a path that exists."""
    for parent in path.absolute().parents:
        if parent.is_dir():
            return parent
    return Path("/")


def size_text(product: Product) -> str:
    """Say how large a product is, for people.

    Example:
        >>> from nabladft.catalog.product import Product
        >>> size_text(Product(name="a", kind="store", version="1", what="", file_name="a"))
        'size unknown'
    """
    n_bytes = product.n_bytes_expected
    if n_bytes is None:
        return "size unknown"
    about = "" if product.n_bytes is not None else "about "
    return about + bytes_text(n_bytes)


def bytes_text(n_bytes: float) -> str:
    """Write a number of bytes with three digits and a decimal unit.

    Example:
        >>> bytes_text(15_118_426_112), bytes_text(512)
        ('15.1 GB', '512 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def _named(catalogue: Catalogue, name: str) -> list[Product]:
    if _is_pattern(name):
        return list(catalogue.select(name))
    exact = catalogue.find(name)
    if exact is not None:
        return [exact]
    found = [p for p in catalogue if p.version != "v1" and p.name.rpartition("/")[2] == name]
    if not found:
        raise UnknownNameError("product", name, catalogue.names)
    return found


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _held(product: Product) -> set[str]:
    names = {field.becomes or field.column for field in product.fields if not field.absent}
    return names | _ENERGIES if names & _ENERGIES else names


def _holding(
    products: Sequence[Product], fields: Sequence[str], *, name: str, catalogue: Catalogue
) -> list[Product]:
    """Choose the products to take so that every field is held, the smallest first."""

    def cost(product: Product) -> float:
        return product.n_bytes_expected or float("inf")

    if _is_pattern(name):
        found = [product for product in products if set(fields) <= _held(product)]
        if found:
            return found
        raise MissingFieldError(f"No product {name!r} holds {', '.join(fields)}.")
    taken: list[Product] = []
    whole = [product for product in products if set(fields) <= _held(product)]
    if whole:
        return [min(whole, key=cost)]
    for field in fields:
        having = [product for product in products if field in _held(product)]
        if not having:
            known = sorted({one for product in products for one in _held(product)})
            last = name.rpartition("/")[2]
            others = [p.name for p in catalogue if p.name.endswith(last) and field in _held(p)]
            hint = f" {' and '.join(others)} hold it." if others else ""
            raise MissingFieldError(f"{name} holds no {field!r}; it has {', '.join(known)}.{hint}")
        taken.append(min(having, key=cost))
    return list(dict.fromkeys(taken))
