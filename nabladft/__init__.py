"""Data sets and benchmarks for machine learning of molecular electronic structure.

Example:
    >>> import nabladft
    >>> records = nabladft.open("nano")  # doctest: +SKIP
    >>> records[0].energy  # doctest: +SKIP
    >>> nabladft.open("energy/train-tiny")[0].formation_energy  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nabladft.conformation import Conformation
    from nabladft.storage.opening import open_source as open  # noqa: A004

__version__ = "0.1.0"
__all__ = ["Conformation", "__version__", "open"]

#: Public names and where they live; loaded at first use, so that the import itself does nothing.
_LAZY = {
    "Conformation": ("nabladft.conformation", "Conformation"),
    "open": ("nabladft.storage.opening", "open_source"),
}


def __getattr__(name: str) -> object:
    """Load a public name at first use."""
    if name not in _LAZY:
        message = f"module 'nabladft' has no attribute {name!r}"
        raise AttributeError(message)
    import importlib  # noqa: PLC0415 - keeps the package import free of work

    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
