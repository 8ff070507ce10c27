"""The published summary: a CSV of 17 properties a conformation, joined to geometries by id.

The table of version 2 has 12.7 million lines in 2 GB of gzip, so it is read in chunks. A large one
is read once and prepared: ids and numbers go, sorted by id, into the cache of this machine
(``NABLADFT_CACHE``), from where a few rows are found in no time and in no memory.

The file says no units. They are settled by recomputation (:mod:`.summary_units`); here values are
as in the file. ``SPLITS`` holds several tags for nested subsets, so it is read as a set: comparing
the whole text with one tag silently drops the conformations that have two.

Example:
    >>> sorted(split_tags("['train_full', 'train_100k']"))
    ['train_100k', 'train_full']
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import shutil
import tempfile
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import numpy as np

from nabladft.errors import FormatError, InputError, NablaDFTError
from nabladft.transport.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

#: Columns with the ids.
ID_COLUMNS: Final = ("MOSES id", "CONFORMER id")

#: Columns that become a field, by field.
FIELD_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "energy": ("DFT TOTAL ENERGY",),
    "xc_energy": ("DFT XC ENERGY",),
    "nuclear_repulsion_energy": ("DFT NUCLEAR REPULSION ENERGY",),
    "one_electron_energy": ("DFT ONE-ELECTRON ENERGY",),
    "two_electron_energy": ("DFT TWO-ELECTRON ENERGY",),
    "dipole": ("DFT DIPOLE X", "DFT DIPOLE Y", "DFT DIPOLE Z"),
    "rotational_constants": ("DFT ROT CONSTANT A", "DFT ROT CONSTANT B", "DFT ROT CONSTANT C"),
    "homo_energy": ("DFT HOMO",),
    "lumo_energy": ("DFT LUMO",),
    "formation_energy": ("DFT FORMATION ENERGY",),
}

#: Columns that follow from others, and serve to check them.
CHECK_COLUMNS: Final = ("DFT TOTAL DIPOLE", "DFT HOMO-LUMO GAP", "DFT ATOMIC ENERGY")

#: Every column of numbers, in the sequence of the prepared table.
COLUMNS: Final = (*(c for columns in FIELD_COLUMNS.values() for c in columns), *CHECK_COLUMNS)

#: Lines read at once.
_CHUNK: Final = 100_000

#: Files up to this size are read at each opening instead of being prepared.
_SMALL: Final = 32 << 20

#: Bits of a joined id that are the conformation's.
_CONFORMATION_BITS: Final = 24

#: Changes when what is in a prepared table changes.
_VERSION: Final = "summary-1"

_OPENERS: Final[dict[bytes, Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, eq=False)
class SummaryTable:
    """The numbers of a summary, sorted by id, as they are in the file.

    Attributes:
        path: The CSV.
        ids: Joined ids, ascending, shape (n,).
        values: Shape (n, 17), columns as in :data:`COLUMNS`; NaN where a cell is empty.
    """

    path: Path
    ids: IntArray
    values: FloatArray

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.ids)

    @property
    def keys(self) -> IntArray:
        """Pairs (molecule_id, conformation_id), shape (n, 2)."""
        mask = (1 << _CONFORMATION_BITS) - 1
        return np.stack([self.ids >> _CONFORMATION_BITS, self.ids & mask], axis=1)

    def find(self, keys: Sequence[tuple[int, int]] | IntArray) -> IntArray:
        """Find the rows of (molecule_id, conformation_id) pairs, shape (n,); -1 where none is."""
        wanted = _joined(np.asarray(keys, dtype=np.int64).reshape(-1, 2), self.path)
        rows = np.minimum(np.searchsorted(self.ids, wanted), max(len(self.ids) - 1, 0))
        if len(self.ids) == 0:
            return np.full(len(wanted), -1, dtype=np.int64)
        return np.where(self.ids[rows] == wanted, rows, -1)

    def read(self, rows: IntArray, columns: Sequence[str]) -> FloatArray:
        """Read columns of some rows, shape (n, n_columns), in the units of the file."""
        places = [COLUMNS.index(column) for column in columns]
        found: FloatArray = np.asarray(self.values[rows])[:, places]
        return found


def is_summary(path: Path) -> bool:
    """Tell by the first line whether a file, packed or not, is a summary."""
    try:
        with open_text(path) as file:
            line = file.readline(4096)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return False
    return all(column.encode() in line for column in ID_COLUMNS)


def read_summary(
    path: str | Path, *, columns: Sequence[str] = COLUMNS, chunk: int = _CHUNK
) -> Iterator[pd.DataFrame]:
    """Read a summary in chunks of lines.

    Args:
        path: CSV, plain or packed with gzip, bzip2, xz (or zstd, with the ``zstandard`` package).
        columns: What to read besides the ids.
        chunk: Lines at once.

    Yields:
        Frames with the ids as int64, the properties as float64, and texts.

    Raises:
        FormatError: The file is no summary, is truncated, lacks a column, or holds text where a
            number belongs; the message names the line.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import

    path = Path(path)
    wanted = [*ID_COLUMNS, *columns]
    types: dict[str, Any] = {name: np.float64 for name in columns if name in COLUMNS}
    types |= dict.fromkeys(ID_COLUMNS, np.int64)
    _check_end(path)
    try:
        with open_text(path) as file:
            header = pd.read_csv(file, nrows=0).columns
        absent = [name for name in wanted if name not in header]
        if absent:
            message = (
                f"{path} is not a published summary: it lacks the columns {', '.join(absent)}. "
                f"Its columns: {', '.join(map(str, header))[:300]}."
            )
            raise FormatError(message)
        with (
            open_text(path) as file,
            pd.read_csv(file, usecols=wanted, dtype=cast("Any", types), chunksize=chunk) as frames,
        ):
            yield from frames
    except NablaDFTError:
        raise
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        message = f"{path} is truncated or damaged ({error}). Download or copy it again."
        raise FormatError(message) from error
    except (ValueError, TypeError) as error:
        place = _first_bad_cell(path, types)
        message = f"{path}{place} cannot be read as a summary ({error})."
        raise FormatError(message) from error


