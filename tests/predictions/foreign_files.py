"""Files of predictions as others write them."""

from __future__ import annotations

import io

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from nabladft.chemistry.units import BOHR_IN_ANGSTROM, convert


def arrays_of(records):
    """Entries of an ``.npz`` file in eV, with the labels as predictions."""
    forces = np.concatenate([r.forces for r in records])
    return {
        "ids": np.array([f"{r.molecule_id}/{r.conformation_id}" for r in records]),
        "energy": convert(np.array([r.energy for r in records]), source="hartree", target="eV"),
        "forces": convert(forces, source="hartree/bohr", target="eV/angstrom"),
        "natoms": np.array([r.n_atoms for r in records]),
        "energy_unit": np.array("eV"),
    }


def write_npz(path, records, **changes):
    """Write them, some replaced or (with None) left out."""
    arrays = {k: v for k, v in (arrays_of(records) | changes).items() if v is not None}
    np.savez_compressed(path, **arrays)
    return path


def frames_of(records):
    """ASE atoms with the labels as results, in eV."""
    frames = []
    for r in records:
        atoms = ase.Atoms(r.atomic_numbers, BOHR_IN_ANGSTROM * r.positions)
        atoms.info |= {"molecule_id": r.molecule_id, "conformation_id": r.conformation_id}
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=convert(r.energy, source="hartree", target="eV"),
            forces=convert(r.forces, source="hartree/bohr", target="eV/angstrom"),
        )
        frames.append(atoms)
    return frames


def xyz_text(frames):
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    return text.getvalue()
