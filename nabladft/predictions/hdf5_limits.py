"""What an HDF5 file from a stranger may be made of: every limit, and why it is where it is.

A predictions file comes from outside. HDF5 can link to other files, run filters that turn a few
bytes into terabytes, and describe far more than it holds. A file is therefore looked at before
anything in it is read, in this order:

- **No user block, no damaged heap** (:mod:`nabladft.predictions.hdf5_heaps`). Bytes in front of the
  HDF5 data would make the file something else as well (a page, an archive) for whoever looks at
  its first bytes. A heap whose sizes do not add up makes the HDF5 library run for ever.
- **Members** (:data:`MOST_MEMBERS`): the format knows ten names. A root with millions of links is
  refused before they are listed.
- **Hard links to arrays only.** Soft, external and user-defined links, groups, named types, virtual
  datasets and external storage would make the reader open something else.
- **Numbers only**, integers or floating point of at most eight bytes: texts, compounds, opaque
  types, variable lengths, object and region references are nothing that a prediction is.
- **Attributes** (:data:`MOST_ATTRIBUTES`, :data:`MOST_ATTRIBUTE_BYTES`): scalars, texts or numbers.
  A reference is refused even if nobody would follow it. Arrays of texts are refused because all
  their elements could be the same hundred megabytes.
- **Every value was written.** HDF5 gives fill values for chunks that are not there, so that a
  file of 10 kB declares 10 TB of zeros, or a forgotten batch is scored as predictions of zero.
- **Filters**: gzip, shuffle and Fletcher-32, each at most once. They are in every HDF5. Two
  compressors in a row square what one can do; filters of others are code that we would have to
  trust with hostile bytes.
- **Chunks** (:data:`MOST_CHUNK_BYTES`, :data:`MOST_CHUNKS`): one is in memory as a whole. HDF5
  inflates a chunk to whatever it inflates to, whatever size it has by declaration. So each is
  inflated here first, and stopped at that size.
- **Declared sizes** (:data:`MOST_EXPANSION`): gzip cannot do better than 1032 : 1, but the index of
  chunks can name the same bytes many times.

How many conformations, and how many atoms of each, is limited by the data that are scored
(``most`` of :class:`nabladft.predictions.Predictions`;
:func:`nabladft.benchmark.evaluation.evaluate` compares all atoms before it reads a value). What
remains is the HDF5 library itself, which reads the structure of the file: a server runs it in a
process of its own that may be killed.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, Final, NoReturn

import h5py
from h5py import h5a, h5l, h5s, h5t, h5z

from nabladft.errors import PredictionsError

#: Links at the root; the format knows ten.
MOST_MEMBERS: Final = 16

#: Attributes of the root or of an array; the format knows nine.
MOST_ATTRIBUTES: Final = 64

#: Of one attribute. ``details`` is the only one that can be long.
MOST_ATTRIBUTE_BYTES: Final = 1 << 20

#: Of one chunk. h5py chooses at most 1 MiB, the writer of this package 256 KiB.
MOST_CHUNK_BYTES: Final = 1 << 22

#: Of one array: a quarter of a terabyte in chunks of 256 KiB. What is known of each is in memory.
MOST_CHUNKS: Final = 1_000_000

#: Declared bytes for each byte of the file.
MOST_EXPANSION: Final = 1100

#: Filters by their number in HDF5, with the name for messages.
_FILTERS: Final = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
}

_CHECKSUM_BYTES: Final = 4
_WIDEST_NUMBER: Final = 8


def refuse(file: h5py.File, reason: str) -> NoReturn:
    """Raise the error that names the file.

    Raises:
        PredictionsError: Always.
    """
    message = f"{Path(file.filename).name}: {reason}."
    raise PredictionsError(message)


def shown(value: object) -> str:
    """Give the beginning of a value for a message."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_root(file: h5py.File) -> None:
    """Refuse a file for what it consists of, before any name or array in it is looked at.

    Raises:
        PredictionsError: It has too many members or attributes, or attributes that
            are not plain texts and numbers.
    """
    if len(file) > MOST_MEMBERS:
        refuse(file, f"it has {len(file)} members, at most {MOST_MEMBERS} are read")
    _check_attributes(file, file, "the file")


def check_member(file: h5py.File, name: str) -> h5py.Dataset:
    """Give an array after everything about it that can be bad has been looked at.

    Raises:
        PredictionsError: It is a link or not an array, its values are not in this file, not all
            written or not plain numbers, it declares more than the file can hold, or its filters or
            chunks are not accepted.
    """
    if file.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != h5l.TYPE_HARD:
        refuse(file, f"{name!r} is a link; links are not followed, store the array itself")
    try:
        dataset = file[name]
        is_array = isinstance(dataset, h5py.Dataset)
        dtype: Any = dataset.dtype if is_array else None
    except (KeyError, OSError, TypeError, ValueError) as error:
        refuse(file, f"{name!r} cannot be read: {_one_line(error)}")
    if not is_array:
        refuse(file, f"{name!r} is a {type(dataset).__name__.lower()}, an array is expected")
    if dataset.is_virtual or dataset.external:
        refuse(file, f"the values of {name!r} are in another file; store them in this one")
    if dataset.shape is None:
        refuse(file, f"{name!r} is empty")
    if dtype.kind not in "iuf" or dtype.itemsize > _WIDEST_NUMBER:
        refuse(
            file, f"{name!r} has type {shown(dtype)}, integers or floating-point numbers expected"
        )
    _check_attributes(file, dataset, repr(name))
    if dataset.nbytes > MOST_EXPANSION * Path(file.filename).stat().st_size:
        refuse(file, f"{name!r} declares {dataset.nbytes} bytes, more than the file can hold")
    _check_storage(file, name, dataset)
    return dataset