def open_summary(path: str | Path) -> SummaryTable:
    """Open a summary for reading rows by id; a large one is prepared first, once.

    Args:
        path: CSV, plain or packed.

    Raises:
        FormatError: As :func:`read_summary`, or an id is there twice.
        OSError: The file cannot be read, or the cache not be written.
    """
    path = Path(path)
    size = path.stat().st_size
    if size <= _SMALL:
        frames = list(read_summary(path))
        ids = [_joined(frame[list(ID_COLUMNS)].to_numpy(np.int64), path) for frame in frames]
        values = [frame[list(COLUMNS)].to_numpy(np.float64) for frame in frames]
        joined = np.concatenate([np.zeros(0, dtype=np.int64), *ids])
        order = _order(joined, path)
        table = np.concatenate([np.zeros((0, len(COLUMNS))), *values])
        return SummaryTable(path, joined[order], table[order])
    name = f"{path.resolve()} {size} {path.stat().st_mtime_ns} {_VERSION}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    folder = cache_folder() / "summaries" / f"{path.name.partition('.')[0]}-{digest}"
    if not folder.is_dir():
        _prepare(path, folder)
    return SummaryTable(
        path,
        np.load(folder / "ids.npy", mmap_mode="r"),
        np.load(folder / "values.npy", mmap_mode="r"),
    )


def split_tags(text: object) -> frozenset[str]:
    """Give the tags of a cell of ``SPLITS`` as a set, whatever separates them."""
    return frozenset(re.findall(r"\w+", text)) if isinstance(text, str) else frozenset()


