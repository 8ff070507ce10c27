"""Every error this package raises on purpose.

One base class, so that ``except NablaDFTError`` catches all of them; each class also inherits the
builtin it refines, so that ``except ValueError`` keeps working. A message says what is wrong, with
which values, where, what was expected and what to do next.

Example:
    >>> str(UnknownNameError("split", "tests", ["train", "test"]))
    "No split 'tests'. Did you mean 'test'? Known: train, test."
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: More known names than this are not listed in a message.
_MANY = 40


class NablaDFTError(Exception):
    """Base of every error raised on purpose by this package."""

    def __str__(self) -> str:
        """Give the message itself; ``KeyError`` would show it in quotes."""
        return " ".join(str(argument) for argument in self.args)


class UnknownNameError(NablaDFTError, KeyError):
    """A name (of a field, split, baseline, option, ...) that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Name the kind of thing, what was asked for, and what exists."""
        known = list(known)
        said = f"Known: {', '.join(known)}."
        if len(known) > _MANY:
            near = difflib.get_close_matches(name, known, n=5, cutoff=0.3)
            said = f"There are {len(known)}{', the closest: ' if near else ''}{', '.join(near)}."
        super().__init__(f"No {kind} {name!r}.{suggestion(name, known)} {said}")


class UnitError(NablaDFTError, ValueError):
    """A unit is unknown, or a quantity is in another unit than declared."""


class UnsupportedElementError(NablaDFTError, ValueError):
    """An element has no entry in a basis set, table or model."""


class OrbitalCountError(NablaDFTError, ValueError):
    """An operator's size is not the number of orbitals of its atoms and basis set."""


class OrbitalOrderError(NablaDFTError, ValueError):
    """The orbital order of an operator is unknown or not the declared one."""


class HamiltonianError(NablaDFTError, ValueError):
    """A Hamiltonian is broken, or recognised as something else than it is said to be."""


class ConformationError(NablaDFTError, ValueError):
    """A record contradicts itself: shapes, finite values, identifiers."""


class MissingFieldError(NablaDFTError, AttributeError):
    """A field was asked for that this record or store does not hold."""


class InputError(NablaDFTError, ValueError):
    """A file or argument given by the user cannot be used as it is."""


class QueryError(NablaDFTError, ValueError):
    """A query cannot be understood; the message points at the place."""


class FormatError(NablaDFTError, ValueError):
    """A file is not of any format that can be read here."""


class ConversionError(NablaDFTError, RuntimeError):
    """Data cannot be converted, though the source and the target are what they should be."""


class StoreError(NablaDFTError, OSError):
    """A store cannot be read or written."""

    __str__ = NablaDFTError.__str__


class CorruptStoreError(StoreError):
    """The bytes of a store contradict its manifest."""


class MissingExtraError(NablaDFTError, ImportError):
    """An optional dependency is not installed."""


class LabelError(NablaDFTError, RuntimeError):
    """A DFT label cannot be computed, or cannot be trusted."""


class ConvergenceError(LabelError):
    """A self-consistent field did not converge."""


class SplitError(NablaDFTError, ValueError):
    """A split file cannot be used, or does not belong to this data."""


class LeakageError(SplitError):
    """A split breaks what it promises: something is on both sides of it."""


class ConfigError(NablaDFTError, ValueError):
    """A configuration has an unknown key or a value out of its domain."""


class CatalogueError(NablaDFTError, ValueError):
    """A catalogue file cannot be read, or what it says of a product is wrong."""


class NotDownloadedError(NablaDFTError, FileNotFoundError):
    """A product of the catalogue is not on this machine."""

    __str__ = NablaDFTError.__str__


class ModelError(NablaDFTError, ValueError):
    """A model breaks its contract, or a model folder cannot be loaded."""


class RunError(NablaDFTError, RuntimeError):
    """A training run folder cannot be used."""


class PredictionsError(NablaDFTError, ValueError):
    """A predictions file is incomplete, contradictory or belongs to other data."""


class EntryError(NablaDFTError, ValueError):
    """A leaderboard entry is incomplete, contradictory or not what it says."""


class SubmissionError(NablaDFTError, ValueError):
    """A scoring server refuses a request, or a submission to it has failed."""

    def __init__(
        self,
        *arguments: object,
        code: str = "refused",
        status: int = 400,
        retry_after: int | None = None,
    ) -> None:
        """Keep the message, its code in the API, the HTTP status, and the seconds to wait."""
        super().__init__(*arguments)
        self.code = code
        self.status = status
        self.retry_after = retry_after


class TransportError(NablaDFTError, OSError):
    """Bytes cannot be had from where they are said to be."""

    __str__ = NablaDFTError.__str__


class AccessRefusedError(TransportError, PermissionError):
    """A server refuses to give a file: not public, link expired, region blocked."""


class RemoteMissingError(TransportError, FileNotFoundError):
    """There is no such file at a server or in a folder."""


class RemoteChangedError(TransportError):
    """A file elsewhere is no longer the one that was begun with."""


class BadResponseError(TransportError):
    """A server answers what it was not asked, or contradicts itself."""


class ConnectionFailedError(TransportError, ConnectionError):
    """A connection was not made, broke off or hung; another attempt may succeed."""

    def __init__(self, *arguments: object, retry_after: float | None = None) -> None:
        """Keep the message, and the seconds that the server asks to wait before the next try."""
        super().__init__(*arguments)
        self.retry_after = retry_after


class DownloadError(TransportError):
    """A download cannot begin or go on; what is on disk is kept."""


class VerificationError(DownloadError):
    """A file that was fetched whole is not the file that was promised."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, else an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def missing_extra(feature: str, extra: str, error: ImportError) -> MissingExtraError:
    """Build the error that says which extra to install.

    Args:
        feature: What the user wanted, as the start of a sentence ("Training a model").
        extra: Name of the extra in ``pyproject.toml``.
        error: The import that failed.
    """
    return MissingExtraError(
        f'{feature} needs {error.name}. Install it with: pip install "nabladft[{extra}]"'
    )
