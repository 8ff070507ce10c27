"""The split file: ids by part, how they were chosen, and their hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.errors import SplitError, UnknownNameError
from nabladft.resources import resource_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

TEST_PARTS: Final = ("test_conformations", "test_structures", "test_scaffolds")
PARTS: Final = ("train", "validation", *TEST_PARTS)

_FORMAT: Final = "nabladft-split"
_FORMAT_VERSION: Final = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Conformations by part.

    Attributes:
        name: Name of the split; the file's stem.
        dataset: Name of the data set it belongs to.
        data_hash: ``data_hash`` of the data it was made for.
        parts: Pairs (molecule_id, conformation_id) of each part, shape (n, 2), sorted.
        recipe: How it was made, for the reader.
        sha256: Hash of the ids of all parts; two splits with the same hash are the same split.
    """

    name: str
    dataset: str
    data_hash: str
    parts: Mapping[str, IntArray]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort the ids of each part and refuse duplicates."""
        ordered = {}
        for part, keys in self.parts.items():
            pairs = np.asarray(keys, dtype=np.int64).reshape(-1, 2)
            unique = np.unique(pairs, axis=0)
            if len(unique) != len(pairs):
                message = (
                    f"Split {self.name!r} lists {len(pairs) - len(unique)} ids of {part} twice."
                )
                raise SplitError(message)
            unique.setflags(write=False)
            ordered[part] = unique
        object.__setattr__(self, "parts", ordered)

    @property
    def sha256(self) -> str:
        """Hash of the ids of all parts, hex."""
        digest = hashlib.sha256()
        for part in sorted(self.parts):
            digest.update(f"{part}\n".encode())
            digest.update(np.ascontiguousarray(self.parts[part], dtype="<i8").tobytes())
        return digest.hexdigest()

    def part(self, name: str) -> IntArray:
        """Give the (molecule_id, conformation_id) pairs of a part, shape (n, 2).

        Raises:
            UnknownNameError: The split has no such part.
        """
        if name not in self.parts:
            raise UnknownNameError("part of the split", name, self.parts)
        return self.parts[name]

    def counts(self) -> dict[str, dict[str, int]]:
        """Count molecules and conformations of each part."""
        return {
            part: {"molecules": len(np.unique(keys[:, 0])), "conformations": len(keys)}
            for part, keys in self.parts.items()
        }

    def check_belongs_to(self, source: ConformationSource) -> None:
        """Refuse data that the split was not made for.

        Raises:
            SplitError: The contents of the data changed, or ids of the split are not in it.
        """
        if source.data_hash != self.data_hash:
            message = (
                f"Split {self.name!r} was made for data {self.dataset!r} with hash "
                f"{self.data_hash[:12]}, but {source.info.name!r} has hash "
                f"{source.data_hash[:12]}. Use the data it was made for, or make a split of this "
                "data with `nabladft split make`."
            )
            raise SplitError(message)


def read_split(name_or_path: str | Path) -> Split:
    """Read a split file by path, or one that comes with the package by name.

    Raises:
        UnknownNameError: Neither a file nor a known name.
        SplitError: The file is not a split, or its ids do not match its hash.
    """
    path = Path(name_or_path)
    if not path.is_file():
        known = {file.stem: file for file in sorted(resource_folder("splits").glob("*.json"))}
        if str(name_or_path) not in known:
            raise UnknownNameError("split file or split", str(name_or_path), known)
        path = known[str(name_or_path)]
    try:
        content = json.loads(path.read_text())
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
            parts={
                part: np.array(
                    [(int(m), c) for m, found in ids.items() for c in found], dtype=np.int64
                )
                for part, ids in content["parts"].items()
            },
            recipe=content["recipe"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
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
    """Write a split file in one atomic step."""
    path = Path(path)
    parts: dict[str, dict[str, list[int]]] = {}
    for part, keys in split.parts.items():
        by_molecule: dict[str, list[int]] = defaultdict(list)
        for molecule_id, conformation_id in keys.tolist():
            by_molecule[str(molecule_id)].append(conformation_id)
        parts[part] = dict(by_molecule)
    content = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "name": split.name,
        "dataset": split.dataset,
        "data_hash": split.data_hash,
        "recipe": dict(split.recipe),
        "counts": split.counts(),
        "sha256": split.sha256,
        "parts": parts,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(_json_lines(content) + "\n")
    temporary.replace(path)


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
