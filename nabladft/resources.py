"""Where the top-level folders of the repository are, in a clone and in an installed wheel.

``baselines/`` and ``splits/`` stand beside the package in a clone and inside it
(``nabladft/bundled/``) in a wheel. Embedded data sets are always inside the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nabladft.errors import InputError, UnknownNameError

_PACKAGE: Final = Path(__file__).resolve().parent


def resource_folder(name: str) -> Path:
    """Find ``baselines`` or ``splits``.

    Raises:
        InputError: The folder is in neither place; the installation is damaged.
    """
    for folder in (_PACKAGE / "bundled" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    message = f"The folder {name!r} of nabladft was not found. Reinstall the package."
    raise InputError(message)


def embedded_datasets() -> dict[str, Path]:
    """List the data sets inside the package: name to store folder."""
    return {
        manifest.parent.name: manifest.parent
        for manifest in sorted((_PACKAGE / "datasets").glob("*/manifest.json"))
    }


def baseline_folders() -> dict[str, Path]:
    """List the baselines that come with the package: name to folder."""
    return {
        model.parent.name: model.parent
        for model in sorted(resource_folder("baselines").glob("*/model.py"))
    }


def find_baseline(name_or_path: str | Path) -> Path:
    """Find a model folder by path, or one of our baselines by name.

    ``baselines/painn`` means ours also where no such folder is below the working directory.

    Raises:
        UnknownNameError: Neither a folder with a ``model.py`` nor a known name.
    """
    path = Path(name_or_path)
    if (path / "model.py").is_file():
        return path
    known = baseline_folders()
    if path.name in known and path.parts in ((path.name,), ("baselines", path.name)):
        return known[path.name]
    raise UnknownNameError("model folder (with model.py) or baseline", str(name_or_path), known)
