"""How much memory a training takes at most."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import torch

_STATUS: Final = Path("/proc/self/status")
_RESET: Final = Path("/proc/self/clear_refs")


def start_measuring(device: torch.device) -> None:
    """Forget the largest use so far, where the system lets a process do so."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Linux resets the peak of a process that writes a 5 (man 5 proc); others keep it.
    with contextlib.suppress(OSError):
        _RESET.write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int | None:
    """Give the largest use in bytes since :func:`start_measuring`.

    On a GPU what torch allocated there, else the resident memory of the whole process, libraries
    included; None where the system does not tell.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(found[0][1]) if found else None
