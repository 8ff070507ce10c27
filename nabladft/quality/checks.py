"""What makes a record an outlier: every check with its measure, threshold and reason.

The thresholds are wide: what they flag should be looked at, not thrown away unseen.
``docs/quality.md`` says what each is based on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from nabladft.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Check:
    """One reason to look at a record.

    Attributes:
        name: What is checked.
        measure: Which number is compared; None when the check does not compare.
        side: Whether a record is flagged "above" or "below" the threshold.
        threshold: In ``unit``; None when the check does not compare.
        unit: Of measure and threshold.
        meaning: What a flagged record is.
    """

    name: str
    measure: str | None
    side: Literal["above", "below"]
    threshold: float | None
    unit: str
    meaning: str


@dataclass(frozen=True)
class Flag:
    """One record that a check flagged.

    Attributes:
        check: Name of the check.
        row: Row of the record in the source.
        molecule_id: Of the record.
        conformation_id: Of the record.
        value: Of the measure; None when the check does not compare.
        remark: What else is to be said.
    """

    check: str
    row: int
    molecule_id: int
    conformation_id: int
    value: float | None = None
    remark: str = ""


def _table(*checks: Check) -> dict[str, Check]:
    return {check.name: check for check in checks}


#: Every check, in the order of the report.
CHECKS: Final = _table(
    Check("unreadable", None, "above", None, "", "the record is damaged or contradicts itself"),
    Check("net_force", "net_force", "above", 5e-3, "hartree/bohr", "forces do not add up to zero"),
    Check(
        "force_maximum",
        "force_maximum",
        "above",
        0.25,
        "hartree/bohr",
        "an atom far from its place",
    ),
    Check("zero_forces", None, "above", None, "", "all forces are exactly zero: never computed"),
    Check(
        "energy_z",
        "energy_z",
        "above",
        6.0,
        "1",
        "energy per atom far from the fit of the composition",
    ),
    Check("short_contact", "closest_contact", "below", 0.7, "1", "atoms closer than any bond"),
    Check(
        "hamiltonian",
        None,
        "above",
        None,
        "",
        "H looks like another unit, orbital order or basis set than stated",
    ),
    Check("gap", "gap", "below", 0.05, "hartree", "hardly a closed shell"),
    Check("eigenproblem", None, "above", None, "", "H C = S C ε with recomputed S has no sense"),
    Check(
        "duplicate_geometry",
        "distance_difference",
        "below",
        1e-3,
        "bohr",
        "all interatomic distances are those of another record",
    ),
)


def with_thresholds(changes: Mapping[str, float]) -> dict[str, Check]:
    """Give the checks with other thresholds.

    Raises:
        UnknownNameError: There is no such check.
        InputError: The check has no threshold.
    """
    checks = dict(CHECKS)
    for name, threshold in changes.items():
        if name not in checks:
            raise UnknownNameError("check", name, checks)
        if checks[name].threshold is None:
            message = f"The check {name!r} has no threshold: {checks[name].meaning}."
            raise InputError(message)
        checks[name] = replace(checks[name], threshold=threshold)
    return checks
