"""All products: those of the package's own catalogue file, then those of the user's files.

Example:
    >>> catalogue = load_catalogue()
    >>> catalogue.get("energy/train-tiny").n_conformations
    12145
    >>> [product.name for product in catalogue.select("hamiltonian/train-[ts]*")]
    ['hamiltonian/train-tiny', 'hamiltonian/train-small']
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nabladft.catalog.places import catalog_files
from nabladft.catalog.reading import CatalogueReader
from nabladft.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nabladft.catalog.product import Product

__all__ = ["PACKAGED", "Catalogue", "load_catalogue", "read_catalogue"]

#: The catalogue that comes with the package.
PACKAGED: Final = Path(__file__).with_name("files.toml")


@dataclass(frozen=True)
class Catalogue:
    """All known products, in the order of the files."""

    products: tuple[Product, ...]

    def __iter__(self) -> Iterator[Product]:
        """Go through the products."""
        return iter(self.products)

    def __len__(self) -> int:
        """Count the products."""
        return len(self.products)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all products."""
        return tuple(product.name for product in self.products)

    @property
    def folders(self) -> tuple[str, ...]:
        """What comes before the last "/" of the names: "energy", "v1/energy", ..."""
        found = (name.rpartition("/")[0] for name in self.names if "/" in name)
        return tuple(dict.fromkeys(found))

    def get(self, name: str) -> Product:
        """Find a product by its name.

        Raises:
            UnknownNameError: There is no such product; the message has the closest name.
        """
        for product in self.products:
            if product.name == name:
                return product
        raise self.unknown(name)

    def unknown(self, name: str, kind: str = "product") -> UnknownNameError:
        """Build the error for a name that is none; one of upstream's registry is explained."""
        error = UnknownNameError(kind, name, [*self.folders, *self.names])
        if meant := [product.name for product in self.products if product.registry_name == name]:
            error.add_note(f"{name} is what upstream calls {' and '.join(meant)}.")
        return error

    def find(self, name: str) -> Product | None:
        """Find a product by its name, or give None."""
        return next((product for product in self.products if product.name == name), None)

    def select(self, pattern: str | None = None) -> tuple[Product, ...]:
        """List products whose name matches a shell pattern, or begins with or contains a text.

        "energy/*" and "*tiny" are patterns; without ``*``, ``?`` or ``[``, "energy" is everything
        below ``energy/``, else every name that contains the text. None is everything.

        Raises:
            UnknownNameError: Nothing matches.
        """
        if pattern is None:
            return self.products
        if any(sign in pattern for sign in "*?["):
            chosen = [p for p in self.products if fnmatch.fnmatchcase(p.name, pattern)]
        else:
            folder = pattern.rstrip("/")
            chosen = [p for p in self.products if p.name == folder]
            chosen = chosen or [p for p in self.products if p.name.startswith(f"{folder}/")]
            chosen = chosen or [p for p in self.products if pattern in p.name]
        if not chosen:
            raise self.unknown(pattern)
        return tuple(chosen)


def load_catalogue() -> Catalogue:
    """Read the packaged catalogue and the user's files (``NABLADFT_CATALOG``, configuration).

    Raises:
        CatalogueError: A file cannot be read or is wrong; the message names file and product.
        ConfigError: The configuration file is wrong.
    """
    return read_catalogue([PACKAGED, *catalog_files()])


def read_catalogue(files: Iterable[Path]) -> Catalogue:
    """Read catalogue files, each of which may refer to what the earlier ones define.

    Raises:
        CatalogueError: A file cannot be read or is wrong; the message names file and product.
    """
    reader = CatalogueReader()
    for file in files:
        reader.add(file)
    return Catalogue(tuple(reader.products.values()))
