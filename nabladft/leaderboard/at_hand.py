"""Data and splits by the names that strangers write: names only, no paths and no addresses.

A predictions file or an entry says which data it is of. Opening whatever it says would let it
point this process at any file or server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nabladft.catalog.catalogue import load_catalogue
from nabladft.errors import UnknownNameError
from nabladft.resources import embedded_datasets, resource_folder
from nabladft.splits import read_split
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from nabladft.splits import Split
    from nabladft.storage.source import ConformationSource


def open_named(name: str) -> ConformationSource:
    """Open an embedded data set, or a product of the catalogue that is on this machine.

    Raises:
        UnknownNameError: There is no data set of this name.
        NotDownloadedError: It is not on this machine.
    """
    embedded = embedded_datasets()
    if name not in embedded and load_catalogue().find(name) is None:
        raise UnknownNameError("data set", name, embedded)
    return open_source(name)


def split_named(name: str) -> Split:
    """Read a split that comes with the package.

    Raises:
        UnknownNameError: There is none of this name.
    """
    known = {
        path.stem: path
        for path in sorted(resource_folder("splits").iterdir())
        if path.suffix in {".json", ".h5"}
    }
    if name not in known:
        raise UnknownNameError("split", name, known)
    return read_split(known[name])
