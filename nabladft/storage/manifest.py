"""The manifest of a store: what it holds and in which files, checked at construction.

``manifest.json`` is the only file that says which shards belong to a store. Replacing it is one
atomic step, so a store is always in its last committed state.

Example:
    >>> manifest = Manifest(
    ...     name="demo",
    ...     level_of_theory={"functional": "wB97X-D", "basis_set": "def2-SVP"},
    ...     fields=(
    ...         StoredField("energy"),
    ...         StoredField("forces", codec="compact", error_bound=1e-8),
    ...     ),
    ... )
    >>> manifest.method, manifest.n_conformations
    ('wB97X-D/def2-SVP', 0)
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.errors import CorruptStoreError, StoreError, UnknownNameError
from nabladft.fields import FIELDS, GEOMETRY_FIELDS, LABEL_FIELDS
from nabladft.storage.content import MODULUS, data_hash
from nabladft.storage.derived import derivable_fields
from nabladft.storage.flat import ordered

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "nabladft-store"
FORMAT_VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.json"

Codec = Literal["plain", "compact"]


@dataclass(frozen=True)
class StoredField:
    """How one field is stored.

    Attributes:
        name: Name in :data:`nabladft.fields.FIELDS`.
        codec: "plain" (contiguous, memory-mapped) or "compact" (packed in chunks), see
            :mod:`nabladft.storage.codecs`.
        error_bound: Largest difference between a value given and the value read back, in the
            field's unit; None for lossless.
    """

    name: str
    codec: Codec = "plain"
    error_bound: float | None = None

    def __post_init__(self) -> None:
        """Check."""
        if self.name not in FIELDS:
            raise UnknownNameError("field", self.name, FIELDS)
        if self.codec not in get_args(Codec):
            raise UnknownNameError("codec", self.codec, get_args(Codec))
        if self.error_bound is None:
            return
        if self.codec == "plain" or self.name in GEOMETRY_FIELDS or not self.error_bound > 0:
            message = (
                f"Field {self.name!r} cannot have error_bound={self.error_bound}: it must be a "
                "positive number, of a label, with codec 'compact'."
            )
            raise StoreError(message)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard file.

    Attributes:
        file: Name inside the store's folder.
        rows: Number of conformations.
        n_bytes: Size of the file.
        sha256: Hash of the file.
        elements: Atomic numbers that occur, ascending.
        content_sum: Sum of the digests of its records, see :mod:`nabladft.storage.content`.
    """

    file: str
    rows: int
    n_bytes: int
    sha256: str
    elements: tuple[int, ...]
    content_sum: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a store holds.

    Attributes:
        name: Short name of the data set.
        level_of_theory: What decides the value of a label: functional, basis set, dispersion, grid,
            program and its version, ... Two records belong in one store only if these agree.
        fields: Labels of every record, in the sequence of the vocabulary.
        geometry: Codec of ids, atomic numbers and positions (always lossless).
        basis_set: Basis set of the matrices; None without matrices.
        orbital_order: Order of the orbitals of the matrices; None without matrices.
        shards: Files, in row order.
        licence: Terms of use, or None.
        details: Anything else worth telling, as JSON (provenance of geometries, ...).

    Raises:
        StoreError: The parts contradict each other.
        UnknownNameError: A field or codec does not exist.
        OrbitalOrderError: There is no such orbital order.
    """

    name: str
    level_of_theory: Mapping[str, Any]
    fields: tuple[StoredField, ...]
    geometry: Codec = "plain"
    basis_set: str | None = None
    orbital_order: str | None = None
    shards: tuple[ShardEntry, ...] = ()
    licence: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check."""
        names = [stored.name for stored in self.fields]
        if len(set(names)) < len(names) or any(name not in LABEL_FIELDS for name in names):
            message = f"The fields of a store are different labels, got {', '.join(names)}."
            raise StoreError(message)
        if {"energy", "formation_energy"} <= set(names):
            message = "Store either energy or formation_energy: each follows from the other."
            raise StoreError(message)
        matrices = [name for name in names if FIELDS[name].in_orbitals]
        if matrices and (self.basis_set is None or self.orbital_order is None):
            message = f"A store with {', '.join(matrices)} needs basis_set and orbital_order."
            raise StoreError(message)
        if self.orbital_order is not None:
            orbital_order_named(self.orbital_order)
        order = ordered(names)
        object.__setattr__(
            self, "fields", tuple(sorted(self.fields, key=lambda stored: order.index(stored.name)))
        )

    @property
    def method(self) -> str | None:
        """Functional and basis set ("wB97X-D/def2-SVP"), or None when not said."""
        if "method" in self.level_of_theory:
            return str(self.level_of_theory["method"])
        parts = [self.level_of_theory.get(key) for key in ("functional", "basis_set")]
        return "/".join(map(str, parts)) if all(parts) else None

    @property
    def n_conformations(self) -> int:
        """Number of conformations in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(sorted({number for shard in self.shards for number in shard.elements}))

    @property
    def stored_names(self) -> tuple[str, ...]:
        """Names of the labels on disk."""
        return tuple(stored.name for stored in self.fields)

    @property
    def derived_names(self) -> tuple[str, ...]:
        """Names of the labels that follow from those on disk."""
        return derivable_fields(self.stored_names, method=self.method, elements=self.elements)

    @property
    def data_hash(self) -> str:
        """Hash of the contents, independent of order and shards."""
        total = sum(shard.content_sum for shard in self.shards) % MODULUS
        return data_hash(total, self.n_conformations)

    def to_json(self) -> str:
        """Write as JSON, for people and for other programs."""
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "method": self.method,
            "level_of_theory": dict(self.level_of_theory),
            "basis_set": self.basis_set,
            "orbital_order": self.orbital_order,
            "n_conformations": self.n_conformations,
            "data_hash": self.data_hash,
            "geometry": {name: _describe(name, self.geometry) for name in GEOMETRY_FIELDS},
            "fields": {
                stored.name: _describe(stored.name, stored.codec)
                | {"error_bound": stored.error_bound}
                for stored in self.fields
            },
            "licence": self.licence,
            "details": dict(self.details),
            "shards": [
                asdict(shard) | {"content_sum": f"{shard.content_sum:064x}"}
                for shard in self.shards
            ],
        }
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _describe(name: str, codec: Codec) -> dict[str, Any]:
    field_ = FIELDS[name]
    return {
        "shape": list(field_.shape),
        "dtype": "uint8" if name == "atomic_numbers" else field_.dtype,
        "unit": field_.unit,
        "packing": "lower triangle" if field_.symmetric else None,
        "codec": codec,
    }


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises:
        StoreError: The folder is no store, or one of a newer version.
        CorruptStoreError: The manifest is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"{folder} is not a store: it has no {MANIFEST_NAME}."
        raise StoreError(message) from None
    return manifest_from_json(text, str(path))


def manifest_from_json(text: str, where: str) -> Manifest:
    """Read what :meth:`Manifest.to_json` wrote.

    Args:
        text: The document.
        where: Its path or address, for messages.

    Raises:
        StoreError: It is of a newer version.
        CorruptStoreError: It is damaged.
    """
    try:
        document = json.loads(text)
        version = document["format_version"] if document["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError) as error:
        message = f"{where} is damaged or not a manifest ({type(error).__name__}: {error})."
        raise CorruptStoreError(message) from error
    if version is None or version > FORMAT_VERSION:
        message = (
            f"{where} is of format {document['format']!r} version {document['format_version']}; "
            f"this version of nabladft reads {FORMAT!r} up to version {FORMAT_VERSION}. "
            "Update nabladft."
        )
        raise StoreError(message)
    try:
        return _from_document(document)
    except (KeyError, TypeError, ValueError) as error:
        message = f"{where} is damaged ({type(error).__name__}: {error})."
        raise CorruptStoreError(message) from error


def _from_document(document: Mapping[str, Any]) -> Manifest:
    for name, said in (document["geometry"] | document["fields"]).items():
        if name in FIELDS and said["unit"] != FIELDS[name].unit:
            message = f"{name} is in {said['unit']}, {FIELDS[name].unit} expected"
            raise ValueError(message)
    return Manifest(
        name=document["name"],
        level_of_theory=document["level_of_theory"],
        fields=tuple(
            StoredField(name, said["codec"], said["error_bound"])
            for name, said in document["fields"].items()
        ),
        geometry=document["geometry"]["positions"]["codec"],
        basis_set=document["basis_set"],
        orbital_order=document["orbital_order"],
        shards=tuple(
            ShardEntry(
                file=_plain_name(shard["file"]),
                rows=int(shard["rows"]),
                n_bytes=int(shard["n_bytes"]),
                sha256=shard["sha256"],
                elements=tuple(shard["elements"]),
                content_sum=int(shard["content_sum"], 16),
            )
            for shard in document["shards"]
        ),
        licence=document["licence"],
        details=document["details"],
    )


def _plain_name(name: str) -> str:
    # A manifest from elsewhere must not lead outside its folder.
    if Path(name).name != name or name in {"", ".", ".."}:
        message = f"a shard is called {name!r}, a plain file name expected"
        raise ValueError(message)
    return name


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a store in one atomic step; after the return it is on disk.

    Raises:
        OSError: The disk is full or not writable; the old manifest stands.
    """
    write_atomically(folder / MANIFEST_NAME, manifest.to_json().encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that, after a crash at any moment, the old or the new one is there, whole.

    Raises:
        OSError: The disk is full or not writable; what was at ``path`` stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
