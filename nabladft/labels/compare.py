"""Residuals: labels made here against labels that came with the geometries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nabladft.errors import InputError

if TYPE_CHECKING:
    from nabladft.storage.source import ConformationSource


@dataclass(frozen=True, kw_only=True)
class Residual:
    """How one label made here differs from the one given.

    Attributes:
        molecule_id: Of the conformation.
        conformation_id: Of the conformation.
        formula: Molecular formula.
        n_atoms: Number of atoms.
        energy: Energy made here minus energy given, hartree; formation energies, so the energies of
            isolated atoms cancel.
        forces_max: Largest difference of a force component, hartree/bohr; None without forces.
        forces_rms: Root mean square over the components, hartree/bohr; None without forces.
    """

    molecule_id: int
    conformation_id: int
    formula: str
    n_atoms: int
    energy: float
    forces_max: float | None
    forces_rms: float | None


def check_comparable(given: ConformationSource) -> None:
    """Refuse to compare with an input that has no labels.

    Raises:
        InputError: It has no energies.
    """
    if not {"energy", "formation_energy"} & set(given.info.fields):
        held = ", ".join(given.info.fields) or "no labels"
        message = f"{given.info.name!r} has no energies to compare with; it has {held}."
        raise InputError(message)


def compare_labels(made: ConformationSource, given: ConformationSource) -> list[Residual]:
    """Compare labels, for every conformation that is in both sources.

    Args:
        made: Labels made here, with ``formation_energy``.
        given: Labels that came with the geometries.

    Returns:
        One residual per common conformation, in the order of ``given``.

    Raises:
        InputError: ``given`` has no energies.
    """
    check_comparable(given)
    has_forces = "forces" in given.info.fields and "forces" in made.info.fields
    energy_name = "formation_energy" if "formation_energy" in given.info.fields else "energy"
    fields = (energy_name, "forces") if has_forces else (energy_name,)
    present = {(int(m), int(c)) for m, c in made.keys}
    residuals = []
    for row, (molecule_id, conformation_id) in enumerate(given.keys):
        key = (int(molecule_id), int(conformation_id))
        if key not in present:
            continue
        reference = given.read([row], fields=fields)[0]
        ours = made.read(made.rows_of([key]), fields=fields)[0]
        forces = ours.require("forces") - reference.require("forces") if has_forces else None
        residuals.append(
            Residual(
                molecule_id=key[0],
                conformation_id=key[1],
                formula=reference.formula,
                n_atoms=reference.n_atoms,
                energy=ours.require(energy_name) - reference.require(energy_name),
                forces_max=None if forces is None else float(np.abs(forces).max()),
                forces_rms=None if forces is None else float(np.sqrt(np.mean(forces**2))),
            )
        )
    return residuals
