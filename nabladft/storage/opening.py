"""Opening data, whatever they are in.

Example:
    >>> open_source("nano")  # doctest: +SKIP
    >>> open_source("energy/train-tiny")[0].formation_energy  # doctest: +SKIP
    >>> open_source("train_2k.db")[0].formation_energy  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h5py

from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.describing import how_to_get
from nabladft.catalog.places import find_local, local_path
from nabladft.errors import (
    FormatError,
    InputError,
    NotDownloadedError,
    StoreError,
)
from nabladft.resources import embedded_datasets
from nabladft.storage.formats.array_pickles import NPY_MAGIC
from nabladft.storage.formats.sqlite_source import SQLITE_MAGIC, first_value, table_columns
from nabladft.storage.formats.summary_table import is_summary
from nabladft.storage.manifest import MANIFEST_NAME
from nabladft.storage.remote import find_remote
from nabladft.storage.remote_sqlite import RemoteDatabase
from nabladft.storage.shards import SHARD_FORMAT
from nabladft.storage.staging import is_unfinished
from nabladft.storage.store import Store
from nabladft.transport.addresses import is_web, local_place

if TYPE_CHECKING:
    from pathlib import Path

    from nabladft.storage.source import ConformationSource

_HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"

#: First bytes of archives and compressed files, and the command that unpacks them.
_PACKED: Final = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"PK\x03\x04": "unzip",
    b"7z\xbc\xaf\x27\x1c": "7z x",
}

#: Products that are not read by themselves, and what to do with them.
_NO_RECORDS: Final = {
    "summary": "Join the table to records: nabladft convert SOURCE STORE --summary {}",
    "geometries": "Unpack the archive ({}), then open its files.",
    "wavefunctions": "Unpack the archive ({}), then open the folder with its .npy files.",
    "splits": "Unpack the archive ({}); it holds row numbers of the databases.",
}

_READABLE: Final = (
    "Readable are: a store (a folder), a published energy, trajectory or Hamiltonian file, a file "
    "of QH9, a folder of wavefunctions, an ASE database, an extended xyz file."
)


def open_source(path_or_name: str | Path) -> ConformationSource:
    """Open a data set: a product of the catalogue, a store, or a file of a known format.

    What a file is, is found by looking into it; its name does not matter. A bare name of an
    embedded data set wins over a folder of that name; write ``./name`` for the folder. A path that
    exists wins over the name of any other product.

    Args:
        path_or_name: "nano", the name of a downloaded product ("energy/train-tiny"), a path, or the
            address of a store or of an SQLite file (``https://``, ``s3://``), of which only what
            is asked for is fetched.

    Raises:
        UnknownNameError: Neither a path nor a product of the catalogue.
        NotDownloadedError: The product is not on this machine; the message says how to get it.
        TransportError: An address cannot be reached, or its server gives whole files only.
        InputError: There is no such path.
        FormatError: The file is of no format that can be read here, or is damaged.
        StoreError: The folder is no store, or a damaged one.
        OSError: The file cannot be read.
    """
    embedded = embedded_datasets()
    if str(path_or_name) in embedded:
        return Store(embedded[str(path_or_name)])
    if is_web(str(path_or_name)):
        return _open_address(str(path_or_name))
    path = local_place(str(path_or_name))
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _open_file(path)
    if path.exists():
        message = f"{path} is neither a file nor a folder."
        raise InputError(message)
    return _open_product(str(path_or_name), path)


def _open_product(name: str, path: Path) -> ConformationSource:
    """Open a product of the catalogue by its name, where there is no such path."""
    catalogue = load_catalogue()
    product = catalogue.find(name)
    if product is None:
        folder = name.partition("/")[0]
        if path.suffix or (len(path.parts) > 1 and folder not in catalogue.folders):
            message = f"There is no file or folder {str(path)!r}."
            raise InputError(message)
        raise catalogue.unknown(name, "file, folder or data set")
    found = find_local(product)
    if found is None:
        message = (
            f"{name!r} is not on this machine (looked for {local_path(product)}). "
            f"{how_to_get(product)}"
        )
        raise NotDownloadedError(message)
    if product.kind in _NO_RECORDS and found.is_file():
        message = f"{name!r} is no file of records. {_NO_RECORDS[product.kind].format(found)}"
        raise FormatError(message)
    return _open_folder(found) if found.is_dir() else _open_file(found)


def _open_address(address: str) -> ConformationSource:
    found = find_remote(address)
    if isinstance(found, Store):
        return found
    if found.read(0, len(SQLITE_MAGIC)) == SQLITE_MAGIC:
        return _open_sqlite(RemoteDatabase(found))
    message = (
        f"{found.url} is neither a store nor an SQLite file, and nothing else can be read from a "
        "server. Download it, then open the copy."
    )
    raise FormatError(message)


def _open_folder(path: Path) -> ConformationSource:
    if (path / MANIFEST_NAME).is_file():
        return Store(path)
    from nabladft.storage.formats import psi4_wavefunctions  # noqa: PLC0415 - see _open_file

    if psi4_wavefunctions.holds_wavefunctions(path):
        return psi4_wavefunctions.Psi4WavefunctionSource(path)
    if is_unfinished(path):
        message = f"{path} is a store that is still being made. Run the same command to finish it."
        raise StoreError(message)
    if (path / "data.mdb").is_file():
        message = (
            f"{path} is an LMDB environment, which is not read here. Those of QH9 are made from "
            "its .db files; open these."
        )
        raise FormatError(message)
    inside = sorted(path.glob(f"*/{MANIFEST_NAME}"))
    hint = f" Did you mean {str(inside[0].parent)!r}?" if inside else ""
    message = f"{path} is a folder but not a store: it has no {MANIFEST_NAME}.{hint}"
    raise StoreError(message)


def _open_file(path: Path) -> ConformationSource:
    # Readers of foreign formats bring ASE and SciPy, which load longer than a store takes to open.
    from nabladft.storage.formats import ase_formats, psi4_wavefunctions  # noqa: PLC0415

    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        message = f"{path} is empty. Download or copy it again."
        raise FormatError(message)
    if start.startswith(SQLITE_MAGIC):
        return _open_sqlite(path)
    if start.startswith(_HDF5_MAGIC):
        _refuse_hdf5(path)
    if start.startswith(NPY_MAGIC) and psi4_wavefunctions.FILE_NAME.fullmatch(path.name):
        return psi4_wavefunctions.Psi4WavefunctionSource(path)
    if is_summary(path):
        message = (
            f"{path} is a summary of properties without geometries. Join it to a file that has "
            "them: nabladft convert GEOMETRIES STORE --summary, or SummarySource."
        )
        raise FormatError(message)
    for magic, command in _PACKED.items():
        if start.startswith(magic):
            message = f"{path} is packed. Unpack it first: {command} {path}"
            raise FormatError(message)
    if path.name == MANIFEST_NAME and (path.parent / MANIFEST_NAME).is_file():
        return Store(path.parent)
    if start.split(b"\n", 1)[0].strip().isdigit():
        return ase_formats.AseSource(path, format="extxyz")
    message = f"{path} is of no format that can be read here. {_READABLE}"
    raise FormatError(message)


def _open_sqlite(path: Path | RemoteDatabase) -> ConformationSource:
    from nabladft.storage.formats.ase_formats import AseSource  # noqa: PLC0415 - see _open_file
    from nabladft.storage.formats.published_energy import PublishedEnergySource  # noqa: PLC0415
    from nabladft.storage.formats.published_hamiltonian import (  # noqa: PLC0415
        PublishedHamiltonianSource,
    )
    from nabladft.storage.formats.qh9 import QH9Source, is_qh9  # noqa: PLC0415

    tables = table_columns(path)
    if "systems" in tables:
        pairs = first_value(path, "SELECT key_value_pairs FROM systems LIMIT 1")
        if "moses_id" in str(pairs) and "species" in tables:
            return PublishedEnergySource(path)
        if isinstance(path, RemoteDatabase):
            message = f"{path} is an ASE database, read whole. Download it, then open the copy."
            raise FormatError(message)
        return AseSource(path, format="db")
    if is_qh9(tables):
        return QH9Source(path)
    if {"data", "dataset_ids"} & set(tables):
        return PublishedHamiltonianSource(path)
    if {"molecules", "conformations", "shards"} <= set(tables):
        message = f"{path} is the index of a store. Open its folder: {_folder_of(path)!r}."
        raise FormatError(message)
    listed = ", ".join(tables) or "none"
    message = f"{path} is an SQLite file of an unknown kind (tables: {listed}). {_READABLE}"
    raise FormatError(message)


def _folder_of(path: Path | RemoteDatabase) -> str:
    return str(path).rpartition("/")[0] if isinstance(path, RemoteDatabase) else str(path.parent)


def _refuse_hdf5(path: Path) -> None:
    """HDF5 files are never opened by themselves: say what this one is."""
    try:
        with h5py.File(path, "r") as file:
            kind = file.attrs.get("format")
    except OSError as error:
        message = f"{path} is a damaged HDF5 file ({error}). Download or copy it again."
        raise FormatError(message) from error
    if kind == SHARD_FORMAT:
        message = f"{path} is one shard of a store. Open its folder: {str(path.parent)!r}."
    elif kind == "nabladft-predictions":
        message = f"{path} is a predictions file, not data. Score it with `nabladft evaluate`."
    else:
        message = f"{path} is an HDF5 file that was not written by nabladft. {_READABLE}"
    raise FormatError(message)
