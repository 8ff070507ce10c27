"""Where two nested records differ, and whether a difference is more than round-off."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Relative difference up to which two numbers are one number added up in another order.
ROUND_OFF: Final = 1e-9
#: The same for numbers near zero: errors of energies in hartree are never so small.
_ABSOLUTE: Final = 1e-14

#: Printed figures: rounded to eight digits, which round-off can move by one in the last.
_ROUNDED: Final = 1e-7


@dataclass(frozen=True)
class Difference:
    """A place where two records differ.

    Attributes:
        place: Attributes and keys that lead there.
        expected: What was computed.
        found: What was written.
    """

    place: str
    expected: object
    found: object


def is_round_off(difference: Difference) -> bool:
    """Tell whether two numbers may be one, added up in another order."""
    mine, other = difference.expected, difference.found
    if not isinstance(mine, float) or not isinstance(other, float):
        return False
    is_rounded = difference.place.startswith(("parity", "worst"))
    relative = _ROUNDED if is_rounded else ROUND_OFF
    return abs(mine - other) <= max(relative * max(abs(mine), abs(other)), _ABSOLUTE)


def differences_between(expected: Any, found: Any, place: str) -> Iterator[Difference]:  # noqa: ANN401
    """Compare nested records, tables and numbers; say where they differ."""
    if dataclasses.is_dataclass(expected) and type(expected) is type(found):
        for one in dataclasses.fields(expected):
            name = one.name
            yield from differences_between(
                getattr(expected, name), getattr(found, name), f"{place}.{name}"
            )
    elif isinstance(expected, dict) and isinstance(found, dict) and set(expected) == set(found):
        for key in expected:
            yield from differences_between(expected[key], found[key], f"{place}.{key}")
    elif isinstance(expected, tuple) and isinstance(found, tuple) and len(expected) == len(found):
        for number, (mine, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences_between(mine, other, f"{place}[{number}]")
    elif expected != found:
        yield Difference(place, expected, found)
