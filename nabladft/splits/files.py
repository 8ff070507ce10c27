"""Split files: JSON for people and diffs, HDF5 for millions of ids.

Both hold the same: name, data set, hashes, recipe, ids by part. A path that ends in ``.h5`` is
written as HDF5, with plain gzip, so that any HDF5 library reads it: one group per part with the
datasets ``molecule_id`` and ``conformation_id``; everything else is in the attribute ``split``, as
JSON.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from nabladft.errors import SplitError, UnknownNameError
from nabladft.resources import resource_folder
from nabladft.splits.split import Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

_FORMAT: Final = "nabladft-split"
_FORMAT_VERSION: Final = 1
_COLUMNS: Final = ("molecule_id", "conformation_id")

#: Ending of split files in HDF5.
HDF5_SUFFIX: Final = ".h5"


def read_split(name_or_path: str | Path) -> Split:
    """Read a split file by path, or one that comes with the package by name.

    Raises:
        UnknownNameError: Neither a file nor a known name.
        SplitError: The file is not a split, or its ids do not match its hash.
    """
    path = Path(name_or_path)
    if not path.is_file():
        files = sorted(resource_folder("splits").iterdir())
        known = {file.stem: file for file in files if file.suffix in {".json", HDF5_SUFFIX}}
        if str(name_or_path) not in known:
            raise UnknownNameError("split file or split", str(name_or_path), known)
        path = known[str(name_or_path)]
    try:
        content, parts = _read_hdf5(path) if h5py.is_hdf5(path) else _read_json(path)
        if content["format"] != _FORMAT or content["format_version"] != _FORMAT_VERSION:
            message = (
                f"{path}: expected format {_FORMAT} version {_FORMAT_VERSION}, got "
                f"{content['format']} version {content['format_version']}."
            )
            raise SplitError(message)
        split = Split(
            name=content["name"],
            dataset=content["dataset"],
            data_hash=content["data_hash"],
            parts=parts,
            recipe=content["recipe"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        if isinstance(error, SplitError):
            raise
        message = f"{path} is not a split file: {type(error).__name__} {error}."
        raise SplitError(message) from error
    if split.sha256 != content.get("sha256"):
        message = (
            f"{path}: the ids have SHA-256 {split.sha256[:12]} but the file says "
            f"{str(content.get('sha256'))[:12]}. It was edited; make it anew or restore it."
        )
        raise SplitError(message)
    return split


def write_split(split: Split, path: str | Path) -> None:
    """Write a split file in one atomic step: HDF5 when the path ends in ``.h5``, else JSON."""
    path = Path(path)
    content: dict[str, Any] = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "name": split.name,
        "dataset": split.dataset,
        "data_hash": split.data_hash,
        "recipe": dict(split.recipe),
        "counts": split.counts(),
        "sha256": split.sha256,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.suffix == HDF5_SUFFIX:
            _write_hdf5(temporary, content, split)
        else:
            parts = {part: _by_molecule(keys) for part, keys in split.parts.items()}
            temporary.write_text(_json_lines(content | {"parts": parts}) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_ids(keys: IntArray, path: str | Path) -> None:
    """Write (molecule_id, conformation_id) pairs, shape (n, 2), as CSV with a header, atomically.

    ``download --ids``, ``convert --ids`` and ``query --ids`` take such a file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        np.savetxt(temporary, keys, fmt="%d", delimiter=",", header=",".join(_COLUMNS), comments="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _by_molecule(keys: IntArray) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for molecule_id, conformation_id in keys.tolist():
        found[str(molecule_id)].append(conformation_id)
    return dict(found)


def _read_json(path: Path) -> tuple[dict[str, Any], dict[str, IntArray]]:
    content = json.loads(path.read_text())
    parts = {
        part: np.array([(int(m), c) for m, found in ids.items() for c in found], dtype=np.int64)
        for part, ids in content["parts"].items()
    }
    return content, parts


def _read_hdf5(path: Path) -> tuple[dict[str, Any], dict[str, IntArray]]:
    with h5py.File(path, "r") as file:
        content = json.loads(file.attrs["split"])
        parts = {
            part: np.stack([group[column][()] for column in _COLUMNS], axis=1)
            for part, group in file["parts"].items()
        }
    return content, parts


def _write_hdf5(path: Path, content: Mapping[str, Any], split: Split) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["split"] = json.dumps(content)
        for part, keys in split.parts.items():
            group = file.create_group(f"parts/{part}")
            for column, values in zip(_COLUMNS, keys.T, strict=True):
                # Ids ascend, so shuffled bytes are nearly all zero or equal.
                packed = {"compression": "gzip", "shuffle": True} if len(values) else {}
                group.create_dataset(column, data=values, **packed)


def _json_lines(content: Mapping[str, Any]) -> str:
    """Write JSON with one molecule a line, so that a change of a split reads well in a diff."""
    lines = []
    for key, value in content.items():
        if key == "parts":
            blocks = []
            for part, molecules in value.items():
                rows = ",\n".join(
                    f"   {json.dumps(m)}: {json.dumps(c)}" for m, c in molecules.items()
                )
                blocks.append(f"  {json.dumps(part)}: {{\n{rows}\n  }}")
            text = "{\n" + ",\n".join(blocks) + "\n }"
        else:
            text = json.dumps(value)
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"
