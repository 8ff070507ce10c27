"""What a source holds, as a plain document: counts, sizes, elements, fields, provenance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import SYMBOLS
from nabladft.errors import UnsupportedElementError
from nabladft.fields import FIELDS, GEOMETRY_FIELDS
from nabladft.storage.remote import address_of
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.storage.source import ConformationSource

#: Records read at once.
_STEP: Final = 4096

#: Rows of a source at a server that are looked at.
_AT_A_SERVER: Final = 32


def describe_source(source: ConformationSource, *, with_hash: bool | None = None) -> dict[str, Any]:
    """Describe a source; everything in the answer can be written as JSON.

    Args:
        source: Any source; its geometries are read, its labels are not. Of one at a server, those
            of a few rows spread over it are (``rows_looked_at``).
        with_hash: Whether to give the data hash, which for other files than stores means reading
            everything. None: only where it is at hand.

    Raises:
        NablaDFTError: The source cannot be read.
    """
    info = source.info
    elements: Counter[int] = Counter()
    orbitals: list[int] = []
    origins: Counter[str] = Counter()
    is_whole = address_of(source) is None
    looked_at = np.arange(len(source))
    if not is_whole:
        looked_at = np.unique(np.linspace(0, len(source) - 1, _AT_A_SERVER).astype(np.int64))
    n_atoms: list[int] = []
    for start in range(0, len(looked_at), _STEP):
        rows = looked_at[start : start + _STEP]
        flat = source.read_flat(rows, fields=())
        n_atoms += np.diff(flat.atom_offsets).tolist()
        numbers, counts = np.unique(flat.atomic_numbers, return_counts=True)
        elements.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        orbitals += _orbital_counts(flat.atomic_numbers, flat.atom_offsets)
        origins.update(text or "unknown" for text in source.read_texts(rows).geometry_origin)
    at_hand = isinstance(source, Store)
    return {
        "name": info.name,
        "location": None if info.location is None else str(info.location),
        "bytes_on_disk": None if info.location is None else _bytes_on_disk(info.location),
        "n_molecules": len(np.unique(source.keys[:, 0])) if is_whole else None,
        "n_conformations": len(source),
        "rows_looked_at": len(looked_at),
        "n_atoms": _spread(n_atoms),
        "n_orbitals_def2_svp": _spread(orbitals),
        "elements": {SYMBOLS[number]: elements[number] for number in sorted(elements)},
        "geometry_origins": dict(sorted(origins.items())),
        "method": info.method,
        "basis_set": info.basis_set,
        "orbital_order": info.orbital_order,
        "fields": {
            name: {
                "unit": FIELDS[name].unit,
                "shape": list(FIELDS[name].shape),
                "derived": name in info.details.get("derived_fields", ()),
                "error_bound": info.details.get("error_bounds", {}).get(name),
                "description": FIELDS[name].description,
            }
            for name in (*GEOMETRY_FIELDS, *info.fields)
        },
        "computed_on_request": list(getattr(source, "recomputable_fields", ())),
        "details": {
            key: value
            for key, value in info.details.items()
            if key not in {"derived_fields", "error_bounds"} and value is not None
        },
        "data_hash": source.data_hash if with_hash or (with_hash is None and at_hand) else None,
    }


def _spread(values: list[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "smallest": min(values),
        "median": float(np.median(values)),
        "largest": max(values),
    }


def _orbital_counts(
    atomic_numbers: NDArray[np.integer], atom_offsets: NDArray[np.int64]
) -> list[int]:
    try:
        orbitals = DEF2_SVP.orbitals_per_atom(atomic_numbers)
    except UnsupportedElementError:
        return []
    return np.add.reduceat(orbitals, atom_offsets[:-1]).tolist() if len(orbitals) else []


def _bytes_on_disk(location: Path) -> int:
    files = location.iterdir() if location.is_dir() else [location]
    return sum(file.stat().st_size for file in files if file.is_file())
