"""A source by name, so that other processes can open it, and what identifies its content.

Example:
    >>> reference = SourceReference.of("nano")
    >>> source = reference.open()
    >>> identify(source)["n_conformations"] == len(source)
    True
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nabladft.resources import embedded_datasets
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nabladft.storage.source import ConformationSource

#: Bytes at the beginning and at the end of a file that are always hashed.
_END_BYTES: Final = 1 << 20

#: Files up to this size are hashed whole; a terabyte would take hours and has a catalogue entry.
_WHOLE_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class SourceReference:
    """What to open, in any process that sees the same files.

    Attributes:
        location: Absolute path, or a name or address as it was given.
        joined: Sources whose labels are added by id.
        summary: Table of properties that are added by id.
        summary_units: Units of its fields where the user vouches for them, as (field, unit).
    """

    location: str
    joined: tuple[str, ...] = ()
    summary: str | None = None
    summary_units: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        location: str | Path,
        *,
        joined: Sequence[str | Path] = (),
        summary: str | Path | None = None,
        summary_units: Mapping[str, str] | None = None,
    ) -> SourceReference:
        """Make paths absolute: a worker may stand in another folder."""
        return cls(
            _absolute(location),
            tuple(_absolute(place) for place in joined),
            None if summary is None else _absolute(summary),
            tuple(sorted((summary_units or {}).items())),
        )

    def open(self) -> ConformationSource:
        """Open the source and what is joined to it.

        Raises:
            NablaDFTError: It cannot be opened; see :func:`nabladft.storage.opening.open_source`.
            OSError: A file cannot be read.
        """
        source = open_source(self.location)
        if not self.joined and self.summary is None:
            return source
        from nabladft.conversion.joining import join_sources  # noqa: PLC0415 - it imports this

        others = [open_source(place) for place in self.joined]
        return join_sources(source, others, self.summary, units=dict(self.summary_units))


def _absolute(location: str | Path) -> str:
    if str(location) in embedded_datasets():
        return str(location)
    path = Path(location)
    return str(path.resolve()) if path.exists() else str(location)


def derived_fields(source: ConformationSource) -> tuple[str, ...]:
    """List the labels of a source that follow from others it holds."""
    found = getattr(source, "derived_fields", None)
    if found is None:
        found = source.info.details.get("derived_fields", ())
    return tuple(found)


def identify(source: ConformationSource) -> dict[str, Any]:
    """Say which data these are, so that a change is seen later.

    Of a store it is the data hash; of a file its size, time of change, and SHA-256 of its first and
    last mebibyte, for files up to one gibibyte also of the whole; of a folder the same of the list
    of its files with their sizes and times.

    Returns:
        JSON; without paths beyond the name of the file.
    """
    common: dict[str, Any] = {
        "name": source.info.name,
        "format": source.info.details.get("format", type(source).__name__),
        "n_conformations": len(source),
    }
    place = source.info.location
    if isinstance(source, Store):
        return common | {"format": "nabladft store", "data_hash": source.data_hash}
    if place is None or not Path(place).exists():
        # Remote: its reader knows what the server says of its version.
        return common | {"identity": str(getattr(source, "identity", ""))}
    return common | {"file": Path(place).name} | identify_file(Path(place))


def identify_reference(reference: SourceReference, source: ConformationSource) -> dict[str, Any]:
    """Say which data a source and everything joined to it are; see :func:`identify`."""
    known = identify(source)
    if reference.joined:
        known["joined"] = [identify(open_source(place)) for place in reference.joined]
    if reference.summary is not None:
        path = Path(reference.summary)
        known["summary"] = {"file": path.name} | identify_file(path)
        known["summary"]["units_given"] = dict(reference.summary_units)
    return known


def identify_file(path: Path) -> dict[str, Any]:
    """Say which file or folder of files this is; see :func:`identify`."""
    if path.is_dir():
        return _identify_folder(path)
    stat = path.stat()
    known: dict[str, Any] = {
        "n_bytes": stat.st_size,
        "modified": stat.st_mtime_ns,
        "sha256_of_ends": _hash_of_ends(path, stat.st_size),
    }
    if stat.st_size <= _WHOLE_BYTES:
        with path.open("rb") as file:
            known["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return known


def _identify_folder(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    n_files = n_bytes = 0
    for member in sorted(path.rglob("*")):
        if member.is_file():
            stat = member.stat()
            line = f"{member.relative_to(path)}\t{stat.st_size}\t{stat.st_mtime_ns}\n"
            digest.update(line.encode())
            n_files += 1
            n_bytes += stat.st_size
    return {"n_files": n_files, "n_bytes": n_bytes, "sha256_of_listing": digest.hexdigest()}


def _hash_of_ends(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_END_BYTES))
        if size > _END_BYTES:
            file.seek(max(_END_BYTES, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
    return digest.hexdigest()
