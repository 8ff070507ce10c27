"""One shard: an HDF5 file of flat arrays, written once and never changed.

The layout is described for readers in any language in ``docs/store-format.md``.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NoReturn

import h5py
import numpy as np

from nabladft.errors import CorruptStoreError
from nabladft.fields import FIELDS
from nabladft.storage.chunks import ChunkedArray
from nabladft.storage.codecs import (
    read_field,
    stored_values,
    write_array,
    write_field,
)
from nabladft.storage.content import content_sum
from nabladft.storage.flat import FlatRecords, Texts, fields_with_orbitals, values_per_record
from nabladft.storage.manifest import ShardEntry, StoredField
from nabladft.storage.ragged import gather, offsets_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.storage.manifest import Manifest

    IntArray = NDArray[np.int64]

SHARD_FORMAT: Final = "nabladft-shard"
SHARD_VERSION: Final = 1
TEXT_NAMES: Final = ("smiles", "geometry_origin")

#: Data begin at multiples of this, so that memory maps are aligned.
_ALIGNMENT: Final = 64


def build_shard(
    file: str, flat: FlatRecords, texts: Texts, manifest: Manifest
) -> tuple[bytes, ShardEntry]:
    """Make the bytes of a shard file, the same for the same records.

    Args:
        file: Name the file will have.
        flat: The records, with the labels of the manifest.
        texts: Their words.
        manifest: Says how each field is stored.

    Returns:
        The file's bytes and its entry in the manifest.

    Raises:
        StoreError: A value does not fit into its codec.
    """
    orbitals = flat.orbital_counts
    with h5py.File(
        file,
        "w",
        driver="core",
        backing_store=False,
        alignment_threshold=1,
        alignment_interval=_ALIGNMENT,
    ) as h5:
        h5.attrs["format"] = SHARD_FORMAT
        h5.attrs["format_version"] = SHARD_VERSION
        h5.create_dataset("molecule_id", data=flat.molecule_id)
        h5.create_dataset("conformation_id", data=flat.conformation_id)
        h5.create_dataset("atom_offsets", data=flat.atom_offsets)
        h5.create_dataset("orbital_counts", data=orbitals)
        write_array(h5, "atomic_numbers", flat.atomic_numbers.astype(np.uint8), manifest.geometry)
        write_array(h5, "positions", flat.positions, manifest.geometry)
        for stored in manifest.fields:
            write_field(h5, stored, flat.values[stored.name], orbitals)
            _describe(h5[stored.name], stored)
        for name in TEXT_NAMES:
            _write_texts(h5.create_group(name), getattr(texts, name))
        h5.flush()
        content: bytes = h5.id.get_file_image()
    rounded = {s.name: stored_values(s, flat.values[s.name], orbitals) for s in manifest.fields}
    entry = ShardEntry(
        file=file,
        rows=len(flat),
        n_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        elements=tuple(np.unique(flat.atomic_numbers).tolist()),
        content_sum=content_sum(flat.with_values(rounded), texts, manifest.stored_names),
    )
    return content, entry


def _describe(node: h5py.Group | h5py.Dataset, stored: StoredField) -> None:
    node.attrs["unit"] = FIELDS[stored.name].unit
    node.attrs["codec"] = stored.codec


def _write_texts(group: h5py.Group, texts: Sequence[str | None]) -> None:
    """Write each different text once, as UTF-8, and for each record which one (-1: none)."""
    known = {text: k for k, text in enumerate(dict.fromkeys(t for t in texts if t is not None))}
    encoded = [text.encode() for text in known]
    index = [-1 if text is None else known[text] for text in texts]
    group.create_dataset("index", data=np.array(index, dtype=np.int64))
    group.create_dataset(
        "offsets", data=offsets_of(np.array([len(text) for text in encoded], dtype=np.int64))
    )
    group.create_dataset("utf8", data=np.frombuffer(b"".join(encoded), dtype=np.uint8))


class Shard:
    """One open shard.

    Plain fields are views of a memory map; compact ones are unpacked through HDF5.
    """

    def __init__(self, folder: Path, entry: ShardEntry, manifest: Manifest) -> None:
        """Open a shard.

        Raises:
            CorruptStoreError: The file is missing, has another size than the manifest says, or is
                no shard.
        """
        self.path = folder / entry.file
        self._manifest = manifest
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            self._refuse("is missing")
        if size != entry.n_bytes:
            # Reading a memory map beyond the end of its file would end the process.
            self._refuse(f"has {size} bytes, the manifest says {entry.n_bytes}")
        try:
            self._file = h5py.File(self.path, "r", rdcc_nbytes=0)
        except OSError as error:
            self._refuse(f"is not an HDF5 file ({error})")
        if self._file.attrs.get("format") != SHARD_FORMAT:
            self._refuse("is not a shard of a store")
        self._map = np.memmap(self.path, dtype=np.uint8, mode="r")
        self._views: dict[str, NDArray[Any] | None] = {}
        self.molecule_id: IntArray = self._whole("molecule_id")
        self.conformation_id: IntArray = self._whole("conformation_id")
        self.atom_offsets: IntArray = self._whole("atom_offsets")
        self.orbital_counts: IntArray = self._whole("orbital_counts")
        self._offsets: dict[str, IntArray] = {}
        self._arrays: dict[str, ChunkedArray] = {}
        self._orbital_offsets = offsets_of(self.orbital_counts)
        self._texts: dict[str, tuple[IntArray, list[str]]] = {}
        counts = {len(self.molecule_id), len(self.conformation_id), len(self.orbital_counts)}
        if counts != {entry.rows} or len(self.atom_offsets) != entry.rows + 1:
            self._refuse(f"does not have the {entry.rows} conformations that the manifest says")

    def read(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read records with stored labels, in the sequence of ``rows``, duplicates included.

        Args:
            rows: Rows of this shard, shape (n,).
            fields: Stored labels.

        Raises:
            CorruptStoreError: The data cannot be unpacked.
        """
        starts = self.atom_offsets[rows]
        n_atoms = self.atom_offsets[rows + 1] - starts
        geometry = self._manifest.geometry
        how = {stored.name: stored for stored in self._manifest.fields}
        sized = bool(fields_with_orbitals(fields))
        orbitals = self.orbital_counts[rows]
        return FlatRecords(
            molecule_id=self.molecule_id[rows],
            conformation_id=self.conformation_id[rows],
            atom_offsets=offsets_of(n_atoms),
            atomic_numbers=self._values(
                StoredField("atomic_numbers", geometry), starts, n_atoms, rows
            ),
            positions=self._values(StoredField("positions", geometry), starts, n_atoms, rows),
            orbital_counts=orbitals if sized else np.zeros(len(rows), dtype=np.int64),
            values={
                name: self._values(how[name], *self._where(name, rows), rows) for name in fields
            },
        )

    def read_texts(self, rows: IntArray) -> Texts:
        """Read the words of records, in the sequence of ``rows``."""
        smiles, origins = (self._text(name, rows) for name in TEXT_NAMES)
        return Texts(smiles=smiles, geometry_origin=origins)

    def _where(self, name: str, rows: IntArray) -> tuple[IntArray, IntArray]:
        if name not in self._offsets:
            self._offsets[name] = offsets_of(
                values_per_record(
                    name, n_atoms=np.diff(self.atom_offsets), n_orbitals=self.orbital_counts
                )
            )
        offsets = self._offsets[name]
        return offsets[rows], offsets[rows + 1] - offsets[rows]

    def _values(
        self, stored: StoredField, starts: IntArray, counts: IntArray, rows: IntArray
    ) -> NDArray[Any]:
        dtype = np.dtype(FIELDS[stored.name].dtype)
        view = self._view(stored.name) if stored.codec == "plain" else None
        if view is not None:
            return gather(view, starts, counts, dtype=dtype)
        orbital = (self._orbital_offsets[rows], self.orbital_counts[rows])
        values = read_field(self._open, stored, starts, counts, orbital)
        return values.astype(dtype, copy=False)

    def _open(self, name: str) -> ChunkedArray:
        if name not in self._arrays:
            try:
                self._arrays[name] = ChunkedArray(self._file[name])
            except KeyError:
                self._refuse(f"has no {name}")
        return self._arrays[name]

    def _view(self, name: str) -> NDArray[Any] | None:
        """Map a contiguous dataset, or None when it is not contiguous (somebody repacked it)."""
        if name not in self._views:
            try:
                dataset = self._file[name]
            except KeyError:
                self._refuse(f"has no {name}")
            offset = dataset.id.get_offset()
            if dataset.size == 0:
                self._views[name] = np.zeros(dataset.shape, dtype=dataset.dtype)
            elif offset is None:
                self._views[name] = None
            else:
                self._views[name] = np.ndarray(
                    dataset.shape, dataset.dtype, buffer=self._map, offset=offset
                )
        return self._views[name]

    def _whole(self, name: str) -> NDArray[Any]:
        view = self._view(name)
        return np.asarray(self._file[name][()] if view is None else view)

    def _text(self, name: str, rows: IntArray) -> list[str | None]:
        if name not in self._texts:
            group = self._file[name]
            utf8 = group["utf8"][()].tobytes()
            offsets = group["offsets"][()].tolist()
            table = [utf8[start:stop].decode() for start, stop in pairwise(offsets)]
            self._texts[name] = (group["index"][()], table)
        index, table = self._texts[name]
        return [table[k] if k >= 0 else None for k in index[rows].tolist()]

    def _refuse(self, reason: str) -> NoReturn:
        message = (
            f"The shard {self.path} {reason}. Restore it from a copy; if this was a download, "
            "download it again."
        )
        raise CorruptStoreError(message)
