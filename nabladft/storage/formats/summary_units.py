"""Which units a summary is in: settled by recomputation, never assumed.

The published table says none, and drafts about it say wrong ones. What can be recomputed from the
geometries and labels of a source that shares ids with the table is compared with it; the unit is
the one in which both are equal. What cannot be recomputed stays without a unit and is not used.

===================================== ==========================================================
quantity                              evidence
===================================== ==========================================================
nuclear repulsion                     recomputed from the geometry
total, one-, two-electron, xc energy  they and the nuclear repulsion add up, but for dispersion
atomic energy                         sum of the published isolated atoms
formation energy                      total minus atomic energy
HOMO, LUMO                            gap = LUMO - HOMO; orbital energies or Hamiltonian of the
                                      source, else the range that molecules have
rotational constants                  recomputed from the geometry
dipole                                length = total; dipoles of the source, else those of the
                                      Mulliken charges of its Hamiltonians
===================================== ==========================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.electronic import (
    density_matrix,
    homo_lumo,
    mulliken_charges,
    n_electrons,
    orbital_energies_and_coefficients,
)
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.nuclei import nuclear_repulsion_energy, rotational_constants
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.units import convert
from nabladft.errors import InputError, UnitError, UnsupportedElementError
from nabladft.storage.formats.summary_table import COLUMNS, FIELD_COLUMNS, SummaryTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation
    from nabladft.storage.source import ConformationSource

    FloatArray = NDArray[np.float64]

_ENERGY_UNITS: Final = ("hartree", "eV", "kcal/mol", "kJ/mol")
_ROTATION_UNITS: Final = ("hartree", "MHz", "GHz", "cm^-1")
_DIPOLE_UNITS: Final = ("e*bohr", "debye")

#: Conformations compared.
_SAMPLE: Final = 64

#: Conformations of which the Hamiltonian is diagonalised.
_MATRICES: Final = 24

#: Median of the dipole of Mulliken charges over the dipole. It is 0.78 for the embedded data (0.44
#: to 1.19 for nine of ten). The range is narrower than a debye, so that at most one unit fits.
_MULLIKEN_RANGE: Final = (0.5, 1.25)

#: Dipoles that are too small to compare, atomic units, and how many others are needed.
_SMALL_DIPOLE: Final = 0.1
_ENOUGH: Final = 8

#: Largest dispersion of a molecule, hartree: what may be missing in the sum of the energies. The
#: published molecules have some 0.03.
_DISPERSION: Final = 0.5

#: HOMO of a neutral closed-shell molecule, hartree: ionisation takes 3 to 25 eV.
_HOMO_RANGE: Final = (-0.92, -0.11)


@dataclass(frozen=True)
class SettledUnit:
    """The unit of one quantity in a table.

    Attributes:
        unit: Name, as in :mod:`nabladft.chemistry.units`; None when it could not be settled.
        evidence: How it is known, or why it is not.
    """

    unit: str | None
    evidence: str


def settle_units(
    table: SummaryTable, source: ConformationSource, *, sample: int = _SAMPLE
) -> dict[str, SettledUnit]:
    """Find the units of a summary by comparing it with geometries and labels of the same ids.

    Args:
        table: The summary.
        source: Any source that shares conformations with it.
        sample: Conformations compared at most, spread over the source.

    Returns:
        Unit and evidence of each field of the table; see :func:`require_unit`.

    Raises:
        InputError: Table and source have no conformation in common.
        UnitError: The table contradicts the geometries or itself in every known unit, so it does
            not belong to them.
    """
    records, values = _shared(table, source, sample)
    units: dict[str, SettledUnit] = {}
    units["nuclear_repulsion_energy"] = _compared(
        values["nuclear_repulsion_energy"],
        [nuclear_repulsion_energy(r.atomic_numbers, r.positions) for r in records],
        _ENERGY_UNITS,
        1e-5,
        "recomputed from the geometry",
    )
    if units["nuclear_repulsion_energy"].unit is None:
        message = (
            f"The nuclear repulsion in {table.path} is not that of the geometries of "
            f"{source.info.name!r} in any unit ({units['nuclear_repulsion_energy'].evidence}): the "
            "ids mean other conformations there, or the table is another one."
        )
        raise UnitError(message)
    units |= _energies(values, units["nuclear_repulsion_energy"].unit or "hartree")
    units |= _formation(values, records, units["energy"])
    orbitals = [_orbitals(record) for record in records]
    units |= _frontier(values, records, orbitals)
    units["rotational_constants"] = _rotation(values, records)
    units["dipole"] = _dipole(values, records, orbitals)
    return {name: units[name] for name in FIELD_COLUMNS}


def require_unit(settled: Mapping[str, SettledUnit], name: str) -> str:
    """Give the unit of a field, or refuse one that could not be settled.

    Raises:
        UnitError: It could not; the message says why.
    """
    found = settled[name]
    if found.unit is None:
        message = f"The unit of {name} in this table is not known: {found.evidence}."
        raise UnitError(message)
    return found.unit


def _shared(
    table: SummaryTable, source: ConformationSource, sample: int
) -> tuple[list[Conformation], dict[str, FloatArray]]:
    """Give some conformations that both have, with their values in the table by column."""
    rows = table.find(source.keys)
    common = np.flatnonzero(rows >= 0)
    # A spread of several times the sample, of which those are taken that have every value.
    spread = np.linspace(0, max(len(common) - 1, 0), min(8 * sample, len(common)))
    common = common[np.unique(spread.astype(int))]
    whole = np.isfinite(table.read(rows[common], COLUMNS)).all(axis=1)
    common = common[whole] if whole.any() else common
    if len(common) == 0:
        message = (
            f"{table.path} and {source.info.name!r} have no conformation in common: the first of "
            f"the table is {table.keys[:1].tolist()}, of the source {source.keys[:1].tolist()}."
        )
        raise InputError(message)
    fields: list[str] = [
        name for name in ("dipole", "orbital_energies") if name in source.info.fields
    ]
    if len(fields) < 2 and "hamiltonian" in source.info.fields:
        # What the labels do not tell, the orbitals of fewer conformations do.
        fields.append("hamiltonian")
        sample = min(sample, _MATRICES)
    chosen = common[np.unique(np.linspace(0, len(common) - 1, sample).astype(int))]
    records = [record for row in chosen.tolist() for record in source.read([row], fields=fields)]
    names = {"dipole length": "DFT TOTAL DIPOLE", "gap": "DFT HOMO-LUMO GAP"}
    names["atomic energy"] = "DFT ATOMIC ENERGY"
    columns = {**FIELD_COLUMNS, **{name: (column,) for name, column in names.items()}}
    values = {}
    for name, own in columns.items():
        found = table.read(rows[chosen], own)
        values[name] = found[:, 0] if len(own) == 1 else found
    return records, values


def _compared(
    found: FloatArray,
    expected: Sequence[float] | Sequence[FloatArray] | FloatArray,
    units: Sequence[str],
    tolerance: float,
    how: str,
) -> SettledUnit:
    """Find the unit in which the table equals what was computed, within a relative tolerance."""
    wanted = np.asarray(expected, dtype=np.float64)
    good = np.isfinite(found) & np.isfinite(wanted) & (np.abs(wanted) > 1e-6)
    if not good.any():
        return SettledUnit(None, f"{how}, but there is nothing to compare")
    ratios = found[good] / wanted[good]
    for unit in units:
        one: float = convert(1.0, source=units[0], target=unit)
        if np.abs(ratios / one - 1).max() <= tolerance:
            worst = float(np.abs(ratios / one - 1).max())
            return SettledUnit(
                unit, f"{how}: equal within {worst:.1e} for {len(found)} conformations"
            )
    return SettledUnit(
        None,
        f"{how}, in {units[0]}, it differs by factors of {ratios.min():.6g} to {ratios.max():.6g}",
    )


def _energies(values: Mapping[str, FloatArray], unit: str) -> dict[str, SettledUnit]:
    """Total, one- and two-electron and xc energy: they add up in the unit of the repulsion."""
    parts = ("one_electron_energy", "two_electron_energy", "xc_energy")
    total = sum(values[name] for name in (*parts, "nuclear_repulsion_energy"))
    gaps = convert(values["energy"] - total, source=unit, target="hartree")
    adds_up = np.isfinite(gaps).all() and gaps.max() < 1e-4 and gaps.min() > -_DISPERSION
    low, high = gaps.min(), gaps.max()
    evidence = (
        f"total minus nuclear repulsion and its parts is {low:.2e} to {high:.2e} hartree"
        f"{', the dispersion' if adds_up and low < -1e-4 else ''}"
    )
    return dict.fromkeys(("energy", *parts), SettledUnit(unit if adds_up else None, evidence))


def _formation(
    values: Mapping[str, FloatArray], records: Sequence[Conformation], total: SettledUnit
) -> dict[str, SettledUnit]:
    """Formation energy: total minus atomic energy, which is the sum of the published atoms."""
    try:
        atoms = [isolated_atoms_energy(record.atomic_numbers) for record in records]
    except UnsupportedElementError as error:
        return {"formation_energy": SettledUnit(None, str(error).rstrip("."))}
    atomic = _compared(
        values["atomic energy"], atoms, _ENERGY_UNITS, 1e-6, "sum of the isolated atoms"
    )
    gaps = np.abs(values["energy"] - values["atomic energy"] - values["formation_energy"])
    agrees = total.unit is not None and atomic.unit == total.unit and gaps.max() < 1e-4
    evidence = (
        f"atomic energy is the {atomic.evidence}; total minus atomic minus formation energy is at "
        f"most {gaps.max():.1e}"
    )
    return {"formation_energy": SettledUnit(total.unit if agrees else None, evidence)}


def _frontier(
    values: Mapping[str, FloatArray],
    records: Sequence[Conformation],
    orbitals: Sequence[_Orbitals | None],
) -> dict[str, SettledUnit]:
    """HOMO and LUMO: against the labels of the source, else by the range that molecules have."""
    homo, lumo = values["homo_energy"], values["lumo_energy"]
    gaps = np.abs(lumo - homo - values["gap"])
    if not gaps.max() <= 1e-4 * np.abs(values["gap"]).max():
        unsettled = SettledUnit(None, f"gap and LUMO - HOMO differ by up to {gaps.max():.1e}")
        return {"homo_energy": unsettled, "lumo_energy": unsettled}
    same = f"LUMO - HOMO is the gap within {gaps.max():.1e}; "
    known = [
        homo_lumo(found.energies, n_electrons(record.atomic_numbers))
        for record, found in zip(records, orbitals, strict=True)
        if found is not None
    ]
    if len(known) == len(records):
        both = np.concatenate([homo, lumo])
        expected = np.concatenate([[h for h, _ in known], [l for _, l in known]])
        # Levels near zero have no ratio, and published ones have the noise of a grid.
        clear = np.abs(expected) > 1e-2
        found = _compared(both[clear], expected[clear], _ENERGY_UNITS, 2e-2, "orbital energies")
        settled = SettledUnit(found.unit, same + found.evidence)
    else:
        low, high = _HOMO_RANGE
        fitting = [
            unit
            for unit in _ENERGY_UNITS
            for energies in (convert(homo, source=unit, target="hartree"),)
            if low < energies.min() and energies.max() < high
        ]
        unit = fitting[0] if len(fitting) == 1 else None
        settled = SettledUnit(
            unit,
            f"{same}HOMO from {homo.min():.4g} to {homo.max():.4g}, which for molecules is in "
            f"{' or '.join(fitting) or 'no known unit'}",
        )
    return {"homo_energy": settled, "lumo_energy": settled}


@dataclass(frozen=True)
class _Orbitals:
    """Orbital energies and, where the Hamiltonian is known, the dipole of Mulliken charges."""

    energies: FloatArray
    dipole: FloatArray | None = None


def _orbitals(record: Conformation) -> _Orbitals | None:
    if record.hamiltonian is None or record.basis_set is None or record.orbital_order is None:
        return None if record.orbital_energies is None else _Orbitals(record.orbital_energies)
    numbers, basis = record.atomic_numbers, basis_set_named(record.basis_set)
    order = orbital_order_named(record.orbital_order)
    overlap = overlap_matrix(numbers, record.positions, basis_set=basis, orbital_order=order)
    energies, coefficients = orbital_energies_and_coefficients(record.hamiltonian, overlap)
    density = density_matrix(coefficients, n_electrons(numbers))
    charges = mulliken_charges(density, overlap, numbers, basis_set=basis)
    return _Orbitals(energies, charges @ record.positions)


def _rotation(values: Mapping[str, FloatArray], records: Sequence[Conformation]) -> SettledUnit:
    try:
        expected = [rotational_constants(r.atomic_numbers, r.positions) for r in records]
    except UnsupportedElementError as error:
        return SettledUnit(None, str(error).rstrip("."))
    how = "recomputed from the geometry"
    # Isotopes differ by less than 2 %, the units by factors of a thousand and more.
    return _compared(values["rotational_constants"], expected, _ROTATION_UNITS, 2e-2, how)


def _dipole(
    values: Mapping[str, FloatArray],
    records: Sequence[Conformation],
    orbitals: Sequence[_Orbitals | None],
) -> SettledUnit:
    lengths = np.linalg.norm(values["dipole"], axis=1)
    gaps = np.abs(lengths - values["dipole length"])
    if not gaps.max() <= 1e-3 * max(1.0, float(lengths.max())):
        return SettledUnit(
            None, f"the length of (X, Y, Z) is not TOTAL: up to {gaps.max():.1e} off"
        )
    same = f"the length of (X, Y, Z) is TOTAL within {gaps.max():.1e}; "
    known = [record.dipole for record in records if record.dipole is not None]
    if len(known) == len(records):
        # The length does not depend on how a program turned the molecule; small ones are noise.
        expected = np.linalg.norm(known, axis=1)
        large = expected > _SMALL_DIPOLE
        how = "against the dipoles of the source"
        found = _compared(lengths[large], expected[large], _DIPOLE_UNITS, 5e-2, how)
        return SettledUnit(found.unit, same + found.evidence)
    estimates = [
        found.dipole for found in orbitals if found is not None and found.dipole is not None
    ]
    if len(estimates) < len(records):
        return SettledUnit(
            None, same + "the source holds no dipoles to tell debye from atomic units"
        )
    large = lengths > _SMALL_DIPOLE
    if large.sum() < _ENOUGH:
        return SettledUnit(None, f"{same}only {large.sum()} dipoles are large enough to compare")
    ratios = np.linalg.norm(estimates, axis=1)[large] / lengths[large]
    low, high = _MULLIKEN_RANGE
    for unit in _DIPOLE_UNITS:
        median = convert(float(np.median(ratios)), source=_DIPOLE_UNITS[0], target=unit)
        if low < median < high:
            return SettledUnit(
                unit,
                f"{same}dipoles of the Mulliken charges are {median:.2f} of them (median of "
                f"{large.sum()} conformations)",
            )
    return SettledUnit(
        None,
        f"{same}dipoles of the Mulliken charges, in atomic units, are {np.median(ratios):.2g} of "
        "them, which fits no unit",
    )