def read_attribute(file: h5py.File, owner: h5py.HLObject, name: str) -> str | int | float | None:
    """Read a text or a number; None when there is no such attribute.

    :func:`check_root` or :func:`check_member` has looked at all of them.

    Raises:
        PredictionsError: It is a text that is too long or is not UTF-8, or cannot be read.
    """
    if name not in owner.attrs:
        return None
    try:
        value = owner.attrs[name]
        text = value.decode("utf-8") if isinstance(value, bytes) else value
    except (OSError, ValueError) as error:
        refuse(file, f"the attribute {name!r} cannot be read: {_one_line(error)}")
    if isinstance(text, str):
        if len(text) > MOST_ATTRIBUTE_BYTES:
            refuse(
                file,
                f"the attribute {name!r} has {len(text)} characters, at most "
                f"{MOST_ATTRIBUTE_BYTES} are read",
            )
        # NumPy's own subclass of str for texts of fixed length would be written to files as such.
        return str(text)
    number: int | float = text.item()
    return number


def _check_attributes(file: h5py.File, owner: h5py.HLObject, where: str) -> None:
    n_attributes = h5a.get_num_attrs(owner.id)
    if n_attributes > MOST_ATTRIBUTES:
        refuse(
            file, f"{where} has {n_attributes} attributes, at most {MOST_ATTRIBUTES} are accepted"
        )
    for index in range(n_attributes):
        attribute = h5a.open(owner.id, index=index)
        name = shown(attribute.name.decode("utf-8", "replace"))
        if attribute.get_space().get_simple_extent_type() != h5s.SCALAR:
            refuse(file, f"the attribute {name!r} of {where} is not one value")
        kind = attribute.get_type().get_class()
        if kind not in {h5t.STRING, h5t.INTEGER, h5t.FLOAT}:
            refuse(file, f"the attribute {name!r} of {where} is neither a text nor a number")
        n_bytes = attribute.get_storage_size()
        if n_bytes > MOST_ATTRIBUTE_BYTES:
            refuse(
                file,
                f"the attribute {name!r} of {where} has {n_bytes} bytes, at most "
                f"{MOST_ATTRIBUTE_BYTES} are read",
            )


def _check_storage(file: h5py.File, name: str, dataset: h5py.Dataset) -> None:
    """Refuse values that were not written, and filters and chunks that are not accepted."""
    if dataset.chunks is None:
        if dataset.id.get_storage_size() < dataset.nbytes:
            refuse(file, f"the values of {name!r} were never written")
        return
    chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk_bytes > MOST_CHUNK_BYTES:
        refuse(
            file,
            f"{name!r} has chunks of {chunk_bytes} bytes, at most {MOST_CHUNK_BYTES} are read at "
            f"once; write it with smaller chunks, or chunks=True",
        )
    filters = _filters_of(file, name, dataset)
    n_chunks = math.prod(
        -(-length // step) for length, step in zip(dataset.shape, dataset.chunks, strict=True)
    )
    if n_chunks > MOST_CHUNKS:
        refuse(
            file,
            f"{name!r} has {n_chunks} chunks, at most {MOST_CHUNKS} are read; make them larger",
        )
    if dataset.id.get_num_chunks() != n_chunks:
        refuse(
            file,
            f"{dataset.id.get_num_chunks()} of the {n_chunks} chunks of {name!r} were written; the "
            "others would be read as zeros",
        )
    _check_chunks(file, name, dataset, chunk_bytes, filters)


def _filters_of(file: h5py.File, name: str, dataset: h5py.Dataset) -> list[int]:
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    strange = [code for code in filters if code not in _FILTERS]
    if strange:
        refuse(
            file,
            f"{name!r} uses the HDF5 filter {strange[0]}; write it without compression or with "
            f"compression='gzip' (accepted: {', '.join(_FILTERS.values())})",
        )
    if len(set(filters)) != len(filters):
        names = ", ".join(_FILTERS[code] for code in filters)
        refuse(file, f"{name!r} uses a filter twice ({names})")
    return filters


def _check_chunks(
    file: h5py.File, name: str, dataset: h5py.Dataset, chunk_bytes: int, filters: list[int]
) -> None:
    """Inflate every compressed chunk as far as its declared size, and no further."""
    found: list[Any] = []
    dataset.id.chunk_iter(found.append)
    largest = chunk_bytes + _CHECKSUM_BYTES
    gzip_bit = 1 << filters.index(h5z.FILTER_DEFLATE) if h5z.FILTER_DEFLATE in filters else 0
    for chunk in found:
        if not gzip_bit or chunk.filter_mask & gzip_bit:
            if chunk.size > largest:
                refuse(file, f"a chunk of {name!r} has {chunk.size} bytes, {chunk_bytes} expected")
            continue
        # Deflate makes what it cannot compress larger by 5 bytes in 16 kB at most.
        if chunk.size > largest + largest // 1000 + 64:
            refuse(file, f"a chunk of {name!r} has {chunk.size} bytes, {chunk_bytes} expected")
        _, compressed = dataset.id.read_direct_chunk(chunk.chunk_offset)
        decompressor = zlib.decompressobj()
        try:
            n_bytes = len(decompressor.decompress(compressed, largest + 1))
        except zlib.error as error:
            refuse(
                file,
                f"a chunk of {name!r} is damaged, or not compressed last ({error}); the order is "
                "shuffle, gzip",
            )
        if n_bytes > largest:
            refuse(file, f"a chunk of {name!r} inflates to more than its {chunk_bytes} bytes")


def _one_line(error: Exception) -> str:
    return shown(" ".join(str(error).split()))
