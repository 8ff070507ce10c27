"""The global heaps of an HDF5 file, gone through before the HDF5 library does it.

Texts of variable length, as h5py writes attributes, lie in collections: a signature, a size, and
objects behind each other, each with its size. The library (seen in 2.0.0) follows these sizes
without asking whether they lead out of the collection: a single changed byte makes it go in
circles for ever, with the interpreter locked. Whether they fit is quickly seen, so it is.

A collection is found by its signature wherever it is, because the library reads one only there.

Source:
    HDF5 File Format Specification, version 3.0, sections II and III.E ("Global Heap").
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Final

from nabladft.errors import FormatError, PredictionsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"

#: Where a superblock of each version says how many bytes an offset and a length have.
_SIZES_AT: Final = {0: 13, 1: 13, 2: 9, 3: 9}

#: Bytes of offsets and lengths that every program writes today, and the layouts here assume.
_SIZES: Final = b"\x08\x08"

#: A collection: signature, version 1, three reserved bytes, then its size.
_COLLECTION: Final = b"GCOL\x01"
_COLLECTION_HEADER: Final = struct.Struct("<5s3xQ")

#: An object: number, references, four reserved bytes, size. Number 0 is free space.
_OBJECT_HEADER: Final = struct.Struct("<HH4xQ")

_BLOCK: Final = 1 << 20

#: The library refuses smaller collections itself; it makes them as large, or as their one text.
_SMALLEST: Final = 4096

#: A text of a mebibyte, four bytes a character. No attribute that is read is longer.
_LARGEST: Final = 1 << 22

#: A file of predictions has one or two.
_MOST: Final = 1024


def check_heaps(path: Path) -> None:
    """Refuse a file in which the HDF5 library would lose its way.

    Raises:
        FormatError: It does not begin as an HDF5 file does.
        PredictionsError: Its heaps contradict themselves, or it has unusual sizes of offsets.
    """
    with path.open("rb") as file:
        start = file.read(64)
        if not start.startswith(_SIGNATURE):
            message = f"{path} is not an HDF5 file: it does not begin with the signature of one."
            raise FormatError(message)
        at = _SIZES_AT.get(start[8], 0)
        if start[at : at + 2] != _SIZES:
            message = (
                f"{path.name}: its superblock is of an unusual kind; write it with HDF5 1.8 on."
            )
            raise PredictionsError(message)
        n_collections = 0
        for place in _places(file):
            n_collections += _check_collection(file, place, path)
            if n_collections > _MOST:
                message = f"{path.name}: it has more than {_MOST} collections of texts."
                raise PredictionsError(message)


def _places(file: BinaryIO) -> Iterator[int]:
    """Find where collections may begin, in blocks that overlap by the length of the signature."""
    base, tail = 0, b""
    while True:
        file.seek(base + len(tail))
        block = file.read(_BLOCK)
        if not block:
            return
        text = tail + block
        at = text.find(_COLLECTION)
        while at >= 0:
            yield base + at
            at = text.find(_COLLECTION, at + 1)
        tail = text[-(len(_COLLECTION) - 1) :]
        base += len(text) - len(tail)


def _check_collection(file: BinaryIO, place: int, path: Path) -> bool:
    """Go from object to object; each must end inside of the collection.

    Returns:
        Whether it is a collection; the signature may also be among other data by chance.
    """
    file.seek(place)
    header = file.read(_COLLECTION_HEADER.size)
    if len(header) < _COLLECTION_HEADER.size:
        return False
    size = _COLLECTION_HEADER.unpack(header)[1]
    if not _SMALLEST <= size <= path.stat().st_size - place:
        return False
    if size > _LARGEST:
        message = (
            f"{path.name}: a collection of texts has {size} bytes, at most {_LARGEST} are read."
        )
        raise PredictionsError(message)
    content = file.read(size - len(header))
    at, end = 0, len(content)
    while at + _OBJECT_HEADER.size <= end:
        number, _, n_bytes = _OBJECT_HEADER.unpack_from(content, at)
        if number:
            n_bytes = _OBJECT_HEADER.size + -(-n_bytes // 8) * 8
        if not _OBJECT_HEADER.size <= n_bytes <= end - at:
            message = (
                f"{path.name}: the texts at byte {place} contradict their own sizes; the file is "
                "damaged, or made to stop its reader."
            )
            raise PredictionsError(message)
        at += n_bytes
    return True
