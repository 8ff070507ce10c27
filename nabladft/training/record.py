"""What must be written down so that a run can be traced and repeated."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch

import nabladft

_PACKAGES: Final = ("numpy", "torch", "lightning", "e3nn", "schnetpack", "h5py")


def now() -> str:
    """Give the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def code_version() -> dict[str, str | None]:
    """Give the version of this package and, in a clone, the commit and whether files changed."""
    return {"nabladft": nabladft.__version__, "git_commit": git_commit()}


def git_commit() -> str | None:
    """Give the commit of the clone this package runs from, with ``+changes`` if it is not clean.

    None outside a clone or without git.
    """
    folder = Path(nabladft.__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changed else commit


def hardware() -> dict[str, Any]:
    """Describe the machine without naming it."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
    }


def packages() -> dict[str, str]:
    """Give the versions of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hash_of(content: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    """Give the SHA-256 of nested tables, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    return done.stdout.strip()