def keys_with_tag(path: str | Path, tag: str) -> IntArray:
    """List the conformations whose ``SPLITS`` contain a tag, shape (n, 2), in the file's order.

    Raises:
        FormatError: As :func:`read_summary`.
        InputError: No conformation has the tag; the message lists those there are.
    """
    found, tags = [np.zeros((0, 2), dtype=np.int64)], Counter[str]()
    for frame in read_summary(path, columns=["SPLITS"]):
        cells = frame["SPLITS"].astype("category")
        sets = [split_tags(text) for text in cells.cat.categories]
        for one, count in zip(sets, cells.value_counts(sort=False).tolist(), strict=True):
            tags.update(dict.fromkeys(one, int(count)))
        chosen = np.array([tag in one for one in sets] + [False])[cells.cat.codes.to_numpy()]
        found.append(frame[list(ID_COLUMNS)].to_numpy(np.int64)[chosen])
    if tag not in tags:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(tags.items())) or "none"
        message = f"No conformation of {path} has the tag {tag!r} in SPLITS. Tags: {listed}."
        raise InputError(message)
    return np.concatenate(found)


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking what is packed.

    Raises:
        FormatError: It is packed with zstd and the package for that is not installed.
    """
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(_ZSTD_MAGIC):
        try:
            import zstandard  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415
        except ImportError as error:
            message = f"{path} is packed with zstd. Unpack it first: unzstd {path}"
            raise FormatError(message) from error
        with path.open("rb") as packed:
            yield zstandard.ZstdDecompressor().stream_reader(packed)
        return
    opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)
    with cast("IO[bytes]", opener(path, "rb") if opener else path.open("rb")) as opened:
        yield opened


def _check_end(path: Path) -> None:
    """Refuse a plain text whose last line has no end; packed ones have a checksum."""
    with path.open("rb") as file:
        start = file.read(6)
        if not start:
            message = f"{path} is empty. Download or copy it again."
            raise FormatError(message)
        packed = start.startswith((*_OPENERS, _ZSTD_MAGIC))
        file.seek(-1, os.SEEK_END)
        if not packed and file.read(1) != b"\n":
            message = f"{path} is truncated: its last line has no end. Download or copy it again."
            raise FormatError(message)


def _first_bad_cell(path: Path, types: dict[str, Any]) -> str:
    """Find the line of the first cell that is not a number."""
    import pandas as pd  # noqa: PLC0415

    try:
        line = 2  # the first after the header
        with (
            open_text(path) as file,
            pd.read_csv(file, usecols=list(types), dtype=str, chunksize=_CHUNK) as frames,
        ):
            for frame in frames:
                for name in types:
                    numbers = pd.to_numeric(frame[name], errors="coerce")
                    bad = numbers.isna() & (frame[name].notna() | (name in ID_COLUMNS))
                    if name in ID_COLUMNS:
                        bad |= numbers % 1 != 0
                    if bad.any():
                        row = int(np.flatnonzero(bad)[0])
                        return f", line {line + row}, column {name!r}"
                line += len(frame)
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError):
        pass
    return ""


def _joined(keys: IntArray, path: Path) -> IntArray:
    """Join molecule_id and conformation_id to one integer that sorts like the pair."""
    wrong = np.flatnonzero((keys < 0).any(axis=1) | (keys[:, 1] >= 1 << _CONFORMATION_BITS))
    if len(wrong):
        message = f"{path} and ids {keys[wrong[0]].tolist()} do not go together: out of range."
        raise FormatError(message)
    return (keys[:, 0] << _CONFORMATION_BITS) | keys[:, 1]


def _order(ids: IntArray, path: Path) -> IntArray:
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
    if len(same):
        key = int(ids[order[same[0]]])
        mask = (1 << _CONFORMATION_BITS) - 1
        message = (
            f"{path} has molecule_id {key >> _CONFORMATION_BITS}, conformation_id {key & mask} on "
            f"two lines, {int(order[same[0]]) + 2} and {int(order[same[0] + 1]) + 2}."
        )
        raise FormatError(message)
    return order


def _prepare(path: Path, folder: Path) -> None:
    """Write ids and values, sorted by id, so that afterwards the whole folder is there or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".summary-", dir=folder.parent))
    try:
        pieces = []
        with (place / "unsorted").open("wb") as file:
            for frame in read_summary(path):
                pieces.append(_joined(frame[list(ID_COLUMNS)].to_numpy(np.int64), path))
                file.write(frame[list(COLUMNS)].to_numpy("<f8").tobytes())
        ids = np.concatenate([np.zeros(0, dtype=np.int64), *pieces])
        order = _order(ids, path)
        np.save(place / "ids.npy", ids[order])
        shape = (len(ids), len(COLUMNS))
        values = np.lib.format.open_memmap(
            place / "values.npy", mode="w+", dtype=np.dtype("<f8"), shape=shape
        )
        unsorted = np.memmap(place / "unsorted", dtype="<f8", mode="r", shape=shape)
        for start in range(0, len(ids), _CHUNK):
            values[start : start + _CHUNK] = unsorted[order[start : start + _CHUNK]]
        values.flush()
        del unsorted, values
        (place / "unsorted").unlink()
        try:
            place.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was faster
                raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
