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
from typing import TYPE_CHECKING

from nabladft.catalog.describing import how_to_get, labels_of, size_text, with_fields
from nabladft.catalog.fetching import Fetched, Reporter, bytes_to_fetch, fetch_file
from nabladft.catalog.places import find_local, local_path, locations
from nabladft.catalog.verification import Expected, expected_of
from nabladft.errors import DownloadError, InputError, MissingFieldError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nabladft.catalog.catalogue import Catalogue
    from nabladft.catalog.product import Product
    from nabladft.transport.files import TransportSettings


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to fetch.

    Attributes:
        product: What it is.
        target: Where it shall lie.
        locations: Where it can be had, in the order to try; empty when nobody knows.
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
        """Fetch it; see :func:`nabladft.catalog.fetching.fetch_file`.

        Raises:
            DownloadError: No address of it is known, or it cannot be fetched.
        """
        if not self.locations and not self.target.exists():
            raise DownloadError(how_to_get(self.product))
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
            listed = ", ".join(f"{product.name} ({size_of(product)})" for product in found)
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
        products: What to fetch. Embedded data sets that are there need no fetching and are left
            out.
        folder: Where the files shall lie, side by side; None for the data folder.
        mirrors: Places to try first.
        accept_changed: Take a file as its server has it now, even if the catalogue says otherwise.
    """
    plans = []
    mirrors = tuple(mirrors)
    for product in products:
        if product.embedded and find_local(product) is not None:
            continue
        places = locations(product, mirrors)
        target = folder / product.file_name if folder else local_path(product)
        size = None if accept_changed and not target.exists() else product.n_bytes_expected
        missing = bytes_to_fetch(target, size) if size is not None and places else None
        plans.append(
            Download(
                product=product,
                target=target,
                locations=places,
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


def size_of(product: Product) -> str:
    """Say how large a product is, for people: "53.3 MB", "~1.6 TB", "?"."""
    return size_text(product.n_bytes, product.n_bytes_about)


def existing_parent(path: Path) -> Path:
    """Return the nearest folder above a path that exists."""
    for parent in path.absolute().parents:
        if parent.is_dir():
            return parent
    return Path("/")


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


def _holding(
    products: Sequence[Product], fields: Sequence[str], *, name: str, catalogue: Catalogue
) -> list[Product]:
    """Choose the products to take so that every field is held, the smallest first."""

    def smallest(found: Sequence[Product]) -> Product:
        return min(found, key=lambda product: product.n_bytes_expected or float("inf"))

    whole = with_fields(products, fields)
    if _is_pattern(name) and whole:
        return list(whole)
    if whole:
        return [smallest(whole)]
    taken: list[Product] = []
    for field in fields:
        having = with_fields(products, [field])
        if not having or _is_pattern(name):
            last = name.rpartition("/")[2]
            others = [p.name for p in with_fields(catalogue, fields) if p.name.endswith(last)]
            known = dict.fromkeys(one for product in products for one in labels_of(product))
            raise MissingFieldError(
                f"{name} holds no {', '.join(fields)}; it has {', '.join(known)}."
                + (f" What has it: {', '.join(others)}." if others else "")
            )
        taken.append(smallest(having))
    return list(dict.fromkeys(taken))
