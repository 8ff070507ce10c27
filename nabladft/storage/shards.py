"""One shard: an HDF5 file of flat arrays, written once and never changed.

The layout is described for readers in any language in ``docs/store-format.md``.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from nabladft.fields import FIELDS, GEOMETRY_FIELDS
from nabladft.storage.chunks import BUFFER_BYTES, ChunkedArray
from nabladft.storage.codecs import (
    read_field,
    stored_values,
    write_array,
    write_field,
)
from nabladft.storage.content import content_sum
from nabladft.storage.flat import FlatRecords, Texts, fields_with_orbitals, values_per_record
from nabladft.storage.manifest import ShardEntry, StoredField
from nabladft.storage.ragged import Rows, SingleRows, offsets_of
from nabladft.storage.shard_files import ArrayLayout, LocalShardFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.storage.manifest import Manifest
    from nabladft.storage.shard_files import ShardFile

    IntArray = NDArray[np.int64]

SHARD_FORMAT: Final = "nabladft-shard"
SHARD_VERSION: Final = 1
TEXT_NAMES: Final = ("smiles", "geometry_origin")

#: Arrays that every shard has and that are never packed.
_INDEX_NAMES: Final = ("molecule_id", "conformation_id", "atom_offsets", "orbital_counts")

#: Data begin at multiples of this, so that memory maps are aligned.
_ALIGNMENT: Final = 64

#: HDF5 keeps its own notes together in blocks of this size, the first at the beginning of the file:
#: a shard at a server is then opened with one request.
_METADATA_BYTES: Final = 16384


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
        meta_block_size=_METADATA_BYTES,
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

    Plain fields are views of a memory map, or ranges of bytes where there is no map; compact ones
    are unpacked through HDF5. A shard whose arrays are all plain keeps no HDF5 file open.
    """

    def __init__(
        self,
        folder: Path,
        entry: ShardEntry,
        manifest: Manifest,
        file: ShardFile | None = None,
        *,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        """Open a shard.

        Args:
            folder: Folder of the store.
            entry: What the manifest says of the shard.
            manifest: The manifest.
            file: The shard's bytes, where they are not in ``folder``.
            buffer_bytes: Most that the unpacked chunks of one dataset may take.

        Raises:
            CorruptStoreError: The file is missing, has another size than the manifest says, or is
                no shard.
        """
        self.file = LocalShardFile(folder / entry.file, entry.n_bytes) if file is None else file
        self.n_rows = entry.rows
        self._buffer_bytes = buffer_bytes
        self._how = {name: StoredField(name, manifest.geometry) for name in GEOMETRY_FIELDS}
        self._how |= {stored.name: stored for stored in manifest.fields}
        self._arrays: dict[str, ChunkedArray] = {}
        self._offsets: dict[str, IntArray] = {}
        self._hdf5: h5py.File | None = self.file.open_hdf5()
        if self._hdf5.attrs.get("format") != SHARD_FORMAT:
            self.file.refuse("is not a shard of a store")
        self._layouts = self._find_layouts(self._hdf5)
        if None not in self._layouts.values() and all(
            h.codec == "plain" for h in self._how.values()
        ):
            self.close()
        self._views = {
            name: None if layout is None else self.file.view(layout)
            for name, layout in self._layouts.items()
        }
        lengths = {name: self._length(name) for name in _INDEX_NAMES}
        if lengths.pop("atom_offsets") != entry.rows + 1 or set(lengths.values()) != {entry.rows}:
            self.file.refuse(f"does not have the {entry.rows} conformations that the manifest says")

    @cached_property
    def molecule_id(self) -> IntArray:
        """Molecule of each record, shape (n,)."""
        return self._whole("molecule_id")

    @cached_property
    def conformation_id(self) -> IntArray:
        """Conformation of each record, shape (n,)."""
        return self._whole("conformation_id")

    @cached_property
    def atom_offsets(self) -> IntArray:
        """Where the atoms of each record begin, shape (n + 1,)."""
        return self._whole("atom_offsets")

    @cached_property
    def orbital_counts(self) -> IntArray:
        """Number of orbitals of each record, shape (n,)."""
        return self._whole("orbital_counts")

    def layout(self, name: str) -> ArrayLayout | None:
        """Say where a plain array is in the file; None when it is packed or not contiguous."""
        return self._layouts.get(name)

    def view(self, name: str) -> NDArray[Any] | None:
        """Give a plain array of the file as a view of its memory map; None when it is not that."""
        return self._views.get(name)

    def read(self, rows: IntArray, fields: Sequence[str]) -> FlatRecords:
        """Read records with stored labels, in the sequence of ``rows``, duplicates included.

        Args:
            rows: Rows of this shard, shape (n,).
            fields: Stored labels.

        Raises:
            CorruptStoreError: The data cannot be unpacked.
        """
        singles = SingleRows(rows)
        atoms = self._atoms(rows)
        sized = bool(fields_with_orbitals(fields))
        orbitals = singles.take(self.orbital_counts) if sized else np.zeros(len(rows), np.int64)
        return FlatRecords(
            molecule_id=self._plain("molecule_id", singles),
            conformation_id=self._plain("conformation_id", singles),
            atom_offsets=atoms.offsets,
            atomic_numbers=self._values("atomic_numbers", atoms, rows),
            positions=self._values("positions", atoms, rows),
            orbital_counts=orbitals,
            values={
                name: self._values(name, self._where(name, singles, atoms), rows) for name in fields
            },
        )

    def offsets_of_orbitals(self, name: str) -> IntArray:
        """Where the values of each record begin in the flat array of a field of orbitals."""
        if name not in self._offsets:
            nothing = np.zeros(0, dtype=np.int64)
            self._offsets[name] = offsets_of(
                values_per_record(name, n_atoms=nothing, n_orbitals=self.orbital_counts)
            )
        return self._offsets[name]

    @cached_property
    def _orbital_offsets(self) -> IntArray:
        return offsets_of(self.orbital_counts)

    def read_texts(self, rows: IntArray) -> Texts:
        """Read the words of records, in the sequence of ``rows``."""
        smiles, origins = (self._text(name, rows) for name in TEXT_NAMES)
        return Texts(smiles=smiles, geometry_origin=origins)

    @property
    def buffer_bytes(self) -> int:
        """Size of what is unpacked."""
        return sum(array.buffer_bytes for array in self._arrays.values())

    def release_buffers(self) -> None:
        """Give back what is unpacked; it is unpacked again where it is needed."""
        for array in self._arrays.values():
            array.release()

    def close(self) -> None:
        """Close the HDF5 file; it opens again where it is needed."""
        self._arrays = {}
        if self._hdf5 is not None:
            self._hdf5.close()
            self._hdf5 = None

    def _atoms(self, rows: IntArray) -> Rows:
        view = self.view("atom_offsets")
        if view is not None:
            starts = view.take(rows)
            return Rows(starts, view.take(rows + 1) - starts)
        pairs = self._plain("atom_offsets", Rows(rows, np.full(len(rows), 2))).reshape(-1, 2)
        return Rows(pairs[:, 0], pairs[:, 1] - pairs[:, 0])

    def _where(self, name: str, singles: Rows, atoms: Rows) -> Rows:
        axes = FIELDS[name].shape[:1]
        if axes == ("n_atoms",):
            return atoms
        if axes != ("n_orbitals",):
            return singles
        offsets = self.offsets_of_orbitals(name)
        starts = offsets.take(singles.starts)
        return Rows(starts, offsets.take(singles.starts + 1) - starts)

    def _values(self, name: str, where: Rows, rows: IntArray) -> NDArray[Any]:
        stored, dtype = self._how[name], FIELDS[name].dtype
        if stored.codec == "plain":
            return self._plain(name, where).astype(dtype, copy=False)
        orbital = (self._orbital_offsets[rows], self.orbital_counts[rows])
        values = read_field(self._open, stored, where.starts, where.counts, orbital)
        return values.astype(dtype, copy=False)

    def _plain(self, name: str, where: Rows) -> NDArray[Any]:
        """Copy rows of an array that is not packed."""
        view, layout = self._views[name], self._layouts[name]
        if view is not None:
            return where.take(view)
        if layout is not None:
            return self.file.read_rows(layout, where.starts, where.counts)
        return self._open(name).read(where.starts, where.counts)

    def _whole(self, name: str) -> NDArray[Any]:
        view = self._views[name]
        if view is not None:
            return view
        return self._plain(name, Rows(np.zeros(1, np.int64), np.array([self._length(name)])))

    def _length(self, name: str) -> int:
        layout = self._layouts[name]
        return len(self._open_dataset(name)) if layout is None else layout.shape[0]

    def _open(self, name: str) -> ChunkedArray:
        if name not in self._arrays:
            self._arrays[name] = ChunkedArray(self._open_dataset(name), announce=self.file.announce)
        return self._arrays[name]

    def _open_dataset(self, name: str) -> h5py.Dataset:
        if self._hdf5 is None:
            self._hdf5 = self.file.open_hdf5()
        try:
            return self._hdf5[name]
        except KeyError:
            self.file.refuse(f"has no {name}")

    def _find_layouts(self, hdf5: h5py.File) -> dict[str, ArrayLayout | None]:
        """Find the plain arrays; None for one that is not contiguous (somebody repacked it)."""
        names = [name for name, stored in self._how.items() if stored.codec == "plain"]
        texts = [f"{name}/{part}" for name in TEXT_NAMES for part in ("index", "offsets", "utf8")]
        layouts: dict[str, ArrayLayout | None] = {}
        for name in (*_INDEX_NAMES, *names, *texts):
            try:
                # The low-level call: the dataset object of h5py costs ten times as much.
                dataset = h5py.h5d.open(hdf5.id, name.encode())
            except KeyError:
                self.file.refuse(f"has no {name}")
            offset = dataset.get_offset()
            contiguous = offset is not None or 0 in dataset.shape
            layouts[name] = (
                ArrayLayout(offset or 0, dataset.shape, dataset.dtype) if contiguous else None
            )
        return layouts

    def _text(self, name: str, rows: IntArray) -> list[str | None]:
        index = self._plain(f"{name}/index", SingleRows(rows))
        which, back = np.unique(index[index >= 0], return_inverse=True)
        bounds = self._plain(f"{name}/offsets", Rows(which, np.full(len(which), 2)))
        starts, stops = bounds[::2], bounds[1::2]
        where = Rows(starts, stops - starts)
        utf8 = self._plain(f"{name}/utf8", where).tobytes()
        ends = where.offsets.tolist()
        table = [utf8[start:stop].decode() for start, stop in pairwise(ends)]
        found = iter(back.tolist())
        return [table[next(found)] if k >= 0 else None for k in index.tolist()]
